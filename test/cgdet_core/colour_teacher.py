"""A teacher that needs no weights: it finds plain patches of colour, as sure as they are bright."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import pytest
import torch
from torch import Tensor, nn

from cgdet_core.distill.teachers.base import Teacher
from cgdet_core.tasks.detection.targets import Predictions
from cgdet_core.tasks.task import Rows, TeacherOutput

COLOURS = (0, 1, 2)  # of class: the channel that it is bright in, red, green, blue


class ColourTeacher(Teacher):
    """A patch in which a channel is at least 60 above the others is of its class; score: the channel over 255."""

    def __init__(self) -> None:
        super().__init__(nn.Identity(), {8: 1, 16: 1, 32: 1})

    def _predict(self, maps: Sequence[Tensor]) -> Rows:
        pytest.fail("nothing puts maps into the head of this teacher")

    def _look(self, rgb: Tensor) -> TeacherOutput:
        boxes, scores = [], []
        pixels = rgb[0].permute(1, 2, 0).numpy().astype(np.int64)
        for class_id, channel in enumerate(COLOURS):
            others = np.delete(pixels, channel, axis=2).max(axis=2)
            patches = (pixels[:, :, channel] - others >= 60).astype(np.uint8)
            count, _, stats, _ = cv2.connectedComponentsWithStats(patches)
            for left, top, width, height, _ in stats[1:count].tolist():
                boxes.append([left, top, left + width, top + height])
                row = [0.0] * 3
                row[class_id] = float(pixels[top + height // 2, left + width // 2, channel]) / 255
                scores.append(row)
        maps = {stride: torch.zeros(1, 1, rgb.shape[2] // stride, rgb.shape[3] // stride) for stride in (8, 16, 32)}
        found = Predictions(torch.tensor(boxes).reshape(1, -1, 4).float(), torch.tensor(scores).reshape(1, -1, 3))
        return TeacherOutput(maps, found)
