"""The training-only terms beside the detection loss: what they tap, when they are on, what they own.

A detector knows nothing of them. Their projections and adapters live here, are trained with it and
kept in a run's checkpoint, and no model file holds any of it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor, nn

from cgdet_core.config import Recipe, TapConfig, TermConfig
from cgdet_core.data.feed.dataset import TrainingBatch
from cgdet_core.distill.contrast import RegionContrast
from cgdet_core.distill.guidance import Guidance
from cgdet_core.distill.injection import Injection
from cgdet_core.distill.rgb_batch import shown_in
from cgdet_core.distill.taps import Taps
from cgdet_core.distill.teachers import load_teacher
from cgdet_core.distill.teachers.base import Teacher, TeacherView
from cgdet_core.errors import InputError
from cgdet_core.model.detector import Detector
from cgdet_core.tasks.detection.cells import STRIDES

_SIDE_PX = 64  # of the picture that the tapped maps are measured with

T = TypeVar("T")


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


class ExtraTerms(nn.Module):
    """RCS, CMG and DIKD, of which the recipe has on what has a weight; a module whose parameters are the terms' own.

    detector: tapped from here on, until `remove`; teacher: needed where the recipe uses one.
    """

    def __init__(self, recipe: Recipe, detector: Detector, teacher: Teacher | None = None) -> None:
        super().__init__()
        self._recipe = recipe
        contrast, guidance, injection = recipe.contrast, recipe.guidance, recipe.injection
        self.contrast: RegionContrast | None = None
        self.guidance: Guidance | None = None
        self.injection: Injection | None = None
        self.teacher = teacher  # no nn.Module: it is neither trained nor kept
        self._head = (detector.head,)  # in a tuple, as it is no part of this module
        if recipe.uses_teacher and teacher is None:
            raise ValueError("the recipe's terms learn from a teacher, and there is none")
        tapping: list[TapConfig] = [config for config in (contrast, guidance) if config.weight]
        if injection.reverse_weight:
            tapping.append(injection)
        names = [name for config in tapping for name in config.student_layers]
        self._taps = Taps(detector, names, "student_layers")
        channels = _channels(detector, self._taps, tapping) if names else {}
        if contrast.weight:
            self.contrast = RegionContrast(contrast, at_strides(contrast, channels))
        if guidance.weight and teacher is not None:
            self.guidance = Guidance(guidance, at_strides(guidance, channels), teacher.channels)
        if injection.on and teacher is not None:
            tapped = at_strides(injection, channels) if injection.reverse_weight else {}
            of_head = dict(zip(STRIDES, detector.config.widths[2:], strict=True))
            self.injection = Injection(injection, recipe.loss, tapped, of_head, teacher)

    def forward(self, batch: TrainingBatch, images_done: int) -> dict[str, Tensor]:
        """Weighted terms by name (rcs, cms, dikd_forward, dikd_reverse), of the forward pass just done; those that are
        off now are left out.

        As with the detection loss, the values of several processes add up to that of the whole batch.
        """
        recipe = self._recipe
        maps = self._taps.take()

        def now(config: TapConfig) -> float:
            return in_time(config, images_done, recipe.train.images)

        terms: dict[str, Tensor] = {}
        if self.contrast is not None and (weight := recipe.contrast.weight * now(recipe.contrast)):
            terms["rcs"] = weight * self.contrast(at_strides(recipe.contrast, maps), batch)
        guides = recipe.guidance.weight * now(recipe.guidance)
        injects = now(recipe.injection) if self.injection is not None else 0.0
        if self.teacher is None or not (guides or injects):
            return terms
        # one look for all that learn from it
        seen, shown = look(self.teacher, batch, recipe)
        if self.guidance is not None and guides:
            terms["cms"] = guides * self.guidance(at_strides(recipe.guidance, maps), seen, shown)
        if self.injection is not None and injects:
            places = shown_in(seen, shown, recipe.loss)
            if weight := recipe.injection.forward_weight * injects:
                terms["dikd_forward"] = weight * self.injection.forward_part(self._head[0], places)
            if weight := recipe.injection.reverse_weight * injects:
                student = at_strides(recipe.injection, maps)
                terms["dikd_reverse"] = weight * self.injection.reverse_part(student, self.teacher, places)
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


def at_strides(config: TapConfig, by_name: Mapping[str, T]) -> dict[int, T]:
    layers = dict(zip(STRIDES, config.student_layers, strict=True))
    strides = config.strides if isinstance(config, TermConfig) else STRIDES
    return {stride: by_name[layers[stride]] for stride in strides}


def _channels(detector: Detector, taps: Taps, configs: Iterable[TapConfig]) -> dict[str, int]:
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
