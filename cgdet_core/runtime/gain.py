"""What a thermal camera's gain and shutter do to its pictures, seen in the pictures alone.

While a FLIR camera calibrates itself against its shutter (a flat-field correction, every few minutes)
it repeats its last picture, or shows the shutter, and afterwards its counts may lie elsewhere; a
change between high and low gain moves them at once.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from cgdet_core.config import ThermalConfig
from cgdet_core.thermal import ToneLimits, count_percentiles, least_span
from cgdet_core.types import ImageArray

_SAMPLES_PER_SIDE = 64  # a tone is judged by so many rows and columns: a tenth of a millisecond
_JUMP_WITHIN_NS = 2_000_000_000  # a shutter's time; between frames further apart the scene may have changed


def shared(first: ToneLimits, second: ToneLimits) -> float:
    """What two ranges of counts have in common, of what they cover together, 0 to 1."""
    common = min(first.high, second.high) - max(first.low, second.low)
    together = max(first.high, second.high) - min(first.low, second.low)
    return max(0.0, common) / together if together > 0 else 1.0


@dataclass(frozen=True)
class Sight:
    """What is odd about one frame.

    frozen: its picture is that of the frame before, byte for byte; flat: it has no tones, it would be
    noise if it were stretched; gain_jump: its counts lie elsewhere than those of the frame before.
    """

    frozen: bool = False
    flat: bool = False
    gain_jump: bool = False


class ShutterWatch:
    """Compares each frame with the one before it.

    config: whose percentiles and least spans tell a flat frame; jump_share: of the tones of two
    frames in close succession, but flat ones, more than this share is not common to both: a jump; 0: never.
    """

    def __init__(self, config: ThermalConfig, jump_share: float) -> None:
        self._config = config
        self.jump_share = jump_share
        self.forget()

    def forget(self) -> None:
        """The next frame has none before it."""
        self._before: ImageArray | None = None
        self._tones_before: tuple[ToneLimits, int, str] | None = None

    def look(self, picture: ImageArray, stamp_ns: int) -> Sight:
        """picture: uint8/uint16 [H, W] or uint8 [H, W, 3], its telemetry rows cut off, not to be written to later."""
        before, self._before = self._before, picture
        frozen = (
            before is not None
            and (picture.shape, picture.dtype) == (before.shape, before.dtype)
            and bool(np.array_equal(picture, before))
        )
        rows, columns = (max(1, side // _SAMPLES_PER_SIDE) for side in picture.shape[:2])
        samples = np.ascontiguousarray(picture[::rows, ::columns]).reshape(1, -1)
        percents = self._config.low_percentile, self._config.high_percentile
        tones = ToneLimits(*count_percentiles(samples, percents))
        if tones.high - tones.low < least_span(picture, self._config):
            return Sight(frozen, flat=True)
        jump = False
        if self._tones_before is not None:
            last, then_ns, kind = self._tones_before
            close = kind == picture.dtype.str and abs(stamp_ns - then_ns) <= _JUMP_WITHIN_NS
            jump = close and 0 < self.jump_share < 1 - shared(tones, last)
        self._tones_before = tones, stamp_ns, picture.dtype.str
        return Sight(frozen, gain_jump=jump)
