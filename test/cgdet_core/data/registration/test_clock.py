"""The clocks' offset comes out of motion that both streams see, and is refused where there is none."""

from __future__ import annotations

import numpy as np
import pytest
from pan_scene import shapes

from cgdet_core.data.registration.clock import CHANNELS, Motion, MotionMeter, estimate_offset, movement, small_picture
from cgdet_core.errors import InputError

ORIGIN_NS = 1_700_000_000_000_000_000


def sway(time_s: np.ndarray, seed: int = 0) -> np.ndarray:
    """A smooth random place [N, 3] of a camera; the last channel is how fast it moves."""
    rng = np.random.default_rng(seed)
    hertz, phase = rng.uniform(0.1, 1.2, (2, 6)), rng.uniform(0, 6.28, (2, 6))
    place = np.sin(6.28318 * hertz * time_s[:, None, None] + phase).sum(2) / 20
    return np.concatenate([place, np.abs(place[:, :1])], axis=1)


def stream(
    rate_hz: float, offset_s: float, seconds: float = 15, phase_s: float = 0.0, noise: float = 0.0, drop: float = 0.0
) -> Motion:
    """What a camera would measure whose clock is `offset_s` behind; `noise` of the measurement, per interval."""
    rng = np.random.default_rng(round(1000 * rate_hz))
    time_s = np.arange(phase_s, seconds, 1 / rate_hz)
    time_s = time_s[rng.random(len(time_s)) >= drop]
    moved = np.diff(sway(time_s), axis=0) + noise * rng.standard_normal((len(time_s) - 1, len(CHANNELS)))
    span = np.diff(time_s)
    stamps = time_s - offset_s
    return Motion(stamps[:-1] - stamps[0], stamps[1:] - stamps[0], moved / span[:, None], round(stamps[0] * 1e9))


@pytest.mark.parametrize(("thermal_hz", "rgb_hz", "offset_s"), [(20, 20, 0.0), (9, 20, 0.137), (20, 12, -1.4)])
def test_the_offset_is_found_to_a_few_milliseconds_at_any_two_rates(
    thermal_hz: float, rgb_hz: float, offset_s: float
) -> None:
    thermal = stream(thermal_hz, 0.0, noise=0.002, drop=0.1)
    rgb = stream(rgb_hz, offset_s, phase_s=0.017, noise=0.002, drop=0.1)
    found = estimate_offset(thermal, rgb, 2.0)
    assert abs(found.offset_ns / 1e9 - offset_s) < 0.1 / min(thermal_hz, rgb_hz)
    assert found.confidence > 0.5
    assert found.spread_ms < 10


def test_a_guess_or_a_wider_search_finds_clocks_that_are_far_apart() -> None:
    thermal, rgb = stream(20, 0.0), stream(20, 7200.25)
    found = estimate_offset(thermal, rgb, 2.0, guess_ns=7_200_000_000_000)
    assert abs(found.offset_ns / 1e9 - 7200.25) < 0.005
    found = estimate_offset(stream(20, 0.0), stream(20, 3.0), 5.0)
    assert abs(found.offset_ns / 1e9 - 3.0) < 0.005


def test_one_channel_that_both_see_is_enough() -> None:
    thermal, rgb = stream(20, 0.0), stream(20, 0.3)
    blind = rgb.rates.copy()
    blind[:, 1:] = np.nan
    found = estimate_offset(thermal, Motion(rgb.begin_s, rgb.end_s, blind, rgb.origin_ns), 2.0)
    assert abs(found.offset_ns / 1e9 - 0.3) < 0.005


def of_rates(rates: np.ndarray) -> Motion:
    begin = np.arange(len(rates)) / 20
    return Motion(begin, begin + 1 / 20, rates, 0)


def noise(amount: float, seed: int) -> Motion:
    return of_rates(amount * np.random.default_rng(seed).standard_normal((300, len(CHANNELS))))


def wave(offset_s: float) -> Motion:
    place = np.sin(2 * np.pi * 2.0 * (np.arange(300) / 20 + 0.025 + offset_s))
    return of_rates(np.repeat(place[:, None], len(CHANNELS), axis=1))


@pytest.mark.parametrize(
    ("thermal", "rgb"),
    [
        (noise(0.0, 1), noise(0.0, 2)),
        (noise(1.0, 1), noise(1.0, 2)),
        (wave(0.0), wave(0.1)),
        (stream(20, 0.0), stream(20, 0.0, seconds=1.0)),
        (stream(20, 0.0), stream(20, 7200.25)),
        (stream(20, 0.0), stream(20, 3.0)),
    ],
    ids=["still", "noise", "repeats itself", "short", "no shared time", "beyond the search"],
)
def test_an_offset_that_cannot_be_told_is_refused(thermal: Motion, rgb: Motion) -> None:
    with pytest.raises(InputError, match="--offset"):
        estimate_offset(thermal, rgb, 2.0)


def test_a_shift_is_measured_below_a_pixel() -> None:
    thermal, _ = shapes(3, 400, 500)
    before = small_picture(thermal[100:250, 100:292])
    moved = movement(before, small_picture(thermal[104:254, 97:289]))
    assert moved[:2] == pytest.approx([3 / 192, -4 / 192], abs=0.0008)
    assert moved[2] > 0
    assert movement(before, before) == pytest.approx(np.zeros(3), abs=1e-6)
    assert np.isnan(movement(None, before)).all()


def test_a_flat_picture_has_change_but_no_shift() -> None:
    moved = movement(np.full((100, 192), 128, np.uint8), np.full((100, 192), 130, np.uint8))
    assert moved[:2] == pytest.approx([0, 0], abs=1e-6)
    assert moved[2] == pytest.approx(2 / 40)


def test_gain_and_bit_depth_do_not_matter_to_motion() -> None:
    thermal, _ = shapes(3)
    for image in (thermal.astype(np.uint16) * 40 + 9000, thermal // 2):
        assert np.abs(small_picture(image).astype(int) - small_picture(thermal).astype(int)).max() <= 2


def test_intervals_over_a_gap_or_a_jump_of_the_clock_are_left_out() -> None:
    meter = MotionMeter()
    thermal, _ = shapes(3)
    stamps_ms = [0, 100, 200, 300, 900, 1000, 500, 600, 600]
    for index, stamp_ms in enumerate(stamps_ms):
        meter.add(thermal[:, index : 200 + index], stamp_ms * 1_000_000)
    motion = meter.motion()
    assert motion.begin_s.round(3).tolist() == [0.0, 0.1, 0.2, 0.9, 0.5]
    assert motion.end_s.round(3).tolist() == [0.1, 0.2, 0.3, 1.0, 0.6]
    # every frame lies a pixel further: the picture moves left by a pixel in 200 in a tenth of a second
    np.testing.assert_allclose(motion.rates[:, 0], -10 / 200, atol=0.01)
