"""The detection loss: which cells answer for which object, and class, box overlap and box distribution over them."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional

from cgdet_core.boxes import ciou_torch, iou_torch
from cgdet_core.config import AssignerConfig, LossConfig
from cgdet_core.tasks.detection.head import HeadOutput
from cgdet_core.tasks.detection.targets import DetectionTargets
from cgdet_core.world import total


@dataclass(frozen=True)
class Positives:
    """The P cells that answer for an object, and what their terms are divided by.

    image_index, cell_index: int64 [P]; weight: float32 [P], their target scores; gt_boxes_xyxy_px: float32 [P, 4];
    normaliser: scalar.
    """

    image_index: Tensor
    cell_index: Tensor
    weight: Tensor
    gt_boxes_xyxy_px: Tensor
    normaliser: Tensor


def detection_loss(
    output: HeadOutput, targets: DetectionTargets, config: LossConfig, cells: Tensor | None = None
) -> dict[str, Tensor]:
    """The weighted terms class, box and distribution, scalars, whose sum is minimised.

    Each is a sum over cells divided by the sum of all target scores of the batch, at least 1.

    Where processes share a batch, the divisor is the whole batch's, so that the processes' losses
    add up to the loss of the batch, and their gradients to its gradient.

    Class: binary cross-entropy against the target score, over cells and classes that count
    (`_counted`). Box: 1 - CIoU of each positive cell, weighted by its target score. Distribution:
    cross-entropy of the two bins that enclose each true distance (GFL, Li et al. 2020, eq. 6),
    weighted likewise. cells: bool [B, A], those that take part; None: all.
    """
    class_term, box_term, positives = class_and_box_terms(
        output.class_logits.float(), output.boxes_xyxy_px(), output.centres_xy_px, targets, config, cells
    )
    box_logits = output.box_logits.float()[positives.image_index, positives.cell_index]
    centres, strides = output.centres_xy_px[positives.cell_index], output.strides_px[positives.cell_index]
    gt_boxes = positives.gt_boxes_xyxy_px
    distances = torch.cat((centres - gt_boxes[:, :2], gt_boxes[:, 2:] - centres), dim=1) / strides[:, None]
    distribution = _distribution_loss(box_logits, distances)
    distribution_term = (distribution * positives.weight).sum() / positives.normaliser
    return {"class": class_term, "box": box_term, "distribution": config.distribution_weight * distribution_term}


def class_and_box_terms(
    class_logits: Tensor,
    boxes: Tensor,
    centres_xy_px: Tensor,
    targets: DetectionTargets,
    config: LossConfig,
    cells: Tensor | None = None,
) -> tuple[Tensor, Tensor, Positives]:
    """The weighted class and box terms of `detection_loss`, for predictions of any head of one box to a cell.

    class_logits: float32 [B, A, C]; boxes: xyxy float32 [B, A, 4] in pixels; centres_xy_px: float32 [A, 2].
    """
    assignment = assign(class_logits.detach(), boxes.detach(), centres_xy_px, targets, config.assigner)
    if cells is not None:
        assignment = replace(
            assignment, positive=assignment.positive & cells, target_score=assignment.target_score * cells
        )
    normaliser = total(assignment.target_score.sum()).clamp(min=1)

    wanted = torch.zeros_like(class_logits)
    class_of_cell = targets.class_ids.gather(1, assignment.object_index)
    wanted.scatter_(2, class_of_cell[:, :, None], assignment.target_score[:, :, None])
    cross_entropy = functional.binary_cross_entropy_with_logits(class_logits, wanted, reduction="none")
    counted = _counted(centres_xy_px, targets, assignment, class_of_cell)
    if cells is not None:
        counted = counted * cells[:, :, None]
    class_term = (cross_entropy * counted).sum() / normaliser

    # a GPU is waited for here, once: how many cells are positive decides the shapes of all that follows
    image_index, cell_index = assignment.positive.nonzero(as_tuple=True)
    weight = assignment.target_score[image_index, cell_index]
    gt_boxes = targets.boxes_xyxy_px[image_index, assignment.object_index[image_index, cell_index]]
    box_term = ((1 - ciou_torch(boxes[image_index, cell_index], gt_boxes)) * weight).sum() / normaliser
    positives = Positives(image_index, cell_index, weight, gt_boxes, normaliser)
    return config.class_weight * class_term, config.box_weight * box_term, positives


def _counted(centres_xy_px: Tensor, targets: DetectionTargets, assignment: Assignment, class_of_cell: Tensor) -> Tensor:
    """float [B, A, C]: 0 where nothing is known, 1 elsewhere.

    class_of_cell: int64 [B, A], of the object that a positive cell answers for. Nothing is known of
    classes that an image has no labels for, and of a class at cells whose centre lies in one of its
    regions to ignore and that answer for no object of it.
    """
    classes = targets.labelled.shape[1]
    centres, boxes = centres_xy_px[None, None], targets.boxes_xyxy_px[:, :, None]
    inside = ((centres >= boxes[..., :2]) & (centres <= boxes[..., 2:])).all(-1)  # [B, M, A]
    inside &= targets.ignored[:, :, None]
    of_class = functional.one_hot(targets.class_ids, classes).to(torch.float32)  # [B, M, C]
    covered = torch.einsum("bma,bmc->bac", inside.to(torch.float32), of_class) > 0
    answered = functional.one_hot(class_of_cell, classes).bool() & assignment.positive[:, :, None]
    unknown = covered & ~answered
    return (~unknown & targets.labelled[:, None, :]).to(torch.float32)


def _distribution_loss(box_logits: Tensor, distances: Tensor) -> Tensor:
    """box_logits [P, 4, bins], true distances [P, 4] in strides -> mean over the four sides, [P]."""
    bins = box_logits.shape[-1]
    distances = distances.clamp(0, bins - 1 - 1e-3)
    lower = distances.floor().long()
    upper_share = distances - lower
    log_shares = box_logits.log_softmax(-1)
    at_lower = log_shares.gather(-1, lower[..., None])[..., 0]
    at_upper = log_shares.gather(-1, lower[..., None] + 1)[..., 0]
    return -(at_lower * (1 - upper_share) + at_upper * upper_share).mean(-1)


@dataclass(frozen=True)
class Assignment:
    """For every cell of every image.

    positive: bool [B, A]; object_index: int64 [B, A], the object a positive cell answers for (0
    elsewhere); target_score: float [B, A], the score the cell should give its class, 0 where not positive.
    """

    positive: Tensor
    object_index: Tensor
    target_score: Tensor


@torch.no_grad()
def assign(
    class_logits: Tensor,
    boxes_xyxy_px: Tensor,
    centres_xy_px: Tensor,
    targets: DetectionTargets,
    config: AssignerConfig,
) -> Assignment:
    """Assign cells to objects (TOOD, Feng et al. 2021, section 3.2) by t = score^alpha * IoU^beta.

    class_logits [B, A, C], boxes_xyxy_px [B, A, 4] and centres_xy_px [A, 2] are the predictions. Of the cells whose
    centre lies in an object's box the top_k by t, of those with t > 0, answer for it; a cell that two objects want goes
    to the one it overlaps more. A cell's target score is t, scaled so that an object's best cell gets its best IoU.
    """
    cells = class_logits.shape[1]
    objects = targets.objects[:, :, None]
    inside = centres_inside(centres_xy_px, targets.boxes_xyxy_px, config.min_side_px) & objects  # [B, M, A]
    scores = class_logits.sigmoid().transpose(1, 2)
    scores = scores.gather(1, targets.class_ids[:, :, None].expand(-1, -1, cells))  # [B, M, A]
    iou = iou_torch(targets.boxes_xyxy_px[:, :, None], boxes_xyxy_px[:, None]).clamp(min=0)
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
