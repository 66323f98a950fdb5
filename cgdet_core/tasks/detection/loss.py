"""The detection loss: class, box overlap and box distribution, over task-aligned cells."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional

from cgdet_core.boxes import ciou_torch
from cgdet_core.config import LossConfig
from cgdet_core.data.feed.dataset import TrainingBatch
from cgdet_core.tasks.detection.assigner import Assignment, assign
from cgdet_core.tasks.detection.head import HeadOutput
from cgdet_core.world import total


@dataclass(frozen=True)
class DetectionLoss:
    """Weighted terms, scalars; `total` is what is minimised."""

    class_term: Tensor
    box_term: Tensor
    distribution_term: Tensor

    @property
    def total(self) -> Tensor:
        return self.class_term + self.box_term + self.distribution_term

    def terms(self) -> dict[str, Tensor]:
        """By name, as the log has them."""
        return {"class": self.class_term, "box": self.box_term, "distribution": self.distribution_term}


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
    output: HeadOutput, batch: TrainingBatch, config: LossConfig, cells: Tensor | None = None
) -> DetectionLoss:
    """Each term is a sum over cells divided by the sum of all target scores of the batch, at least 1.

    Where processes share a batch, the divisor is the whole batch's, so that the processes' losses
    add up to the loss of the batch, and their gradients to its gradient.

    Class: binary cross-entropy against the target score, over cells and classes that count
    (`_counted`). Box: 1 - CIoU of each positive cell, weighted by its target score. Distribution:
    cross-entropy of the two bins that enclose each true distance (GFL, Li et al. 2020, eq. 6),
    weighted likewise. cells: bool [B, A], those that take part; None: all.
    """
    class_term, box_term, positives = class_and_box_terms(
        output.class_logits.float(), output.boxes_xyxy_px(), output.centres_xy_px, batch, config, cells
    )
    box_logits = output.box_logits.float()[positives.image_index, positives.cell_index]
    centres, strides = output.centres_xy_px[positives.cell_index], output.strides_px[positives.cell_index]
    gt_boxes = positives.gt_boxes_xyxy_px
    distances = torch.cat((centres - gt_boxes[:, :2], gt_boxes[:, 2:] - centres), dim=1) / strides[:, None]
    distribution = _distribution_loss(box_logits, distances)
    distribution_term = (distribution * positives.weight).sum() / positives.normaliser
    return DetectionLoss(class_term, box_term, config.distribution_weight * distribution_term)


def class_and_box_terms(
    class_logits: Tensor,
    boxes: Tensor,
    centres_xy_px: Tensor,
    batch: TrainingBatch,
    config: LossConfig,
    cells: Tensor | None = None,
) -> tuple[Tensor, Tensor, Positives]:
    """The weighted class and box terms of `detection_loss`, for predictions of any head of one box to a cell.

    class_logits: float32 [B, A, C]; boxes: xyxy float32 [B, A, 4] in pixels; centres_xy_px: float32 [A, 2].
    """
    assignment = assign(
        class_logits.detach(),
        boxes.detach(),
        centres_xy_px,
        batch.boxes_xyxy_px,
        batch.class_ids,
        batch.objects,
        config.assigner,
    )
    if cells is not None:
        assignment = replace(
            assignment, positive=assignment.positive & cells, target_score=assignment.target_score * cells
        )
    normaliser = total(assignment.target_score.sum()).clamp(min=1)

    targets = torch.zeros_like(class_logits)
    class_of_cell = batch.class_ids.gather(1, assignment.object_index)
    targets.scatter_(2, class_of_cell[:, :, None], assignment.target_score[:, :, None])
    cross_entropy = functional.binary_cross_entropy_with_logits(class_logits, targets, reduction="none")
    counted = _counted(centres_xy_px, batch, assignment, class_of_cell)
    if cells is not None:
        counted = counted * cells[:, :, None]
    class_term = (cross_entropy * counted).sum() / normaliser

    # a GPU is waited for here, once: how many cells are positive decides the shapes of all that follows
    image_index, cell_index = assignment.positive.nonzero(as_tuple=True)
    weight = assignment.target_score[image_index, cell_index]
    gt_boxes = batch.boxes_xyxy_px[image_index, assignment.object_index[image_index, cell_index]]
    box_term = ((1 - ciou_torch(boxes[image_index, cell_index], gt_boxes)) * weight).sum() / normaliser
    positives = Positives(image_index, cell_index, weight, gt_boxes, normaliser)
    return config.class_weight * class_term, config.box_weight * box_term, positives


def _counted(centres_xy_px: Tensor, batch: TrainingBatch, assignment: Assignment, class_of_cell: Tensor) -> Tensor:
    """float [B, A, C]: 0 where nothing is known, 1 elsewhere.

    class_of_cell: int64 [B, A], of the object that a positive cell answers for. Nothing is known of
    classes that an image has no labels for, and of a class at cells whose centre lies in one of its
    regions to ignore and that answer for no object of it.
    """
    classes = batch.labelled.shape[1]
    centres = centres_xy_px[None, None]
    boxes = batch.boxes_xyxy_px[:, :, None]
    inside = ((centres >= boxes[..., :2]) & (centres <= boxes[..., 2:])).all(-1) & batch.ignored[
        :, :, None
    ]  # [B, M, A]
    of_class = functional.one_hot(batch.class_ids, classes).to(torch.float32)  # [B, M, C]
    covered = torch.einsum("bma,bmc->bac", inside.to(torch.float32), of_class) > 0
    answered = functional.one_hot(class_of_cell, classes).bool() & assignment.positive[:, :, None]
    unknown = covered & ~answered
    return (~unknown & batch.labelled[:, None, :]).to(torch.float32)


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
