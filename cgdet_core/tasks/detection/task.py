"""Detection as a task: boxes of classes."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from cgdet_core.config import AugmentConfig, LossConfig, Recipe
from cgdet_core.drawing import Colour, class_colour
from cgdet_core.errors import InputError
from cgdet_core.tasks.detection.classes import ClassTable, class_table
from cgdet_core.tasks.detection.head import HeadOutput
from cgdet_core.tasks.detection.injection import DetectionLosses
from cgdet_core.tasks.detection.loss import detection_loss
from cgdet_core.tasks.detection.sampling import DetectionSampler, Window, crop_truth, join_truths, mosaic_parts
from cgdet_core.tasks.detection.targets import IGNORED_COLOUR, DetectionTargets, regions_of, seen_scores
from cgdet_core.tasks.task import Part, TeacherOutput, TrainingBatch
from cgdet_core.types import GroundTruth

if TYPE_CHECKING:
    from cgdet_core.tasks import Placement


class DetectionTask:
    """Of one recipe.

    has_regions: whether there are any `regions`, and `seen` serves; legend: colours of the targets' `draw`.
    """

    has_regions = True
    join, regions, seen = staticmethod(join_truths), staticmethod(regions_of), staticmethod(seen_scores)

    def __init__(self, recipe: Recipe) -> None:
        assert isinstance(recipe.augment, AugmentConfig)
        assert isinstance(recipe.loss, LossConfig)
        self._augment, self._loss, self._class_names = recipe.augment, recipe.loss, recipe.model.class_names
        self._first_without_mosaic = recipe.train.images * (1 - recipe.augment.mosaic_off_fraction)

    @property
    def legend(self) -> list[tuple[str, Colour]]:
        names = enumerate(self._class_names)
        return [*((name, class_colour(class_id)) for class_id, name in names), ("to ignore", IGNORED_COLOUR)]

    def sampler(self, truths: Sequence[GroundTruth]) -> DetectionSampler:
        return DetectionSampler(truths, len(self._class_names), self._augment)

    def parts(self, index: int, rng: np.random.Generator) -> list[Part]:
        """What picture `index` of train.images is made of: one crop, or a mosaic of four; the run's end has none."""
        if index < self._first_without_mosaic and rng.random() < self._augment.mosaic_probability:
            return mosaic_parts(self._augment, rng)
        return [(0, 0, self._augment.crop_px, self._augment.crop_px)]

    def crop(self, truth: GroundTruth, placement: Placement) -> GroundTruth:
        """The labels of a frame in a crop of it."""
        assert isinstance(placement, Window)
        return crop_truth(truth, placement, self._augment)

    def collate(self, truths: Sequence[GroundTruth]) -> DetectionTargets:
        return collate(truths, len(self._class_names))

    def count(self, truths: Sequence[GroundTruth]) -> dict[str, Any]:
        """What a source's labels hold, as JSON.

        boxes: objects by class name, None where the set does not label the class; ignored: regions to ignore;
        median_height_px: of the objects' boxes, in pixels of the frames."""
        class_ids = np.concatenate([truth.class_ids[~truth.ignore] for truth in truths])
        boxes = np.concatenate([truth.boxes_xyxy_px[~truth.ignore] for truth in truths])
        names = list(enumerate(self._class_names))
        labelled = [any(truth.labelled is None or truth.labelled[c] for truth in truths) for c, _ in names]
        return {
            "frames_without_objects": sum(bool(truth.ignore.all()) for truth in truths),
            "boxes": {name: int((class_ids == c).sum()) if labelled[c] else None for c, name in names},
            # a region that is to be ignored for several classes is one region
            "ignored": sum(len(np.unique(truth.boxes_xyxy_px[truth.ignore], axis=0)) for truth in truths),
            "median_height_px": round(float(np.median(boxes[:, 3] - boxes[:, 1])), 1) if len(boxes) else None,
        }

    def describe(self, counts: Mapping[str, Any]) -> str:
        """The same as the end of a line for a person."""
        boxes = ", ".join(f"{name} {'unlabelled' if n is None else n}" for name, n in counts["boxes"].items())
        height = counts["median_height_px"]
        median = "" if height is None else f", median height {height:.0f} px"
        return f"({counts['frames_without_objects']} without objects): {boxes}; {counts['ignored']} to ignore{median}"

    def not_learned(self, counts: Sequence[Mapping[str, Any]]) -> list[str]:
        """What cannot be learned from all sources, a line each; InputError where that is everything."""
        missing = [name for name in self._class_names if not any(each["boxes"][name] for each in counts)]
        if len(missing) == len(self._class_names):
            raise InputError(
                f"none of the training frames holds an object of the classes {', '.join(missing)}: check the sources' "
                "labels and class_map"
            )
        return [
            f"class '{name}' will not be learned, no frame holds one: check class_map, or leave it out"
            for name in missing
        ]

    def tensors_by_class(self, names: Iterable[str]) -> list[str]:
        """Of the network's tensors, by name, those with a row for each class."""
        return [name for name in names if re.fullmatch(r"head\.class_branches\.\d+\.2\.(weight|bias)", name)]

    def loss(self, output: HeadOutput, targets: DetectionTargets) -> dict[str, Tensor]:
        """Weighted terms by name; those of several processes add up to those of the whole batch (world.total)."""
        return detection_loss(output, targets, self._loss)

    def read_teacher(self, class_names: Sequence[str], class_map: Mapping[str, str], origin: str) -> ClassTable:
        return class_table(class_names, self._class_names, class_map, origin)

    def teacher_losses(
        self, batch: TrainingBatch, teacher: TeacherOutput, known: Sequence[bool], sure_score: float
    ) -> DetectionLosses:
        """batch, teacher: of crops that have RGB, perhaps none; known: Teacher.knows; sure_score: the teacher's score
        from which on its word counts as sure."""
        return DetectionLosses(batch, teacher.predictions, known, self._loss, sure_score)


def collate(truths: Sequence[GroundTruth], classes: int) -> DetectionTargets:
    """Labels of crops -> padded."""
    shape = len(truths), max(1, *map(len, truths))
    boxes, class_ids = np.zeros((*shape, 4), np.float32), np.zeros(shape, np.int64)
    objects, ignored = np.zeros(shape, np.bool_), np.zeros(shape, np.bool_)
    labelled = np.ones((len(truths), classes), np.bool_)
    for row, truth in enumerate(truths):
        count = len(truth)
        boxes[row, :count] = truth.boxes_xyxy_px
        class_ids[row, :count] = truth.class_ids
        objects[row, :count] = ~truth.ignore
        ignored[row, :count] = truth.ignore
        if truth.labelled is not None:
            labelled[row] = truth.labelled
    return DetectionTargets(*map(torch.from_numpy, (boxes, class_ids, objects, ignored, labelled)))
