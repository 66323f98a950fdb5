"""The homography from an RGB view to a thermal one, from pairs of pictures: searched coarsely, then climbed to.

Thermal and RGB agree in where edges lie and how they run, not in which side is brighter: that is what is compared, over
all pairs at once, since the cameras do not move against each other. Every scale, turn and shift is tried on small
pictures; from the best of them the correlation is climbed on finer and finer ones (as ECC does, Evangelidis and
Psarakis 2008; OpenCV's takes a single pair). How far two halves of the pairs disagree is the figure to trust it by.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from cgdet_core.config import RegisterConfig
from cgdet_core.data.registration.homography import Matrix, laid

Grey = NDArray[np.float32]
Pairs = Sequence[tuple[Grey, Grey]]

_FLOOR = 2.0  # medians of the gradient that count as half an edge: what is everywhere is noise
_LEAST = 0.004  # of the full range per pixel: flatter pictures have no edge at all
_SEARCH_PAIRS, _SEARCH_BLUR_PX = 6, 1.2
_TURNS_DEG = (-6.0, -3.0, 0.0, 3.0, 6.0)
_LEAST_SHARED = 0.4  # of the thermal picture
_LEVELS = ((112, 2.5, 6), (112, 1.0, 6), (224, 1.0, 6), (448, 1.0, 4))  # width in pixels, blur in pixels, rounds
_LEAST_CORRELATION = 0.08  # what is taken for less would step too far

# what moves points: right, down, scale, turn, stretch, shear and two tilts; and how much evidence each has to earn
_ENTRY = np.eye(9).reshape(3, 3, 3, 3)
_MOVES = np.stack(
    [
        *(_ENTRY[0, 2], _ENTRY[1, 2], _ENTRY[0, 0] + _ENTRY[1, 1], _ENTRY[1, 0] - _ENTRY[0, 1]),
        *(_ENTRY[0, 0] - _ENTRY[1, 1], _ENTRY[1, 0] + _ENTRY[0, 1], -_ENTRY[2, 0], -_ENTRY[2, 1]),
    ]
)
_RIDGE = np.diag([1e-3, 1e-3, 1e-2, 1e-2, 3e-2, 3e-2, 3e-2, 3e-2])


@dataclass(frozen=True)
class Alignment:
    """homography: as of a Registration. score: correlation of the two edge fields where both views are, -1 to 1.
    contrast: 1 less the score a few pixels off over that score; near 0 the place is a guess. spread_px:
    `corner_distance_px` between the homographies of two halves of the pairs."""

    homography: Matrix
    score: float
    contrast: float
    spread_px: float


def align(pairs: Pairs, config: RegisterConfig) -> Alignment:
    """pairs: thermal [H, W] and RGB [H', W'] pictures of one time, float32 in [0, 1]; 2 or more."""
    few = pairs[:: max(1, len(pairs) // _SEARCH_PAIRS)]
    # what looks best before tilt is let in need not be best with it
    guesses = [_climbed(few, guess, _LEVELS[:-1]) for guess in _search(few, config)]
    homography = _climbed(pairs, max(guesses, key=_Level(few, *_LEVELS[-2]).score), _LEVELS[2:])
    halves = [_climbed(pairs[half::2], homography, _LEVELS[-1:]) for half in (0, 1)]
    level = _Level(pairs, *_LEVELS[-1])
    score = level.score(homography)
    turns = np.arange(8) * np.pi / 4
    shifts = [8 * (_ENTRY[0, 2] * np.cos(turn) + _ENTRY[1, 2] * np.sin(turn)) for turn in turns]
    around = max(0.0, *(level.score((np.eye(3) + shift) @ homography) for shift in shifts))
    height, width = pairs[0][0].shape
    return Alignment(
        homography,
        score=score,
        contrast=1 - around / score if score > 0 else 0.0,
        spread_px=corner_distance_px(halves[0], halves[1], (height, width)),
    )


def corner_distance_px(first: Matrix, second: Matrix, thermal_height_width_px: tuple[int, int]) -> float:
    """How far apart two homographies bring what lies at a thermal frame's corners: the mean of four, thermal pixels."""
    height, width = thermal_height_width_px
    corners = np.array([[[0, 0], [width, 0], [width, height], [0, height]]], np.float64)
    mapped = cv2.perspectiveTransform(corners, first @ np.linalg.inv(second))
    return float(np.linalg.norm(mapped - corners, axis=2).mean())


