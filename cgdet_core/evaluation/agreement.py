"""Are two lists of detections of one frame the same? For the node's answer beside the predictor's own."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cgdet_core.types import BoolArray, Detections


@dataclass(frozen=True)
class Tolerance:
    """How far two detections of one object may be apart: every side of the box in pixels, and the score."""

    box_px: float
    score: float


@dataclass(frozen=True)
class Agreement:
    """Of one frame. alone_a, alone_b: detections without a partner in the other list; those that a threshold may
    have taken away there, being within the tolerance of it, are not among them.

    box_px, score: the greatest differences between partners, 0 where there are none.
    """

    alone_a: int
    alone_b: int
    box_px: float
    score: float

    @property
    def same(self) -> bool:
        return not (self.alone_a or self.alone_b)


def agreement(a: Detections, b: Detections, thresholds: NDArray[np.float64], tolerance: Tolerance) -> Agreement:
    """thresholds: float64 [C], from which both were published. Each detection has one partner at most."""
    pairs = _in_order(a, b, tolerance)
    if pairs is None:
        pairs = _by_nearest(a, b, tolerance)
    of_a, of_b = pairs
    box_px = np.abs(a.boxes_xyxy_px[of_a] - b.boxes_xyxy_px[of_b]).max(initial=0.0)
    score = np.abs(a.scores[of_a] - b.scores[of_b]).max(initial=0.0)
    return Agreement(
        _alone(a, of_a, thresholds, tolerance), _alone(b, of_b, thresholds, tolerance), float(box_px), float(score)
    )


def _within(a: Detections, i: NDArray[np.intp], b: Detections, j: NDArray[np.intp], tolerance: Tolerance) -> BoolArray:
    near = np.abs(a.boxes_xyxy_px[i] - b.boxes_xyxy_px[j]).max(axis=1, initial=0.0) <= tolerance.box_px
    alike = np.abs(a.scores[i] - b.scores[j]) <= tolerance.score
    return np.asarray(near & alike & (a.class_ids[i] == b.class_ids[j]))


def _in_order(a: Detections, b: Detections, tolerance: Tolerance) -> tuple[NDArray[np.intp], NDArray[np.intp]] | None:
    """The usual case: both best first and the same throughout."""
    if len(a) != len(b):
        return None
    places = np.arange(len(a))
    return (places, places) if _within(a, places, b, places, tolerance).all() else None


def _by_nearest(a: Detections, b: Detections, tolerance: Tolerance) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Near scores may have changed places: each of `a` takes the nearest free one of `b`."""
    free = np.ones(len(b), np.bool_)
    pairs: list[tuple[int, int]] = []
    for i in range(len(a)):
        there = np.flatnonzero(free)
        fits = there[_within(a, np.full(len(there), i), b, there, tolerance)]
        if len(fits):
            distance_px = np.abs(b.boxes_xyxy_px[fits] - a.boxes_xyxy_px[i]).max(axis=1)
            j = int(fits[np.argmin(distance_px)])
            free[j] = False
            pairs.append((i, j))
    found = np.array(pairs, np.intp).reshape(-1, 2)
    return found[:, 0], found[:, 1]


def _alone(
    detections: Detections, paired: NDArray[np.intp], thresholds: NDArray[np.float64], tolerance: Tolerance
) -> int:
    sure = detections.scores > thresholds[detections.class_ids] + tolerance.score
    sure[paired] = False
    return int(np.count_nonzero(sure))
