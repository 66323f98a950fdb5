"""One batch as the training terms see it, and what such a term is."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from cgdet_core.config import TapConfig
from cgdet_core.distill.teachers.base import Teacher
from cgdet_core.tasks.task import Regions, TeacherOutput, TrainingBatch


class Lesson:
    """The student's maps, the batch and what the teacher makes of it, looked at once for all terms that ask.

    batch: rgb_valid is where the teacher saw anything; regions: of its labels, none of a task that has none; student:
    stride -> [B, C, H / stride, W / stride], what the head takes; output: what the head makes of them; by_heat: the
    teacher looks at the thermal crops, all of them, in place of RGB.
    """

    def __init__(
        self,
        batch: TrainingBatch,
        regions: Regions,
        student: Mapping[int, Tensor],
        output: Any,
        teacher: Teacher | None,
        by_heat: bool = False,
    ) -> None:
        if by_heat:
            batch = replace(batch, rgb_valid=torch.ones_like(batch.images[:, 0], dtype=torch.bool))
        self.batch, self.student, self.output = batch, student, output
        self.regions, self._teacher, self._by_heat = regions, teacher, by_heat

    @property
    def teacher(self) -> Teacher:
        assert self._teacher is not None
        return self._teacher

    @cached_property
    def teacher_output(self) -> TeacherOutput:
        """Of all crops; those without RGB are not looked at, and have maps of 0 and no score."""
        if self._by_heat:
            return self.teacher.look(self.batch.images)
        rgb, rows = self.batch.rgb, self.batch.rows_with_rgb()
        assert rgb is not None
        if len(rows) == len(rgb):
            return self.teacher.look(rgb)
        # of no crop the teacher has no output: of one it has, and none of it is taken
        looked = self.teacher.look(rgb[rows] if len(rows) else rgb[:1])
        return looked.map(
            lambda values: values.new_zeros(len(rgb), *values.shape[1:]).index_copy(0, rows, values[: len(rows)])
        )

    @cached_property
    @torch.no_grad()
    def with_rgb(self) -> tuple[Tensor, TrainingBatch, TeacherOutput]:
        """The crops that have RGB: their rows int64 [R], and batch and teacher's output of them alone."""
        rows = self.batch.rows_with_rgb()
        return rows, self.batch.map(lambda values: values[rows]), self.teacher_output.map(lambda values: values[rows])


class Term(nn.Module):
    """A training term beside the task's loss, of weights above 0; its parameters are kept in checkpoints alone."""

    config: TapConfig

    @abstractmethod
    def forward(self, lesson: Lesson, share: float) -> dict[str, Tensor]:
        """Weighted scalars by name, times `share` (`in_time`). Those of several processes add up to the batch's."""


def in_time(config: TapConfig, images_done: int, images: int) -> float:
    """What a term's weight is multiplied by for the batch after `images_done` of `images` crops: a linear rise, then
    constant or a decay to 0 at the term's end, and then 0."""
    end = images * (1 - config.off_fraction)
    if images_done >= end:
        return 0.0
    rise = min(1.0, images_done / config.warmup_images) if config.warmup_images else 1.0
    done = images_done / end
    fall = {"constant": 1.0, "linear": 1 - done, "cosine": (1 + math.cos(math.pi * done)) / 2}[config.decay]
    return rise * fall
