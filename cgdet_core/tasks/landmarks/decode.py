"""From the network's maps to points in the crop and how sure each is, in NumPy: what drives needs no torch.

A point is the mean of its map read as a distribution over the cells (soft-argmax; Nibali et al. 2018), so it lies
between cells; how far the distribution spreads says how far off the point may be, once it is calibrated.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from cgdet_core.types import FloatArray

NEAR: Final = 0.04  # of the crop's side: about a tenth of the distance of a front face's outer eye corners
_SURE: Final = 24.0  # R / b from which on a confidence is 1 in float32


def decode(map_logits: FloatArray, crop_px: int, spread_factor: float = 1.0) -> tuple[FloatArray, FloatArray]:
    """map_logits float32 [N, P, h, w] -> points float32 [N, P, 2] in pixels of the crop, confidences float32 [N, P].

    A confidence is the probability in [0, 1] that the point lies within NEAR of the crop's side from the truth, were
    errors distributed as Laplace's law in the plane, p(r) ~ r exp(-r / b): P(r < R) = 1 - (1 + R / b) exp(-R / b).
    b = spread_factor * sqrt(v / 6) of the map's variance v: a map is never narrower than its cells and the Gaussian
    that it learned, so errors are smaller than it spreads (`fitted_factor`). Of what is no number both are NaN.
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
    with np.errstate(divide="ignore"):  # a map that is one cell: sure
        ratio = NEAR * crop_px / (spread_factor * np.sqrt(variance / 6))
    return np.stack([x, y], axis=2).astype(np.float32), confidence(ratio)


def confidence(ratio: FloatArray) -> FloatArray:
    """Of R / b, float32 [...] in [0, 1]; see `decode`."""
    ratio = np.minimum(ratio, _SURE)
    return np.asarray(1 - (1 + ratio) * np.exp(-ratio), np.float32)


def ratio_of(confidences: FloatArray) -> FloatArray:
    """The inverse of `confidence`; 0 and 1, of which float32 knows no more, are the ends of its range."""
    ratios = np.linspace(0, _SURE, 10_001)
    return np.asarray(np.interp(confidences, 1 - (1 + ratios) * np.exp(-ratios), ratios), np.float32)


def fitted_factor(errors: FloatArray, confidences: FloatArray) -> float:
    """What the spread factor that gave these confidences [K] must be multiplied by: the likeliest one by Laplace's law
    for these errors [K], in units of R. Of p(r) = r / (f b)^2 exp(-r / (f b)) that is half of the mean of r / b."""
    return float((errors * ratio_of(confidences)).mean() / 2)


def cell_centres(cells: int, crop_px: int) -> FloatArray:
    """float32 [cells]: where the cells of a row or column are centred, in pixels from the first pixel's centre."""
    return ((np.arange(cells, dtype=np.float32) + np.float32(0.5)) * np.float32(crop_px / cells)) - np.float32(0.5)
