"""The training-only terms beside the detection loss: what they tap, when they are on, what they own.

A detector knows nothing of them. Their projections and adapters live here, are trained with it and
kept in a run's checkpoint, and no model file holds any of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor, nn

from cgdet_core.config import Recipe, TermConfig
from cgdet_core.data.dataset import TrainingBatch
from cgdet_core.errors import InputError
from cgdet_core.model.cells import STRIDES
from cgdet_core.model.detector import Detector
from cgdet_core.training.contrast import RegionContrast
from cgdet_core.training.distributed import ALONE, World
from cgdet_core.training.guidance import Guidance
from cgdet_core.training.taps import Taps
from cgdet_core.training.teachers import Teacher, TeacherView, load_teacher

_SIDE_PX = 64  # of the picture that the tapped maps are measured with

T = TypeVar("T")


def teacher_of(recipe: Recipe, folder: Path) -> Teacher | None:
    """The teacher that a recipe's guidance asks for, its file taken from `folder` where its path is relative."""
    if not recipe.guidance.weight:
        return None
    config = recipe.guidance.teacher
    if config.path and not (folder / config.path).exists():
        raise InputError(
            f"{folder / config.path}: the teacher's file is missing: it is looked for from --data; name yours by "
            "guidance.teacher.path=F.safetensors (docs/training.md, Teachers: where to have one)"
        )
    return load_teacher(config, recipe.model.class_names, folder)


def term_weight(config: TermConfig, images_done: int, images: int) -> float:
    """The weight for the batch after `images_done` of `images` crops: a linear rise, then constant, then 0."""
    if images_done >= images * (1 - config.off_fraction):
        return 0.0
    rise = min(1.0, images_done / config.warmup_images) if config.warmup_images else 1.0
    return config.weight * rise


class ExtraTerms(nn.Module):
    """RCS and CMG, of which the recipe has on what has a weight; a module whose parameters are the terms' own.

    detector: tapped from here on, until `remove`; teacher: needed where recipe.guidance.weight is not 0.
    """

    def __init__(self, recipe: Recipe, detector: Detector, teacher: Teacher | None = None) -> None:
        super().__init__()
        self._recipe = recipe
        self._configs: dict[str, TermConfig] = {}
        self.contrast: RegionContrast | None = None
        self.guidance: Guidance | None = None
        self.teacher = teacher  # no nn.Module: it is neither trained nor kept
        if recipe.contrast.weight:
            self._configs["rcs"] = recipe.contrast
        if recipe.guidance.weight:
            if teacher is None:
                raise ValueError("guidance.weight is not 0 and there is no teacher")
            self._configs["cms"] = recipe.guidance
        names = [name for config in self._configs.values() for name in config.student_layers]
        self._taps = Taps(detector, names, "student_layers")
        channels = _channels(detector, self._taps, self._configs.values()) if names else {}
        if "rcs" in self._configs:
            self.contrast = RegionContrast(recipe.contrast, at_strides(recipe.contrast, channels))
        if "cms" in self._configs:
            assert teacher is not None
            self.guidance = Guidance(recipe.guidance, at_strides(recipe.guidance, channels), teacher.channels)

    def forward(self, batch: TrainingBatch, images_done: int, world: World = ALONE) -> dict[str, Tensor]:
        """Weighted terms by name (rcs, cms), of the forward pass just done; those that are off now are left out.

        As with the detection loss, the values of several processes add up to that of the whole batch.
        """
        maps = self._taps.take()
        terms: dict[str, Tensor] = {}
        for name, config in self._configs.items():
            weight = term_weight(config, images_done, self._recipe.train.images)
            if not weight:
                continue
            student = at_strides(config, maps)
            if name == "rcs":
                assert self.contrast is not None
                terms[name] = weight * self.contrast(student, batch, world)
            else:
                assert self.guidance is not None
                assert self.teacher is not None
                seen, shown = look(self.teacher, batch, self._recipe)
                terms[name] = weight * self.guidance(student, seen, shown, world)
        return terms

    def remove(self) -> None:
        """Untap the detector."""
        self._taps.remove()


def look(teacher: Teacher, batch: TrainingBatch, recipe: Recipe) -> tuple[TeacherView, TrainingBatch]:
    """What the recipe's teacher makes of a batch, and the batch with the places where it saw anything as its valid RGB.

    Pictures without RGB are not looked at, and have maps of 0 and no score.
    """
    if recipe.guidance.teacher.sees == "thermal":
        everywhere = torch.ones_like(batch.images[:, 0], dtype=torch.bool)
        return teacher.look_at_thermal(batch.images), replace(batch, rgb_valid=everywhere)
    return _seen(teacher, batch, len(recipe.model.class_names)), batch


def _seen(teacher: Teacher, batch: TrainingBatch, classes: int) -> TeacherView:
    assert batch.rgb is not None
    assert batch.rgb_valid is not None
    images, side = len(batch.rgb), batch.rgb.shape[-2:]
    rows = batch.rgb_valid.flatten(1).any(1).nonzero()[:, 0]
    if len(rows) == images:
        return teacher.look(batch.rgb)
    if len(rows):
        view = teacher.look(batch.rgb[rows])
    else:
        maps = {
            stride: batch.images.new_zeros(0, channels, side[0] // stride, side[1] // stride)
            for stride, channels in teacher.channels.items()
        }
        view = TeacherView(maps, batch.images.new_zeros(0, 0, 4), batch.images.new_zeros(0, 0, classes))

    def at_all(values: Tensor) -> Tensor:
        return values.new_zeros(images, *values.shape[1:]).index_copy(0, rows, values)

    return TeacherView(
        {stride: at_all(values) for stride, values in view.maps.items()},
        at_all(view.boxes_xyxy_px),
        at_all(view.scores),
    )


def at_strides(config: TermConfig, by_name: Mapping[str, T]) -> dict[int, T]:
    layers = dict(zip(STRIDES, config.student_layers, strict=True))
    return {stride: by_name[layers[stride]] for stride in config.strides}


def _channels(detector: Detector, taps: Taps, configs: Iterable[TermConfig]) -> dict[str, int]:
    """Channels of the tapped maps, seen in a forward pass that changes nothing; InputError for a wrong stride."""
    training = detector.training
    first = next(detector.parameters())
    with torch.no_grad():
        detector.eval()(first.new_zeros(1, 1, _SIDE_PX, _SIDE_PX))
        detector.train(training)
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
