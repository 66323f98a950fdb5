"""From what an RGB teacher sees to labels of the thermal frame: what is sure, what is to be ignored, what is unknown.

Nothing seen is not nothing there: a frame whose RGB shows nothing is unlabelled, and where RGB does not reach, the
thermal frame is a region to ignore of every class. An object is sure where a neighbouring frame sees it too, moved as
the picture between them moves.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from cgdet_core.boxes import clip_xyxy, iou_matrix
from cgdet_core.config import LabelConfig
from cgdet_core.data.registration.homography import Registration
from cgdet_core.types import BoolArray, Detections, FloatArray, GroundTruth

AGREE_IOU = 0.3  # overlap with the neighbour's detection, moved as the picture moves
_VALID_SHARE = 0.98  # of a box, with its rim, that RGB must show; else it is a region to ignore
_DARK_MEDIAN = 40  # an RGB picture half of whose pixels are darker (luma, of 255) is dark
_FLAT_DEVIATION = 8  # an RGB picture whose luma deviates less (fog, a covered lens, glare) is flat
_RIM_PX = 2  # a box that ends where RGB ends may go on beyond
_PATCH_PX = 32  # a box's patch is compared at this scale, its longer side
_MIN_LIKENESS = 0.5  # normalised correlation below which a patch is not found again


def blindness(luma: NDArray[np.uint8]) -> str:
    """Why an RGB picture shows too little to say that nothing is there, luma uint8 [H, W]; "" where it does not."""
    if float(np.median(luma)) < _DARK_MEDIAN:
        return "RGB is dark"
    return "RGB is flat" if float(luma.std()) < _FLAT_DEVIATION else ""


def thermal_labels(
    detections: Detections,
    confirmed: BoolArray,
    registration: Registration,
    valid: BoolArray | None,
    config: LabelConfig,
    class_names: tuple[str, ...],
) -> GroundTruth:
    """The thermal frame's labels out of the RGB frame's detections.

    detections: in RGB pixels, down to config.ignore_score; confirmed: bool [N], by neighbours; valid: bool [H, W] of
    the thermal frame, None: all of it. An object has its class's threshold, is confirmed and lies where RGB shows it;
    other detections are regions to ignore.
    """
    boxes = registration.boxes_to_thermal(detections.boxes_xyxy_px)
    visible = (boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1])
    thresholds = np.array([config.threshold_of(name) for name in class_names], np.float32)
    sure = visible & confirmed & (detections.scores >= thresholds[detections.class_ids])
    sure &= visible_share(boxes, valid) >= _VALID_SHARE
    unsure = visible & ~sure
    # a second, less certain box of an object would only take away the background around it
    same = detections.class_ids[:, None] == detections.class_ids[None, sure]
    unsure &= ~((iou_matrix(boxes, boxes[sure]) >= 0.5) & same).any(axis=1)
    unknown = beyond_rgb(valid)
    classes = np.arange(len(class_names))
    return GroundTruth(
        np.concatenate([boxes[sure], boxes[unsure], np.repeat(unknown, len(classes), axis=0)]),
        np.concatenate([detections.class_ids[sure], detections.class_ids[unsure], np.tile(classes, len(unknown))]),
        np.repeat([False, True], [int(sure.sum()), int(unsure.sum()) + len(unknown) * len(classes)]),
    )


def visible_share(boxes_xyxy_px: FloatArray, valid: BoolArray | None) -> FloatArray:
    """float32 [N]: the share of each box, with two pixels around it, where RGB shows the thermal frame.

    valid: bool [H, W], None: everywhere. What lies beyond the thermal frame does not count.
    """
    if valid is None:
        return np.ones(len(boxes_xyxy_px), np.float32)
    height, width = valid.shape
    summed = np.pad(valid.astype(np.int64).cumsum(0).cumsum(1), ((1, 0), (1, 0)))
    grown = clip_xyxy(boxes_xyxy_px + np.array([-_RIM_PX, -_RIM_PX, _RIM_PX, _RIM_PX], np.float32), height, width)
    left, top = np.floor(grown[:, :2]).astype(int).T
    right, bottom = np.ceil(grown[:, 2:]).astype(int).T
    inside = summed[bottom, right] - summed[top, right] - summed[bottom, left] + summed[top, left]
    return np.asarray(inside / np.maximum((right - left) * (bottom - top), 1), np.float32)


def beyond_rgb(valid: BoolArray | None) -> FloatArray:
    """float32 [K, 4], at most four: the thermal frame around an upright rectangle that RGB shows wholly.

    valid: bool [H, W], without holes (as a homography leaves it); None: everywhere, no region. From the whole frame
    the side with the largest share of pixels that RGB does not show is moved inward until none has any.
    """
    if valid is None:
        return np.zeros((0, 4), np.float32)
    height, width = valid.shape
    left, top, right, bottom = 0, 0, width, height
    while left < right and top < bottom:
        sides = (
            valid[top:bottom, left].mean(),
            valid[top, left:right].mean(),
            valid[top:bottom, right - 1].mean(),
            valid[bottom - 1, left:right].mean(),
        )
        worst = int(np.argmin(sides))
        if sides[worst] == 1:
            break
        left, top, right, bottom = left + (worst == 0), top + (worst == 1), right - (worst == 2), bottom - (worst == 3)
    if left >= right or top >= bottom:
        return np.array([[0, 0, width, height]], np.float32)
    around = np.array([[0, 0, left, height], [right, 0, width, height], [0, 0, width, top], [0, bottom, width, height]])
    return np.asarray(around[(around[:, 2] > around[:, 0]) & (around[:, 3] > around[:, 1])], np.float32)


@dataclass(frozen=True)
class SeenFrame:
    """stamp_ns: of the RGB frame; luma: uint8 [H, W]; detections: in its pixels."""

    stamp_ns: int
    luma: NDArray[np.uint8]
    detections: Detections


def moved_boxes(luma_from: NDArray[np.uint8], luma_to: NDArray[np.uint8], boxes_xyxy_px: FloatArray) -> FloatArray:
    """Where boxes [N, 4] of one picture lie in the other, of the same size: float32 [N, 4], each shifted.

    What a box shows is looked for up to its own width and height away, by normalised correlation; a box stays where it
    is not found again.
    """
    boxes = np.array(boxes_xyxy_px, np.float32).reshape(-1, 4)
    for box in boxes:
        box += np.tile(_shift(luma_from, luma_to, box), 2)
    return boxes


def _shift(luma_from: NDArray[np.uint8], luma_to: NDArray[np.uint8], box: FloatArray) -> FloatArray:
    """float32 [2], to the right and down."""
    height, width = luma_from.shape
    left, top = np.floor(box[:2].clip(0)).astype(int)
    right, bottom = np.ceil(np.minimum(box[2:], (width, height))).astype(int)
    reach_x, reach_y = right - left, bottom - top
    if min(reach_x, reach_y) < 4:
        return np.zeros(2, np.float32)
    area_left, area_top = max(0, left - reach_x), max(0, top - reach_y)
    area = luma_to[area_top : bottom + reach_y, area_left : right + reach_x]
    scale = min(1.0, _PATCH_PX / max(reach_x, reach_y))
    searched, patch = (
        cv2.resize(each, [max(1, round(side * scale)) for side in each.shape[::-1]], interpolation=cv2.INTER_AREA)
        for each in (area, luma_from[top:bottom, left:right])
    )
    likeness = cv2.matchTemplate(searched, patch, cv2.TM_CCOEFF_NORMED)
    _, best, _, (x, y) = cv2.minMaxLoc(likeness)
    # a flat patch is like anything and like nothing
    if not _MIN_LIKENESS <= best <= 1.001 or patch.std() < 1:
        return np.zeros(2, np.float32)
    return np.array([x / scale - (left - area_left), y / scale - (top - area_top)], np.float32)


def agreed(frame: SeenFrame, neighbours: Sequence[SeenFrame], min_iou: float) -> BoolArray:
    """bool [N]: which of the frame's detections one of its neighbours has too: of their class, at IoU >= min_iou with
    the box moved into the neighbour's picture. All of them where there is no neighbour to ask."""
    detections = frame.detections
    if not neighbours:
        return np.ones(len(detections), np.bool_)
    confirmed = np.zeros(len(detections), np.bool_)
    for neighbour in neighbours:
        others = neighbour.detections
        if not len(others) or confirmed.all():
            continue
        moved = moved_boxes(frame.luma, neighbour.luma, detections.boxes_xyxy_px)
        alike = detections.class_ids[:, None] == others.class_ids[None, :]
        confirmed |= ((iou_matrix(moved, others.boxes_xyxy_px) >= min_iou) & alike).any(axis=1)
    return confirmed
