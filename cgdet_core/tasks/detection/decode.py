"""From the head's raw output to boxes: decode only what passes its threshold, then NMS per class.

NumPy, and nothing that starts threads: a library's workers that wake up here find the cores taken by
those of the network, which wait for a while in a loop, and all stand still for milliseconds
(docs/evidence/speed.md). `@` is among what starts them, einsum is not.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from cgdet_core.config import PostprocessConfig
from cgdet_core.model import STRIDES
from cgdet_core.types import BoolArray, FloatArray, IntArray

_BLOCK: Final = 128  # candidates that are compared with each other at once
_ROUNDING: Final = 1e-6  # by which a score in float32 is off at most
_EXP_LIMIT: Final = np.float32(80)  # exp of more is beyond float32


@dataclass(frozen=True)
class Cells:
    """All cells of the head's maps, stride 8 first, row by row.

    centres_xy_px: float32 [A, 2] in pixels of the input; strides_px: float32 [A].
    """

    centres_xy_px: FloatArray
    strides_px: FloatArray


def cells_of(input_height_width_px: tuple[int, int]) -> Cells:
    """The cells of an input of this size, a multiple of 32; the same values as head.cell_grid."""
    centres, strides = [], []
    for stride in STRIDES:
        height, width = (side // stride for side in input_height_width_px)
        rows, columns = np.mgrid[:height, :width].astype(np.float32)
        centres.append((np.stack((columns, rows), axis=-1).reshape(-1, 2) + np.float32(0.5)) * np.float32(stride))
        strides.append(np.full(height * width, stride, np.float32))
    return Cells(np.concatenate(centres), np.concatenate(strides))


def postprocess(
    class_logits: FloatArray,
    box_logits: FloatArray,
    cells: Cells,
    config: PostprocessConfig,
    class_names: Sequence[str],
) -> tuple[FloatArray, FloatArray, IntArray] | None:
    """Boxes float32 [N, 4] in pixels of the input, scores float32 [N] descending, class_ids int64 [N], of one picture.

    class_logits float32 [A, C], box_logits float32 [A, 4 * bins] (RawOutput).
    A cell may give one box per class. Equal scores keep the order of the cells. None where any is no number.
    """
    # a NaN is the least and the greatest, and makes both comparisons false
    if not (class_logits.min() > -np.inf and class_logits.max() < np.inf):
        return None
    thresholds = np.array([config.class_thresholds.get(name, config.score_threshold) for name in class_names])
    rows, class_ids, scores = candidates(class_logits, thresholds, config.max_candidates)
    boxes = decode_boxes(box_logits[rows], cells.centres_xy_px[rows], cells.strides_px[rows])
    kept = suppress(boxes, class_ids, config.nms_iou, config.max_detections)
    return boxes[kept], scores[kept], class_ids[kept]


def candidates(
    class_logits: FloatArray, thresholds: NDArray[np.float64], most: int
) -> tuple[IntArray, IntArray, FloatArray]:
    """class_logits [A, C], thresholds [C] -> rows, class_ids, scores float32 [N] of what reaches them, best first."""
    logits, classes = class_logits.reshape(-1), class_logits.shape[1]
    # the scores of thousands of cells are not needed to see which cannot pass
    (places,) = np.nonzero(logits >= _logit_below(float(thresholds.min())))
    scores = 1 / (1 + np.exp(np.minimum(-logits[places], _EXP_LIMIT)))
    rows, class_ids = np.divmod(places, classes)
    (passed,) = np.nonzero(scores >= thresholds.astype(np.float32)[class_ids])
    order = passed[best_first(scores[passed], most)]
    return rows[order], class_ids[order], scores[order]


def best_first(scores: FloatArray, most: int) -> IntArray:
    """The places of the `most` greatest of scores [N], descending; equal ones keep their order."""
    return np.argsort(-scores, kind="stable")[:most]


def _logit_below(score: float) -> np.float32:
    """A logit that no cell with at least this score is below."""
    below = min(score, 1.0) - _ROUNDING
    return np.float32(np.log(below / (1 - below)) if below > 0 else -np.inf)


def decode_boxes(box_logits: FloatArray, centres_xy_px: FloatArray, strides_px: FloatArray) -> FloatArray:
    """box_logits [N, 4 * bins], centres [N, 2], strides [N] -> boxes xyxy float32 [N, 4] in pixels.

    Each distance is its distribution's mean, as in head.decode_boxes.
    """
    if not len(box_logits):
        return np.zeros((0, 4), np.float32)
    logits = box_logits.reshape(len(box_logits), 4, -1)
    weights = np.exp(logits - logits.max(axis=-1, keepdims=True))
    bins = np.arange(logits.shape[-1], dtype=np.float32)
    distances = np.einsum("nsb,b->ns", weights, bins) / weights.sum(axis=-1)
    distances *= strides_px[:, None]
    boxes = np.empty((len(logits), 4), np.float32)
    np.subtract(centres_xy_px, distances[:, :2], out=boxes[:, :2])
    np.add(centres_xy_px, distances[:, 2:], out=boxes[:, 2:])
    return boxes


def suppress(boxes_xyxy_px: FloatArray, class_ids: IntArray, nms_iou: float, most: int) -> IntArray:
    """Boxes [N, 4], best first -> the rows of those that no better one of their class overlaps by more than nms_iou."""
    kept: list[int] = []
    for start in range(0, len(boxes_xyxy_px), _BLOCK):
        boxes, ids = boxes_xyxy_px[start : start + _BLOCK], class_ids[start : start + _BLOCK]
        gone = np.zeros(len(boxes), np.bool_)
        if kept:
            gone |= _too_close(boxes_xyxy_px[kept], class_ids[kept], boxes, ids, nms_iou).any(axis=0)
        close = _too_close(boxes, ids, boxes, ids, nms_iou)
        for place in range(len(boxes)):
            if not gone[place]:
                kept.append(start + place)
                gone |= close[place]
            if len(kept) == most:
                return np.array(kept, np.int64)
    return np.array(kept, np.int64)


def _too_close(a_xyxy: FloatArray, a_ids: IntArray, b_xyxy: FloatArray, b_ids: IntArray, nms_iou: float) -> BoolArray:
    """Of every box of a [N, 4] and b [M, 4], whether they are of one class and overlap by more than nms_iou: [N, M]."""
    a_left, a_top, a_right, a_bottom = np.ascontiguousarray(a_xyxy.T)[:, :, None]
    b_left, b_top, b_right, b_bottom = np.ascontiguousarray(b_xyxy.T)
    inter = np.minimum(a_right, b_right)
    inter -= np.maximum(a_left, b_left)
    np.maximum(inter, 0, out=inter)
    height = np.minimum(a_bottom, b_bottom)
    height -= np.maximum(a_top, b_top)
    np.maximum(height, 0, out=height)
    inter *= height
    union = (a_right - a_left) * (a_bottom - a_top) + (b_right - b_left) * (b_bottom - b_top)
    union -= inter
    # two boxes without an area have no IoU, and are not too close; the limit is compared as the float64 that it is
    iou = np.divide(inter, union, out=np.zeros_like(inter), where=union > 0)
    close: BoolArray = iou > np.float64(nms_iou)
    close &= a_ids[:, None] == b_ids
    return close
