"""The parts of the replay: pace, signals, executable, domain, what is asked of it, and the link to the node."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("vision_msgs", reason="vision_msgs is not installed: make setup")

from rclpy.serialization import serialize_message
from rclpy.time import Time
from sensor_msgs.msg import Image
from std_msgs.msg import Header

from cgdet_core.data.bags.write import BagWriter
from cgdet_core.errors import InputError, StopRequest
from cgdet_ros.replay import cli as replay
from cgdet_ros.replay import process as replay_process
from cgdet_ros.replay.play import Pacer, read_ahead
from cgdet_ros.replay.request import find_recording, node_arguments, parse

SECOND = 1_000_000_000


@pytest.mark.parametrize(
    ("rate", "stamps_s", "due_s", "gaps", "jumps"),
    [
        (1.0, (5.0, 5.1, 5.3, 7.3), (0, 0.1, 0.3, 2.3), 0, 0),
        (4.0, (5.0, 5.1, 5.3), (0, 0.025, 0.075), 0, 0),
        (1.0, (0.0, 0.25, 100.0, 100.25), (0, 0.25, 0.5, 0.75), 1, 0),  # a gap is not waited for
        (1.0, (50.0, 50.25, 10.0, 10.5), (0, 0.25, 0.5, 1.0), 0, 1),  # after a step back: the period before it
        (1.0, (10.0, 9.0, 8.0), (0, 0.1, 0.2), 0, 2),  # no period at all: the default one
    ],
)
def test_frames_are_due_as_their_stamps_say(
    rate: float, stamps_s: tuple[float, ...], due_s: tuple[float, ...], gaps: int, jumps: int
) -> None:
    pacer = Pacer(rate, 2.0, 0.1)
    found = [pacer.due_s(1_700_000_000 * SECOND + round(stamp_s * SECOND)) for stamp_s in stamps_s]
    assert found == pytest.approx(due_s)
    assert (pacer.gaps, pacer.backward_jumps) == (gaps, jumps)


def test_a_user_s_domain_is_kept_and_else_a_free_one_on_this_machine_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ROS_DOMAIN_ID", "17")
    assert replay_process.isolate() == 17
    for name in ("ROS_AUTOMATIC_DISCOVERY_RANGE", "ROS_LOCALHOST_ONLY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("ROS_DISTRO", "jazzy")
    monkeypatch.setenv("ROS_DOMAIN_ID", "")  # counts as none
    assert 1 <= replay_process.isolate() <= 101
    assert os.environ["ROS_AUTOMATIC_DISCOVERY_RANGE"] == "LOCALHOST"
    assert os.environ["ROS_DOMAIN_ID"] != ""
    for domain in ("abc", "-1", "233", "1.5"):
        monkeypatch.setenv("ROS_DOMAIN_ID", domain)
        with pytest.raises(InputError, match=f"'{domain}'"):
            replay_process.isolate()


def test_a_path_reaches_the_node_as_it_is_written(ros: None, tmp_path: Path) -> None:
    from rclpy.node import Node

    model = tmp_path / "it's #1: the best.safetensors"
    arguments = parse(["--bag", "x", "--model", str(model), "--device", "0"])
    words = node_arguments(arguments, "/replayed", "/replayed/image")
    node = Node("reader", cli_args=["--ros-args", *words], automatically_declare_parameters_from_overrides=True)
    try:
        assert node.get_parameter("model").value == str(model)
        assert node.get_parameter("device").value == "0"
    finally:
        node.destroy_node()


def test_a_frame_that_the_node_counts_as_lost_is_waited_for_no_longer(ros: None) -> None:
    from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
    from std_msgs.msg import Header
    from vision_msgs.msg import Detection2DArray

    from cgdet_ros.replay.link import ReplayLink

    def tell(**counts: int) -> None:
        values = [KeyValue(key=name, value=str(count)) for name, count in counts.items()]
        status = DiagnosticStatus(name="/lost/thermal_detector", values=values)
        link._on_diagnostics(DiagnosticArray(status=[status]))

    def answer(stamp_ns: int) -> None:
        link._on_answer(Detection2DArray(header=Header(stamp=Time(nanoseconds=stamp_ns).to_msg())))

    link = ReplayLink("/lost", "/lost/image")
    try:
        assert link.wait_for_outcome(1, 1, 0.0) is False
        tell(refused=1, failed=0, overtaken=0)
        assert link.wait_for_outcome(1, 1, 0.0) is True
        assert link.wait_for_outcome(2, 2, 0.0) is False
        answer(2)
        assert link.wait_for_outcome(2, 2, 0.0) is True
        assert link.wait_for_outcome(3, 3, 0.0) is False
        tell(refused=1, failed=1, overtaken=0)
        assert link.wait_for_outcome(3, 3, 0.0) is True
    finally:
        link.close()


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["--bag", "x", "--limit-frames", "0"], "give 1 or more"),
        *((["--bag", "x", "--rate", rate], "--rate") for rate in ("-1", "0", "1001", "nan")),
        (["--bag", "x", "--param", "score_threshold=0.3"], "give name:=value"),
        ([], "--bag"),
        *((["--bag", "x", "--namespace", name], "--namespace") for name in ("my ns", "", "/", "1st", "a//b")),
    ],
)
def test_arguments_that_are_none_are_refused(words: list[str], reason: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as refusal:
        replay.main(words)
    assert refusal.value.code == 2
    assert reason in capsys.readouterr().err


def test_by_record_times_images_bear_the_time_at_which_they_were_recorded(tmp_path: Path) -> None:
    with BagWriter(tmp_path / "bag") as bag:
        for record_time_ns in (5, 8):
            image = Image(header=Header(frame_id="ir"), height=1, width=2, encoding="mono8", step=2, data=[1, 2])
            bag.serialised("/ir", serialize_message(image), "sensor_msgs/msg/Image", record_time_ns)
    for by, stamps in (("stamp", [0, 0]), ("record", [5, 8])):
        images = list(read_ahead(tmp_path / "bag", "/ir", 2, parse(["--bag", "x", "--by", by]).by))
        assert [image.stamp_ns for image, _ in images] == stamps
        assert [message.header.stamp.nanosec for _, message in images] == stamps


def test_a_class_map_where_no_labels_are_read_is_refused(tmp_path: Path) -> None:
    with BagWriter(tmp_path / "bag") as bag:
        bag.image("/ir", np.zeros((2, 3), np.uint8), 5, "ir")
    words = ["--bag", str(tmp_path / "bag"), "--truth-topic", "none"]
    assert find_recording(parse(words)).truth_topic is None
    for given in (words, words[:2]):
        with pytest.raises(InputError, match="--class-map"):
            find_recording(parse([*given, "--class-map", "truck=car"]))


def test_a_request_says_all_that_was_asked_for() -> None:
    assert parse(["--bag", "x", "--model", "a"]).model == Path("a")
    plain = parse(["--bag", "x"])
    assert (plain.model, plain.lockstep, plain.rate, plain.command) == (None, False, 1.0, "cgdet-replay --bag x")
    assert parse(["--bag", "x", "--lockstep"]).lockstep
    assert parse(["--bag", "x", "--rate", "3"]).rate == 3.0
    given = ["--param", "backend:=torch", "--param", "diagnostics.frozen_frames:=7", "--param", "use_sim_time:=true"]
    settings = parse(["--bag", "x", "--device", "cpu", *given]).settings
    assert (settings.device, settings.backend, settings.diagnostics.frozen_frames) == ("cpu", "torch", 7)


def test_the_first_signal_is_noted_and_a_later_one_interrupts(
    capfd: pytest.CaptureFixture[str],
) -> None:
    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    with StopRequest("writing what was measured") as interruption:
        interruption.watch()
        assert not interruption.is_set()
        os.kill(os.getpid(), signal.SIGTERM)
        assert interruption.wait(5.0)
        assert interruption.number == signal.SIGTERM
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
    assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)) == before
    assert capfd.readouterr().err.count("writing what was measured") == 1


def test_before_it_watches_a_signal_is_the_program_s() -> None:
    with StopRequest() as interruption, pytest.raises(KeyboardInterrupt):
        os.kill(os.getpid(), signal.SIGINT)
    assert not interruption.is_set()


def test_a_replay_that_is_killed_takes_a_node_along_that_is_only_starting(tmp_path: Path) -> None:
    executable = tmp_path / "node"
    executable.write_text(f"#!/bin/sh\necho $$ > {tmp_path}/pid\nexec sleep 60\n")
    executable.chmod(0o755)
    program = f"""
import os, pathlib, signal, time
from cgdet_ros.replay.process import NodeProcess
signal.signal(signal.SIGINT, signal.SIG_IGN)  # as a shell does for what runs in its background
node = NodeProcess([{str(executable)!r}], [], False)
while not (pathlib.Path({str(tmp_path)!r}) / "pid").is_file():
    time.sleep(0.01)
os.kill(os.getpid(), signal.SIGKILL)
"""
    subprocess.run([sys.executable, "-c", program], check=False)
    pid = int((tmp_path / "pid").read_text())
    deadline_s = time.monotonic() + 10
    while is_running(pid) and time.monotonic() < deadline_s:
        time.sleep(0.01)
    assert not is_running(pid)


def is_running(pid: int) -> bool:
    """Not gone, and no zombie that nobody waits for."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
