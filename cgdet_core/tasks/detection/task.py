"""Detection as a task (tasks/task.py): boxes of classes."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from torch import Tensor

from cgdet_core.boxes import area_xyxy, clip_xyxy
from cgdet_core.config import AugmentConfig, InjectionConfig, Recipe
from cgdet_core.tasks.detection.head import DetectionNetwork, HeadOutput
from cgdet_core.tasks.detection.injection import DetectionInjection
from cgdet_core.tasks.detection.loss import detection_loss
from cgdet_core.tasks.detection.targets import (
    DetectionTargets,
    Predictions,
    regions_of,
    seen_scores,
)
from cgdet_core.tasks.task import Placement, Regions, TeacherOutput, TrainingBatch
from cgdet_core.types import GroundTruth

MIN_SIDE_PX: Final = 2.0  # a box that is left thinner than this in a crop shows nothing to learn


@dataclass(frozen=True)
class DetectionTask:
    """See Task."""

    recipe: Recipe

    name = "detection"

    def network(self) -> DetectionNetwork:
        return DetectionNetwork(self.recipe.model)

    def tensors_by_class(self, names: Iterable[str]) -> list[str]:
        return [name for name in names if re.fullmatch(r"head\.class_branches\.\d+\.2\.(weight|bias)", name)]

    def crop(self, truth: GroundTruth, placement: Placement, config: AugmentConfig) -> GroundTruth:
        return crop_truth(truth, placement, config)

    def collate(self, truths: Sequence[GroundTruth]) -> DetectionTargets:
        return collate(truths, len(self.recipe.model.class_names))

    def loss(self, output: HeadOutput, targets: DetectionTargets) -> dict[str, Tensor]:
        return detection_loss(output, targets, self.recipe.loss)

    def regions(self, targets: DetectionTargets) -> Regions:
        return regions_of(targets)

    def seen(self, predictions: Predictions, regions: Regions) -> Tensor:
        return seen_scores(predictions, regions)

    def injection(
        self, batch: TrainingBatch, teacher: TeacherOutput, known: Tensor, config: InjectionConfig
    ) -> DetectionInjection:
        return DetectionInjection(batch, teacher.predictions, known, self.recipe.loss, config)


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


def crop_truth(truth: GroundTruth, placement: Placement, config: AugmentConfig) -> GroundTruth:
    """Labels cut to the crop; what is cut away too far becomes a region to ignore."""
    boxes = placement.boxes(truth.boxes_xyxy_px)
    cut = clip_xyxy(boxes, *placement.size_px)
    whole = area_xyxy(boxes)
    share = np.divide(area_xyxy(cut), whole, out=np.zeros_like(whole), where=whole > 0)
    sides = np.minimum(cut[:, 2] - cut[:, 0], cut[:, 3] - cut[:, 1])
    present = (sides > 0.5) & (share > 0)
    ignore = truth.ignore | (share < config.min_visible) | (sides < MIN_SIDE_PX)
    return GroundTruth(cut[present], truth.class_ids[present], ignore[present], truth.labelled)
