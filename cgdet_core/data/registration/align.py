"""The homography from an RGB view to a thermal one, from pairs of pictures: searched coarsely, then block by block.

Of each block of the thermal frame the shift is measured that lets the edges of both pictures meet best, over all pairs
at once, since the cameras do not move against each other; the homography that gives these shifts is fitted robustly,
and all again on finer pictures. How far two halves of the pairs disagree is the figure to trust it by.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from cgdet_core.config import RegisterConfig
from cgdet_core.data.registration.edges import EdgeField, Grey, edge_field, resized, search
from cgdet_core.data.registration.homography import Matrix, from_centres, scale_at

# width in pixels, reach, freedom (4: similarity, 6: affine, 8: homography), rounds; the tilt is looked for while the
# reach still covers what it moves
_LEVELS = ((112, 5, 4, 3), (224, 4, 6, 2), (224, 4, 8, 4), (448, 2, 8, 3))
_FINEST = (448, 2, 8, 2)
_COARSE_PAIRS = 6
_BLOCKS = (5, 6)  # rows and columns
_RIDGE = 1e-2

# freedom -> what moves points: right, down; scale and turn, or each entry of the matrix; tilts
_ENTRY = np.eye(9).reshape(3, 3, 3, 3)
_AFFINE = [_ENTRY[place] for place in ((0, 2), (1, 2), (0, 0), (0, 1), (1, 0), (1, 1))]
_GENERATORS = {
    4: np.stack([*_AFFINE[:2], _ENTRY[0, 0] + _ENTRY[1, 1], _ENTRY[1, 0] - _ENTRY[0, 1]]),
    6: np.stack(_AFFINE),
    8: np.stack([*_AFFINE, -_ENTRY[2, 0], -_ENTRY[2, 1]]),
}


@dataclass(frozen=True)
class Alignment:
    """homography: float64 [3, 3], RGB pixel -> thermal pixel, (0, 0) the outer corner of the first pixel.

    score: correlation of the two edge fields where both views are, -1 to 1. contrast: 1 less the score a few pixels
    off over that score; near 0 the place is a guess. spread_px: mean distance of the thermal frame's corners between
    the homographies of two halves of the pairs.
    """

    homography: Matrix
    score: float
    contrast: float
    spread_px: float


def align(pairs: Sequence[tuple[Grey, Grey]], config: RegisterConfig) -> Alignment:
    """pairs: thermal [H, W] and RGB [H', W'] pictures of one time, float32 in [0, 1]; 2 or more."""
    few = pairs[:: max(1, len(pairs) // _COARSE_PAIRS)]
    # what looks best before tilt is let in need not be best with it
    refined = [_refine(few, candidate, _LEVELS[:-1]) for candidate in search(few, config)]
    middle = _Level(few, _LEVELS[-2][0])
    homography = _refine(pairs, max(refined, key=middle.score), _LEVELS[1:])
    halves = [_refine(pairs[half::2], homography, (_FINEST,)) for half in (0, 1)]
    thermal_px = (pairs[0][0].shape[0], pairs[0][0].shape[1])
    level = _Level(pairs, _LEVELS[-1][0])
    score = level.score(homography)
    turns = np.arange(8) * np.pi / 4
    shifts = [8 * (_ENTRY[0, 2] * np.cos(turn) + _ENTRY[1, 2] * np.sin(turn)) for turn in turns]
    around = [level.score((np.eye(3) + shift) @ homography) for shift in shifts]
    return Alignment(
        homography,
        score=score,
        contrast=1 - max(0.0, max(around)) / score if score > 0 else 0.0,
        spread_px=corner_distance_px(halves[0], halves[1], thermal_px),
    )


def corner_distance_px(first: Matrix, second: Matrix, thermal_height_width_px: tuple[int, int]) -> float:
    """How far apart two homographies bring what lies at a thermal frame's corners: the mean of four, thermal pixels.

    Of each corner the RGB place by `second` is mapped by `first`. Infinite where that place lies behind the camera.
    """
    height, width = thermal_height_width_px
    corners = np.array([[0, 0, 1], [width, 0, 1], [width, height, 1], [0, height, 1]], np.float64)
    mapped = corners @ np.linalg.inv(second).T @ first.T
    if (mapped[:, 2] <= 1e-9).any():
        return float("inf")
    return float(np.linalg.norm(mapped[:, :2] / mapped[:, 2:] - corners[:, :2], axis=1).mean())


def _refine(
    pairs: Sequence[tuple[Grey, Grey]], homography: Matrix, levels: Sequence[tuple[int, int, int, int]]
) -> Matrix:
    for width_px, reach_px, freedom, rounds in levels:
        level = _Level(pairs, width_px)
        for _ in range(rounds):
            homography = level.correction(homography, reach_px, freedom) @ homography
    return homography


class _Level:
    """The pairs at one width of the thermal picture, never enlarged."""

    def __init__(self, pairs: Sequence[tuple[Grey, Grey]], width_px: int) -> None:
        height, width = pairs[0][0].shape
        shrink = min(1.0, width_px / width)
        self._size = (round(height * shrink), round(width * shrink))
        self._to_level = np.diag([self._size[1] / width, self._size[0] / height, 1.0])
        self._rgbs = [rgb for _, rgb in pairs]
        self._ours = [edge_field(resized(thermal, self._size)) for thermal, _ in pairs]
        self._shrunk: dict[tuple[int, int], list[Grey]] = {}

    def _theirs(self, homography: Matrix) -> tuple[list[EdgeField], NDArray[np.float32]]:
        """The RGB pictures' fields in the thermal frame at this level, and 1 where they are valid."""
        rgb_height, rgb_width = self._rgbs[0].shape
        to_level = self._to_level @ homography
        scale = scale_at(to_level, (rgb_width / 2, rgb_height / 2))
        shrunk_px = (rgb_height, rgb_width)
        if scale < 0.75:
            # to multiples of a tenth of an octave, so that the rounds share the pictures
            scale = 2 ** (round(10 * np.log2(scale)) / 10)
            shrunk_px = (max(8, round(rgb_height * scale)), max(8, round(rgb_width * scale)))
        if shrunk_px not in self._shrunk:
            self._shrunk[shrunk_px] = [resized(rgb, shrunk_px) for rgb in self._rgbs]
        to_level = to_level @ np.diag([rgb_width / shrunk_px[1], rgb_height / shrunk_px[0], 1.0])
        centres = from_centres(to_level)
        size = (self._size[1], self._size[0])
        valid = cv2.warpPerspective(np.ones(shrunk_px, np.float32), centres, size, flags=cv2.INTER_NEAREST)
        valid = cv2.erode(valid, np.ones((9, 9), np.uint8), borderType=cv2.BORDER_CONSTANT, borderValue=1.0)
        fields = []
        for rgb in self._shrunk[shrunk_px]:
            laid = cv2.warpPerspective(rgb, centres, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
            fields.append(np.asarray(edge_field(np.asarray(laid, np.float32)) * valid, np.complex64))
        return fields, np.asarray(valid, np.float32)

    def score(self, homography: Matrix) -> float:
        """Correlation of the fields where both views are; 0 where they share less than a quarter of the frame."""
        theirs, valid = self._theirs(homography)
        if valid.mean() < 0.25:
            return 0.0
        product = sum(float(np.vdot(there, here).real) for here, there in zip(self._ours, theirs, strict=True))
        ours = sum(float((np.abs(here * valid) ** 2).sum()) for here in self._ours)
        energy = sum(float((np.abs(there) ** 2).sum()) for there in theirs)
        return float(product / max(1e-9, (ours * energy) ** 0.5))

    def correction(self, homography: Matrix, reach_px: int, freedom: int) -> Matrix:
        """float64 [3, 3], thermal pixel -> thermal pixel, to be applied after the homography."""
        theirs, _ = self._theirs(homography)
        surface = _block_surfaces(self._ours, theirs, reach_px)
        points, shifts, certainty = _peaks(surface, self._size, reach_px)
        flow = _fit_flow(points, shifts, certainty, self._size, freedom)
        return np.asarray(np.linalg.inv(self._to_level) @ flow @ self._to_level, np.float64)


def _block_surfaces(ours: Sequence[EdgeField], theirs: Sequence[EdgeField], reach_px: int) -> NDArray[np.float64]:
    """float64 [rows, columns, 2 reach + 1, 2 reach + 1]: of every block the correlation at every shift (down, right).

    A peak at (d, r): what the RGB picture shows d below and r right of a place belongs to the place. The energy at
    rest serves all shifts: a block is not drawn to where the other picture has little.
    """
    height, width = ours[0].shape
    side = 2 * reach_px + 1
    here, there = (np.stack([np.stack([field.real, field.imag]) for field in fields]) for fields in (ours, theirs))
    padded = np.pad(there, ((0, 0), (0, 0), (reach_px, reach_px), (reach_px, reach_px)))
    energies = np.stack([_of_blocks(np.square(fields).sum((0, 1))) for fields in (here, there)])
    surfaces = np.zeros((*_BLOCKS, side, side))
    for down, right in np.ndindex(side, side):
        shifted = padded[:, :, down : down + height, right : right + width]
        surfaces[:, :, down, right] = _of_blocks(np.einsum("pcyx,pcyx->yx", here, shifted))
    energies = np.maximum(energies, 0.1 * energies.mean((1, 2), keepdims=True))
    return np.asarray(surfaces / np.sqrt(energies.prod(0) + 1e-12)[:, :, None, None], np.float64)


def _of_blocks(values: Grey) -> NDArray[np.float64]:
    """float64 [rows, columns]: the mean of [H, W] over every block."""
    return np.asarray(cv2.resize(values, _BLOCKS[::-1], interpolation=cv2.INTER_AREA), np.float64)


def _peaks(
    surfaces: NDArray[np.float64], size_px: tuple[int, int], reach_px: int
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Of every block its middle [N, 2] (x, y), the shift [N, 2] (right, down) of its peak, and how sharply the
    correlation falls off it, [N, 2, 2]; nothing at all for a peak at the rim of the search."""
    (rows, columns), (height, width) = _BLOCKS, size_px
    points, shifts, certainty = [], np.zeros((rows * columns, 2)), np.zeros((rows * columns, 2, 2))
    for block, (row, column) in enumerate(np.ndindex(rows, columns)):
        points.append(((column + 0.5) * width / columns, (row + 0.5) * height / rows))
        surface = cv2.GaussianBlur(surfaces[row, column], (3, 3), 0.7, borderType=cv2.BORDER_REPLICATE)
        down, right = divmod(int(surface.argmax()), 2 * reach_px + 1)
        if not (0 < down < 2 * reach_px and 0 < right < 2 * reach_px):
            continue
        around = surface[down - 1 : down + 2, right - 1 : right + 2]
        slope = np.array([around[1, 2] - around[1, 0], around[2, 1] - around[0, 1]]) / 2
        across = (around[2, 2] - around[2, 0] - around[0, 2] + around[0, 0]) / 4
        bends = 2 * around[1, 1] - np.array([around[1, 2] + around[1, 0], around[2, 1] + around[0, 1]])
        values, vectors = np.linalg.eigh(np.diag(bends) - across * (1 - np.eye(2)))
        values = values.clip(1e-6)
        offset = (vectors @ np.diag(1 / values) @ vectors.T @ slope).clip(-1, 1)
        shifts[block] = np.array([right, down]) - reach_px + offset
        # a peak that rises from among others like it says less
        standing = max(0.0, float(surface.max() - np.median(surface))) / max(float(surface.std()), 1e-6)
        certainty[block] = vectors @ np.diag(values) @ vectors.T * min(1.0, standing / 3) ** 2
    return np.array(points), shifts, certainty


def _fit_flow(
    points: NDArray[np.float64],
    shifts: NDArray[np.float64],
    certainty: NDArray[np.float64],
    size_px: tuple[int, int],
    freedom: int,
) -> Matrix:
    """float64 [3, 3]: moves points + shifts to points, by weighted least squares with far blocks drawn in (Cauchy)."""
    height, width = size_px
    unit = 2 / width
    to_unit = np.array([[unit, 0, -1], [0, unit, -height / width], [0, 0, 1]])
    places = np.column_stack([points + shifts / 2, np.ones(len(points))]) @ to_unit.T
    moved = np.einsum("pij,nj->nip", _GENERATORS[freedom], places)
    design = moved[:, :2] - places[:, :2, None] * moved[:, 2:]
    wanted = -shifts * unit
    size = np.trace(certainty, axis1=1, axis2=2)
    if not size.any():
        return np.eye(3)
    weights = np.ones(len(points))
    # what stretches, shears and tilts has to be earned by more than one block
    ridge = np.diag([1e-3, 1e-3, *[_RIDGE] * (freedom - 2)]) * size.sum()
    solved = np.zeros(freedom)
    for _ in range(10):
        weighted = certainty * weights[:, None, None]
        normal = np.einsum("nip,nij,njq->pq", design, weighted, design) + ridge * weights.mean()
        solved = np.linalg.solve(normal, np.einsum("nip,nij,nj->p", design, weighted, wanted))
        apart = np.linalg.norm(wanted - design @ solved, axis=1) / unit
        weights = 1 / (1 + apart**2)
    flow = np.eye(3) + np.tensordot(solved, _GENERATORS[freedom], 1)
    return np.asarray(np.linalg.inv(to_unit) @ flow @ to_unit, np.float64)
