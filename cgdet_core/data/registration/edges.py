"""What a thermal and an RGB picture share, their edges, and a first guess of how the two views lie to each other."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from cgdet_core.config import RegisterConfig
from cgdet_core.data.registration.homography import Matrix, from_centres

EdgeField = NDArray[np.complex64]
Grey = NDArray[np.float32]

_FLOOR = 2.0  # medians of the gradient that count as half an edge: what is everywhere is noise
_LEAST = 0.004  # of the full range per pixel: flatter pictures have no edge at all

_WIDTH_PX = 112
_CANVAS_PX = (192, 256)  # the thermal picture, and room for the RGB one to stick out
_TURNS_DEG = (-6.0, -3.0, 0.0, 3.0, 6.0)
_LEAST_SHARED = 0.4  # of the thermal picture
_EDGE_WIDTH_PX = 1.2  # a blur of the fields: half a step of the search must still meet


def edge_field(grey: Grey, blur_px: float = 1.0) -> EdgeField:
    """complex64 [H, W] of a picture float32 [H, W] in [0, 1]: length 0 (flat) to 1 (edge), and twice its direction.

    The product of one field with the conjugate of another is 1 where both have edges that run alike, whichever side
    is brighter, -1 where they cross, 0 where one is flat (normalised gradient fields, Haber and Modersitzki 2006).
    """
    smooth = cv2.GaussianBlur(grey, (0, 0), blur_px)
    right = np.asarray(cv2.Scharr(smooth, cv2.CV_32F, 1, 0, scale=1 / 16), np.float32)
    down = np.asarray(cv2.Scharr(smooth, cv2.CV_32F, 0, 1, scale=1 / 16), np.float32)
    squared: Grey = right * right + down * down
    floor = max(_FLOOR * float(np.median(squared)) ** 0.5, _LEAST) ** 2
    field = np.empty(grey.shape, np.complex64)
    field.real = (right * right - down * down) / (squared + floor)
    field.imag = 2 * right * down / (squared + floor)
    # a frame's own border is no edge
    field[:2] = field[-2:] = 0
    field[:, :2] = field[:, -2:] = 0
    return field


def resized(grey: Grey, height_width_px: tuple[int, int]) -> Grey:
    """float32 of this size; what becomes smaller is averaged."""
    size = (height_width_px[1], height_width_px[0])
    return np.asarray(cv2.resize(grey, size, interpolation=cv2.INTER_AREA), np.float32)


def search(pairs: Sequence[tuple[Grey, Grey]], config: RegisterConfig) -> list[Matrix]:
    """The best homographies, RGB pixel -> thermal pixel (outer corners), by the correlation of the edge fields: every
    scale and turn is tried, and every shift of each by Fourier. pairs: thermal and RGB, float32 in [0, 1].
    """
    rgbs = [rgb for _, rgb in pairs]
    rgb_height, rgb_width = rgbs[0].shape
    canvas = _Canvas([thermal for thermal, _ in pairs])
    low, high = config.rgb_view_range
    steps = max(1, round(np.log(high / low) / np.log(1.08)))
    found: list[tuple[float, Matrix]] = []
    for wider in np.geomspace(low, high, steps + 1):
        width_px = wider * _WIDTH_PX
        small = (max(8, round(width_px * rgb_height / rgb_width)), max(8, round(width_px)))
        shrunk = [resized(rgb, small) for rgb in rgbs]
        to_shrunk = np.diag([small[1] / rgb_width, small[0] / rgb_height, 1.0])
        for turn_deg in _TURNS_DEG:
            # the RGB picture in the middle of the canvas, turned about its own
            placed = np.eye(3)
            placed[:2] = cv2.getRotationMatrix2D((small[1] / 2, small[0] / 2), turn_deg, 1.0)
            placed[:2, 2] += _CANVAS_PX[1] / 2 - small[1] / 2, _CANVAS_PX[0] / 2 - small[0] / 2
            shift, score = canvas.best_shift(shrunk, placed)
            homography = np.linalg.inv(canvas.to_small) @ shift @ placed @ to_shrunk
            found.append((score, np.asarray(homography, np.float64)))
    found.sort(key=lambda candidate: -candidate[0])
    return [homography for _, homography in found[: config.candidates]]


class _Canvas:
    """The thermal pictures' edges on the canvas, transformed."""

    def __init__(self, thermals: Sequence[Grey]) -> None:
        height, width = thermals[0].shape
        self._small = (round(height * _WIDTH_PX / width), _WIDTH_PX)
        self.to_small = np.diag([self._small[1] / width, self._small[0] / height, 1.0])
        place = (slice(self._small[0]), slice(self._small[1]))
        mask, energy = np.zeros(_CANVAS_PX, np.float32), np.zeros(_CANVAS_PX, np.float32)
        mask[place] = 1
        self._spectra = []
        for thermal in thermals:
            field = np.zeros(_CANVAS_PX, np.complex64)
            field[place] = _blurred(edge_field(resized(thermal, self._small)))
            energy += np.abs(field) ** 2
            self._spectra.append(_spectrum(field))
        self._energy_f, self._mask_f = np.fft.rfft2(energy), np.fft.rfft2(mask)

    def best_shift(self, rgbs: Sequence[Grey], placed: Matrix) -> tuple[Matrix, float]:
        """float64 [3, 3] and score of the best shift of pictures that lie on the canvas as `placed` says."""
        size = (_CANVAS_PX[1], _CANVAS_PX[0])
        centres = from_centres(placed)
        shown = cv2.warpPerspective(np.ones(rgbs[0].shape, np.float32), centres, size, flags=cv2.INTER_NEAREST)
        shown = cv2.erode(shown, np.ones((5, 5), np.uint8))
        products, energy = np.zeros(_CANVAS_PX, np.complex64), np.zeros(_CANVAS_PX, np.float32)
        for spectrum, rgb in zip(self._spectra, rgbs, strict=True):
            laid = cv2.warpPerspective(rgb, centres, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
            field = _blurred(np.asarray(edge_field(np.asarray(laid, np.float32)) * shown, np.complex64))
            energy += np.abs(field) ** 2
            products += spectrum * np.conj(_spectrum(field))
        shown_f = np.conj(np.fft.rfft2(shown))
        ours_there = np.fft.irfft2(self._energy_f * shown_f, _CANVAS_PX)
        theirs_there = np.fft.irfft2(self._mask_f * np.conj(np.fft.rfft2(energy)), _CANVAS_PX)
        shared = np.fft.irfft2(self._mask_f * shown_f, _CANVAS_PX) / (self._small[0] * self._small[1])
        score = np.fft.ifft2(products).real / np.sqrt((ours_there * theirs_there).clip(1e-6))
        score[shared < _LEAST_SHARED] = -1
        row, column = np.unravel_index(int(score.argmax()), score.shape)
        down = row if row < _CANVAS_PX[0] / 2 else row - _CANVAS_PX[0]
        right = column if column < _CANVAS_PX[1] / 2 else column - _CANVAS_PX[1]
        return np.array([[1, 0, right], [0, 1, down], [0, 0, 1.0]]), float(score[row, column])


def _spectrum(field: EdgeField) -> EdgeField:
    parts = np.asarray(cv2.dft(field.view(np.float32).reshape(*field.shape, 2)), np.float32)
    return parts.view(np.complex64)[..., 0]


def _blurred(field: EdgeField) -> EdgeField:
    parts = field.view(np.float32).reshape(*field.shape, 2)
    blurred = cv2.GaussianBlur(parts, (0, 0), _EDGE_WIDTH_PX)
    return np.ascontiguousarray(blurred).view(np.complex64)[..., 0]
