"""The training-only terms beside the task's loss: which a recipe has, what they tap, when they are on.

A network knows nothing of them, nor they of its task but what tasks/task.py says.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import torch
from torch import Tensor, nn

from cgdet_core.config import Recipe, TapConfig
from cgdet_core.distill.contrast import RegionContrast
from cgdet_core.distill.guidance import Guidance
from cgdet_core.distill.injection import Injection
from cgdet_core.distill.lesson import Lesson, Term, at_strides, in_time
from cgdet_core.distill.taps import Taps
from cgdet_core.distill.teachers import load_teacher
from cgdet_core.distill.teachers.base import Teacher
from cgdet_core.errors import InputError
from cgdet_core.model import STRIDES
from cgdet_core.model.network import Network
from cgdet_core.tasks import task_of
from cgdet_core.tasks.task import TrainingBatch

_SIDE_PX = 64  # of the picture that the tapped maps are measured with


def teacher_of(recipe: Recipe, folder: Path) -> Teacher | None:
    """The teacher that a recipe's terms ask for, its file taken from `folder` where its path is relative."""
    if not recipe.uses_teacher:
        return None
    config = recipe.guidance.teacher
    if config.path and not (folder / config.path).exists():
        raise InputError(
            f"{folder / config.path}: the teacher's file is missing: it is looked for from --data; name yours by "
            "guidance.teacher.path=F.safetensors (docs/training.md, Teachers: where to have one)"
        )
    return load_teacher(config, recipe.model.class_names, folder)


class TrainingTerms(nn.Module):
    """The terms that have a weight in the recipe; a module whose parameters are the terms' own.

    network: tapped from here on, until `remove`; teacher: needed where the recipe uses one.
    """

    def __init__(self, recipe: Recipe, network: Network, teacher: Teacher | None = None) -> None:
        super().__init__()
        if recipe.uses_teacher and teacher is None:
            raise ValueError("the recipe's terms learn from a teacher, and there is none")
        self._recipe = recipe
        self._task = task_of(recipe)
        self.teacher = teacher  # no nn.Module: it is neither trained nor kept
        contrast, guidance, injection = recipe.contrast, recipe.guidance, recipe.injection
        tapping: list[TapConfig] = [config for config in (contrast, guidance) if config.weight]
        if injection.reverse_weight:
            tapping.append(injection)
        names = [name for config in tapping for name in config.student_layers]
        self._taps = Taps(network, names, "student_layers")
        channels = _channels(network, self._taps, tapping) if names else {}
        terms: dict[str, Term] = {}
        if contrast.weight:
            terms["contrast"] = RegionContrast(contrast, at_strides(contrast, channels))
        if guidance.weight and teacher is not None:
            terms["guidance"] = Guidance(guidance, at_strides(guidance, channels), teacher.channels, self._task)
        if injection.on and teacher is not None:
            tapped = at_strides(injection, channels) if injection.reverse_weight else {}
            terms["injection"] = Injection(injection, tapped, network, teacher, self._task)
        self.terms = list(terms.values())
        for name, term in terms.items():
            self.add_module(name, term)

    def forward(self, batch: TrainingBatch, images_done: int) -> dict[str, Tensor]:
        """Weighted terms by name (rcs, cms, dikd_forward, dikd_reverse), of the forward pass just done; those that are
        off now are left out."""
        by_heat = self._recipe.guidance.teacher.sees == "thermal" and self.teacher is not None
        lesson = Lesson(batch, self._task.regions(batch.targets), self._taps.take(), self.teacher, by_heat)
        values: dict[str, Tensor] = {}
        for term in self.terms:
            if share := in_time(term.config, images_done, self._recipe.train.images):
                values |= term(lesson, share)
        return values

    def remove(self) -> None:
        """Untap the network."""
        self._taps.remove()


def _channels(network: Network, taps: Taps, configs: Iterable[TapConfig]) -> dict[str, int]:
    """Channels of the tapped maps, seen in a forward pass that changes nothing; InputError for a wrong stride."""
    training = network.training
    first = next(network.parameters())
    with torch.no_grad():
        network.eval()(first.new_zeros(1, 1, _SIDE_PX, _SIDE_PX))
        network.train(training)
    maps = taps.take()
    for config in configs:
        for stride, found in at_strides(config, maps).items():
            if found.ndim != 4 or found.shape[-1] != _SIDE_PX // stride:
                name = config.student_layers[STRIDES.index(stride)]
                raise InputError(
                    f"student_layers: '{name}' stands for stride {stride} and puts out {list(found.shape)} "
                    f"for {_SIDE_PX} x {_SIDE_PX} px: name modules at strides 8, 16, 32 in this order"
                )
    return {name: value.shape[1] for name, value in maps.items()}
