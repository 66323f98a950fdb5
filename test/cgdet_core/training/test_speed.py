"""Speed figures from known seconds, and the loop that is timed."""

from __future__ import annotations

import pytest

from cgdet_core.training.speed import Pace, SpeedMeter, speed_line


def test_speed_and_share_follow_from_the_seconds() -> None:
    pace = Pace()
    pace.add(wait_s=0.5, step_s=1.5)
    pace.add(wait_s=0.0, step_s=2.0)
    assert pace.figures(batch_size=16) == {"images_per_second": pytest.approx(8.0), "data_wait_share": 0.125}


def test_the_line_says_what_bounds_the_run() -> None:
    line = speed_line({"images_per_second": 31.42, "data_wait_share": 0.02}, workers=1)
    assert line == "31.4 images/s; the network waited 2% of the time for data: arithmetic bounds it"
    assert "data preparation bounds it, more processes may help (train.workers=3)" in speed_line(
        {"images_per_second": 31.42, "data_wait_share": 0.3}, workers=2
    )


def test_every_batch_is_handed_on_once_and_the_first_five_do_not_count_where_there_are_more() -> None:
    meter = SpeedMeter()
    seen = []
    for number in meter.over(iter(range(7))):
        seen.append(number)
        meter.step_done()
        assert meter.total.batches == (number + 1 if number < 5 else number - 4)
    assert seen == list(range(7))
    assert (meter.lap().batches, meter.lap().batches) == (7, 0)
