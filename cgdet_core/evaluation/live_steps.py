"""From the offline figures of a recording to what a live detector gave of it, one cause at a time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cgdet_core.config import EvaluationConfig
from cgdet_core.evaluation.metrics.matching import above_thresholds
from cgdet_core.evaluation.metrics.metrics import EvaluatedFrame, Metrics, evaluate
from cgdet_core.types import Detections

OFFLINE, THRESHOLDS, DROPS, LIVE = "offline", "thresholds", "drops", "live"


@dataclass(frozen=True)
class LiveFrame:
    """A labelled frame. offline: what was found in it offline, down to the evaluation's score floor; answer: what the
    live detector published about it, None where it published nothing."""

    offline: EvaluatedFrame
    answer: Detections | None


@dataclass(frozen=True)
class Step:
    """The figures after one more cause. name: OFFLINE, every frame; THRESHOLDS, without what lies below the live
    detector's thresholds; DROPS, and nothing is found in a frame without an answer; LIVE, the answers themselves."""

    name: str
    figures: Metrics

    def to_json(self) -> dict[str, Any]:
        figures = self.figures
        return {
            "step": self.name,
            "map50": figures.map50,
            "map": figures.map,
            "per_class": {
                name: {key: part[key] for key in ("map50", "map")} for name, part in figures.per_class.items()
            },
            "by_light": {name: {key: part[key] for key in ("map50", "map")} for name, part in figures.by_light.items()},
        }


def live_steps(
    frames: Sequence[LiveFrame],
    class_names: Sequence[str],
    thresholds: NDArray[np.float64],
    config: EvaluationConfig | None = None,
) -> list[Step]:
    """OFFLINE, THRESHOLDS, DROPS, LIVE, all over the same `frames`. thresholds: float64 [C], of the live detector.

    The difference between two steps is what their cause took. Raises InputError as `evaluate` does.
    """
    empty = Detections.empty()
    offline = [frame.offline for frame in frames]
    published = [replace(frame, detections=above_thresholds(frame.detections, thresholds)) for frame in offline]
    undropped = [
        frame if live.answer is not None else replace(frame, detections=empty)
        for frame, live in zip(published, frames, strict=True)
    ]
    answered = [
        replace(frame, detections=empty if live.answer is None else live.answer)
        for frame, live in zip(offline, frames, strict=True)
    ]
    chain = ((OFFLINE, offline), (THRESHOLDS, published), (DROPS, undropped), (LIVE, answered))
    steps: list[Step] = []
    before: list[EvaluatedFrame] = []
    for name, given in chain:
        same = steps and all(_equal(a.detections, b.detections) for a, b in zip(before, given, strict=True))
        figures = steps[-1].figures if same else evaluate(given, class_names, config=config)
        steps.append(Step(name, figures))
        before = given
    return steps


def _equal(a: Detections, b: Detections) -> bool:
    return a is b or (
        np.array_equal(a.boxes_xyxy_px, b.boxes_xyxy_px)
        and np.array_equal(a.scores, b.scores)
        and np.array_equal(a.class_ids, b.class_ids)
    )
