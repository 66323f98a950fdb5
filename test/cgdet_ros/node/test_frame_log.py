"""frame_log.py: ages of one clock, and what is said where there are two."""

from __future__ import annotations

import pytest

from cgdet_ros.node.frame_log import FrameLog

SECOND_NS = 1_000_000_000


def ages_of(log: FrameLog) -> tuple[list[float], str]:
    report = log.report()
    return report.ages_ms, report.no_age


def test_ages_of_one_clock_are_kept_in_ms() -> None:
    log = FrameLog()
    for number in range(3):
        log.aged(number * SECOND_NS, number * SECOND_NS + (5 + number) * 1_000_000)
    assert ages_of(log) == ([5.0, 6.0, 7.0], "")
    assert (log.counts.foreign_stamps, log.counts.stamp_jumps_back, log.counts.clock_jumps_back) == (0, 0, 0)


@pytest.mark.parametrize(
    ("age_s", "reason"),
    [(-3600.0, "3600.0 s ahead of this node's"), (11.0, "11.0 s behind this node's"), (-0.06, "0.1 s ahead")],
)
def test_stamps_of_another_clock_are_named_and_not_averaged(age_s: float, reason: str) -> None:
    log = FrameLog()
    now_ns = 1_700_000_000 * SECOND_NS
    log.aged(now_ns - 8_000_000, now_ns)
    log.aged(now_ns + 1 - int(age_s * SECOND_NS), now_ns + 1)
    kept, said = ages_of(log)
    assert kept == []
    assert reason in said
    assert "not averaged" in said
    assert log.counts.foreign_stamps == 1


def test_a_jump_back_of_either_clock_is_counted_and_empties_the_window() -> None:
    log = FrameLog()
    log.aged(100 * SECOND_NS, 100 * SECOND_NS + 1_000_000)
    log.aged(20 * SECOND_NS, 20 * SECOND_NS + 2_000_000)  # a bag that starts again, with its clock
    assert ages_of(log) == ([2.0], "")
    assert (log.counts.clock_jumps_back, log.counts.stamp_jumps_back) == (1, 1)
    log.aged(21 * SECOND_NS, 20 * SECOND_NS + 1_000_000)
    assert (log.counts.clock_jumps_back, log.counts.stamp_jumps_back) == (2, 1)


def test_the_first_stamp_of_another_stream_is_no_jump() -> None:
    log = FrameLog()
    log.aged(100 * SECOND_NS, 100 * SECOND_NS)
    log.forget()
    log.aged(50 * SECOND_NS, 101 * SECOND_NS)
    assert log.counts.stamp_jumps_back == 0
    assert ages_of(log)[0] == []
