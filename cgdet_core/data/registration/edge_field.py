"""What a thermal and an RGB picture have in common: where edges lie and how they run, not which side is brighter."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

EdgeField = NDArray[np.complex64]

_FLOOR = 2.0  # medians of the gradient that count as half an edge: what is everywhere is noise
_LEAST = 0.004  # of the full range per pixel: flatter pictures have no edge at all


def edge_field(grey: NDArray[np.float32], blur_px: float = 1.0) -> EdgeField:
    """complex64 [H, W] of a picture float32 [H, W] in [0, 1]: length 0 (flat) to 1 (edge), and twice its direction.

    The product of one field with the conjugate of another is 1 where both have edges that run alike, whichever side
    is brighter, -1 where they cross, 0 where one is flat (normalised gradient fields, Haber and Modersitzki 2006).
    """
    smooth = cv2.GaussianBlur(grey, (0, 0), blur_px)
    right = np.asarray(cv2.Scharr(smooth, cv2.CV_32F, 1, 0, scale=1 / 16), np.float32)
    down = np.asarray(cv2.Scharr(smooth, cv2.CV_32F, 0, 1, scale=1 / 16), np.float32)
    squared: NDArray[np.float32] = right * right + down * down
    floor = max(_FLOOR * float(np.median(squared)) ** 0.5, _LEAST) ** 2
    field = np.empty(grey.shape, np.complex64)
    field.real = (right * right - down * down) / (squared + floor)
    field.imag = 2 * right * down / (squared + floor)
    # a frame's own border is no edge
    field[:2] = field[-2:] = 0
    field[:, :2] = field[:, -2:] = 0
    return field


def resized(grey: NDArray[np.float32], height_width_px: tuple[int, int]) -> NDArray[np.float32]:
    """float32 of this size; what becomes smaller is averaged."""
    size = (height_width_px[1], height_width_px[0])
    return np.asarray(cv2.resize(grey, size, interpolation=cv2.INTER_AREA), np.float32)
