"""DIKD: each network's maps put through the other's head, against the labels and the teacher's own output.

Tong et al. 2025 (MLCM-KD, arXiv 2510.11128) inject so for landmarks; what it is for a detector is said here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.modules.batchnorm import _BatchNorm

from cgdet_core.boxes import ciou_torch
from cgdet_core.config import InjectionConfig, LossConfig
from cgdet_core.data.feed.dataset import TrainingBatch
from cgdet_core.distill.rgb_batch import Shown
from cgdet_core.distill.taps import adapters
from cgdet_core.distill.teachers.base import Teacher
from cgdet_core.errors import InputError
from cgdet_core.tasks.detection.cells import STRIDES
from cgdet_core.tasks.detection.head import Head
from cgdet_core.tasks.detection.loss import class_and_box_terms, detection_loss
from cgdet_core.world import total


class Injection(nn.Module):
    """Both parts, with their adapters, 1x1 convolutions to the channels that the other's head takes.

    student_channels: stride -> channels of the tapped maps, empty without the reverse part; head_channels: of the maps
    that the student's head takes. Raises InputError for a teacher that cannot do its part.
    """

    _knows: Tensor  # bool [C], which of the student's classes the teacher knows; [0] where it is not asked

    def __init__(
        self,
        config: InjectionConfig,
        loss: LossConfig,
        student_channels: Mapping[int, int],
        head_channels: Mapping[int, int],
        teacher: Teacher,
    ) -> None:
        super().__init__()
        self.config = config
        self._loss = loss
        if config.forward_weight and config.forward_teacher_share:
            _check(teacher, "injection.forward_teacher_share")
        if config.reverse_weight:
            _check(teacher, "injection.reverse_weight")
        # no part of the state
        self.register_buffer("_knows", torch.tensor(teacher.knows or (), dtype=torch.bool), persistent=False)
        theirs = teacher.channels
        self.into_student = adapters(theirs, head_channels, STRIDES) if config.forward_weight else None
        self.into_teacher = adapters(student_channels, theirs, STRIDES) if config.reverse_weight else None

    def forward_part(self, head: Head, shown: Shown) -> Tensor:
        """float32 scalar, unweighted: what the student's head makes of the teacher's maps. Gradients go to the head
        and the adapters; 0 with zero gradients where nothing can be said.

        Against the labels it is the detection loss over cells with RGB. An object of which the teacher is not sure is
        a region to ignore: its maps do not show it, and a head that learned to find it there would see things. A crop
        in which the teacher is sure of nothing takes no part, and the loss is multiplied by the share of the objects
        with RGB that it is sure of: the one lit object of a dark batch teaches no more than in a street by day.
        """
        assert self.into_student is not None
        maps = tuple(self.into_student[str(stride)](shown.view.maps[stride]) for stride in STRIDES)
        with running_statistics(head):
            output = head(maps)
        share = self.config.forward_teacher_share
        with torch.autocast(maps[0].device.type, enabled=False):
            value = torch.zeros((), device=maps[0].device)
            if share < 1:
                sure = shown.with_rgb & (shown.seen >= self.config.sure_score)
                labels = _only(shown.batch, sure)
                loss = detection_loss(output, labels, self._loss, shown.cells & sure.any(1)[:, None])
                counts = total(torch.stack((sure.sum(), shown.with_rgb.sum())).float())
                value = value + (1 - share) * loss.total * (counts[0] / counts[1].clamp(min=1))
            if share:
                of_teacher = self._agreement(output.class_logits.float(), output.boxes_xyxy_px(), shown)
                value = value + share * of_teacher
            return value

    def reverse_part(self, student: Mapping[int, Tensor], teacher: Teacher, shown: Shown) -> Tensor:
        """float32 scalar, unweighted: what the teacher's head makes of the student's maps. Gradients go to the maps
        and the adapters; 0 with zero gradients where nothing can be said.

        student: stride -> float [B, C, H / stride, W / stride] of the whole batch. Against the labels it is the class
        and the box term of the detection loss over cells with RGB, for the classes that the teacher knows, in the
        crops that show an object of them: the student's own maps are judged, by night as by day.
        """
        assert self.into_teacher is not None
        rows = shown.rows
        maps = {stride: self.into_teacher[str(stride)](student[stride][rows]) for stride in STRIDES}
        found = teacher.predict(maps)
        share = self.config.reverse_teacher_share
        with torch.autocast(rows.device.type, enabled=False):
            value = torch.zeros((), device=rows.device)
            if share < 1:
                known = shown.with_rgb & self._knows[shown.batch.class_ids]
                labels = replace(_only(shown.batch, known), labelled=shown.batch.labelled & self._knows)
                class_term, box_term, _ = class_and_box_terms(
                    found.class_logits,
                    found.boxes_xyxy_px,
                    shown.centres_xy_px,
                    labels,
                    self._loss,
                    shown.cells & known.any(1)[:, None],
                )
                value = value + (1 - share) * (class_term + box_term)
            if share:
                value = value + share * self._agreement(found.class_logits, found.boxes_xyxy_px, shown)
            return value

    def _agreement(self, class_logits: Tensor, boxes: Tensor, shown: Shown) -> Tensor:
        """How far predictions are from the teacher's own at the same cells, over the objects that it sees.

        A cell counts by the votes of the objects there, divided by the number of objects with RGB of the whole batch,
        at least 1, as in guidance, so that a dark frame teaches little. At a cell: class_weight times the divergence
        of the scores (Kullback-Leibler, of each class that the teacher knows as a yes or no), and, where the teacher
        is sure, box_weight times 1 - CIoU.
        """
        theirs = shown.view.scores.float()
        weights = shown.votes / total(shown.with_rgb.sum().float()).clamp(min=1)
        divergence = (bernoulli_divergence(theirs, class_logits) * self._knows).sum(-1)
        image_index, cell_index = ((weights > 0) & (theirs.amax(-1) >= self.config.sure_score)).nonzero(as_tuple=True)
        overlap = ciou_torch(boxes[image_index, cell_index], shown.view.boxes_xyxy_px[image_index, cell_index])
        box_term = ((1 - overlap) * weights[image_index, cell_index]).sum()
        return self._loss.class_weight * (divergence * weights).sum() + self._loss.box_weight * box_term


@contextmanager
def running_statistics(network: nn.Module) -> Iterator[None]:
    """Batch norms of `network` go by their running statistics inside, and those stay as they are.

    So the student's head meets the teacher's maps as it will drive, and what it will drive with, the statistics of
    thermal maps, is not mixed with those of others: to bring the teacher's maps to where the student's are is the
    adapters' work. Besides, no crop's value then hangs on the other crops, nor on those of another process.
    """
    norms = [module for module in network.modules() if isinstance(module, _BatchNorm) and module.training]
    for module in norms:
        module.eval()
    try:
        yield
    finally:
        for module in norms:
            module.train()


def bernoulli_divergence(target: Tensor, logits: Tensor) -> Tensor:
    """KL(target || sigmoid(logits)) of each value by itself, targets in [0, 1]: 0 where they are alike."""
    cross_entropy = functional.binary_cross_entropy_with_logits(logits, target, reduction="none")
    return cross_entropy + torch.xlogy(target, target) + torch.xlogy(1 - target, 1 - target)


def _only(batch: TrainingBatch, objects: Tensor) -> TrainingBatch:
    """The batch with these objects [B, M]; others of its are regions to ignore."""
    return replace(batch, objects=objects, ignored=batch.ignored | (batch.objects & ~objects))


def _check(teacher: Teacher, what: str) -> None:
    if teacher.knows is None:
        raise InputError(
            f"{what} is not 0, and the head of this teacher ({teacher.identity}) does not predict cell by cell: give "
            f"guidance.teacher.kind yolox or detector, or {what}=0"
        )
