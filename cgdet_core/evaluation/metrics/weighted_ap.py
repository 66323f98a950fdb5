"""Average precision of frames that count several times or not at all, fast enough for a bootstrap.

COCOeval's matches are made once. A frame of weight w counts like w copies of it in the set: copies
of a hit follow one another in the order of scores, so that precision rises through them and only
the last one shapes the curve; therefore each hit is one step of height w, and the figure equals
COCOeval's over the copied frames. Only the hits carry the curve: false alarms enter as a count.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cgdet_core.evaluation.metrics.coco_ap import CocoTable
from cgdet_core.evaluation.metrics.matching import EvaluatedFrame
from cgdet_core.types import BoolArray, IntArray

RECALLS: NDArray[np.float64] = np.asarray(np.linspace(0.0, 1.0, 101), np.float64)  # COCO's
_SPACING = np.spacing(1)


@dataclass(frozen=True)
class _Hits:
    """The hits of one class at one IoU, best score first.

    at [H]: their places among all detections of the class; frame [H]; neutral_frame [I]: frames of
    the detections that count neither way; neutral_before [H]: how many of those precede each hit.
    """

    at: IntArray
    frame: IntArray
    neutral_frame: IntArray
    neutral_before: IntArray


@dataclass(frozen=True)
class _ClassMatches:
    frame: IntArray  # [D], frame of each detection, best score first
    truths: IntArray  # [F], objects to be found
    hits: tuple[_Hits, ...]  # of each of the 10 IoUs


class WeightedAp:
    """Average precision of `frames` under any weights."""

    def __init__(self, frames: list[EvaluatedFrame], class_count: int) -> None:
        table = CocoTable(frames, class_count)
        self._classes = [_class_matches(table, class_id, len(frames)) for class_id in range(class_count)]

    @property
    def truths(self) -> IntArray:
        """int64 [F, C]: the objects to be found in each frame."""
        return np.stack([matches.truths for matches in self._classes], axis=1)

    def of(self, weights: IntArray) -> NDArray[np.float64]:
        """float64 [10 IoUs, C]: average precision where frame i counts weights[i] >= 0 times; NaN without objects."""
        return np.stack([_average_precision(matches, weights) for matches in self._classes], axis=1)


def _class_matches(table: CocoTable, class_id: int, frame_count: int) -> _ClassMatches:
    truths = np.zeros(frame_count, np.int64)
    frames: list[IntArray] = [np.zeros(0, np.int64)]
    scores: list[NDArray[np.float64]] = [np.zeros(0)]
    matched: list[BoolArray] = [np.zeros((10, 0), np.bool_)]
    neutral = matched.copy()
    for index, entry in table.matches(class_id):
        truths[index] = np.count_nonzero(np.asarray(entry["gtIgnore"]) == 0)
        scores.append(np.asarray(entry["dtScores"], np.float64))
        frames.append(np.full(len(scores[-1]), index, np.int64))
        matched.append(np.asarray(entry["dtMatches"]) != 0)
        neutral.append(np.asarray(entry["dtIgnore"]) != 0)
    order = np.argsort(-np.concatenate(scores), kind="stable")
    frame = np.concatenate(frames)[order]
    hits = []
    for is_matched, is_neutral in zip(
        *(np.concatenate(parts, 1)[:, order] for parts in (matched, neutral)), strict=True
    ):
        at, neutral_at = np.flatnonzero(is_matched & ~is_neutral), np.flatnonzero(is_neutral)
        hits.append(_Hits(at, frame[at], frame[neutral_at], np.searchsorted(neutral_at, at)))
    return _ClassMatches(frame, truths, tuple(hits))


def _average_precision(matches: _ClassMatches, weights: IntArray) -> NDArray[np.float64]:
    truths = int(matches.truths @ weights)
    if truths == 0:
        return np.full(10, np.nan)
    found = np.cumsum(weights[matches.frame])
    values = np.zeros(10)
    for number, hits in enumerate(matches.hits):
        if not len(hits.at):
            continue
        true_positives = np.cumsum(weights[hits.frame])
        neutral = np.concatenate([[0], np.cumsum(weights[hits.neutral_frame])])
        counting = found[hits.at] - neutral[hits.neutral_before]
        precision = true_positives / (counting + _SPACING)
        highest_from = np.maximum.accumulate(precision[::-1])[::-1]
        reached = np.searchsorted(true_positives / truths, RECALLS, side="left")
        values[number] = highest_from[reached[reached < len(precision)]].sum() / len(RECALLS)
    return values
