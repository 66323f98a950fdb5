"""Average precision by pycocotools, over any part of the frames.

COCOeval matches every frame once; the tables of the parts (by day, by night) and the rule that a
class counts only in frames where it is labelled come from leaving entries out of what it
accumulates. COCOeval is fed from memory: no JSON, no printing.

For a bootstrap its matches are made once. A frame of weight w counts like w copies of it in the set: copies of a hit
follow one another in the order of scores, so that precision rises through them and only the last one shapes the curve;
therefore each hit is one step of height w, and the figure equals COCOeval's over the copied frames. Only the hits carry
the curve: false alarms enter as a count.
"""

from __future__ import annotations

import contextlib
import copy
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cgdet_core.boxes import xyxy_to_xywh
from cgdet_core.evaluation.metrics.matching import MIN_SCORE, EvaluatedFrame, ignore_regions, labelled_classes
from cgdet_core.types import BoolArray, IntArray

SIZES = ("all", "small", "medium", "large")  # COCO's: sides of 32 and 96 px divide them
_MAX_DETECTIONS = 100  # of a frame and class, as COCO takes them
RECALLS: NDArray[np.float64] = np.asarray(np.linspace(0.0, 1.0, 101), np.float64)  # COCO's
_SPACING = np.spacing(1)

PrecisionTable = NDArray[np.float64]  # [10 IoUs, 101 recalls, C classes, 4 SIZES]; -1 where nothing is to be found


class CocoTable:
    """The matches of all frames, ready to be accumulated over any part of them."""

    def __init__(self, frames: Sequence[EvaluatedFrame], class_count: int) -> None:
        from pycocotools.cocoeval import COCOeval

        self._eval = COCOeval(iouType="bbox")
        params = self._eval.params
        params.imgIds = list(range(len(frames)))
        params.catIds = list(range(class_count))
        params.maxDets = [_MAX_DETECTIONS]
        self._fill(frames, class_count)
        # [C][SIZES][frame], None where the class is not labelled
        self._entries: list[list[list[dict[str, Any] | None]]] = [
            [[None] * len(frames) for _ in params.areaRng] for _ in params.catIds
        ]
        for index, frame in enumerate(frames):
            for class_id in np.flatnonzero(labelled_classes(frame.truth, class_count)).tolist():
                self._eval.ious[index, class_id] = self._eval.computeIoU(index, class_id)
                for size, area_px in enumerate(params.areaRng):
                    self._entries[class_id][size][index] = self._eval.evaluateImg(
                        index, class_id, area_px, _MAX_DETECTIONS
                    )
        self._truths = np.array(
            [[[_objects(entry) for entry in entries] for entries in sizes] for sizes in self._entries], np.int64
        )
        self._eval._paramsEval = copy.deepcopy(params)

    def precision(self, chosen: BoolArray | None = None) -> PrecisionTable:
        """Interpolated precision over the frames where `chosen` (bool [frames], None: all)."""
        self._eval.evalImgs = [
            entry if chosen is None or chosen[index] else None
            for sizes in self._entries
            for entries in sizes
            for index, entry in enumerate(entries)
        ]
        with contextlib.redirect_stdout(io.StringIO()):
            self._eval.accumulate()
        table: PrecisionTable = self._eval.eval["precision"][..., 0]
        return table

    def matches(self, class_id: int) -> Iterator[tuple[int, dict[str, Any]]]:
        """COCOeval's matches of one class at every size: frame index and entry, where the class is labelled."""
        for index, entry in enumerate(self._entries[class_id][SIZES.index("all")]):
            if entry is not None:
                yield index, entry

    def truths(self, chosen: BoolArray | None = None) -> NDArray[np.int64]:
        """int64 [C, 4 SIZES]: the objects to be found."""
        return np.asarray(self._truths[:, :, slice(None) if chosen is None else chosen].sum(axis=2), np.int64)

    def _fill(self, frames: Sequence[EvaluatedFrame], class_count: int) -> None:
        # COCOeval takes an id of 0 for "no match": both kinds count from 1
        truth_id = detection_id = 0
        for index, frame in enumerate(frames):
            truth = frame.truth
            boxes_xywh = xyxy_to_xywh(truth.boxes_xyxy_px).astype(np.float64)
            for class_id in range(class_count):
                crowd = ignore_regions(truth, class_id, class_count)
                for i in np.flatnonzero((truth.class_ids == class_id) | crowd):
                    truth_id += 1
                    box, ignore = boxes_xywh[i].tolist(), int(crowd[i])
                    entry = {"id": truth_id, "bbox": box, "area": box[2] * box[3], "iscrowd": ignore, "ignore": ignore}
                    self._eval._gts[index, class_id].append(entry)
            found = frame.detections.above(MIN_SCORE)
            found_xywh = xyxy_to_xywh(found.boxes_xyxy_px).astype(np.float64)
            for i in np.argsort(-found.scores, kind="stable"):
                mine = self._eval._dts[index, int(found.class_ids[i])]
                if len(mine) < _MAX_DETECTIONS:
                    detection_id += 1
                    box = found_xywh[i].tolist()
                    score = float(found.scores[i])
                    mine.append({"id": detection_id, "bbox": box, "area": box[2] * box[3], "score": score})


def _objects(entry: dict[str, Any] | None) -> int:
    return 0 if entry is None else int(np.count_nonzero(np.asarray(entry["gtIgnore"]) == 0))


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

    def __init__(self, frames: Sequence[EvaluatedFrame], class_count: int) -> None:
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
