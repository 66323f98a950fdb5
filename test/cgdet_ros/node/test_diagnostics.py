"""diagnostics.py: what the node's report says of itself, and when it is a warning or an error."""

from __future__ import annotations

from dataclasses import replace

import pytest

from cgdet_ros.config import DiagnosticsConfig
from cgdet_ros.node import frame_log
from cgdet_ros.node.diagnostics import ERROR, OK, WARN, Reporter, Situation, Status, describe
from cgdet_ros.node.frame_log import FrameLog

SITUATION = Situation(state="active", image_topic="/image", image_publishers=1, active_s=1000.0)


def report(log: FrameLog, situation: Situation = SITUATION, **limits: float) -> Status:
    return describe(replace(situation, limits=DiagnosticsConfig.model_validate(limits)), log.report())


def answer(log: FrameLog) -> None:
    log.received()
    log.answered(5.0, {})


def refuse(log: FrameLog) -> None:
    log.received()
    log.lost("refused", "encoding 'yuv422' is not supported")


def fail(log: FrameLog) -> None:
    log.received()
    log.lost("failed", "RuntimeError: out of memory")


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


def finding(status: Status) -> tuple[int, str]:
    return status.level, status.message


def test_no_image_yet_becomes_an_error_after_its_time_and_says_who_publishes() -> None:
    for active_s, publishers, expected in (
        (1.0, 0, (WARN, "no image yet on /image (nobody publishes there)")),
        (9.0, 1, (WARN, "no image yet on /image (1 publisher)")),
        (11.0, 2, (ERROR, "no image yet on /image (2 publishers)")),
    ):
        situation = replace(SITUATION, active_s=active_s, image_publishers=publishers)
        assert finding(report(FrameLog(), situation=situation)) == expected
    late = replace(SITUATION, active_s=99.0)
    assert report(FrameLog(), situation=late, image_error_s=0.0).level == WARN
    assert report(FrameLog(), situation=late, image_error_s=0.0, image_timeout_s=0.0).level == OK


def test_times_and_ages_are_judged_by_their_p95_once_there_are_ten() -> None:
    log = FrameLog()
    log.received()
    for number in range(9):
        log.answered(900.0, {})
        log.aged(number * 10**9, number * 10**9 + 1_500_000_000)
    assert finding(report(log)) == (OK, "detecting")
    log.answered(900.0, {})
    assert finding(report(log)) == (WARN, "receive-to-publish p95 is 900 ms, more than 500 ms")
    assert report(log, latency_error_ms=899.0).level == ERROR
    assert report(log, latency_warn_ms=0.0).level == OK
    log.aged(9 * 10**9, 9 * 10**9 + 1_500_000_000)
    late = report(log, latency_warn_ms=0.0)
    assert finding(late) == (WARN, "stamp-to-publish p95 is 1500 ms, more than 1000 ms")
    assert report(log, age_error_ms=1400.0).level == ERROR
    assert late.values["stamp_to_publish_ms"] == "p50 1500.00, p95 1500.00, p99 1500.00"


def test_rates_are_over_two_seconds_or_more_and_start_anew_with_the_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    now_s = 100.0
    monkeypatch.setattr(frame_log.time, "monotonic", lambda: now_s)
    log = FrameLog()
    seen = []
    for second in range(6):
        status = report(log, rate_warn_hz=9.0, rate_error_hz=4.0, image_error_s=0.0)
        seen.append((status.values.get("input_rate_hz"), status.values.get("output_rate_hz"), status.level))
        for _ in range(10 if second < 3 else 2):
            answer(log)
        now_s += 1.0
    # with 10 a second at first, then 2
    assert seen == [
        (None, None, WARN),
        ("10.00", "10.00", OK),
        ("10.00", "10.00", OK),
        ("10.00", "10.00", OK),
        ("6.00", "6.00", WARN),
        ("2.00", "2.00", ERROR),
    ]
    log.forget()
    assert "input_rate_hz" not in report(log).values


