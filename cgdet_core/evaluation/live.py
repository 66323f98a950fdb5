"""What a live detector gave beside the same detector offline: frame by frame, and figure by figure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cgdet_core.evaluation.metrics.matching import above_thresholds
from cgdet_core.evaluation.metrics.metrics import EvaluatedFrame, Metrics, evaluate
from cgdet_core.types import Detections

# an answer's detection is the offline one where no side of the box and not the score is further from it
SAME_BOX_PX = 0.5
SAME_SCORE = 0.01


@dataclass(frozen=True)
class OfflineAnswers:
    """The live detector's own network over the frames of a recording, offline.

    detections: stamp in ns -> what was found, down to the evaluation's score floor; thresholds: float64 [C], the live
    ones; stage_ms: stage -> time of every frame; executed: device, precision and backend; warnings: what makes this run
    another thing than the live one.
    """

    detections: Mapping[int, Detections]
    thresholds: NDArray[np.float64]
    stage_ms: Mapping[str, Sequence[float]]
    executed: Mapping[str, str]
    warnings: tuple[str, ...] = ()

    def published(self, stamp_ns: int) -> Detections | None:
        """What would have been published about the frame; None where it cannot be decoded."""
        found = self.detections.get(stamp_ns)
        return None if found is None else above_thresholds(found, self.thresholds)


@dataclass(frozen=True)
class Agreement:
    """Two lists of detections of one frame. alone_a, alone_b: detections without a partner in the other list; those
    that a threshold may have taken away there, being within the tolerance of it, are not among them.

    box_px, score: the greatest differences between partners, 0 where there are none.
    """

    alone_a: int
    alone_b: int
    box_px: float
    score: float

    @property
    def same(self) -> bool:
        return not (self.alone_a or self.alone_b)


def agreement(a: Detections, b: Detections, thresholds: NDArray[np.float64]) -> Agreement:
    """thresholds: float64 [C], from which both were published. Each detection has one partner at most: near scores may
    have changed places, so each of `a` takes the nearest free one of `b`."""
    box_px = np.abs(a.boxes_xyxy_px[:, None] - b.boxes_xyxy_px[None]).max(axis=2, initial=0.0)
    score = np.abs(a.scores[:, None] - b.scores[None])
    fits = (box_px <= SAME_BOX_PX) & (score <= SAME_SCORE) & (a.class_ids[:, None] == b.class_ids[None])
    distance_px = np.where(fits, box_px, np.inf)
    of_a: list[int] = []
    of_b: list[int] = []
    for i in range(len(a) if len(b) else 0):
        j = int(distance_px[i].argmin())
        if np.isfinite(distance_px[i, j]):
            of_a.append(i)
            of_b.append(j)
            distance_px[:, j] = np.inf
    return Agreement(
        _alone(a, of_a, thresholds),
        _alone(b, of_b, thresholds),
        float(box_px[of_a, of_b].max(initial=0.0)),
        float(score[of_a, of_b].max(initial=0.0)),
    )


def _alone(detections: Detections, paired: list[int], thresholds: NDArray[np.float64]) -> int:
    sure = detections.scores > thresholds[detections.class_ids] + SAME_SCORE
    sure[paired] = False
    return int(np.count_nonzero(sure))


def live_steps(
    offline: Sequence[EvaluatedFrame],
    answers: Sequence[Detections | None],
    class_names: Sequence[str],
    thresholds: NDArray[np.float64],
) -> dict[str, Metrics]:
    """From the offline figures to the live ones, one cause at a time, all over the same labelled frames.

    offline: with what was found offline, down to the evaluation's score floor; answers: what the live detector
    published about each, None where it published nothing.

    `offline`, every frame; `thresholds`, without what lies below the live detector's (float64 [C]); `drops`, and
    nothing is found in a frame without an answer; `live`, the answers themselves. The difference between two steps is
    what their cause took. Raises InputError as `evaluate` does.
    """
    empty = Detections.empty()
    published = [replace(frame, detections=above_thresholds(frame.detections, thresholds)) for frame in offline]
    undropped, answered = [], []
    for frame, answer in zip(published, answers, strict=True):
        undropped.append(frame if answer is not None else replace(frame, detections=empty))
        answered.append(replace(frame, detections=answer or empty))
    chain = {"offline": offline, "thresholds": published, "drops": undropped, "live": answered}
    return {name: evaluate(given, class_names) for name, given in chain.items()}


def step_to_json(name: str, metrics: Metrics) -> dict[str, Any]:
    """mAP50 and mAP of a step, of each class and light too."""

    def two(figures: Mapping[str, Any]) -> dict[str, Any]:
        return {key: figures[key] for key in ("map50", "map")}

    return {
        "step": name,
        **two(vars(metrics)),
        "per_class": {each: two(figures) for each, figures in metrics.per_class.items()},
        "by_light": {each: two(figures) for each, figures in metrics.by_light.items()},
    }