def edge_field(grey: Grey, blur_px: float = 1.0) -> Grey:
    """float32 [H, W, 2] of a picture float32 [H, W] in [0, 1]: length 0 (flat) to 1 (edge), and twice its direction.

    The product of two fields is 1 where both have edges that run alike, whichever side is brighter, -1 where they
    cross, 0 where one is flat (normalised gradient fields, Haber and Modersitzki 2006).
    """
    smooth = cv2.GaussianBlur(grey, (0, 0), blur_px)
    right, down = (np.asarray(cv2.Scharr(smooth, cv2.CV_32F, x, 1 - x, scale=1 / 16), np.float32) for x in (1, 0))
    squared: Grey = right * right + down * down
    floor = np.float32(max(_FLOOR * float(np.median(squared)) ** 0.5, _LEAST) ** 2)
    field = np.stack([right * right - down * down, 2 * right * down], axis=2) / (squared + floor)[:, :, None]
    # a frame's own border is no edge
    field[:2] = field[-2:] = 0
    field[:, :2] = field[:, -2:] = 0
    return np.asarray(field, np.float32)


def _search(pairs: Pairs, config: RegisterConfig) -> list[Matrix]:
    """The best homographies, RGB pixel -> thermal pixel (outer corners): every scale and turn, at every shift."""
    level = _Level(pairs, *_LEVELS[1])
    rgb_height, rgb_width = pairs[0][1].shape
    height, width = level.height_width_px
    ours = _stacked([here for here, _ in level.pairs])
    ones, energy = np.ones((height, width), np.float32), np.square(ours).sum(2)
    low, high = config.rgb_view_range
    found: list[tuple[float, Matrix]] = []
    for wider in np.geomspace(low, high, 1 + max(1, round(np.log(high / low) / np.log(1.08)))).tolist():
        scale = wider * width / rgb_width
        # the RGB picture in the middle of a canvas, with room for the thermal one to stick out
        canvas = round(1.2 * height + scale * rgb_height), round(1.2 * width + scale * rgb_width)
        for turn_deg in _TURNS_DEG:
            placed = np.eye(3)
            placed[:2] = cv2.getRotationMatrix2D((rgb_width / 2, rgb_height / 2), turn_deg, scale)
            placed[:2, 2] += (canvas[1] - rgb_width) / 2, (canvas[0] - rgb_height) / 2
            laid_out = [_laid_field(rgb, placed, canvas, _LEVELS[1][1]) for _, rgb in pairs]
            theirs, seen = _stacked([field for field, _ in laid_out]), laid_out[0][1][:, :, 0]
            energies = _at_shifts(seen, energy) * _at_shifts(np.square(theirs).sum(2), ones)
            score = _at_shifts(theirs, ours) / np.sqrt(energies.clip(1e-6))
            score[_at_shifts(seen, ones) < _LEAST_SHARED * height * width] = -1
            _, best, _, (x, y) = cv2.minMaxLoc(score)
            shift = np.eye(3) - x * _ENTRY[0, 2] - y * _ENTRY[1, 2]
            found.append((best, np.asarray(np.linalg.inv(level.to_level) @ shift @ placed, np.float64)))
    found.sort(key=lambda each: -each[0])
    return [homography for _, homography in found[: config.candidates]]


def _stacked(fields: Sequence[Grey]) -> Grey:
    """[H, W, 2 P], blurred: half a step of the search must still meet."""
    return np.asarray(cv2.GaussianBlur(np.concatenate(fields, axis=2), (0, 0), _SEARCH_BLUR_PX), np.float32)


def _at_shifts(picture: Grey, of: Grey) -> Grey:
    """The sum of products [Y, X] of `of` with the part of the picture at every place, over all channels."""
    return np.asarray(cv2.matchTemplate(picture, of, cv2.TM_CCORR), np.float32)


def _laid_field(rgb: Grey, homography: Matrix, height_width_px: tuple[int, int], blur_px: float) -> tuple[Grey, Grey]:
    """The edge field [H, W, 2] of an RGB picture in a frame of this size; [H, W, 1] 1 where it is valid, else 0."""
    picture, seen = laid(rgb, homography, height_width_px)
    valid = cv2.erode(seen.astype(np.float32), np.ones((9, 9), np.uint8), borderValue=1)[:, :, None]
    return np.asarray(edge_field(picture, blur_px) * valid, np.float32), np.asarray(valid, np.float32)


