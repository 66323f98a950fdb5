"""The only box conversions and overlaps; NumPy for data and evaluation, torch for the losses.

A box is `xyxy` (left, top, right, bottom), `xywh` (left, top, width, height; COCO) or `cxcywh`
(centre, width, height; vision_msgs), in pixels with (0, 0) the outer corner of the first pixel.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from cgdet_core.types import FloatArray

if TYPE_CHECKING:
    from torch import Tensor


def xywh_to_xyxy(boxes_xywh: FloatArray) -> FloatArray:
    """[N, 4] left, top, width, height -> left, top, right, bottom."""
    boxes = np.asarray(boxes_xywh, dtype=np.float32).reshape(-1, 4)
    return np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], axis=1)


def xyxy_to_xywh(boxes_xyxy: FloatArray) -> FloatArray:
    """[N, 4] left, top, right, bottom -> left, top, width, height."""
    boxes = np.asarray(boxes_xyxy, dtype=np.float32).reshape(-1, 4)
    return np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], axis=1)


def xyxy_to_cxcywh(boxes_xyxy: FloatArray) -> FloatArray:
    """[N, 4] left, top, right, bottom -> centre x, centre y, width, height."""
    boxes = np.asarray(boxes_xyxy, dtype=np.float32).reshape(-1, 4)
    return np.concatenate([(boxes[:, :2] + boxes[:, 2:]) / 2, boxes[:, 2:] - boxes[:, :2]], axis=1)


def cxcywh_to_xyxy(boxes_cxcywh: FloatArray) -> FloatArray:
    """[N, 4] centre x, centre y, width, height -> left, top, right, bottom."""
    boxes = np.asarray(boxes_cxcywh, dtype=np.float32).reshape(-1, 4)
    return np.concatenate([boxes[:, :2] - boxes[:, 2:] / 2, boxes[:, :2] + boxes[:, 2:] / 2], axis=1)


def clip_xyxy(boxes_xyxy: FloatArray, height_px: float, width_px: float) -> FloatArray:
    """Boxes cut to the frame [0, width] x [0, height]."""
    boxes = np.array(boxes_xyxy, dtype=np.float32).reshape(-1, 4)
    boxes[:, 0::2] = boxes[:, 0::2].clip(0, width_px)
    boxes[:, 1::2] = boxes[:, 1::2].clip(0, height_px)
    return boxes


def area_xyxy(boxes_xyxy: FloatArray) -> FloatArray:
    """[N] areas in square pixels; a box with crossed corners has none."""
    boxes = np.asarray(boxes_xyxy, dtype=np.float32).reshape(-1, 4)
    area: FloatArray = (boxes[:, 2] - boxes[:, 0]).clip(0) * (boxes[:, 3] - boxes[:, 1]).clip(0)
    return area


def iou_matrix(a_xyxy: FloatArray, b_xyxy: FloatArray) -> FloatArray:
    """Intersection over union of every box of a [N, 4] with every box of b [M, 4]: [N, M] in [0, 1]."""
    inter = intersection_matrix(a_xyxy, b_xyxy)
    union = area_xyxy(a_xyxy)[:, None] + area_xyxy(b_xyxy)[None, :] - inter
    iou: FloatArray = np.divide(inter, union, out=np.zeros_like(inter), where=union > 0)
    return iou


def intersection_matrix(a_xyxy: FloatArray, b_xyxy: FloatArray) -> FloatArray:
    """Shared area of every box of a [N, 4] with every box of b [M, 4]: [N, M] in square pixels."""
    a = np.asarray(a_xyxy, dtype=np.float32).reshape(-1, 4)
    b = np.asarray(b_xyxy, dtype=np.float32).reshape(-1, 4)
    top_left = np.maximum(a[:, None, :2], b[None, :, :2])
    bottom_right = np.minimum(a[:, None, 2:], b[None, :, 2:])
    sides = (bottom_right - top_left).clip(0)
    shared: FloatArray = sides[..., 0] * sides[..., 1]
    return shared


def iou_torch(a_xyxy: Tensor, b_xyxy: Tensor, eps: float = 1e-7) -> Tensor:
    """Elementwise IoU of broadcastable [..., 4] tensors: [...] in [0, 1]."""
    inter, union = _intersection_union(a_xyxy, b_xyxy)
    return inter / (union + eps)


def ciou_torch(a_xyxy: Tensor, b_xyxy: Tensor, eps: float = 1e-7) -> Tensor:
    """Elementwise complete IoU (Zheng et al. 2020, eq. 8 to 11) of broadcastable [..., 4] tensors, in [-1.5, 1].

    IoU - centre distance^2 / enclosing diagonal^2 - alpha * v, with v the difference of the aspect
    angles and alpha = v / (1 - IoU + v) held constant for the gradient.
    """
    import math

    import torch

    inter, union = _intersection_union(a_xyxy, b_xyxy)
    iou = inter / (union + eps)
    enclosing = torch.maximum(a_xyxy[..., 2:], b_xyxy[..., 2:]) - torch.minimum(a_xyxy[..., :2], b_xyxy[..., :2])
    diagonal2 = enclosing.square().sum(-1) + eps
    centre2 = (a_xyxy[..., :2] + a_xyxy[..., 2:] - b_xyxy[..., :2] - b_xyxy[..., 2:]).square().sum(-1) / 4
    a_size = (a_xyxy[..., 2:] - a_xyxy[..., :2]).clamp(min=eps)
    b_size = (b_xyxy[..., 2:] - b_xyxy[..., :2]).clamp(min=eps)
    angle = torch.atan(b_size[..., 0] / b_size[..., 1]) - torch.atan(a_size[..., 0] / a_size[..., 1])
    v = (4 / math.pi**2) * angle.square()
    with torch.no_grad():
        alpha = v / (1 - iou + v + eps)
    return iou - centre2 / diagonal2 - alpha * v


def _intersection_union(a_xyxy: Tensor, b_xyxy: Tensor) -> tuple[Tensor, Tensor]:
    import torch

    sides = (torch.minimum(a_xyxy[..., 2:], b_xyxy[..., 2:]) - torch.maximum(a_xyxy[..., :2], b_xyxy[..., :2])).clamp(
        min=0
    )
    inter = sides[..., 0] * sides[..., 1]
    a_sides = (a_xyxy[..., 2:] - a_xyxy[..., :2]).clamp(min=0)
    b_sides = (b_xyxy[..., 2:] - b_xyxy[..., :2]).clamp(min=0)
    return inter, a_sides[..., 0] * a_sides[..., 1] + b_sides[..., 0] * b_sides[..., 1] - inter
