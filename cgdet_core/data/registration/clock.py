"""By how much two cameras' clocks differ, from what both see move; refused where the motion does not say."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from cgdet_core.errors import InputError
from cgdet_core.thermal import to_grey
from cgdet_core.types import NANOSECONDS, ImageArray

CHANNELS = ("shift right", "shift down", "change")

_WIDTH_PX = 192  # small enough to average out noise and a sensor's fixed pattern, large enough for a tenth of a pixel
_SPREAD = 40.0  # counts of 8 bits to a standard deviation
_LEAST_RESPONSE = 0.05  # of the phase correlation; less is a guess
_LONGEST_PERIODS = 2.5  # a longer interval is a gap

_PARTS = 8
_FINE_STEP_S = 0.001
# short windows tell offsets apart; but they hold one interval or parts of two, by their phase, and what is cut in two
# is less noisy, which draws the offset to where both streams' frames lie between each other: long ones refine it
_WINDOW_PERIODS, _REFINING_PERIODS = 1.5, 3.0
_LEAST_WINDOWS = 20
_LEAST_SHARE = 0.5  # of the thermal windows: over a short stretch anything correlates
_LEAST_INTERVALS = 40  # between frames, of each stream
_LEAST_CORRELATION, _LEAST_CONFIDENCE = 0.4, 0.35
_BEYOND_S = 6.0  # looked at besides, so that an offset that is not there is not found at the nearest place


_Summed = tuple[NDArray[np.float64], NDArray[np.float64]]  # see _summed


@dataclass(frozen=True)
class Motion:
    """begin_s, end_s: float64 [N], the stamps of the two frames of every interval, seconds from `origin_ns`.

    rates: float64 [N, 3] in CHANNELS, per second: the picture's shift in its widths (nan: none was found), and its
    change in its own standard deviations. Intervals over a gap (frames lost, a jump of the clock) are left out.
    """

    begin_s: NDArray[np.float64]
    end_s: NDArray[np.float64]
    rates: NDArray[np.float64]
    origin_ns: int

    @property
    def period_s(self) -> float:
        return float(np.median(self.end_s - self.begin_s))


class MotionMeter:
    """Takes the frames of one stream in order and gives its Motion; holds one small picture, no more."""

    def __init__(self) -> None:
        self._stamps_ns: list[int] = []
        self._rows: list[NDArray[np.float64]] = []
        self._before: NDArray[np.uint8] | None = None

    def add(self, image: ImageArray, stamp_ns: int) -> None:
        """image: uint8/uint16 [H, W], or uint8 [H, W, 3]."""
        small = small_picture(image)
        self._rows.append(movement(self._before, small))
        self._stamps_ns.append(stamp_ns)
        self._before = small

    def motion(self) -> Motion:
        """The motion of what was added."""
        stamps = np.asarray(self._stamps_ns, np.int64)
        gaps = np.diff(stamps)
        period = np.median(gaps[gaps > 0]) if (gaps > 0).any() else 1
        kept = (gaps > 0) & (gaps <= _LONGEST_PERIODS * period)
        seconds = (stamps - stamps[:1]) / NANOSECONDS
        begin, end = seconds[:-1][kept], seconds[1:][kept]
        rates = np.reshape(self._rows[1:], (-1, len(CHANNELS)))[kept] / (end - begin)[:, None]
        return Motion(begin, end, rates, int(stamps[0]) if len(stamps) else 0)


def small_picture(image: ImageArray) -> NDArray[np.uint8]:
    """uint8 [h, 192] of a frame, its mean at 128 and a standard deviation of 40: any gain control looks alike."""
    grey = to_grey(image)
    height = max(16, round(grey.shape[0] * _WIDTH_PX / grey.shape[1]))
    small = cv2.resize(grey, (_WIDTH_PX, height), interpolation=cv2.INTER_AREA).astype(np.float32)
    spread = max(float(small.std()), 1.0)
    return np.asarray(((small - small.mean()) * (_SPREAD / spread) + 128).clip(0, 255), np.uint8)


def movement(before: NDArray[np.uint8] | None, after: NDArray[np.uint8]) -> NDArray[np.float64]:
    """float64 [3] in CHANNELS, not yet per second; nan where phase correlation finds no shift, or nothing is before."""
    if before is None or before.shape != after.shape:
        return np.full(len(CHANNELS), np.nan)
    window = cv2.createHanningWindow(after.shape[::-1], cv2.CV_32F)
    shift_px, response = cv2.phaseCorrelate(before.astype(np.float32), after.astype(np.float32), window)
    shift = np.array(shift_px) / (after.shape[1] if response >= _LEAST_RESPONSE else np.nan)
    return np.append(shift, cv2.absdiff(before, after).mean() / _SPREAD)


@dataclass(frozen=True)
class ClockOffset:
    """offset_ns: added to an RGB stamp gives the thermal clock.

    spread_ms: its standard error, by leaving out eighths of the time. correlation: of the motion channel that agrees
    best. confidence: 1 less the agreement at the best other offset over that at this one.
    """

    offset_ns: int
    spread_ms: float
    correlation: float
    confidence: float


def estimate_offset(thermal: Motion, rgb: Motion, max_offset_s: float, guess_ns: int = 0) -> ClockOffset:
    """The offset within `max_offset_s` of `guess_ns`: the lag of which the motion channels correlate best, refined.
    InputError where it cannot be told."""
    least = min(len(thermal.begin_s), len(rgb.begin_s))
    if least < _LEAST_INTERVALS:
        raise _untold(f"a stream has {least} intervals between frames of {_LEAST_INTERVALS} needed")
    origin_s = (rgb.origin_ns + guess_ns - thermal.origin_ns) / NANOSECONDS
    agreement = _Agreement(thermal, rgb, origin_s, _WINDOW_PERIODS)
    step_s = agreement.window_s / 3
    half = int(np.ceil((max_offset_s + _BEYOND_S) / step_s))
    lags = np.arange(-half, half + 1) * step_s
    scores = np.array([agreement.score(lag) for lag in lags])
    best = int(scores.argmax())
    correlation = float(agreement.correlations(lags[best]).max())
    smooth = cv2.blur(scores[None], (5, 1), borderType=cv2.BORDER_REPLICATE)[0]
    low, high = best - _lobe_width(smooth[best::-1]), best + _lobe_width(smooth[best:])
    others = np.concatenate([scores[:low], scores[high + 1 :]])
    confidence = float(1 - others.max(initial=0.0) / scores[best]) if scores[best] > 0 else 0.0
    agreement = _Agreement(thermal, rgb, origin_s, _REFINING_PERIODS)
    offset_s = _refined(agreement, lags[best], step_s, None)
    without = np.array([_refined(agreement, offset_s, step_s, agreement.parts != part) for part in range(_PARTS)])
    spread_s = float(np.sqrt((_PARTS - 1) * without.var()))
    most_s = max(thermal.period_s, rgb.period_s) / 2
    if correlation < _LEAST_CORRELATION or confidence < _LEAST_CONFIDENCE or spread_s > most_s:
        raise _untold(
            f"motion agrees by {correlation:.2f} (needed: {_LEAST_CORRELATION}), confidence {confidence:.2f} "
            f"({_LEAST_CONFIDENCE}), parts of the bag differ by {spread_s:.3f} s (at most {most_s:.3f})"
        )
    if abs(lags[best]) > max_offset_s:
        apart_s = lags[best] + guess_ns / NANOSECONDS
        raise _untold(f"the clocks seem to differ by {apart_s:.2f} s, more than max_offset_s={max_offset_s:g}")
    correlation = float(agreement.correlations(offset_s).max())
    return ClockOffset(guess_ns + round(offset_s * NANOSECONDS), 1000 * spread_s, correlation, confidence)


def _untold(why: str) -> InputError:
    return InputError(
        f"the clock offset was not found: {why}: give a longer bag with a camera that turns or shakes, or give --offset"
    )


def _lobe_width(scores: NDArray[np.float64]) -> int:
    """How far a peak reaches from its top, the first score: to where less than a fifth is left, or it rises again."""
    rises = np.diff(scores) > 0
    rises[:5] = False
    ends = np.flatnonzero(rises | (scores[:-1] <= 0.2 * scores[0]))
    return int(ends[0]) if len(ends) else len(scores) - 1


def _refined(agreement: _Agreement, offset_s: float, step_s: float, keep: NDArray[np.bool_] | None) -> float:
    """The best offset near `offset_s`: over a grid, then a parabola through the top."""
    for step in (step_s / 6, max(_FINE_STEP_S, step_s / 40)):
        lags = offset_s + np.arange(-8, 9) * step
        scores = np.array([agreement.score(lag, keep) for lag in lags])
        best = int(scores[1:-1].argmax()) + 1
        curve = scores[best - 1] - 2 * scores[best] + scores[best + 1]
        beside = 0.5 * (scores[best - 1] - scores[best + 1]) / curve if curve < 0 else 0.0
        offset_s = float(lags[best] + step * np.clip(beside, -1, 1))
    return offset_s


class _Agreement:
    """How well two motions agree at an offset of RGB time, on a common grid of windows."""

    def __init__(self, thermal: Motion, rgb: Motion, origin_s: float, window_periods: float) -> None:
        # origin_s: rgb.origin on the thermal origin's scale, the starting guess included
        self.window_s = window_periods * max(thermal.period_s, rgb.period_s)
        self._grid = np.arange(thermal.begin_s[0], thermal.end_s[-1] - self.window_s, self.window_s / 3)
        self._ours = self._means(_summed(thermal), self._grid)
        self._rgb = _summed(rgb)
        self._origin_s = origin_s
        self._enough = np.maximum(_LEAST_WINDOWS, _LEAST_SHARE * np.isfinite(self._ours).sum(0))
        self.parts = np.arange(len(self._grid)) * _PARTS // max(1, len(self._grid))

    def _means(self, summed: _Summed, begin_s: NDArray[np.float64]) -> NDArray[np.float64]:
        """float64 [M, 3]: the mean rates in windows from `begin_s` on; nan where intervals are missing."""
        ends = np.stack([begin_s, begin_s + self.window_s])
        sums = np.stack([np.interp(ends, summed[0], values) for values in summed[1]], axis=2)
        moved, covered = np.split(sums[1] - sums[0], 2, axis=1)
        return np.asarray(np.where(covered > 0.98 * self.window_s, moved / self.window_s, np.nan), np.float64)

    def correlations(self, offset_s: float, keep: NDArray[np.bool_] | None = None) -> NDArray[np.float64]:
        """float64 [3]: of every channel over the windows that both have; 0 where there are too few."""
        theirs = self._means(self._rgb, self._grid - offset_s - self._origin_s)
        found = np.zeros(len(CHANNELS))
        for channel, pair in enumerate(np.stack([self._ours, theirs]).transpose(2, 0, 1)):
            pair = pair[:, np.isfinite(pair).all(0) & (True if keep is None else keep)]
            if pair.shape[1] >= self._enough[channel] and pair.std(axis=1).prod() > 1e-12:
                found[channel] = np.corrcoef(pair)[0, 1]
        return found

    def score(self, offset_s: float, keep: NDArray[np.bool_] | None = None) -> float:
        """What the channels say together, in nats per window; those that run against each other say nothing."""
        correlations = self.correlations(offset_s, keep).clip(0, 1 - 1e-9)
        return float(-0.5 * np.log(1 - correlations**2).sum())


def _summed(motion: Motion) -> _Summed:
    """Times [2N] and, per channel, what moved and how long it was seen up to then [6, 2N]: whatever a camera's pace, a
    window of time holds the same motion. What lies beyond six median deviations is drawn in: one jolt must not decide.
    """
    order = np.argsort(motion.begin_s, kind="stable")
    begin, end, rates = motion.begin_s[order], motion.end_s[order], motion.rates[order]
    known = np.isfinite(rates)
    calmed = np.zeros_like(rates)
    for channel, seen in enumerate(known.T):
        values = rates[seen, channel]
        if len(values):
            away = values - np.median(values)
            limit = 6 * 1.4826 * np.median(np.abs(away)) or np.inf
            calmed[seen, channel] = values - away + away.clip(-limit, limit)
    amounts = np.concatenate([calmed, known], axis=1) * (end - begin)[:, None]
    sums = np.cumsum(amounts, axis=0)
    times = np.maximum.accumulate(np.stack([begin, end], 1).reshape(-1))
    return times, np.stack([sums - amounts, sums], axis=1).reshape(-1, amounts.shape[1]).T
