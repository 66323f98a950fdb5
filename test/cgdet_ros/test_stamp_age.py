"""stamp_age.py: ages of one clock, and what is said where there are two."""

from __future__ import annotations

import pytest

from cgdet_ros.node.stamp_age import StampAges

SECOND_NS = 1_000_000_000


def test_ages_of_one_clock_are_kept_in_ms() -> None:
    ages = StampAges()
    for number in range(3):
        ages.answered(number * SECOND_NS, number * SECOND_NS + (5 + number) * 1_000_000)
    assert ages.ages_ms() == ([5.0, 6.0, 7.0], "")
    assert (ages.foreign_stamps, ages.stamp_jumps_back, ages.clock_jumps_back) == (0, 0, 0)


@pytest.mark.parametrize(
    ("age_s", "reason"),
    [(-3600.0, "3600.0 s ahead of this node's"), (11.0, "11.0 s behind this node's"), (-0.06, "0.1 s ahead")],
)
def test_stamps_of_another_clock_are_named_and_not_averaged(age_s: float, reason: str) -> None:
    ages = StampAges()
    now_ns = 1_700_000_000 * SECOND_NS
    ages.answered(now_ns - 8_000_000, now_ns)
    ages.answered(now_ns + 1 - int(age_s * SECOND_NS), now_ns + 1)
    kept, said = ages.ages_ms()
    assert kept == []
    assert reason in said
    assert "not averaged" in said
    assert ages.foreign_stamps == 1


def test_a_little_ahead_is_still_the_same_clock() -> None:
    ages = StampAges()
    ages.answered(10 * SECOND_NS + 20_000_000, 10 * SECOND_NS)
    assert ages.ages_ms() == ([-20.0], "")


def test_a_jump_back_of_either_clock_is_counted_and_empties_the_window() -> None:
    ages = StampAges()
    ages.answered(100 * SECOND_NS, 100 * SECOND_NS + 1_000_000)
    ages.answered(20 * SECOND_NS, 20 * SECOND_NS + 2_000_000)  # a bag that starts again, with its clock
    assert ages.ages_ms() == ([2.0], "")
    assert (ages.clock_jumps_back, ages.stamp_jumps_back) == (1, 1)
    ages.answered(21 * SECOND_NS, 20 * SECOND_NS + 1_000_000)
    assert (ages.clock_jumps_back, ages.stamp_jumps_back) == (2, 1)


def test_a_clock_that_was_never_set_is_named() -> None:
    ages = StampAges()
    ages.answered(5 * SECOND_NS, 0)
    assert ages.ages_ms() == ([], "no time has come on /clock yet")


def test_the_first_stamp_of_another_stream_is_no_jump() -> None:
    ages = StampAges()
    ages.answered(100 * SECOND_NS, 100 * SECOND_NS)
    ages.forget()
    ages.answered(50 * SECOND_NS, 101 * SECOND_NS)
    assert ages.stamp_jumps_back == 0
    assert ages.ages_ms()[0] == []
