"""The gain over time: limits of the tone that do not jump with every frame. Off unless asked for."""

from __future__ import annotations

import math

from cgdet_core.config import ThermalConfig
from cgdet_core.thermal import ToneLimits, tone_limits
from cgdet_core.types import ImageArray

LEAST_SHARED = 0.5


def shared(first: ToneLimits, second: ToneLimits) -> float:
    """What two ranges of counts have in common, of what they cover together, 0 to 1."""
    common = min(first.high, second.high) - max(first.low, second.low)
    together = max(first.high, second.high) - min(first.low, second.low)
    return max(0.0, common) / together if together > 0 else 1.0


class GainSmoother:
    """Exponential smoothing of the tone limits by the time between header stamps.

    time_constant_s: after it, 63 % of a change have been followed. Guaranteed, for every frame:

    * its limits lie between its own and those used for the frame before, and share at least
      LEAST_SHARED with its own: a jump of the camera's gain is followed at once;
    * they depend on the pictures and stamps that came, not on how fast they were worked on;
    * a still scene keeps its limits exactly, and a first frame, one after a step back in time and one
      of another bit depth get their own, bit for bit as without smoothing.
    """

    def __init__(self, time_constant_s: float, config: ThermalConfig) -> None:
        self._time_constant_s = time_constant_s
        self._config = config
        self._before: tuple[ToneLimits, int, str] | None = None

    def forget(self) -> None:
        """The next frame is a first one."""
        self._before = None

    def limits_of(self, grey: ImageArray, stamp_ns: int) -> ToneLimits:
        """The limits for the grey frame uint8/uint16 [H, W] of header stamp `stamp_ns`."""
        limits = own = tone_limits(grey, self._config)
        kind = grey.dtype.str
        if self._before is not None:
            used, then_ns, kind_then = self._before
            step_s = (stamp_ns - then_ns) / 1e9
            if kind == kind_then and step_s >= 0 and shared(used, own) >= LEAST_SHARED:
                kept = math.exp(-step_s / self._time_constant_s)
                limits = ToneLimits(own.low + kept * (used.low - own.low), own.high + kept * (used.high - own.high))
        self._before = limits, stamp_ns, kind
        return limits
