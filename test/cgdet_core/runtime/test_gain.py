"""Limits that follow slowly, and at once where they must; what a closed shutter and a changed gain look like."""

from __future__ import annotations

import math

import numpy as np
import pytest

from cgdet_core.config import ThermalConfig
from cgdet_core.runtime.gain import LEAST_SHARED, GainSmoother, ShutterWatch, Sight, shared
from cgdet_core.thermal import ToneLimits, tone_limits

SECOND_NS = 1_000_000_000
CONFIG = ThermalConfig(low_percentile=0.0, high_percentile=100.0)
FRAME_NS = 33_000_000
NOTHING = Sight()


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


def scene(seed: int, offset: int = 21000, dtype: type = np.uint16, spread: float = 120.0) -> np.ndarray:
    """Noise that is another in every frame, before a warm body."""
    counts = np.random.default_rng(seed).normal(offset, spread, (128, 160))
    counts[40:90, 60:100] += 8 * spread
    return counts.clip(0, np.iinfo(dtype).max).astype(dtype)


def looks(watch: ShutterWatch, *pictures: np.ndarray) -> list[Sight]:
    return [watch.look(picture, number * FRAME_NS) for number, picture in enumerate(pictures)]


@pytest.fixture
def watch() -> ShutterWatch:
    return ShutterWatch(ThermalConfig(), jump_share=0.5)


def test_a_repeated_picture_is_frozen_and_one_changed_count_is_not(watch: ShutterWatch) -> None:
    first = scene(1)
    changed = first.copy()
    changed[77, 3] += 1
    frozen = Sight(frozen=True)
    assert looks(watch, first, first.copy(), first.copy(), changed) == [NOTHING, frozen, frozen, NOTHING]
    watch.forget()
    colour = np.stack([scene(1, 100, np.uint8, 8)] * 3, axis=2)
    assert looks(watch, colour, colour.copy(), colour[:64]) == [NOTHING, frozen, NOTHING]


@pytest.mark.parametrize(("dtype", "span"), [(np.uint16, 63), (np.uint8, 7)])
def test_a_frame_whose_tones_span_less_than_the_least_is_flat(watch: ShutterWatch, dtype: type, span: int) -> None:
    ramp = np.tile(np.linspace(0, 1, 160), (128, 1))
    flat, not_flat = ((100 + width * ramp).round().astype(dtype) for width in (span, 3 * span))
    assert watch.look(flat, 0).flat
    assert not watch.look(not_flat, 1).flat


def test_a_gain_that_jumps_is_seen_once_also_across_the_shutter(watch: ShutterWatch) -> None:
    shutter = np.full((128, 160), 21000, np.uint16)
    assert looks(watch, scene(1), scene(2, 30000), scene(3, 30000)) == [NOTHING, Sight(gain_jump=True), NOTHING]
    watch.forget()
    flat, jump = Sight(flat=True), Sight(gain_jump=True)
    assert looks(watch, scene(1), shutter, shutter + 1, scene(2)) == [NOTHING, flat, flat, NOTHING]
    watch.forget()
    assert looks(watch, scene(1), shutter, scene(2, 30000)) == [NOTHING, flat, jump]
    watch.forget()
    watch.jump_share = 0.0
    assert looks(watch, scene(1), scene(2, 30000)) == [NOTHING, NOTHING]


def test_frames_far_apart_or_of_another_kind_are_not_compared(watch: ShutterWatch) -> None:
    watch.look(scene(1), 0)
    assert watch.look(scene(2, 30000), 3_000_000_000) == NOTHING
    assert watch.look(scene(3, 60, np.uint8, 20), 3_010_000_000) == NOTHING
    watch.forget()
    assert watch.look(scene(3, 180, np.uint8, 5), 3_020_000_000) == NOTHING
