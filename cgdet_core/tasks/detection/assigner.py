"""Task-aligned assignment (TOOD, Feng et al. 2021, section 3.2): which cells answer for which object."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from cgdet_core.boxes import iou_torch
from cgdet_core.config import AssignerConfig


@dataclass(frozen=True)
class Assignment:
    """For every cell of every image.

    positive: bool [B, A]; object_index: int64 [B, A], the object a positive cell answers for (0
    elsewhere); target_score: float [B, A], the score that cell should give its object's class, 0
    where not positive.
    """

    positive: Tensor
    object_index: Tensor
    target_score: Tensor


@torch.no_grad()
def assign(
    class_logits: Tensor,
    boxes_xyxy_px: Tensor,
    centres_xy_px: Tensor,
    gt_boxes_xyxy_px: Tensor,
    gt_class_ids: Tensor,
    objects: Tensor,
    config: AssignerConfig,
) -> Assignment:
    """Assign cells to objects by t = score^alpha * IoU^beta.

    class_logits [B, A, C], boxes_xyxy_px [B, A, 4] and centres_xy_px [A, 2] are the predictions;
    gt_boxes_xyxy_px [B, M, 4], gt_class_ids [B, M] and objects [B, M] (bool; padding and regions to
    ignore are False) the labels. Of the cells whose centre lies in a box the top_k by t, of those
    with t > 0, answer for it; a cell that two objects want goes to the one it overlaps more. A cell's
    target score is t, scaled so that an object's best cell gets that object's best IoU.
    """
    cells = class_logits.shape[1]
    inside = centres_inside(centres_xy_px, gt_boxes_xyxy_px, config.min_side_px) & objects[:, :, None]  # [B, M, A]
    scores = class_logits.sigmoid().transpose(1, 2)
    scores = scores.gather(1, gt_class_ids[:, :, None].expand(-1, -1, cells))  # [B, M, A]
    iou = iou_torch(gt_boxes_xyxy_px[:, :, None], boxes_xyxy_px[:, None]).clamp(min=0)
    iou = torch.where(inside, iou, torch.zeros_like(iou))
    alignment = scores.pow(config.alpha) * iou.pow(config.beta)

    values, indices = alignment.topk(min(config.top_k, cells), dim=-1)
    chosen = torch.zeros_like(inside).scatter_(-1, indices, values > 0)  # [B, M, A]
    contested = chosen.sum(1, keepdim=True) > 1  # [B, 1, A]
    best = torch.zeros_like(chosen).scatter_(1, torch.where(chosen, iou, iou - 2).argmax(1, keepdim=True), True)
    chosen = torch.where(contested, best, chosen)

    positive = chosen.any(1)
    object_index = chosen.to(torch.uint8).argmax(1)
    alignment = alignment * chosen
    best_alignment = alignment.amax(-1, keepdim=True)
    best_iou = (iou * chosen).amax(-1, keepdim=True)
    # an object that no cell overlaps well has alignments of 1e-12 and less: nothing is added to the divisor
    tiny = torch.finfo(alignment.dtype).tiny
    target_score = (alignment / best_alignment.clamp(min=tiny) * best_iou).amax(1)
    return Assignment(positive, object_index, target_score)


def centres_inside(centres_xy_px: Tensor, boxes_xyxy_px: Tensor, min_side_px: float) -> Tensor:
    """bool [B, M, A]; sides shorter than `min_side_px` are widened, so that every object has a cell."""
    middle = (boxes_xyxy_px[..., :2] + boxes_xyxy_px[..., 2:]) / 2
    half = (boxes_xyxy_px[..., 2:] - boxes_xyxy_px[..., :2]).clamp(min=min_side_px) / 2
    x, y = centres_xy_px[:, 0], centres_xy_px[:, 1]
    near_x = (x - middle[..., :1]).abs() <= half[..., :1]
    near_y = (y - middle[..., 1:]).abs() <= half[..., 1:]
    return near_x & near_y
