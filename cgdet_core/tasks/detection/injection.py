"""What a detector learns from a teacher's output: DIKD (distill/injection.py) and LD."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property

import torch
from torch import Tensor
from torch.nn import functional

from cgdet_core.boxes import ciou_torch
from cgdet_core.config import LossConfig
from cgdet_core.model import STRIDES
from cgdet_core.tasks.detection.head import HeadOutput, cell_grid, decode_boxes
from cgdet_core.tasks.detection.loss import centres_inside, class_and_box_terms, detection_loss
from cgdet_core.tasks.detection.targets import CellPredictions, DetectionTargets, Predictions, regions_of, seen_scores
from cgdet_core.tasks.task import TrainingBatch, mixed, valid_cells
from cgdet_core.world import total


class DetectionLosses:
    """Of the B crops that have RGB, with A cells and M places for boxes. teacher_share: of a value, what is against the
    teacher's output; the rest is against the labels.

    cells: bool [B, A], those with valid RGB in all their pixels; inside: bool [B, M, A], those of them whose centre
    lies in an object's box (narrow ones widened as for the assignment); with_rgb: bool [B, M], objects that have such a
    cell; seen: float32 [B, M], how surely the teacher sees each object, 0 of what is none.
    """

    def __init__(
        self,
        batch: TrainingBatch,
        predictions: Predictions,
        known: Sequence[bool],
        loss: LossConfig,
        sure_score: float,
    ) -> None:
        targets: DetectionTargets = batch.targets
        valid = batch.rgb_valid
        assert valid is not None
        self.targets, self.theirs = targets, predictions
        self._known = torch.tensor(known, dtype=torch.bool, device=valid.device)
        self._loss, self._sure_score = loss, sure_score
        sizes = [(valid.shape[1] // stride, valid.shape[2] // stride) for stride in STRIDES]
        self._centres_xy_px, _ = cell_grid(sizes, valid.device)
        self.cells = torch.cat([valid_cells(valid, stride).flatten(1) for stride in STRIDES], dim=1) > 0
        inside = centres_inside(self._centres_xy_px, targets.boxes_xyxy_px, loss.assigner.min_side_px)
        self.inside = inside & targets.objects[:, :, None] & self.cells[:, None]
        self.with_rgb = self.inside.any(-1)
        self.seen = torch.zeros_like(targets.boxes_xyxy_px[:, :, 0])
        self.seen[targets.objects] = seen_scores(self.theirs, regions_of(targets)).float()

    @cached_property
    def votes(self) -> Tensor:
        """float32 [B, A]: what each cell counts where the teacher's predictions, one for each cell, are an example.

        Each object is one vote of the weight that the teacher sees of it, spread over its cells by its scores there.
        """
        columns = self.targets.class_ids[:, :, None].expand(-1, -1, self.cells.shape[1])
        of_class = self.theirs.scores.float().transpose(1, 2).gather(1, columns) * self.inside  # [B, M, A]
        tiny = torch.finfo(of_class.dtype).tiny
        return torch.einsum("bma,bm->ba", of_class, self.seen / of_class.sum(-1).clamp(min=tiny))

    def of_student_head(self, output: HeadOutput, teacher_share: float) -> Tensor:
        """DIKD, forward: of the student's head for the teacher's maps.

        Against the labels: the detection loss over cells with RGB. An object of which the teacher is not sure is a
        region to ignore: its maps do not show it, and a head that learned to find it there would see things. A crop in
        which the teacher is sure of nothing takes no part, and the loss is multiplied by the share of the objects with
        RGB that it is sure of: the one lit object of a dark batch teaches no more than in a street by day.
        """

        def against_labels() -> Tensor:
            sure = self.with_rgb & (self.seen >= self._sure_score)
            cells = self.cells & sure.any(1)[:, None]
            terms = detection_loss(output, self._only(sure), self._loss, cells)
            loss = terms["class"] + terms["box"] + terms["distribution"]
            counts = total(torch.stack((sure.sum(), self.with_rgb.sum())).float())
            return loss * (counts[0] / counts[1].clamp(min=1))

        def against_teacher() -> Tensor:
            # boxes are decoded here, after those of the other loss: the order in which gradients are added shows
            return self.disagreement(output.class_logits.float(), output.boxes_xyxy_px())

        return mixed(against_labels, against_teacher, teacher_share)

    def of_teacher_head(self, output: CellPredictions, teacher_share: float) -> Tensor:
        """DIKD, reverse: of the teacher's head for the student's maps.

        Against the labels: the class and the box term of the detection loss over cells with RGB, for the classes
        that the teacher knows, in the crops that show them: the student's own maps are judged, by night as by day.
        """

        def against_labels() -> Tensor:
            known = self.with_rgb & self._known[self.targets.class_ids]
            labels = replace(self._only(known), labelled=self.targets.labelled & self._known)
            cells = self.cells & known.any(1)[:, None]
            boxes, logits = output.boxes_xyxy_px, output.class_logits
            class_term, box_term, _ = class_and_box_terms(logits, boxes, self._centres_xy_px, labels, self._loss, cells)
            return class_term + box_term

        def against_teacher() -> Tensor:
            return self.disagreement(output.class_logits, output.boxes_xyxy_px)

        return mixed(against_labels, against_teacher, teacher_share)

    def of_student(self, output: HeadOutput, rows: Tensor) -> Tensor:
        """LD: the disagreement at the same cells; output: of the whole batch, of which int64 [R] `rows` have RGB."""
        boxes = decode_boxes(output.box_logits[rows], output.centres_xy_px, output.strides_px)
        return self.disagreement(output.class_logits[rows].float(), boxes)

    def disagreement(self, class_logits: Tensor, boxes_xyxy_px: Tensor) -> Tensor:
        """How far predictions are from the teacher's own at the same cells, over the objects that it sees.

        A cell counts by the votes of the objects there, divided by the number of objects with RGB of the whole batch,
        at least 1, as in guidance, so that a dark frame teaches little. At a cell: class_weight times the divergence
        of the scores (Kullback-Leibler, of each class that the teacher knows as a yes or no), and, where the teacher
        is sure, box_weight times 1 - CIoU.
        """
        theirs = self.theirs.scores.float()
        weights = self.votes / total(self.with_rgb.sum().float()).clamp(min=1)
        divergence = (bernoulli_divergence(theirs, class_logits) * self._known).sum(-1)
        sure = (weights > 0) & (theirs.amax(-1) >= self._sure_score)
        row, cell = sure.nonzero(as_tuple=True)
        overlap = ciou_torch(boxes_xyxy_px[row, cell], self.theirs.boxes_xyxy_px[row, cell])
        box_term = ((1 - overlap) * weights[row, cell]).sum()
        return self._loss.class_weight * (divergence * weights).sum() + self._loss.box_weight * box_term

    def _only(self, objects: Tensor) -> DetectionTargets:
        """The labels with these objects [B, M]; others of them are regions to ignore."""
        ignored = self.targets.ignored | (self.targets.objects & ~objects)
        return replace(self.targets, objects=objects, ignored=ignored)


def bernoulli_divergence(target: Tensor, logits: Tensor) -> Tensor:
    """KL(target || sigmoid(logits)) of each value by itself, targets in [0, 1]: 0 where they are alike."""
    cross_entropy = functional.binary_cross_entropy_with_logits(logits, target, reduction="none")
    return cross_entropy + torch.xlogy(target, target) + torch.xlogy(1 - target, 1 - target)
