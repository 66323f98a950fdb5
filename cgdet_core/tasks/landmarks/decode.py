"""From the network's maps to points in the crop and how sure each is, in NumPy: what drives needs no torch.

A point is the mean of its map read as a distribution over the cells (soft-argmax; Nibali et al. 2018), so it lies
between cells; how far the distribution spreads says how far off the point may be.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from cgdet_core.types import FloatArray

NEAR: Final = 0.04  # of the crop's side: about a tenth of the distance of a front face's outer eye corners


def decode(map_logits: FloatArray, crop_px: int) -> tuple[FloatArray, FloatArray]:
    """map_logits float32 [N, P, h, w] -> points float32 [N, P, 2] in pixels of the crop, confidences float32 [N, P].

    A confidence is the probability in [0, 1] that the point lies within NEAR of the crop's side from the truth, were
    errors distributed as Laplace's law in the plane, p(r) ~ r exp(-r / b), of the variance of the map: b^2 = v / 6,
    P(r < R) = 1 - (1 + R / b) exp(-R / b). Where the network gave what is no number both are NaN.
    """
    count, points, height, width = map_logits.shape
    flat = map_logits.reshape(count, points, -1)
    shares = np.exp(flat - flat.max(2, keepdims=True))
    shares /= shares.sum(2, keepdims=True)
    shares = shares.reshape(map_logits.shape)
    along_x, along_y = shares.sum(2), shares.sum(3)
    x_px, y_px = cell_centres(width, crop_px), cell_centres(height, crop_px)
    x, y = (along_x * x_px).sum(2), (along_y * y_px).sum(2)
    variance = (along_x * (x_px - x[..., None]) ** 2).sum(2) + (along_y * (y_px - y[..., None]) ** 2).sum(2)
    return np.stack([x, y], axis=2).astype(np.float32), confidence(variance, crop_px)


def confidence(variance_px2: FloatArray, crop_px: int) -> FloatArray:
    """Of maps of this variance, of both axes together, float32 [...] in [0, 1]; see `decode`."""
    with np.errstate(divide="ignore"):  # a map that is one cell: sure
        ratio = NEAR * crop_px / np.sqrt(variance_px2 / 6)
    return np.asarray(1 - (1 + np.minimum(ratio, 80)) * np.exp(-np.minimum(ratio, 80)), np.float32)


def cell_centres(cells: int, crop_px: int) -> FloatArray:
    """float32 [cells]: where the cells of a row or column are centred, in pixels from the first pixel's centre."""
    return ((np.arange(cells, dtype=np.float32) + np.float32(0.5)) * np.float32(crop_px / cells)) - np.float32(0.5)
