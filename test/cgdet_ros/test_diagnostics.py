"""diagnostics.py: what the node's report says of itself, and when it is a warning or an error."""

from __future__ import annotations

import pytest

from cgdet_core.config import DiagnosticsConfig
from cgdet_ros import frame_log
from cgdet_ros.diagnostics import ERROR, OK, WARN, Situation, Status, describe
from cgdet_ros.frame_log import FrameLog
from cgdet_ros.stamp_age import StampAges

SITUATION = Situation(state="active", image_topic="/image", image_publishers=1, active_s=1000.0)


def report(log: FrameLog, ages: StampAges | None = None, situation: Situation = SITUATION, **limits: float) -> Status:
    return describe(situation, log, ages or StampAges(), DiagnosticsConfig.model_validate(limits))


def answer(log: FrameLog) -> None:
    log.received()
    log.answered(5.0, {})


def refuse(log: FrameLog) -> None:
    log.received()
    log.refused("encoding 'yuv422' is not supported")


def fail(log: FrameLog) -> None:
    log.received()
    log.failed("RuntimeError: out of memory")


@pytest.mark.parametrize(("lose", "reason"), [(refuse, "encoding 'yuv422'"), (fail, "out of memory")])
def test_frames_that_are_all_refused_or_failed_are_an_error_and_some_are_a_warning(lose: object, reason: str) -> None:
    assert callable(lose)
    log = FrameLog()
    answer(log)
    assert (report(log).level, report(log).message) == (OK, "detecting")
    lose(log)
    answer(log)
    status = report(log)
    assert status.level == WARN
    assert reason in status.message
    lose(log)
    status = report(log)
    assert status.level == ERROR
    assert reason in status.message


def test_a_report_between_two_images_says_what_the_one_before_it_said() -> None:
    log = FrameLog()
    refuse(log)
    assert [report(log).level for _ in range(3)] == [ERROR, ERROR, ERROR]
    answer(log)
    assert [report(log).level for _ in range(3)] == [OK, OK, OK]


def test_images_that_come_and_are_never_answered_are_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    now_s = 100.0
    monkeypatch.setattr(frame_log.time, "monotonic", lambda: now_s)
    log = FrameLog()
    answer(log)
    levels = []
    for _ in range(5):
        now_s += 1.0
        log.received()
        log.overtaken()
        levels.append(report(log).level)
    assert levels == [OK, OK, OK, ERROR, ERROR]
    log.answered(5.0, {})
    assert report(log).level == OK