def test_dropped_frames_warn_where_a_share_is_given() -> None:
    def log() -> FrameLog:
        made = FrameLog()
        for _ in range(3):
            made.received()
            made.overtaken()
        answer(made)
        return made

    assert finding(report(log())) == (OK, "detecting")
    assert finding(report(log(), dropped_warn=0.7)) == (WARN, "75% of the images were overtaken by newer ones")
    assert report(log(), dropped_warn=0.8).level == OK


def test_the_worst_comes_first_and_nothing_is_left_out() -> None:
    log = FrameLog()
    refuse(log)
    situation = replace(SITUATION, unheard=("/a offers nothing",), facts={"fallback": "CUDA error"})
    level, message = finding(report(log, situation=situation))
    assert level == ERROR
    assert message.split("; ") == [
        "1 frames refused and 0 failed since the last report, 0 answered: encoding 'yuv422' is not supported",
        "the GPU failed, the CPU is in its place: CUDA error",
        "/a offers nothing",
    ]


def test_a_paused_node_and_one_that_is_not_active_are_not_blamed_for_missing_images() -> None:
    paused = replace(SITUATION, enabled=False)
    assert finding(report(FrameLog(), situation=paused)) == (WARN, "paused by ~/enable")
    inactive = replace(SITUATION, state="inactive", unheard=("/a offers nothing",))
    assert finding(report(FrameLog(), situation=inactive)) == (WARN, "inactive")
    log = FrameLog()
    log.error("m.safetensors: model file is missing")
    unconfigured = replace(SITUATION, state="unconfigured")
    assert finding(report(log, situation=unconfigured)) == (ERROR, "m.safetensors: model file is missing")


def test_either_time_without_an_image_may_be_the_shorter_one_or_none(monkeypatch: pytest.MonkeyPatch) -> None:
    now_s = 0.0
    monkeypatch.setattr(frame_log.time, "monotonic", lambda: now_s)
    log = FrameLog()
    answer(log)
    now_s = 30.0
    for timeout_s, error_s, level in ((2, 10, ERROR), (60, 10, ERROR), (2, 0, WARN), (0, 60, OK), (0, 0, OK)):
        status = report(log, image_timeout_s=timeout_s, image_error_s=error_s)
        assert status.level == level
        assert status.message.startswith("no image on /image for 30 s") == (level != OK)


class LoggedNode:
    """Stands for the node, in what the reporter needs of it to log."""

    def __init__(self) -> None:
        self.lines: list[tuple[int, str]] = []

    def info(self, text: str) -> None:
        self.lines.append((OK, text))

    def warning(self, text: str) -> None:
        self.lines.append((WARN, text))

    def get_logger(self) -> LoggedNode:
        return self


def test_the_log_says_once_what_has_changed_for_two_reports() -> None:
    node, log = LoggedNode(), FrameLog()
    log.image_kind = "8x8 mono8"
    reporter = Reporter.__new__(Reporter)
    reporter._node, reporter._log, reporter._last, reporter._told = node, log, "", ""
    missing = Status(WARN, "no image on /flir_1/image for 3 s (1 publisher)", {})
    later = Status(WARN, "no image on /flir_1/image for 12 s (1 publisher)", {})
    gone = Status(ERROR, "no image on /flir_1/image for 13 s (nobody publishes there)", {})
    good, blink = Status(OK, "detecting", {}), Status(WARN, "frozen: the last 3 frames", {})
    for status in (good, good, good, missing, later, later, gone, gone, good, good, blink, good, good):
        reporter._tell_change(status, SITUATION)
    coming = (OK, "detecting on /image: 8x8 mono8")
    assert node.lines == [coming, (WARN, later.message), (WARN, gone.message), coming]
    for situation in (replace(SITUATION, enabled=False), replace(SITUATION, state="inactive")):
        reporter._tell_change(Status(WARN, "paused", {}), situation)
        reporter._tell_change(Status(WARN, "paused", {}), situation)
    assert len(node.lines) == 4
    for _ in range(2):
        reporter._tell_change(good, SITUATION)
    assert node.lines[4:] == [coming]
