"""By how much two cameras' clocks differ, from what both see move; refused where the motion does not say."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cgdet_core.config import RegisterConfig
from cgdet_core.data.motion import CHANNELS, Motion
from cgdet_core.data.ros_types import NANOSECONDS
from cgdet_core.errors import InputError

_PARTS = 8
_FINE_STEP_S = 0.001
_REMEDY = "give a stretch in which the camera turns or shakes (--start, --seconds), or the offset itself (--offset)"


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
    channel: str


class _Agreement:
    """How well two motions agree at an offset of RGB time, on a common grid of windows."""

    def __init__(self, thermal: Motion, rgb: Motion, origin_s: float) -> None:
        # origin_s: rgb.origin on the thermal origin's scale, the starting guess included
        self._step_s = max(_period_s(thermal), _period_s(rgb))
        self._thermal = thermal
        self._rgb = rgb
        self._origin_s = origin_s
        first, last = thermal.begin_s[0], thermal.end_s[-1]
        self._grid = np.arange(first, last - self._step_s, self._step_s / 2)
        self._ours = _means(thermal, self._grid, self._step_s)
        self.parts = np.arange(len(self._grid)) * _PARTS // max(1, len(self._grid))

    def correlations(self, offset_s: float, keep: NDArray[np.bool_] | None = None) -> NDArray[np.float64]:
        """float64 [5]: of every channel over the windows that both have; 0 where there are too few."""
        theirs = _means(self._rgb, self._grid - offset_s - self._origin_s, self._step_s)
        both = np.isfinite(self._ours) & np.isfinite(theirs)
        if keep is not None:
            both &= keep[:, None]
        found = np.zeros(len(CHANNELS))
        for channel in range(len(CHANNELS)):
            rows = both[:, channel]
            if rows.sum() >= 20:
                found[channel] = _robust_correlation(self._ours[rows, channel], theirs[rows, channel])
        return found

    def score(self, offset_s: float, keep: NDArray[np.bool_] | None = None) -> float:
        """What the channels say together, in nats per window; those that run against each other say nothing."""
        correlations = self.correlations(offset_s, keep).clip(0, 0.999)
        return float(-0.5 * np.log(1 - correlations**2).sum())


def estimate_offset(thermal: Motion, rgb: Motion, config: RegisterConfig, guess_ns: int = 0) -> ClockOffset:
    """The offset within config.max_offset_s of `guess_ns`; InputError where it cannot be told.

    Of every lag the five motion channels are correlated over the windows that both streams cover; the best lag is
    refined to a millisecond, and by a parabola beyond.
    """
    for name, motion in (("thermal", thermal), ("RGB", rgb)):
        if len(motion.begin_s) < config.min_intervals:
            raise InputError(
                f"the {name} stream has {len(motion.begin_s)} intervals between frames, {config.min_intervals} are "
                "needed to tell the clocks' offset: give a longer bag, or the offset itself (--offset)"
            )
    origin_s = (rgb.origin_ns + guess_ns - thermal.origin_ns) / NANOSECONDS
    shared_s = min(thermal.end_s[-1], rgb.end_s[-1] + origin_s) - max(thermal.begin_s[0], rgb.begin_s[0] + origin_s)
    if shared_s <= 0:
        raise InputError(
            f"the two streams share no time, {-shared_s:.1f} s lie between them: give the clocks' offset (--offset), "
            "or another bag"
        )
    agreement = _Agreement(thermal, rgb, origin_s)
    step_s = min(_period_s(thermal), _period_s(rgb)) / 2
    half = int(np.ceil(config.max_offset_s / step_s))
    lags = np.arange(-half, half + 1) * step_s
    scores = np.array([agreement.score(lag) for lag in lags])
    best = int(scores.argmax())
    correlations = agreement.correlations(lags[best])
    if scores[best] <= 0 or correlations.max() < config.min_correlation:
        raise InputError(
            f"the clocks' offset cannot be told: the two streams' motion agrees by {correlations.max():.2f} at best, "
            f"{config.min_correlation} is needed (little motion, or none that both see): {_REMEDY}"
        )
    if best in (0, len(lags) - 1):
        raise InputError(
            f"the clocks differ by {config.max_offset_s} s or more: give a wider search (max_offset_s=...), or the "
            "offset itself (--offset)"
        )
    low, high = _lobe(scores, best)
    others = np.concatenate([scores[:low], scores[high + 1 :]])
    confidence = float(1 - others.max(initial=0.0) / scores[best])
    if confidence < config.min_confidence:
        raise InputError(
            f"the clocks' offset cannot be told: {1000 * lags[best]:.0f} ms is hardly better than others, confidence "
            f"{confidence:.2f} of the {config.min_confidence} that is needed (motion repeats itself, or there is "
            f"little): {_REMEDY}"
        )
    offset_s = _refined(agreement, lags[best], step_s, None)
    without = np.array([_refined(agreement, offset_s, step_s, agreement.parts != part) for part in range(_PARTS)])
    spread_s = float(np.sqrt((_PARTS - 1) * without.var()))
    correlations = agreement.correlations(offset_s)
    return ClockOffset(
        offset_ns=guess_ns + round(offset_s * NANOSECONDS),
        spread_ms=1000 * spread_s,
        correlation=float(correlations.max()),
        confidence=confidence,
        channel=CHANNELS[int(correlations.argmax())],
    )


def _period_s(motion: Motion) -> float:
    return float(np.median(motion.end_s - motion.begin_s))


def _means(motion: Motion, begin_s: NDArray[np.float64], width_s: float) -> NDArray[np.float64]:
    """float64 [M, 5]: the mean rate in windows [begin, begin + width]; nan where intervals are missing.

    By the integral of the rates: whatever a camera's pace, a window holds the same motion.
    """
    edges = np.concatenate([motion.begin_s[:1], np.stack([motion.begin_s, motion.end_s], 1).reshape(-1)])
    edges = np.maximum.accumulate(edges)
    out = np.empty((len(begin_s), len(CHANNELS)))
    span = motion.end_s - motion.begin_s
    for channel in range(len(CHANNELS)):
        rates = motion.rates[:, channel]
        known = np.isfinite(rates)
        amount = np.zeros((len(span), 2))
        amount[:, 1] = np.where(known, rates, 0) * span
        covered = np.zeros((len(span), 2))
        covered[:, 1] = known * span
        sums = np.concatenate([[0.0], np.cumsum(amount.reshape(-1))])
        cover = np.concatenate([[0.0], np.cumsum(covered.reshape(-1))])
        end_s = begin_s + width_s
        seen = np.interp(end_s, edges, cover) - np.interp(begin_s, edges, cover)
        moved = np.interp(end_s, edges, sums) - np.interp(begin_s, edges, sums)
        out[:, channel] = np.where(seen > 0.98 * width_s, moved / width_s, np.nan)
    return out


def _robust_correlation(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    """Pearson's, with what lies beyond four median deviations drawn in: one jolt must not decide."""
    parts = []
    for values in (a, b):
        centred = values - np.median(values)
        limit = 4 * 1.4826 * np.median(np.abs(centred))
        parts.append(centred.clip(-limit, limit) if limit > 0 else centred)
    spreads = parts[0].std() * parts[1].std()
    if spreads < 1e-12:
        return 0.0
    return float(((parts[0] - parts[0].mean()) * (parts[1] - parts[1].mean())).mean() / spreads)


