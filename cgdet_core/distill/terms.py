"""The training-only terms beside the task's loss: which a recipe has, and when they are on.

A network knows nothing of them, nor they of its task but the methods of its class.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from cgdet_core.config import Recipe, TermConfig
from cgdet_core.distill.contrast import RegionContrast
from cgdet_core.distill.guidance import Guidance
from cgdet_core.distill.injection import Injection, Outputs
from cgdet_core.distill.lesson import Lesson, Term, in_time
from cgdet_core.distill.teachers import load_teacher
from cgdet_core.distill.teachers.base import Teacher
from cgdet_core.errors import InputError
from cgdet_core.model.network import Network
from cgdet_core.tasks import task_of
from cgdet_core.tasks.task import TrainingBatch


def teacher_of(recipe: Recipe, folder: Path) -> Teacher | None:
    """The teacher that a recipe's terms ask for, its file taken from `folder` where its path is relative."""
    if not recipe.uses_teacher:
        return None
    return load_teacher(recipe.guidance.teacher, recipe, folder)


class TrainingTerms(nn.Module):
    """The terms that have a weight in the recipe; a module whose parameters are the terms' own.

    network: which the terms are for; teacher: where the recipe uses one. InputError for terms that these cannot have.
    """

    def __init__(self, recipe: Recipe, network: Network, teacher: Teacher | None = None) -> None:
        super().__init__()
        if recipe.uses_teacher and teacher is None:
            raise ValueError("the recipe's terms learn from a teacher, and there is none")
        self._recipe = recipe
        self._task = task_of(recipe)
        self.teacher = teacher  # no nn.Module: it is neither trained nor kept
        ours = network.channels
        self._strides = tuple(ours)
        terms: dict[str, Term] = {}
        if recipe.contrast.weight:
            self._check("contrast", ours, over_regions=True)
            terms["contrast"] = RegionContrast(recipe.contrast, ours)
        if recipe.guidance.weight and teacher is not None:
            whole = recipe.guidance.region == "whole" and recipe.guidance.object_weight == "equal"
            self._check("guidance", ours, over_regions=not whole)
            self._check("guidance", teacher.channels)
            terms["guidance"] = Guidance(recipe.guidance, ours, teacher.channels, self._task)
        if recipe.injection.on and teacher is not None:
            terms["injection"] = Injection(recipe.injection, network, teacher, self._task)
        if recipe.outputs.weight and teacher is not None:
            terms["outputs"] = Outputs(recipe.outputs, self._task)
        self.terms = list(terms.values())
        for name, term in terms.items():
            self.add_module(name, term)

    def _check(self, section: str, channels: Mapping[int, int], over_regions: bool = False) -> None:
        """Refuse strides that are not there, and regions of a task that has none."""
        wanted: TermConfig = getattr(self._recipe, section)
        if not channels.keys() >= set(wanted.strides):
            raise InputError(
                f"{section}.strides = {list(wanted.strides)}: one of student and teacher has only {list(channels)}: "
                "give strides of both"
            )
        if over_regions and not self._task.has_regions:
            raise InputError(
                f"{section} compares regions, and the task {self._recipe.task} has none: give guidance region=whole "
                f"and object_weight=equal, or {section}.weight=0"
            )

    def forward(
        self, batch: TrainingBatch, maps: tuple[Tensor, ...], output: Any, images_done: int
    ) -> dict[str, Tensor]:
        """Weighted terms by name (rcs, cms, dikd_forward, dikd_reverse, ld); those that are off now are left out.

        maps: what the network's head took of the batch's images; output: what it made of them.
        """
        lesson = self._lesson(batch, maps, output)
        values: dict[str, Tensor] = {}
        for term in self.terms:
            if share := in_time(term.config, images_done, self._recipe.train.images):
                values |= term(lesson, share)
        return values

    @torch.no_grad()
    def views(self, batch: TrainingBatch, network: Network) -> tuple[dict[str, Tensor], tuple[Tensor, Tensor] | None]:
        """What the terms compare in a batch, for a person. Nothing is drawn from a generator, no state changes.

        By name, such as teacher/8, the maps that guidance compares, float32 [B, 1, H / s, W / s] in [0, 1]: the root of
        the mean square over channels, as a share of the greatest of its crop. Of contrast the embeddings [K, D] of the
        batch's regions and their class ids [K]. network: the student, in evaluation mode.
        """
        lesson = self._lesson(batch, network.features(batch.images), None)
        pictures, embedded = {}, None
        for term in self.terms:
            if isinstance(term, Guidance):
                for stride in term.config.strides:
                    for who, maps in (("student", lesson.student), ("teacher", lesson.teacher_output.maps)):
                        strength = maps[stride].float().square().mean(1, keepdim=True).sqrt()
                        pictures[f"{who}/{stride}"] = strength / strength.amax((2, 3), keepdim=True).clamp(min=1e-9)
            elif isinstance(term, RegionContrast) and len(lesson.regions):
                embedded = term.embed(lesson.student, lesson.regions), lesson.regions.class_ids
        return pictures, embedded

    def _lesson(self, batch: TrainingBatch, maps: tuple[Tensor, ...], output: Any) -> Lesson:
        by_heat = self._recipe.guidance.teacher.sees == "thermal" and self.teacher is not None
        student = dict(zip(self._strides, maps, strict=True))
        return Lesson(batch, self._task.regions(batch.targets), student, output, self.teacher, by_heat)
