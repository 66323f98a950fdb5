"""Detection as a task (tasks/task.py): boxes of classes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from cgdet_core.config import AugmentConfig, InjectionConfig, Recipe
from cgdet_core.tasks.detection.head import Detector, HeadOutput
from cgdet_core.tasks.detection.injection import DetectionInjection
from cgdet_core.tasks.detection.loss import detection_loss
from cgdet_core.tasks.detection.targets import (
    DetectionTargets,
    Predictions,
    collate,
    crop_truth,
    regions_of,
    seen_scores,
)
from cgdet_core.tasks.task import Placement, Regions, TeacherOutput, TrainingBatch
from cgdet_core.types import GroundTruth


@dataclass(frozen=True)
class DetectionTask:
    """See Task."""

    recipe: Recipe

    name = "detection"

    def network(self) -> Detector:
        return Detector(self.recipe.model)

    def crop(self, truth: GroundTruth, placement: Placement, config: AugmentConfig) -> GroundTruth:
        return crop_truth(truth, placement, config)

    def collate(self, truths: Sequence[GroundTruth]) -> DetectionTargets:
        return collate(truths, len(self.recipe.model.class_names))

    def loss(self, output: HeadOutput, targets: DetectionTargets) -> dict[str, Tensor]:
        return detection_loss(output, targets, self.recipe.loss).terms()

    def regions(self, targets: DetectionTargets) -> Regions:
        return regions_of(targets)

    def seen(self, predictions: Predictions, regions: Regions) -> Tensor:
        return seen_scores(predictions, regions)

    def injection(
        self, batch: TrainingBatch, teacher: TeacherOutput, known: Tensor, config: InjectionConfig
    ) -> DetectionInjection:
        return DetectionInjection(batch, teacher.predictions, known, self.recipe.loss, config)
