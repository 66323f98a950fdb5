"""Average precision from pycocotools' matches, over any part of the frames.

COCOeval, fed from memory, matches every frame once; a class counts only where it is labelled. What is accumulated over
the matches is COCO's, under weights: 0 and 1 choose a part (by day, by night), and a bootstrap draws others. A frame of
weight w counts like w copies of it: precision rises through the copies of a hit, and only the last one shapes the
curve; therefore each hit is one step of height w.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cgdet_core.boxes import xyxy_to_xywh
from cgdet_core.evaluation.metrics.matching import MIN_SCORE, EvaluatedFrame, ignore_regions, labelled_classes
from cgdet_core.types import BoolArray, IntArray

SIZES = ("all", "small", "medium", "large")  # COCO's: sides of 32 and 96 px divide them
_IOUS = 10  # COCO's: 0.5 to 0.95
_RECALLS: NDArray[np.float64] = np.asarray(np.linspace(0.0, 1.0, 101), np.float64)  # COCO's
_MAX_DETECTIONS = 100  # of a frame and class, as COCO takes them
_SPACING = np.spacing(1)


@dataclass(frozen=True)
class _Hits:
    """The hits of one class at one IoU, best score first. at [H]: their places among all detections of the class; frame
    [H]; neutral_frame [I]: of the detections that count neither way; neutral_before [H]: how many precede each hit."""

    at: IntArray
    frame: IntArray
    neutral_frame: IntArray
    neutral_before: IntArray


class PrecisionTable:
    """The matches of all frames, made once. truths: int64 [F, C, 4 SIZES], the objects to be found in each."""

    def __init__(self, frames: Sequence[EvaluatedFrame], class_count: int) -> None:
        from pycocotools.cocoeval import COCOeval

        matcher = COCOeval(iouType="bbox")
        matcher.params.maxDets = [_MAX_DETECTIONS]
        _fill(matcher, frames, class_count)
        self.truths = np.zeros((len(frames), class_count, len(SIZES)), np.int64)
        entries: list[list[list[tuple[int, Any]]]] = [[[] for _ in SIZES] for _ in range(class_count)]
        for index, frame in enumerate(frames):
            for class_id in np.flatnonzero(labelled_classes(frame.truth, class_count)).tolist():
                matcher.ious[index, class_id] = matcher.computeIoU(index, class_id)
                for size, area_px in enumerate(matcher.params.areaRng):
                    entry = matcher.evaluateImg(index, class_id, area_px, _MAX_DETECTIONS)
                    if entry is not None:
                        entries[class_id][size].append((index, entry))
                        self.truths[index, class_id, size] = np.count_nonzero(np.asarray(entry["gtIgnore"]) == 0)
        self._matches = [[_in_order(each) for each in sizes] for sizes in entries]

    def precision(self, weights: IntArray | None = None, size: str = "all") -> NDArray[np.float64]:
        """float64 [10 IoUs, 101 recalls, C]: interpolated precision where frame i counts weights[i] >= 0 times (None:
        once); NaN where nothing is to be found."""
        weights = np.ones(len(self.truths), np.int64) if weights is None else weights
        place = SIZES.index(size)
        truths = weights @ self.truths[:, :, place]
        table = np.full((_IOUS, len(_RECALLS), len(truths)), np.nan)
        for class_id in np.flatnonzero(truths):
            frame, hits_of_iou = self._matches[class_id][place]
            found = np.cumsum(weights[frame])
            for number, hits in enumerate(hits_of_iou):
                true_positives = np.cumsum(weights[hits.frame])
                neutral = np.concatenate([[0], np.cumsum(weights[hits.neutral_frame])])
                counting = found[hits.at] - neutral[hits.neutral_before]
                precision = true_positives / (counting + _SPACING)
                highest_from = np.append(np.maximum.accumulate(precision[::-1])[::-1], 0.0)
                reached = np.searchsorted(true_positives / truths[class_id], _RECALLS, side="left")
                table[number, :, class_id] = highest_from[reached]
        return table


def _in_order(entries: Sequence[tuple[int, Any]]) -> tuple[IntArray, list[_Hits]]:
    """The frame of each detection of a class, int64 [D], best score first, and the hits of each IoU."""
    frames = [np.full(len(entry["dtScores"]), index, np.int64) for index, entry in entries]
    scores = np.concatenate([np.zeros(0), *(entry["dtScores"] for _, entry in entries)])
    order = np.argsort(-scores, kind="stable")
    frame = np.concatenate([np.zeros(0, np.int64), *frames])[order]

    def of_detections(key: str) -> BoolArray:
        joined = np.concatenate([np.zeros((_IOUS, 0)), *(np.asarray(entry[key]) for _, entry in entries)], axis=1)
        return np.asarray(joined[:, order] != 0)

    hits = []
    for matched, is_neutral in zip(of_detections("dtMatches"), of_detections("dtIgnore"), strict=True):
        at, neutral_at = np.flatnonzero(matched & ~is_neutral), np.flatnonzero(is_neutral)
        hits.append(_Hits(at, frame[at], frame[neutral_at], np.searchsorted(neutral_at, at)))
    return frame, hits


def _fill(matcher: Any, frames: Sequence[EvaluatedFrame], class_count: int) -> None:
    """What COCOeval would have read from its JSON."""
    # it takes an id of 0 for "no match": both kinds count from 1
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
                matcher._gts[index, class_id].append(entry)
        found = frame.detections.above(MIN_SCORE)
        found_xywh = xyxy_to_xywh(found.boxes_xyxy_px).astype(np.float64)
        for i in np.argsort(-found.scores, kind="stable"):
            mine = matcher._dts[index, int(found.class_ids[i])]
            if len(mine) < _MAX_DETECTIONS:
                detection_id += 1
                box = found_xywh[i].tolist()
                mine.append({"id": detection_id, "bbox": box, "area": box[2] * box[3], "score": float(found.scores[i])})
