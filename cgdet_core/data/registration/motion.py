"""How a camera moves, from its pictures alone: small pictures in, per interval a shift, a zoom, a turn and a change."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from cgdet_core.thermal import to_grey
from cgdet_core.types import NANOSECONDS, ImageArray

CHANNELS = ("shift right", "shift down", "zoom", "turn", "change")

_WIDTH_PX = 192  # small enough to average out noise and a sensor's fixed pattern, large enough for a tenth of a pixel
_SPREAD = 40.0  # counts of 8 bits to a standard deviation
_POINTS = 120
_FEWEST_POINTS = 8


@dataclass(frozen=True)
class Motion:
    """begin_s, end_s: float64 [N], the stamps of the two frames of every interval, seconds from `origin_ns`.

    rates: float64 [N, 5] in CHANNELS, per second: the picture's shift in its widths, zoom and turn in e-folds and
    radians, and how much it changed in its own standard deviations, whatever moved. Nan where nothing could be
    followed. Intervals over a gap (frames lost, a jump of the clock) are left out.
    """

    begin_s: NDArray[np.float64]
    end_s: NDArray[np.float64]
    rates: NDArray[np.float64]
    origin_ns: int


class MotionMeter:
    """Takes the frames of one stream in order and gives its Motion; holds two small pictures, no more."""

    def __init__(self) -> None:
        self._stamps_ns: list[int] = []
        self._rows: list[NDArray[np.float64]] = []
        self._before: NDArray[np.uint8] | None = None

    def add(self, image: ImageArray, stamp_ns: int) -> None:
        """image: uint8/uint16 [H, W], or uint8 [H, W, 3]."""
        small = small_picture(image)
        moved: NDArray[np.float64] = np.full(len(CHANNELS), np.nan)
        if self._before is not None and self._before.shape == small.shape:
            moved = movement(self._before, small)
        self._stamps_ns.append(stamp_ns)
        self._rows.append(moved)
        self._before = small

    def motion(self, longest_periods: float = 2.5) -> Motion:
        """The motion of what was added; intervals longer than so many median periods are left out."""
        stamps = np.asarray(self._stamps_ns, np.int64)
        gaps = np.diff(stamps)
        forward = gaps > 0
        period = float(np.median(gaps[forward])) if forward.any() else 1.0
        kept = forward & (gaps <= longest_periods * period)
        origin = int(stamps[0]) if len(stamps) else 0
        begin, end = ((part - origin) / NANOSECONDS for part in (stamps[:-1], stamps[1:]))
        rates = np.asarray(self._rows[1:], np.float64).reshape(-1, len(CHANNELS))[kept]
        return Motion(begin[kept], end[kept], rates / (end - begin)[kept, None], origin)


def small_picture(image: ImageArray) -> NDArray[np.uint8]:
    """uint8 [h, 192] of a frame, its mean at 128 and a standard deviation of 40: any gain control looks alike."""
    grey = to_grey(image)
    height = max(16, round(grey.shape[0] * _WIDTH_PX / grey.shape[1]))
    small = cv2.resize(grey, (_WIDTH_PX, height), interpolation=cv2.INTER_AREA).astype(np.float32)
    spread = max(float(small.std()), 1.0)
    return np.asarray(((small - small.mean()) * (_SPREAD / spread) + 128).clip(0, 255), np.uint8)


def movement(before: NDArray[np.uint8], after: NDArray[np.uint8]) -> NDArray[np.float64]:
    """float64 [5] in CHANNELS, not yet per second: corners followed (Lucas-Kanade) there and back, and a similarity
    fitted to most of them; nan in the first four where too few can be followed."""
    found = np.full(len(CHANNELS), np.nan)
    found[4] = float(cv2.absdiff(before, after).mean()) / _SPREAD
    corners = cv2.goodFeaturesToTrack(before, _POINTS, 0.02, 6.0)
    if corners is None or len(corners) < _FEWEST_POINTS:
        return found
    there, ok_there = _followed(before, after, corners)
    back, ok_back = _followed(after, before, there)
    kept = ok_there & ok_back & (np.abs(back - corners).max((1, 2)) < 0.5)
    if kept.sum() < _FEWEST_POINTS:
        return found
    height, width = before.shape
    middle = np.array([width / 2, height / 2], np.float32)
    begin, end = corners[kept, 0] - middle, there[kept, 0] - middle
    fitted, _ = cv2.estimateAffinePartial2D(begin, end, method=cv2.RANSAC, ransacReprojThreshold=0.7)
    if fitted is None:
        return found
    (cosine, _, right), (sine, _, down) = fitted
    found[:4] = right / width, down / width, np.log(max(np.hypot(cosine, sine), 1e-3)), np.arctan2(sine, cosine)
    return found


def _followed(
    before: NDArray[np.uint8], after: NDArray[np.uint8], points: NDArray[Any]
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Where points float32 [N, 1, 2] went, and which could be followed."""
    start = np.asarray(points, np.float32)
    there, ok, _ = cv2.calcOpticalFlowPyrLK(before, after, start, start.copy(), winSize=(15, 15), maxLevel=3)
    return np.asarray(there, np.float32), np.asarray(ok)[:, 0] > 0