def _lobe(scores: NDArray[np.float64], best: int) -> tuple[int, int]:
    """First and last place of the peak: down on both sides until less than a fifth is left, or it rises again."""
    low = high = best
    smooth = np.convolve(np.pad(scores, 2, mode="edge"), np.ones(5) / 5, mode="valid")
    while low > 0 and (smooth[low - 1] <= smooth[low] or abs(low - best) <= 4) and smooth[low] > 0.2 * smooth[best]:
        low -= 1
    while (
        high < len(scores) - 1
        and (smooth[high + 1] <= smooth[high] or abs(high - best) <= 4)
        and smooth[high] > 0.2 * smooth[best]
    ):
        high += 1
    return low, high


def _refined(agreement: _Agreement, offset_s: float, step_s: float, keep: NDArray[np.bool_] | None) -> float:
    """The best offset near `offset_s`: over a grid, then a parabola through the top."""
    reach = 2 * step_s
    for step in (reach / 8, max(_FINE_STEP_S, reach / 64)):
        lags = offset_s + np.arange(-8, 9) * step
        scores = np.array([agreement.score(lag, keep) for lag in lags])
        best = int(scores.argmax())
        offset_s = float(lags[best])
        if 0 < best < len(lags) - 1:
            curve = scores[best - 1] - 2 * scores[best] + scores[best + 1]
            if curve < 0:
                offset_s += step * 0.5 * (scores[best - 1] - scores[best + 1]) / curve
    return offset_s
