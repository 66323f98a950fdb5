"""A face followed from frame to frame by its own points, and looked for where none is known.

The crop of the next frame is laid about the points of the last one: no face detector is needed while a face is seen. A
face is lost when its mean confidence falls below a bound, it has left the picture, or two have become one.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from cgdet_core.boxes import area_xyxy, clip_xyxy, iou_matrix
from cgdet_core.tasks.landmarks.crop import box_of_points
from cgdet_core.types import BoolArray, FloatArray, Landmarks

ONE_FACE_IOU: Final = 0.5  # boxes that overlap more are of one face
_LEAST_VISIBLE: Final = 0.5  # of a face's box in the picture
_LEAST_SIDE_PX: Final = 8.0
_WINDOW_SHARES: Final = (1.0, 0.6, 0.4)  # of the region's shorter side, of the windows that a face is looked for in
_WINDOW_STEP: Final = 0.5  # of a window's side, from one to the next


def boxes_of(landmarks: Landmarks) -> FloatArray:
    """float32 [N, 4]: each face's box from its points, where the next frame's crop is laid."""
    if not len(landmarks):
        return np.zeros((0, 4), np.float32)
    return np.stack([box_of_points(points) for points in landmarks.points_xy_px])


def followed(landmarks: Landmarks, height_width_px: tuple[int, int], lost_below: float) -> BoolArray:
    """bool [N]: the faces that are not lost.

    lost_below: bound of a face's mean confidence. Of faces that overlap by more than ONE_FACE_IOU the surest stays.
    """
    boxes = boxes_of(landmarks)
    sureness = landmarks.confidences.mean(axis=1) if len(landmarks) else np.zeros(0, np.float32)
    area = area_xyxy(boxes)
    visible = np.divide(area_xyxy(clip_xyxy(boxes, *height_width_px)), area, out=np.zeros_like(area), where=area > 0)
    sides = (boxes[:, 2:] - boxes[:, :2]).max(axis=1, initial=0)
    kept: BoolArray = (sureness >= lost_below) & (visible >= _LEAST_VISIBLE) & (sides >= _LEAST_SIDE_PX)
    overlap = iou_matrix(boxes, boxes)
    order = np.argsort(-sureness, kind="stable")
    for place, face in enumerate(order):
        surer = order[:place]
        if kept[face] and (overlap[face, surer[kept[surer]]] > ONE_FACE_IOU).any():
            kept[face] = False
    return kept


def search_windows(region_xyxy_px: FloatArray) -> FloatArray:
    """float32 [K, 4]: square boxes of several sizes over a region, largest first, in which a face is looked for."""
    left, top, right, bottom = (float(value) for value in region_xyxy_px)
    width, height = right - left, bottom - top
    windows = []
    for share in _WINDOW_SHARES:
        side = share * min(width, height)
        columns, rows = (int(np.ceil((length - side) / (side * _WINDOW_STEP) - 1e-6)) + 1 for length in (width, height))
        for y in np.linspace(top, bottom - side, rows):
            windows += [(x, y, x + side, y + side) for x in np.linspace(left, right - side, columns)]
    return np.array(windows, np.float32)