def _climbed(pairs: Pairs, homography: Matrix, levels: Sequence[tuple[int, float, int]]) -> Matrix:
    for level in levels:
        homography = _Level(pairs, *level).climbed(homography)
    return homography


class _Level:
    """The pairs at one width of the thermal picture, never enlarged: its edge fields, and the RGB pictures."""

    def __init__(self, pairs: Pairs, width_px: int, blur_px: float, rounds: int) -> None:
        height, width = pairs[0][0].shape
        shrink = min(1.0, width_px / width)
        self.height_width_px = (round(height * shrink), round(width * shrink))
        self.to_level = np.diag([self.height_width_px[1] / width, self.height_width_px[0] / height, 1.0])
        self._blur_px, self._rounds = blur_px, rounds
        small = [cv2.resize(each, self.height_width_px[::-1], interpolation=cv2.INTER_AREA) for each, _ in pairs]
        fields = [edge_field(np.asarray(each, np.float32), blur_px) for each in small]
        self.pairs = [(field, rgb) for field, (_, rgb) in zip(fields, pairs, strict=True)]

    def _fields(self, homography: Matrix) -> Iterator[tuple[Grey, Grey]]:
        """Of every pair the fields [H, W, 2] in the thermal frame, 0 where RGB does not reach."""
        for ours, rgb in self.pairs:
            theirs, valid = _laid_field(rgb, self.to_level @ homography, self.height_width_px, self._blur_px)
            yield ours * valid, theirs

    def score(self, homography: Matrix) -> float:
        """Correlation of the fields where both views are."""
        sums = np.zeros(3)
        for here, there in self._fields(homography):
            sums += np.vdot(here, there), np.vdot(here, here), np.vdot(there, there)
        return float(sums[0] / max(1e-9, (sums[1] * sums[2]) ** 0.5))

    def climbed(self, homography: Matrix) -> Matrix:
        """The homography after the rounds of this level: each goes where the correlation, were it a parabola, is best.

        How a move shifts a pixel is the same for all pairs, so that these are summed up per pixel first.
        """
        height, width = self.height_width_px
        to_unit = np.array([[2 / width, 0, -1], [0, 2 / width, -height / width], [0, 0, 1]])
        down, right = np.mgrid[:height, :width] + 0.5
        places = to_unit @ np.stack([right, down, np.ones_like(right)]).reshape(3, -1)
        moved = _MOVES @ places
        shifts_px: Any = np.asarray(moved[:, :2] - places[:2] * moved[:, 2:], np.float32) * np.float32(width / 2)
        shifts_px = shifts_px.reshape(8, 2, height, width)
        for _ in range(self._rounds):
            bends = np.zeros((2, 2, height, width), np.float32)
            pulls = np.zeros((2, height, width), np.float32)
            product = energy = 0.0
            for here, there in self._fields(homography):
                slopes: Any = np.stack([cv2.Sobel(there, cv2.CV_32F, x, 1 - x, scale=1 / 8) for x in (1, 0)])
                bends += np.einsum("ahwc,bhwc->abhw", slopes, slopes)
                pulls -= np.einsum("ahwc,hwc->ahw", slopes, here)
                product += float(np.vdot(here, there))
                energy += float(np.vdot(there, there))
            if not energy:
                break
            normal = np.einsum("iahw,abhw,jbhw->ij", shifts_px, bends, shifts_px, optimize=True)
            pull = np.einsum("iahw,ahw->i", shifts_px, pulls)
            ridge = _RIDGE * np.trace(normal) / len(normal)
            step = np.linalg.solve(normal + ridge, pull) / max(product / energy, _LEAST_CORRELATION)
            # no farther than edges reach
            far_px = float(np.abs(np.einsum("i,ichw->chw", step, shifts_px[:, :, :: height - 1, :: width - 1])).max())
            step *= min(1.0, 2 * self._blur_px / max(far_px, 1e-9))
            flow = np.linalg.inv(to_unit) @ (np.eye(3) + np.tensordot(step, _MOVES, 1)) @ to_unit
            homography = np.linalg.inv(self.to_level) @ flow @ self.to_level @ homography
        return np.asarray(homography, np.float64)
