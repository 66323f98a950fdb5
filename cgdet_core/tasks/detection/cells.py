"""Where the cells of the head's maps lie: what decoding needs to know without the network (NumPy alone)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from cgdet_core.model import STRIDES
from cgdet_core.types import FloatArray


@dataclass(frozen=True)
class Cells:
    """All cells, stride 8 first, row by row.

    centres_xy_px: float32 [A, 2] in pixels of the input; strides_px: float32 [A].
    """

    centres_xy_px: FloatArray
    strides_px: FloatArray


def map_sizes(input_height_width_px: tuple[int, int]) -> list[tuple[int, int]]:
    """Heights and widths in cells of the maps at strides 8, 16 and 32; the input's are multiples of 32."""
    height, width = input_height_width_px
    return [(height // stride, width // stride) for stride in STRIDES]


def cells_of(input_height_width_px: tuple[int, int]) -> Cells:
    """The cells of an input of this size; the same values as head.cell_grid."""
    centres, strides = [], []
    for (height, width), stride in zip(map_sizes(input_height_width_px), STRIDES, strict=True):
        rows, columns = np.mgrid[:height, :width].astype(np.float32)
        centres.append((np.stack((columns, rows), axis=-1).reshape(-1, 2) + np.float32(0.5)) * np.float32(stride))
        strides.append(np.full(height * width, stride, np.float32))
    return Cells(np.concatenate(centres), np.concatenate(strides))
