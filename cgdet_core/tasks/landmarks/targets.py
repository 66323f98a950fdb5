"""Labelled points of a batch of faces."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from cgdet_core.tasks.landmarks.draw import draw_points
from cgdet_core.tasks.task import Rows


@dataclass(frozen=True)
class LandmarkTargets(Rows):
    """points_xy_px: float32 [B, 68, 2] in pixels of the crop, from its first pixel's centre; labelled: bool [B, 68]."""

    points_xy_px: Tensor
    labelled: Tensor

    def draw(self, row: int, picture: NDArray[np.uint8], scale: float) -> None:
        """Into `picture`, uint8 RGB [H, W, 3], that shows the crop `scale` times as large."""
        points = np.asarray((self.points_xy_px[row].cpu().numpy() + 0.5) * scale - 0.5, np.float32)
        draw_points(picture, points, self.labelled[row].cpu().numpy())
