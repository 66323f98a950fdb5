"""From what an RGB teacher sees to labels of the thermal frame: what is sure, what is to be ignored, what is unknown.

Nothing seen is not nothing there: a frame whose RGB shows nothing is unlabelled, and where RGB does not reach, the
thermal frame is a region to ignore of every class.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from cgdet_core.boxes import clip_xyxy, iou_matrix
from cgdet_core.config import LabelConfig
from cgdet_core.data.registration.homography import Registration
from cgdet_core.types import BoolArray, Detections, FloatArray, GroundTruth

_VALID_SHARE = 0.98  # of a box, with its rim, that RGB must show; else it is a region to ignore
_DARK_MEDIAN = 40  # an RGB picture half of whose pixels are darker (luma, of 255) is dark
_FLAT_DEVIATION = 8  # an RGB picture whose luma deviates less (fog, a covered lens, glare) is flat
_RIM_PX = 2  # a box that ends where RGB ends may go on beyond


def blindness(luma: NDArray[np.uint8]) -> str:
    """Why an RGB picture shows too little to say that nothing is there, luma uint8 [H, W]; "" where it does not."""
    if float(np.median(luma)) < _DARK_MEDIAN:
        return "RGB is dark"
    return "RGB is flat" if float(luma.std()) < _FLAT_DEVIATION else ""


def thermal_labels(
    detections: Detections,
    registration: Registration,
    valid: BoolArray | None,
    config: LabelConfig,
    class_names: tuple[str, ...],
) -> GroundTruth:
    """The thermal frame's labels out of the RGB frame's detections.

    detections: in RGB pixels, down to config.ignore_score; valid: bool [H, W] of the thermal frame, None: all of
    it. An object has its class's threshold and lies where RGB shows it; other detections are regions to ignore.
    """
    boxes = registration.boxes_to_thermal(detections.boxes_xyxy_px)
    visible = (boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1])
    thresholds = np.array([config.threshold_of(name) for name in class_names], np.float32)
    sure = visible & (detections.scores >= thresholds[detections.class_ids])
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
    grown = clip_xyxy(boxes_xyxy_px + np.array([-_RIM_PX, -_RIM_PX, _RIM_PX, _RIM_PX], np.float32), *valid.shape)
    corners = np.concatenate([np.floor(grown[:, :2]), np.ceil(grown[:, 2:])], axis=1).astype(int).tolist()
    areas = [valid[top:bottom, left:right] for left, top, right, bottom in corners]
    return np.array([area.mean() if area.size else 0.0 for area in areas], np.float32)


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
