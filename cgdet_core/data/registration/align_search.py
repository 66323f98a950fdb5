"""A first guess of where an RGB view lies in a thermal one: every scale and turn tried, every shift by Fourier."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from cgdet_core.config import RegisterConfig
from cgdet_core.data.registration.edge_field import EdgeField, edge_field, resized

Matrix = NDArray[np.float64]
Grey = NDArray[np.float32]

_WIDTH_PX = 112
_CANVAS_PX = (192, 256)  # the thermal picture, and room for the RGB one to stick out
_TURNS_DEG = (-6.0, -3.0, 0.0, 3.0, 6.0)
_LEAST_SHARED = 0.4  # of the thermal picture
_EDGE_WIDTH_PX = 1.2  # a blur of the fields: half a step of the search must still meet


@dataclass(frozen=True)
class Candidate:
    """homography: RGB pixel -> thermal pixel, outer corners. score: the fields' correlation, -1 to 1."""

    homography: Matrix
    score: float


def search(pairs: Sequence[tuple[Grey, Grey]], config: RegisterConfig) -> list[Candidate]:
    """The best candidates, unlike each other, best first. pairs: thermal and RGB pictures float32 in [0, 1]."""
    height, width = pairs[0][0].shape
    rgb_height, rgb_width = pairs[0][1].shape
    small = (round(height * _WIDTH_PX / width), _WIDTH_PX)
    to_small = np.diag([small[1] / width, small[0] / height, 1.0])
    mask = np.zeros(_CANVAS_PX, np.float32)
    mask[: small[0], : small[1]] = 1
    ours = []
    energy = np.zeros(_CANVAS_PX, np.float32)
    for thermal, _ in pairs:
        field = _blurred(edge_field(resized(thermal, small)))
        canvas = np.zeros(_CANVAS_PX, np.complex64)
        canvas[: small[0], : small[1]] = field
        energy += np.abs(canvas) ** 2
        ours.append(_spectrum(canvas))
    energy_f, mask_f = np.fft.rfft2(energy), np.fft.rfft2(mask)

    low, high = config.rgb_view_range
    steps = max(1, round(np.log(high / low) / np.log(1.08)))
    found: list[Candidate] = []
    for wider in np.geomspace(low, high, steps + 1):
        rgb_width_px = wider * small[1]
        rgb_small = (max(8, round(rgb_width_px * rgb_height / rgb_width)), max(8, round(rgb_width_px)))
        shrunk = [resized(rgb, rgb_small) for _, rgb in pairs]
        for turn in _TURNS_DEG:
            # the RGB picture in the middle of the canvas, turned about its own
            centre = (_CANVAS_PX[1] / 2, _CANVAS_PX[0] / 2)
            placed = np.eye(3)
            placed[:2] = cv2.getRotationMatrix2D((rgb_small[1] / 2, rgb_small[0] / 2), turn, 1.0)
            placed[:2, 2] += centre[0] - rgb_small[1] / 2, centre[1] - rgb_small[0] / 2
            found += _shifts(
                ours, energy_f, mask_f, shrunk, placed, rgb_small, small, to_small, (rgb_height, rgb_width)
            )
    found.sort(key=lambda candidate: -candidate.score)
    return found[: config.candidates]


def _shifts(
    ours: Sequence[EdgeField],
    energy_f: NDArray[np.complexfloating],
    mask_f: NDArray[np.complexfloating],
    shrunk: Sequence[Grey],
    placed: Matrix,
    rgb_small: tuple[int, int],
    small: tuple[int, int],
    to_small: Matrix,
    rgb_px: tuple[int, int],
) -> list[Candidate]:
    """The best shift of RGB pictures that lie on the canvas as `placed` says."""
    size = (_CANVAS_PX[1], _CANVAS_PX[0])
    shift = np.array([[1, 0, 0.5], [0, 1, 0.5], [0, 0, 1]])
    centres = np.linalg.inv(shift) @ placed @ shift
    inside = cv2.warpPerspective(np.ones(rgb_small, np.float32), centres, size, flags=cv2.INTER_NEAREST)
    inside = cv2.erode(inside, np.ones((5, 5), np.uint8))
    products = np.zeros(_CANVAS_PX, np.complex64)
    energy = np.zeros(_CANVAS_PX, np.float32)
    for spectrum, rgb in zip(ours, shrunk, strict=True):
        laid = cv2.warpPerspective(rgb, centres, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        field = _blurred(np.asarray(edge_field(np.asarray(laid, np.float32)) * inside, np.complex64))
        energy += np.abs(field) ** 2
        products += spectrum * np.conj(_spectrum(field))
    agreement = np.fft.ifft2(products).real
    inside_f = np.conj(np.fft.rfft2(inside))
    ours_there = np.fft.irfft2(energy_f * inside_f, _CANVAS_PX)
    theirs_there = np.fft.irfft2(mask_f * np.conj(np.fft.rfft2(energy)), _CANVAS_PX)
    shared = np.fft.irfft2(mask_f * inside_f, _CANVAS_PX) / (small[0] * small[1])
    score = agreement / np.sqrt((ours_there * theirs_there).clip(1e-6))
    score[shared < _LEAST_SHARED] = -1
    row, column = np.unravel_index(int(score.argmax()), score.shape)
    down = row if row < _CANVAS_PX[0] / 2 else row - _CANVAS_PX[0]
    right = column if column < _CANVAS_PX[1] / 2 else column - _CANVAS_PX[1]
    move = np.array([[1, 0, right], [0, 1, down], [0, 0, 1.0]])
    to_rgb_small = np.diag([rgb_small[1] / rgb_px[1], rgb_small[0] / rgb_px[0], 1.0])
    homography = np.linalg.inv(to_small) @ move @ placed @ to_rgb_small
    return [Candidate(np.asarray(homography, np.float64), float(score[row, column]))]


def _spectrum(field: EdgeField) -> EdgeField:
    parts = np.asarray(cv2.dft(field.view(np.float32).reshape(*field.shape, 2)), np.float32)
    return parts.view(np.complex64)[..., 0]


def _blurred(field: EdgeField) -> EdgeField:
    parts = field.view(np.float32).reshape(*field.shape, 2)
    blurred = cv2.GaussianBlur(parts, (0, 0), _EDGE_WIDTH_PX)
    return np.ascontiguousarray(blurred).view(np.complex64)[..., 0]
