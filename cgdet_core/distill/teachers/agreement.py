"""Whether neighbouring frames see what a frame sees: detections moved as the picture between them moves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from cgdet_core.boxes import iou_matrix
from cgdet_core.types import BoolArray, Detections, FloatArray

_PATCH_PX = 32  # a box's patch is compared at this scale, its longer side
_MIN_LIKENESS = 0.5  # normalised correlation below which a patch is not found again


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
    patch = _scaled(luma_from[top:bottom, left:right], scale)
    likeness = cv2.matchTemplate(_scaled(area, scale), patch, cv2.TM_CCOEFF_NORMED)
    _, best, _, (x, y) = cv2.minMaxLoc(likeness)
    # a flat patch is like anything and like nothing
    if not _MIN_LIKENESS <= best <= 1.001 or patch.std() < 1:
        return np.zeros(2, np.float32)
    return np.array([x / scale - (left - area_left), y / scale - (top - area_top)], np.float32)


def _scaled(picture: NDArray[np.uint8], scale: float) -> NDArray[np.uint8]:
    if scale == 1:
        return picture
    height, width = (max(1, round(side * scale)) for side in picture.shape)
    return np.asarray(cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA), np.uint8)


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
