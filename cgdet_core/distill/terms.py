"""The training-only terms beside the task's loss: which a recipe has, and when they are on.

A network knows nothing of them, nor they of its task but what tasks/task.py says.
"""

from __future__ import annotations

from pathlib import Path

from torch import Tensor, nn

from cgdet_core.config import Recipe
from cgdet_core.distill.contrast import RegionContrast
from cgdet_core.distill.guidance import Guidance
from cgdet_core.distill.injection import Injection
from cgdet_core.distill.lesson import Lesson, Term, in_time
from cgdet_core.distill.teachers import load_teacher
from cgdet_core.distill.teachers.base import Teacher
from cgdet_core.model import STRIDES
from cgdet_core.model.network import Network
from cgdet_core.tasks import task_of
from cgdet_core.tasks.task import TrainingBatch


def teacher_of(recipe: Recipe, folder: Path) -> Teacher | None:
    """The teacher that a recipe's terms ask for, its file taken from `folder` where its path is relative."""
    if not recipe.uses_teacher:
        return None
    return load_teacher(recipe.guidance.teacher, recipe.model.class_names, folder)


class TrainingTerms(nn.Module):
    """The terms that have a weight in the recipe; a module whose parameters are the terms' own.

    network: the maps that its head takes are read by a hook from here on; teacher: needed where the recipe uses one.
    """

    def __init__(self, recipe: Recipe, network: Network, teacher: Teacher | None = None) -> None:
        super().__init__()
        if recipe.uses_teacher and teacher is None:
            raise ValueError("the recipe's terms learn from a teacher, and there is none")
        self._recipe = recipe
        self._task = task_of(recipe)
        self.teacher = teacher  # no nn.Module: it is neither trained nor kept
        terms: dict[str, Term] = {}
        if recipe.contrast.weight:
            terms["contrast"] = RegionContrast(recipe.contrast, network.channels)
        if recipe.guidance.weight and teacher is not None:
            terms["guidance"] = Guidance(recipe.guidance, network.channels, teacher.channels, self._task)
        if recipe.injection.on and teacher is not None:
            terms["injection"] = Injection(recipe.injection, network, teacher, self._task)
        self.terms = list(terms.values())
        for name, term in terms.items():
            self.add_module(name, term)
        self._maps: dict[int, Tensor] = {}
        if terms:
            network.neck.register_forward_hook(self._keep_maps)

    def _keep_maps(self, _neck: nn.Module, _inputs: object, maps: tuple[Tensor, ...]) -> None:
        self._maps = dict(zip(STRIDES, maps, strict=True))

    def forward(self, batch: TrainingBatch, images_done: int) -> dict[str, Tensor]:
        """Weighted terms by name (rcs, cms, dikd_forward, dikd_reverse), of the forward pass just done; those that are
        off now are left out."""
        by_heat = self._recipe.guidance.teacher.sees == "thermal" and self.teacher is not None
        maps, self._maps = self._maps, {}
        lesson = Lesson(batch, self._task.regions(batch.targets), maps, self.teacher, by_heat)
        values: dict[str, Tensor] = {}
        for term in self.terms:
            if share := in_time(term.config, images_done, self._recipe.train.images):
                values |= term(lesson, share)
        return values
