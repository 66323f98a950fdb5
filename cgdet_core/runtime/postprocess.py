"""From the head's raw output to boxes: decode only what passes its threshold, then NMS per class."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torchvision.ops import batched_nms

from cgdet_core.config import PostprocessConfig
from cgdet_core.model.head import HeadOutput, decode_boxes


@dataclass(frozen=True)
class Boxes:
    """boxes_xyxy_px float32 [N, 4] in pixels of the network's input, scores [N] descending, class_ids [N]."""

    boxes_xyxy_px: Tensor
    scores: Tensor
    class_ids: Tensor


def postprocess(output: HeadOutput, config: PostprocessConfig, class_names: Sequence[str]) -> list[Boxes]:
    """The boxes of every image of a batch; each image alone gives the same.

    A cell may give one box per class. Equal scores keep the order of the cells.
    """
    thresholds = torch.tensor([config.threshold_of(name) for name in class_names], device=output.class_logits.device)
    return [
        _one_image(output.class_logits[index].float(), output.box_logits[index], output, thresholds, config)
        for index in range(len(output.class_logits))
    ]


def _one_image(
    class_logits: Tensor, box_logits: Tensor, output: HeadOutput, thresholds: Tensor, config: PostprocessConfig
) -> Boxes:
    cells, class_ids, scores = candidates(class_logits.sigmoid(), thresholds, config.max_candidates)
    boxes = decode_boxes(box_logits[cells], output.centres_xy_px[cells], output.strides_px[cells])
    return suppress(boxes, scores, class_ids, config)


def candidates(scores: Tensor, thresholds: Tensor | float, most: int) -> tuple[Tensor, Tensor, Tensor]:
    """scores [A, C], thresholds [C] or one -> rows, class_ids and scores [N] of those that reach it, best first."""
    rows, class_ids = torch.nonzero(scores >= thresholds, as_tuple=True)
    passed = scores[rows, class_ids]
    order = torch.sort(passed, descending=True, stable=True).indices[:most]
    return rows[order], class_ids[order], passed[order]


def suppress(boxes_xyxy_px: Tensor, scores: Tensor, class_ids: Tensor, config: PostprocessConfig) -> Boxes:
    """Boxes [N, 4], best first -> those that no better one of their class overlaps by more than nms_iou."""
    if len(boxes_xyxy_px) == 0:
        return Boxes(boxes_xyxy_px, scores, class_ids)
    # batched_nms keeps classes apart by moving them, which takes coordinates from 0 on
    moved = boxes_xyxy_px - boxes_xyxy_px.amin()
    keep = batched_nms(moved, scores, class_ids, config.nms_iou)[: config.max_detections]
    return Boxes(boxes_xyxy_px[keep], scores[keep], class_ids[keep])
