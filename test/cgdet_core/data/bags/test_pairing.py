"""Frames pair by nearest stamps, each once, and what is left over or odd is counted."""

from __future__ import annotations

import itertools

import numpy as np

from cgdet_core.data.bags.pairing import Pairs, pair_stamps, stream_timing

MS = 1_000_000


def pair(thermal_ms: list[float], rgb_ms: list[float], offset_ms: float = 0, tolerance_ms: float = 10) -> Pairs:
    return pair_stamps(
        [round(stamp * MS) for stamp in thermal_ms],
        [round(stamp * MS) for stamp in rgb_ms],
        offset_ns=round(offset_ms * MS),
        tolerance_ns=round(tolerance_ms * MS),
    )


def places(pairs: Pairs) -> list[tuple[int, int]]:
    return list(zip(pairs.thermal_index, pairs.rgb_index, strict=True))


def test_the_nearest_of_two_is_taken_and_the_other_left_over() -> None:
    pairs = pair([100, 200], [96, 103, 200])
    assert places(pairs) == [(0, 1), (1, 2)]
    assert (pairs.thermal.frames - len(pairs), pairs.rgb.frames - len(pairs)) == (0, 1)
    assert pairs.median_difference_ms == 1.5


def test_the_offset_is_added_to_the_rgb_stamp() -> None:
    assert places(pair([100, 200, 300], [0, 100, 200], offset_ms=100)) == [(0, 0), (1, 1), (2, 2)]
    assert places(pair([100, 200, 300], [0, 100, 200], offset_ms=-100)) == [(0, 2)]


def test_a_difference_of_the_tolerance_pairs_and_one_nanosecond_more_does_not() -> None:
    assert places(pair([100], [110])) == [(0, 0)]
    assert places(pair([100], [110.000001])) == []
    assert places(pair([100], [110, 90])) == [(0, 1)]  # at equal distance the earlier


def test_no_pairs_are_no_error() -> None:
    for thermal, rgb in (([], []), ([1], []), ([], [1]), ([0], [1000])):
        pairs = pair(thermal, rgb)
        assert len(pairs) == 0
        assert pairs.median_difference_ms == 0
        assert (pairs.thermal.frames - len(pairs), pairs.rgb.frames - len(pairs)) == (len(thermal), len(rgb))


def test_repeated_stamps_pair_their_first_frame_only_and_are_named() -> None:
    pairs = pair([100, 100, 200], [100, 200, 200])
    assert places(pairs) == [(0, 0), (2, 1)]
    assert (pairs.thermal.repeated_stamps, pairs.rgb.repeated_stamps) == (1, 1)
    assert pairs.to_text().count("repeat a stamp") == 2


def test_stamps_that_jump_back_are_paired_in_order() -> None:
    pairs = pair([300, 400, 100, 200], [101, 201, 301, 401])
    assert places(pairs) == [(2, 0), (3, 1), (0, 2), (1, 3)]


def test_rates_and_drops_are_those_of_each_stream() -> None:
    thermal = [frame * 100.0 for frame in range(20) if frame not in (5, 9, 10)]
    pairs = pair(thermal, [frame * 50.0 for frame in range(40)])
    assert pairs.thermal.rate_hz == 10
    assert pairs.rgb.rate_hz == 20
    assert (pairs.thermal.dropped, pairs.rgb.dropped) == (3, 0)
    assert (len(pairs), pairs.thermal.frames - len(pairs), pairs.rgb.frames - len(pairs)) == (17, 0, 23)
    assert pairs.thermal.period_ns == 100 * MS


def test_a_stream_of_one_frame_or_of_equal_stamps_has_no_rate() -> None:
    for stamps in ([], [5], [5, 5, 5]):
        timing = stream_timing(stamps)
        assert (timing.rate_hz, timing.period_ns, timing.dropped) == (0, 0, 0)


def greedy(thermal: list[int], rgb: list[int], tolerance: int) -> list[tuple[int, int]]:
    """Again, by trying all: the nearest two left go first, unless a frame or a pair lies between them."""
    chosen: list[tuple[int, int]] = []
    tried = [(abs(t - r), min(t, r), i, j) for (i, t), (j, r) in itertools.product(enumerate(thermal), enumerate(rgb))]
    for gap, _, i, j in sorted(tried):
        low, high = sorted((thermal[i], rgb[j]))
        between = [stamp for stamp in thermal + rgb if low < stamp < high]
        if gap <= tolerance and not between and not any(i == a or j == b for a, b in chosen):
            chosen.append((i, j))
    return sorted(chosen)


def test_random_streams_pair_as_a_search_over_all_pairs_does() -> None:
    for seed in range(20):
        stamps = np.random.default_rng(seed).permutation(120)[:60]  # all unlike, so that only the gaps tie
        thermal, rgb = sorted(stamps[:25].tolist()), sorted(stamps[25:].tolist())
        pairs = pair_stamps(thermal, rgb, tolerance_ns=3)
        assert places(pairs) == greedy(thermal, rgb, 3)
        assert len(set(pairs.thermal_index)) == len(set(pairs.rgb_index)) == len(pairs)
