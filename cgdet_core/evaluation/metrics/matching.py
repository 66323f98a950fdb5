"""Which detection is which object: one greedy pass per frame and class, as COCO defines it.

Detections of a class, best score first, each take the free object of their class they overlap most, at an IoU of at
least MATCH_IOU. One that finds none but lies in a region to ignore (the intersection over its own area at least
MATCH_IOU) counts neither for nor against. Because the pass goes by score, what it says of the detections above a
threshold is what it would say had the others never been made: one pass serves every threshold.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cgdet_core.boxes import area_xyxy, intersection_matrix, iou_matrix
from cgdet_core.errors import InputError
from cgdet_core.types import BoolArray, Detections, FloatArray, GroundTruth, IntArray

MIN_SCORE = 0.001  # detections below it are left out of every figure
MATCH_IOU = 0.5  # overlap that makes a match in every figure but the average precision
OPERATING_SCORE = 0.25  # from which a detection counts as one where no threshold was chosen for its class


@dataclass(frozen=True)
class EvaluatedFrame:
    """One frame, what was found in it and what is in it. name: unique in the set; light: "day", "night" or None."""

    name: str
    detections: Detections
    truth: GroundTruth
    height_width_px: tuple[int, int]
    light: str | None = None


@dataclass(frozen=True)
class FrameMatch:
    """The detections of a frame that reach the score floor, and what became of each.

    boxes_xyxy_px [N, 4], scores [N] descending, class_ids [N]: the detections. truth_index: int64 [N], the object
    found, an index into the frame's truth; -1: none. neutral: bool [N], counts neither for nor against: in a region to
    ignore, or of a class that is not labelled in the frame. duplicate: bool [N], a false alarm over an object that a
    better one has taken. counted: bool [M], the objects of the truth that count; the rest are regions to ignore.
    """

    boxes_xyxy_px: FloatArray
    scores: FloatArray
    class_ids: IntArray
    truth_index: IntArray
    neutral: BoolArray
    duplicate: BoolArray
    counted: BoolArray

    @property
    def true_positive(self) -> BoolArray:
        return self.truth_index >= 0

    @property
    def false_alarm(self) -> BoolArray:
        return (self.truth_index < 0) & ~self.neutral

    def above(self, thresholds: NDArray[np.float64]) -> BoolArray:
        """bool [N]: the detections at or above their class's threshold; thresholds: [C]."""
        return np.asarray(self.scores >= thresholds[self.class_ids].astype(np.float32))

    def found(self, thresholds: NDArray[np.float64]) -> BoolArray:
        """bool [M]: the objects that a detection at or above its class's threshold has taken."""
        found = np.zeros(len(self.counted), np.bool_)
        found[self.truth_index[self.above(thresholds) & self.true_positive]] = True
        return found


def labelled_classes(truth: GroundTruth, class_count: int) -> BoolArray:
    """bool [C]: the classes that are labelled in the frame."""
    if truth.labelled is None:
        return np.ones(class_count, np.bool_)
    return np.asarray(truth.labelled, dtype=np.bool_)


def ignore_regions(truth: GroundTruth, class_id: int, class_count: int) -> BoolArray:
    """bool [M]: the regions to ignore for a class; one of no known class holds for every class."""
    unknown = (truth.class_ids < 0) | (truth.class_ids >= class_count)
    return np.asarray(truth.ignore & ((truth.class_ids == class_id) | unknown))


def check_frames(frames: Sequence[EvaluatedFrame], class_names: Sequence[str]) -> None:
    """Raise InputError where a frame speaks of classes that `class_names` does not hold."""
    count, names = len(class_names), ", ".join(class_names)
    for frame in frames:
        truth, detected = frame.truth, frame.detections
        if truth.labelled is not None and np.shape(truth.labelled) != (count,):
            said = f"{frame.name}: its labels have {np.size(truth.labelled)} classes, not {count} ({names})"
            raise InputError(f"{said}: give the class names of the labels")
        for what, ids in (("labels", truth.class_ids[~truth.ignore]), ("detections", detected.class_ids)):
            for outside in ids[(ids < 0) | (ids >= count)]:
                said = f"{frame.name}: its {what} have class {outside}, but there are 0 to {count - 1} ({names})"
                raise InputError(f"{said}: give the class names of the {what}")


def match_frame(frame: EvaluatedFrame, class_count: int) -> FrameMatch:
    """What became of the detections of one frame."""
    kept = frame.detections.above(MIN_SCORE)
    order = np.argsort(-kept.scores, kind="stable")
    boxes, scores, class_ids = kept.boxes_xyxy_px[order], kept.scores[order], kept.class_ids[order]
    truth = frame.truth
    labelled = labelled_classes(truth, class_count)
    known = (truth.class_ids >= 0) & (truth.class_ids < class_count)
    counted = ~truth.ignore & known
    counted[known] &= labelled[truth.class_ids[known]]
    truth_index = np.full(len(scores), -1, np.int64)
    neutral = np.zeros(len(scores), np.bool_)
    duplicate = np.zeros(len(scores), np.bool_)
    for class_id in np.unique(class_ids):
        mine = np.flatnonzero(class_ids == class_id)
        if not labelled[class_id]:
            neutral[mine] = True
            continue
        objects = np.flatnonzero(counted & (truth.class_ids == class_id))
        iou = iou_matrix(boxes[mine], truth.boxes_xyxy_px[objects])
        taken = np.zeros(len(objects), np.bool_)
        for row in np.flatnonzero((iou >= MATCH_IOU).any(axis=1)):
            free = np.where(taken, -1.0, iou[row])
            best = int(np.argmax(free))
            if free[best] >= MATCH_IOU:
                taken[best] = True
                truth_index[mine[row]] = objects[best]
            else:
                duplicate[mine[row]] = True
        # those of whose own area at least MATCH_IOU lies in one region
        regions = truth.boxes_xyxy_px[ignore_regions(truth, int(class_id), class_count)]
        in_region_px2 = intersection_matrix(boxes[mine], regions).max(axis=1, initial=0.0)
        area_px2 = area_xyxy(boxes[mine])
        inside = (area_px2 > 0) & (in_region_px2 >= MATCH_IOU * area_px2) & (truth_index[mine] < 0)
        neutral[mine[inside]] = True
        duplicate[mine[inside]] = False
    return FrameMatch(boxes, scores, class_ids, truth_index, neutral, duplicate, counted)


def above_thresholds(detections: Detections, thresholds: NDArray[np.float64]) -> Detections:
    """Those at or above their class's threshold; thresholds: float64 [C]."""
    # scores are float32 where they come from: a threshold is compared as such
    keep = detections.scores >= thresholds.astype(np.float32)[detections.class_ids]
    return Detections(detections.boxes_xyxy_px[keep], detections.scores[keep], detections.class_ids[keep])
