"""By how much two cameras' clocks differ, from what both see move; refused where the motion does not say."""

from __future__ import annotations

from dataclasses import dataclass
from warnings import catch_warnings, simplefilter

import numpy as np
from numpy.typing import NDArray

from cgdet_core.data.registration.motion import Motion
from cgdet_core.errors import InputError
from cgdet_core.types import NANOSECONDS

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


@dataclass(frozen=True)
class ClockOffset:
    """offset_ns: added to an RGB stamp gives the thermal clock.

    spread_ms: its standard error, by leaving out one of eight parts of the time after another. correlation: of the
    motion channel that agrees best, at the offset. confidence: 1 less the agreement at the best other offset over
    that at this one; 1 is beyond doubt, 0 a guess.
    """

    offset_ns: int
    spread_ms: float
    correlation: float
    confidence: float


class _Agreement:
    """How well two motions agree at an offset of RGB time, on a common grid of windows."""

    def __init__(self, thermal: Motion, rgb: Motion, origin_s: float, window_periods: float) -> None:
        # origin_s: rgb.origin on the thermal origin's scale, the starting guess included
        self.window_s = window_periods * max(_period_s(thermal), _period_s(rgb))
        first, last = thermal.begin_s[0], thermal.end_s[-1]
        self._grid = np.arange(first, last - self.window_s, self.window_s / 3)
        self._ours = _Integral(thermal).means(self._grid, self.window_s)
        self._rgb = _Integral(rgb)
        self._origin_s = origin_s
        self._enough = np.maximum(_LEAST_WINDOWS, _LEAST_SHARE * np.isfinite(self._ours).sum(0))
        self.parts = np.arange(len(self._grid)) * _PARTS // max(1, len(self._grid))

    def correlations(self, offset_s: float, keep: NDArray[np.bool_] | None = None) -> NDArray[np.float64]:
        """float64 [5]: of every channel over the windows that both have; 0 where there are too few."""
        theirs = self._rgb.means(self._grid - offset_s - self._origin_s, self.window_s)
        both = np.isfinite(self._ours) & np.isfinite(theirs)
        if keep is not None:
            both &= keep[:, None]
        count = both.sum(0)
        parts = []
        for values in (self._ours, theirs):
            known = np.where(both, values, 0.0)
            parts.append(np.where(both, known - known.sum(0) / count.clip(1), 0.0))
        energy = np.sqrt((parts[0] ** 2).sum(0) * (parts[1] ** 2).sum(0))
        enough = (count >= self._enough) & (energy > 1e-12 * count)
        return np.asarray(np.where(enough, (parts[0] * parts[1]).sum(0) / energy.clip(1e-30), 0.0), np.float64)

    def score(self, offset_s: float, keep: NDArray[np.bool_] | None = None) -> float:
        """What the channels say together, in nats per window; those that run against each other say nothing."""
        correlations = self.correlations(offset_s, keep).clip(0, 1 - 1e-9)
        return float(-0.5 * np.log(1 - correlations**2).sum())


class _Integral:
    """A motion's rates, summed up over time: whatever a camera's pace, a window of time holds the same motion."""

    def __init__(self, motion: Motion) -> None:
        order = np.argsort(motion.begin_s, kind="stable")
        begin, end, rates = motion.begin_s[order], motion.end_s[order], _calmed(motion.rates)[order]
        known = np.isfinite(rates)
        # what moved, and how long it was seen
        amounts = np.concatenate([np.where(known, rates, 0.0), known], axis=1) * (end - begin)[:, None]
        sums = np.cumsum(amounts, axis=0)
        self._edges = np.maximum.accumulate(np.stack([begin, end], 1).reshape(-1))
        self._sums = np.stack([sums - amounts, sums], axis=1).reshape(-1, amounts.shape[1]).T

    def means(self, begin_s: NDArray[np.float64], width_s: float) -> NDArray[np.float64]:
        """float64 [M, 5]: the mean rates in windows [begin, begin + width]; nan where intervals are missing."""
        ends = np.stack([begin_s, begin_s + width_s])
        sums = np.stack([np.interp(ends, self._edges, values) for values in self._sums], axis=2)
        moved, covered = np.split(sums[1] - sums[0], 2, axis=1)
        return np.asarray(np.where(covered > 0.98 * width_s, moved / width_s, np.nan), np.float64)


def _calmed(rates: NDArray[np.float64]) -> NDArray[np.float64]:
    """With what lies beyond six median deviations drawn in: one jolt must not decide."""
    with catch_warnings():
        simplefilter("ignore", RuntimeWarning)  # a channel may hold nothing
        middle = np.nanmedian(rates, axis=0)
        limit = 6 * 1.4826 * np.nanmedian(np.abs(rates - middle), axis=0)
    limit[~(limit > 0)] = np.inf
    return np.asarray(rates.clip(middle - limit, middle + limit), np.float64)


