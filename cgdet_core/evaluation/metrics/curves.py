"""Curves over the score threshold: precision and recall, misses and false alarms per image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cgdet_core.evaluation.metrics.matching import EvaluatedFrame, FrameMatch, labelled_classes

# Dollar et al., "Pedestrian Detection: An Evaluation of the State of the Art", PAMI 2012, section 3.1
FPPI_POINTS: NDArray[np.float64] = np.asarray(np.logspace(-2.0, 0.0, 9), np.float64)


@dataclass(frozen=True)
class ScoreCurve:
    """What happens to one class as its threshold falls; each point takes in all detections of one score more.

    scores: float64 [P] descending, the threshold of each point; true_positives, false_alarms: int64 [P],
    cumulative; truths: objects to be found; images: frames in which the class is labelled.
    """

    scores: NDArray[np.float64]
    true_positives: NDArray[np.int64]
    false_alarms: NDArray[np.int64]
    truths: int
    images: int

    @property
    def recall(self) -> NDArray[np.float64]:
        return np.asarray(self.true_positives / max(self.truths, 1), np.float64)

    @property
    def precision(self) -> NDArray[np.float64]:
        return np.asarray(self.true_positives / np.maximum(self.true_positives + self.false_alarms, 1), np.float64)

    @property
    def f1(self) -> NDArray[np.float64]:
        # 2 TP / (TP + FP + objects)
        found = self.true_positives + self.false_alarms + self.truths
        return np.asarray(2 * self.true_positives / np.maximum(found, 1), np.float64)


def score_curves(
    frames: Sequence[EvaluatedFrame], matches: Sequence[FrameMatch], class_names: Sequence[str]
) -> dict[str, ScoreCurve]:
    """Each class's curve; `matches` are the frames' own, in their order."""
    scores = np.concatenate([match.scores for match in matches]).astype(np.float64)
    class_ids = np.concatenate([match.class_ids for match in matches])
    hits = np.concatenate([match.true_positive for match in matches])
    alarms = np.concatenate([match.false_alarm for match in matches])
    labelled = np.array([labelled_classes(frame.truth, len(class_names)) for frame in frames])
    curves = {}
    for class_id, name in enumerate(class_names):
        mine = np.flatnonzero((class_ids == class_id) & (hits | alarms))
        order = mine[np.argsort(-scores[mine], kind="stable")]
        descending = scores[order]
        last_of_score = np.flatnonzero(np.append(descending[:-1] != descending[1:], True)) if len(order) else order
        truths = sum(
            int(np.count_nonzero(match.counted & (frame.truth.class_ids == class_id)))
            for frame, match in zip(frames, matches, strict=True)
        )
        curves[name] = ScoreCurve(
            scores=descending[last_of_score],
            true_positives=np.cumsum(hits[order])[last_of_score],
            false_alarms=np.cumsum(alarms[order])[last_of_score],
            truths=truths,
            images=int(np.count_nonzero(labelled[:, class_id])),
        )
    return curves


def log_average_miss_rate(curve: ScoreCurve) -> float | None:
    """Geometric mean of the miss rate at FPPI_POINTS false alarms per image; None without objects.

    At each point counts the miss rate of the last threshold whose false alarms per image do not
    exceed it, 1 where there is none; a curve that ends before the last point is held at its end.
    Objects of every height count (the Caltech "reasonable" subset leaves out those below 50 px).
    """
    if curve.truths == 0 or curve.images == 0:
        return None
    per_image = np.concatenate([[-1.0], curve.false_alarms / curve.images])
    miss_rate = np.concatenate([[1.0], 1.0 - curve.recall])
    at_points = miss_rate[np.searchsorted(per_image, FPPI_POINTS, side="right") - 1]
    return float(np.exp(np.log(np.maximum(at_points, 1e-10)).mean()))
