"""The project's own detector as a teacher: RGB as the grey picture that it takes, or the student's own crops."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from cgdet_core import thermal
from cgdet_core.config import TeacherConfig, ThermalConfig
from cgdet_core.distill.teachers.base import Teacher, by_stride, untrained
from cgdet_core.distill.teachers.classes import ClassTable, class_table
from cgdet_core.model.blocks import fuse
from cgdet_core.runtime.model_file import load_model
from cgdet_core.tasks.detection.head import DetectionNetwork
from cgdet_core.tasks.detection.targets import CellPredictions, Predictions
from cgdet_core.tasks.task import TeacherOutput


class DetectorTeacher(Teacher):
    def __init__(self, network: DetectionNetwork, classes: ClassTable, tone: ThermalConfig) -> None:
        super().__init__(fuse(network.eval()), network.channels)
        self._detector = network
        self._classes = classes
        self.knows = classes.knows
        self._tone = tone

    def _look(self, rgb: Tensor) -> TeacherOutput:
        is_thermal = rgb.shape[1] == 1
        images = self._input(rgb if is_thermal else grey_input(rgb, self._tone).to(self.device))
        maps = self._detector.neck(self._detector.backbone(images))
        output = self._detector.head(maps)
        scores = output.class_logits[..., list(self._classes.used)].float().sigmoid()
        return TeacherOutput(by_stride(maps), Predictions(output.boxes_xyxy_px(), self._classes.students(scores)))

    def _predict(self, maps: Sequence[Tensor]) -> CellPredictions:
        output = self._detector.head(tuple(maps))
        logits = output.class_logits[..., list(self._classes.used)].float()
        return CellPredictions(output.boxes_xyxy_px(), self._classes.students(logits))


def grey_input(rgb: Tensor, tone: ThermalConfig) -> Tensor:
    """Pictures uint8 [B, 3, H, W] -> float32 [B, 1, H, W] in [0, 1] on the CPU, each by its own percentiles."""
    # the very path of frames that drive
    pictures = rgb.permute(0, 2, 3, 1).cpu().numpy()
    return torch.from_numpy(np.stack([thermal.normalise(picture, tone) for picture in pictures])[:, None])


def detector_teacher(config: TeacherConfig, class_names: Sequence[str], path: Path) -> DetectorTeacher:
    """The teacher in a model file; InputError where it is none or its classes do not fit."""
    network, info = load_model(path)
    classes = class_table(info.class_names, class_names, config.class_map, str(path))
    if config.random_weights:
        network = untrained(lambda: DetectionNetwork(info.model), lambda rgb: grey_input(rgb, info.thermal))
    return DetectorTeacher(network, classes, info.thermal)
