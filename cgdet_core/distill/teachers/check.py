"""What an RGB teacher sees in a run's first crops, told before the first step: it teaches nothing else."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch

from cgdet_core.config import Recipe
from cgdet_core.data.feed.dataset import TrainingBatch
from cgdet_core.distill.regions import regions_of
from cgdet_core.distill.teachers.base import Teacher, seen_scores
from cgdet_core.distill.terms import look

SEEN_SCORE = 0.25  # a detection, as everywhere where no threshold was chosen
ENOUGH_OBJECTS = 10  # of so many a teacher that serves sees one


@dataclass(frozen=True)
class TeacherSees:
    """objects: labelled ones in whose middle there is RGB; seen: those that the teacher detects, of their class."""

    seen: int
    objects: int

    def line(self) -> str:
        return f"the teacher sees {self.seen} of the {self.objects} labelled objects that have RGB in the first crops"

    @property
    def warning(self) -> str | None:
        if self.seen or self.objects < ENOUGH_OBJECTS:
            return None
        return (
            f"the teacher sees none of the {self.objects} labelled objects that have RGB in the first crops: by night "
            "that may be; else guidance.teacher.yolox_input or class_map is another, or RGB lies beside its objects "
            "(samples.jpg): `cgdet teacher` tells"
        )


@torch.no_grad()
def teacher_sees(teacher: Teacher, batches: Iterable[TrainingBatch], recipe: Recipe) -> TeacherSees:
    """batches: with RGB, on the teacher's device; looked at as in training, nothing is drawn from a generator."""
    seen = objects = 0
    for batch in batches:
        view, shown = look(teacher, batch, recipe)
        regions = regions_of(shown, recipe.guidance)
        assert shown.rgb_valid is not None
        side = torch.tensor(shown.rgb_valid.shape[:0:-1], device=regions.rois.device)  # width, height
        middle = (regions.rois[:, 1:3] + regions.rois[:, 3:]) / 2
        x, y = middle.long().clamp(min=0).minimum(side - 1).unbind(1)
        with_rgb = shown.rgb_valid[regions.rois[:, 0].long(), y, x].bool()
        objects += int(with_rgb.sum())
        seen += int((with_rgb & (seen_scores(view, regions) >= SEEN_SCORE)).sum())
    return TeacherSees(seen, objects)
