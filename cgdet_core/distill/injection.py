"""What a student learns from what a teacher puts out.

DIKD: each network's maps put through the other's head, against the labels and the teacher's own output. LD: the
student's own output against the teacher's.

Tong et al. 2025 (MLCM-KD, arXiv 2510.11128). What a head's output is compared by is the task's (`teacher_losses`):
float32 scalars, 0 with zero gradients where nothing can be said; those of several processes add up to the batch's.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from cgdet_core.config import InjectionConfig, OutputsConfig
from cgdet_core.distill.lesson import Lesson, Term
from cgdet_core.distill.taps import adapters
from cgdet_core.distill.teachers.base import Teacher
from cgdet_core.errors import InputError
from cgdet_core.model.network import Network
from cgdet_core.tasks.task import TeacherOutput

if TYPE_CHECKING:
    from cgdet_core.tasks import Task, TeacherLosses


class Injection(Term):
    """Both parts, with their adapters, 1x1 convolutions to the channels that the other's head takes.

    network: the student. Raises InputError for a teacher with maps at other strides.
    """

    def __init__(self, config: InjectionConfig, network: Network, teacher: Teacher, task: Task) -> None:
        super().__init__()
        self.config: InjectionConfig = config
        self._task = task
        self._head = (network.head,)  # in a tuple, as it is no part of this module
        ours, theirs = network.channels, teacher.channels
        if config.on and ours.keys() != theirs.keys():
            raise InputError(
                f"injection: the network has strides {list(ours)}, the teacher ({teacher.identity}) {list(theirs)}: "
                "give a teacher of the same strides"
            )
        self.into_student = adapters(theirs, ours, ours) if config.forward_weight else None
        self.into_teacher = adapters(ours, theirs, theirs) if config.reverse_weight else None

    def forward(self, lesson: Lesson, share: float) -> dict[str, Tensor]:
        rows, batch, theirs = lesson.with_rgb
        losses = self._task.teacher_losses(batch, theirs, lesson.teacher.knows, self.config.sure_score)
        terms = {}
        if weight := self.config.forward_weight * share:
            terms["dikd_forward"] = weight * self.forward_part(theirs, losses)
        if weight := self.config.reverse_weight * share:
            student = {stride: maps[rows] for stride, maps in lesson.student.items()}
            terms["dikd_reverse"] = weight * self.reverse_part(student, lesson.teacher, losses)
        return terms

    def forward_part(self, theirs: TeacherOutput, losses: TeacherLosses) -> Tensor:
        """Scalar, unweighted: what the student's head makes of the teacher's maps; gradients to head, adapters."""
        assert self.into_student is not None
        maps = tuple(adapter(theirs.maps[int(stride)]) for stride, adapter in self.into_student.items())
        with running_statistics(self._head[0]):
            output = self._head[0](maps)
        with torch.autocast(maps[0].device.type, enabled=False):
            return losses.of_student_head(output, self.config.forward_teacher_share)

    def reverse_part(self, student: Mapping[int, Tensor], teacher: Teacher, losses: TeacherLosses) -> Tensor:
        """Scalar, unweighted: what the teacher's head makes of the student's maps (with gradient) of crops with RGB."""
        assert self.into_teacher is not None
        maps = {int(stride): adapter(student[int(stride)]) for stride, adapter in self.into_teacher.items()}
        output = teacher.predict(maps)
        with torch.autocast(teacher.device.type, enabled=False):
            return losses.of_teacher_head(output, self.config.reverse_teacher_share)


class Outputs(Term):
    """LD; it owns nothing."""

    def __init__(self, config: OutputsConfig, task: Task) -> None:
        super().__init__()
        self.config: OutputsConfig = config
        self._task = task

    def forward(self, lesson: Lesson, share: float) -> dict[str, Tensor]:
        rows, batch, theirs = lesson.with_rgb
        losses = self._task.teacher_losses(batch, theirs, lesson.teacher.knows, self.config.sure_score)
        with torch.autocast(rows.device.type, enabled=False):
            return {"ld": self.config.weight * share * losses.of_student(lesson.output, rows)}


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