def estimate_offset(thermal: Motion, rgb: Motion, max_offset_s: float, guess_ns: int = 0) -> ClockOffset:
    """The offset within `max_offset_s` of `guess_ns`; InputError where it cannot be told.

    Of every lag the five motion channels are correlated over the windows that both streams cover; the best lag is
    refined to a millisecond, and by a parabola beyond.
    """
    least = min(len(thermal.begin_s), len(rgb.begin_s))
    if least < _LEAST_INTERVALS:
        raise _untold(f"a stream has {least} intervals between frames, not {_LEAST_INTERVALS}")
    origin_s = (rgb.origin_ns + guess_ns - thermal.origin_ns) / NANOSECONDS
    agreement = _Agreement(thermal, rgb, origin_s, _WINDOW_PERIODS)
    step_s = agreement.window_s / 3
    half = int(np.ceil((max_offset_s + _BEYOND_S) / step_s))
    lags = np.arange(-half, half + 1) * step_s
    scores = np.array([agreement.score(lag) for lag in lags])
    best = int(scores.argmax())
    correlation = float(agreement.correlations(lags[best]).max())
    low, high = _lobe(scores, best)
    others = np.concatenate([scores[:low], scores[high + 1 :]])
    confidence = float(1 - others.max(initial=0.0) / scores[best]) if scores[best] > 0 else 0.0
    agreement = _Agreement(thermal, rgb, origin_s, _REFINING_PERIODS)
    offset_s = _refined(agreement, lags[best], step_s, None)
    without = np.array([_refined(agreement, offset_s, step_s, agreement.parts != part) for part in range(_PARTS)])
    spread_s = float(np.sqrt((_PARTS - 1) * without.var()))
    most_s = max(_period_s(thermal), _period_s(rgb)) / 2
    if correlation < _LEAST_CORRELATION or confidence < _LEAST_CONFIDENCE or spread_s > most_s:
        raise _untold(
            f"motion agrees by {correlation:.2f}, confidence {confidence:.2f}, parts of the bag differ by "
            f"{1000 * spread_s:.0f} ms (needed: {_LEAST_CORRELATION}, {_LEAST_CONFIDENCE}, at most "
            f"{1000 * most_s:.0f} ms)"
        )
    if abs(lags[best]) > max_offset_s:
        raise _untold(
            f"the clocks seem to differ by {lags[best] + guess_ns / NANOSECONDS:.2f} s, more than is looked for "
            f"(max_offset_s={max_offset_s:g})"
        )
    correlation = float(agreement.correlations(offset_s).max())
    return ClockOffset(guess_ns + round(offset_s * NANOSECONDS), 1000 * spread_s, correlation, confidence)


def _untold(why: str) -> InputError:
    return InputError(
        f"the clocks' offset cannot be told: {why}: give a stretch in which the camera turns or shakes (--start, "
        "--seconds), or the offset itself (--offset)"
    )


def _period_s(motion: Motion) -> float:
    return float(np.median(motion.end_s - motion.begin_s))


def _lobe(scores: NDArray[np.float64], best: int) -> tuple[int, int]:
    """First and last place of the peak: down on both sides until less than a fifth is left, or it rises again."""
    smooth = np.convolve(np.pad(scores, 2, mode="edge"), np.ones(5) / 5, mode="valid")
    ends = []
    for step, last in ((-1, 0), (1, len(scores) - 1)):
        place = best
        while (
            place != last
            and (smooth[place + step] <= smooth[place] or abs(place - best) <= 4)
            and smooth[place] > 0.2 * smooth[best]
        ):
            place += step
        ends.append(place)
    return ends[0], ends[1]


def _refined(agreement: _Agreement, offset_s: float, step_s: float, keep: NDArray[np.bool_] | None) -> float:
    """The best offset near `offset_s`: over a grid, then a parabola through the top."""
    for step in (step_s / 6, max(_FINE_STEP_S, step_s / 40)):
        lags = offset_s + np.arange(-8, 9) * step
        scores = np.array([agreement.score(lag, keep) for lag in lags])
        best = int(scores.argmax())
        offset_s = float(lags[best])
        if 0 < best < len(lags) - 1:
            curve = scores[best - 1] - 2 * scores[best] + scores[best + 1]
            if curve < 0:
                offset_s += step * 0.5 * (scores[best - 1] - scores[best + 1]) / curve
    return offset_s
