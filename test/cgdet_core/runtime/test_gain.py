"""gain.py: limits that follow slowly, and at once where they must."""

from __future__ import annotations

import math

import numpy as np
import pytest

from cgdet_core.config import ThermalConfig
from cgdet_core.runtime.gain import LEAST_SHARED, GainSmoother, shared
from cgdet_core.thermal import ToneLimits, tone_limits

SECOND_NS = 1_000_000_000
CONFIG = ThermalConfig(low_percentile=0.0, high_percentile=100.0)


def frame(low: int, high: int, dtype: type = np.uint16) -> np.ndarray:
    return np.linspace(low, high, 600).astype(dtype).reshape(20, 30)


def test_a_change_is_followed_by_63_percent_after_the_time_constant_however_many_frames_came() -> None:
    for frames in (1, 4, 50):
        smoother = GainSmoother(2.0, CONFIG)
        assert smoother.limits_of(frame(1000, 2000), 0) == ToneLimits(1000, 2000)
        for number in range(1, frames + 1):
            limits = smoother.limits_of(frame(1100, 2200), number * 2 * SECOND_NS // frames)
        assert limits.low == pytest.approx(1100 - 100 * math.exp(-1))
        assert limits.high == pytest.approx(2200 - 200 * math.exp(-1))


def test_a_still_scene_keeps_its_limits_exactly() -> None:
    smoother, still = GainSmoother(1.0, CONFIG), frame(1003, 2711)
    for number in range(50):
        assert smoother.limits_of(still, number * SECOND_NS // 30) == tone_limits(still, CONFIG)


def test_a_jump_of_the_gain_is_followed_at_once_and_every_frame_shares_at_least_half_with_its_own() -> None:
    generator = np.random.default_rng(4)
    smoother = GainSmoother(1.0, CONFIG)
    used = None
    jumps = 0
    for number in range(400):
        low = int(generator.integers(1000, 3000))
        picture = frame(low, low + int(generator.integers(100, 4000)))
        own, before = tone_limits(picture, CONFIG), used
        used = smoother.limits_of(picture, number * SECOND_NS // 30)
        assert shared(used, own) >= LEAST_SHARED
        if before is not None:
            if shared(before, own) < LEAST_SHARED:
                jumps += 1
                assert used == own
            else:
                assert min(before.low, own.low) <= used.low <= max(before.low, own.low)
                assert min(before.high, own.high) <= used.high <= max(before.high, own.high)
    assert 0 < jumps < 400


def test_a_step_back_in_time_another_bit_depth_and_a_new_stream_start_anew() -> None:
    smoother = GainSmoother(5.0, CONFIG)
    smoother.limits_of(frame(1000, 2000), 10 * SECOND_NS)
    assert smoother.limits_of(frame(1100, 2100), 9 * SECOND_NS) == ToneLimits(1100, 2100)
    smoother.limits_of(frame(0, 200, np.uint8), 10 * SECOND_NS)
    assert smoother.limits_of(frame(10, 210), 11 * SECOND_NS) == ToneLimits(10, 210)
    smoother.forget()
    assert smoother.limits_of(frame(20, 220), 12 * SECOND_NS) == ToneLimits(20, 220)


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [((0, 10), (0, 10), 1.0), ((0, 10), (5, 15), 1 / 3), ((0, 10), (10, 20), 0.0), ((0, 10), (2, 7), 0.5)],
)
def test_what_two_ranges_share_is_their_common_part_of_both(
    first: tuple[int, int], second: tuple[int, int], expected: float
) -> None:
    assert shared(ToneLimits(*first), ToneLimits(*second)) == pytest.approx(expected)
    assert shared(ToneLimits(*second), ToneLimits(*first)) == pytest.approx(expected)
