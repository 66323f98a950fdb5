"""A picture of a registration: both cameras in one frame, so that somebody can see whether they meet."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from cgdet_core.config import ThermalConfig
from cgdet_core.data.registration.edge_field import edge_field
from cgdet_core.data.registration.homography import Registration
from cgdet_core.data.registration.pictures import PicturePair
from cgdet_core.thermal import normalise

_TILES = 8  # across the frame
_EDGE = 0.55


def preview(pairs: Sequence[PicturePair], registration: Registration) -> NDArray[np.uint8]:
    """uint8 [H, W, 3], RGB: of every pair a row of two pictures of the thermal frame's size.

    Left a checkerboard of the thermal frame and the warped RGB picture, right the thermal frame in grey with the RGB
    picture's edges in red; where there is no RGB, the thermal frame alone.
    """
    rows = []
    for pair in pairs:
        grey = normalise(pair.thermal, ThermalConfig())
        warped, valid = registration.warp(pair.rgb)
        picture = np.repeat((np.sqrt(grey) * 255).astype(np.uint8)[:, :, None], 3, axis=2)
        height, width = grey.shape
        side = max(8, width // _TILES)
        y, x = np.indices((height, width)) // side
        board = np.where((((x + y) % 2 == 1) & valid)[:, :, None], warped, picture)
        luma = cv2.cvtColor(warped, cv2.COLOR_RGB2GRAY).astype(np.float32) / 255
        inner = cv2.erode(valid.astype(np.uint8), np.ones((5, 5), np.uint8), borderValue=1)
        edges = (np.abs(edge_field(np.sqrt(luma))) > _EDGE) & (inner > 0)
        outlined = picture.copy()
        outlined[edges] = (255, 40, 40)
        rows.append(np.hstack([board, outlined]))
    return np.asarray(np.vstack(rows), np.uint8)
