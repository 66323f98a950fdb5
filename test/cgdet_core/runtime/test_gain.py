"""What a closed shutter and a changed gain look like."""

from __future__ import annotations

import numpy as np
import pytest

from cgdet_core.config import ThermalConfig
from cgdet_core.runtime.gain import ShutterWatch, Sight

SECOND_NS = 1_000_000_000
CONFIG = ThermalConfig(low_percentile=0.0, high_percentile=100.0)
FRAME_NS = 33_000_000
NOTHING = Sight()


def frame(low: int, high: int, dtype: type = np.uint16) -> np.ndarray:
    return np.linspace(low, high, 600).astype(dtype).reshape(20, 30)


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
