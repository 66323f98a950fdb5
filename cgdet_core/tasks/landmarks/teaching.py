"""Labelled points of a batch of faces, and what a landmark network learns from another beside them: DIKD's losses of
both heads, and distillation of its own output."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cgdet_core.config import LandmarkLossConfig
from cgdet_core.tasks.landmarks.decode import NEAR
from cgdet_core.tasks.landmarks.draw import draw_points
from cgdet_core.tasks.landmarks.loss import landmark_loss, locate, map_divergence
from cgdet_core.tasks.task import Rows, TrainingBatch, mixed
from cgdet_core.world import total


@dataclass(frozen=True)
class LandmarkTargets(Rows):
    """points_xy_px: float32 [B, 68, 2] in pixels of the crop, from its first pixel's centre; labelled: bool [B, 68]."""

    points_xy_px: Tensor
    labelled: Tensor

    def draw(self, row: int, picture: NDArray[np.uint8], scale: float) -> None:
        """Into `picture`, uint8 RGB [H, W, 3], that shows the crop `scale` times as large."""
        points = np.asarray((self.points_xy_px[row].cpu().numpy() + 0.5) * scale - 0.5, np.float32)
        draw_points(picture, points, self.labelled[row].cpu().numpy())


@dataclass(frozen=True)
class MapPredictions(Rows):
    """map_logits: float32 [B, 68, h, w], what the head of a teacher puts out, of its own maps or of another's."""

    map_logits: Tensor


class LandmarkTeacherReading:
    """Every landmark network has the same points."""

    knows: tuple[bool, ...] = ()

    def predictions(self, output: Tensor) -> MapPredictions:
        return MapPredictions(output.float())

    predictions_with_gradient = predictions


class LandmarkTeacherLosses:
    """See DetectionLosses. Against the labels: the landmark loss. Against the teacher: the divergence of each map from
    the teacher's (loss.map_divergence), a mean over all points of the crops, in which a point of which the teacher is
    not sure, of a confidence below sure_score, counts 0: a dark picture teaches little. That confidence is of spread
    factor 1, below the fitted one: at 0.3 it passed 0.997 of a trained teacher's points, 0.84 where 0.4 of a crop was
    black, and the fitted one passes nearly all (0.996)."""

    def __init__(
        self, batch: TrainingBatch, predictions: MapPredictions, loss: LandmarkLossConfig, sure_score: float
    ) -> None:
        self._targets: LandmarkTargets = batch.targets
        self._theirs = predictions.map_logits
        self._crop_px, self._loss = batch.images.shape[3], loss
        variance = locate(self._theirs, self._crop_px).variance_px2
        ratio = NEAR * self._crop_px / (variance / 6).clamp(min=1e-6).sqrt()
        self.sure = (1 - (1 + ratio) * (-ratio).exp()) >= sure_score  # decode.confidence

    def of_student_head(self, output: Tensor, teacher_share: float) -> Tensor:
        return self._mixed(output, teacher_share)

    def of_teacher_head(self, output: MapPredictions, teacher_share: float) -> Tensor:
        return self._mixed(output.map_logits, teacher_share)

    def of_student(self, output: Tensor, rows: Tensor) -> Tensor:
        return self._disagreement(output[rows])

    def _disagreement(self, output: Tensor) -> Tensor:
        counted = total(torch.tensor(float(self.sure.numel()), device=output.device)).clamp(min=1)
        return (map_divergence(self._theirs, output) * self.sure).sum() / counted

    def _mixed(self, map_logits: Tensor, teacher_share: float) -> Tensor:
        def against_labels() -> Tensor:
            targets = self._targets
            terms = landmark_loss(map_logits, targets.points_xy_px, targets.labelled, self._crop_px, self._loss)
            return torch.stack(list(terms.values())).sum()

        return mixed(against_labels, lambda: self._disagreement(map_logits), teacher_share)
