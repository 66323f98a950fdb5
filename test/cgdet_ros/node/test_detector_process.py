"""The node as a process of its own: how it starts, fails, is heard by others, and ends."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("vision_msgs", reason="vision_msgs is not installed: make setup")

import numpy as np
from rclpy.serialization import serialize_message

TIMEOUT_S = 60.0

# somebody else's program: rclpy and vision_msgs, nothing of cgdet
PLAIN_SUBSCRIBER = """
import json, sys, rclpy
from vision_msgs.msg import Detection2DArray
rclpy.init()
node = rclpy.create_node("plain", namespace=sys.argv[1])
heard = []
node.create_subscription(Detection2DArray, "detections", heard.append, 10)
while not heard:
    rclpy.spin_once(node, timeout_sec=0.1)
array = heard[0]
headers = [array.header] + [detection.header for detection in array.detections]
print(json.dumps([[h.stamp.sec, h.stamp.nanosec, h.frame_id] for h in headers]), flush=True)
assert not any(name.startswith("cgdet") for name in sys.modules)
"""

# a camera's driver: images at 30 Hz, each another, until it is ended
CAMERA = """
import sys, time, numpy as np, rclpy
from sensor_msgs.msg import Image
rclpy.init()
node = rclpy.create_node("camera", namespace=sys.argv[1])
images = node.create_publisher(Image, "image", 1)
generator = np.random.default_rng()
while True:
    message = Image(height=64, width=96, encoding="mono16", step=192)
    message.header.stamp = node.get_clock().now().to_msg()
    message.data = generator.normal(21000, 200, (64, 96)).astype("<u2").tobytes()
    images.publish(message)
    time.sleep(1 / 30)
"""

# the node, which takes a second to close
SLOW_TO_CLOSE = """
import sys, time
from cgdet_ros.node import detector_node as module
closing = module.DetectorNode.close
def slowly(node):
    print("closing", flush=True)
    time.sleep(1)
    closing(node)
module.DetectorNode.close = slowly
sys.exit(module.main())
"""


class Process:
    """A started Python program and the lines that it has printed."""

    def __init__(self, *words: str) -> None:
        environment = {**os.environ, "PYTHONUNBUFFERED": "1", "OMP_NUM_THREADS": "1"}
        self.process = subprocess.Popen(
            [sys.executable, *words], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment
        )
        self.lines: list[str] = []
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append(line)

    def line_with(self, text: str) -> str:
        """The first line with `text`."""
        deadline_s = time.monotonic() + TIMEOUT_S
        while not (found := [line for line in self.lines if text in line]):
            assert time.monotonic() < deadline_s, f"it did not print '{text}': {self.lines}"
            time.sleep(0.01)
        return found[0]

    def end(self, number: int | None = None) -> int:
        """Its exit code, once it has ended, after a signal where one is given."""
        if number is not None:
            self.process.send_signal(number)
        code = self.process.wait(TIMEOUT_S)
        self._thread.join(TIMEOUT_S)
        assert not any("Traceback" in line for line in self.lines)
        return code


@pytest.fixture
def start() -> Iterator[Callable[..., Process]]:
    """Starts Python programs; what still runs at the end is killed."""
    started: list[Process] = []

    def run(*words: str) -> Process:
        started.append(Process(*words))
        return started[-1]

    yield run
    for each in started:
        each.process.kill()
        each.process.wait()


def ros_words(namespace: str, *parameters: str) -> list[str]:
    words = ["--ros-args", "-r", f"__ns:={namespace}"]
    for parameter in parameters:
        words += ["-p", parameter]
    return words


NODE = ("-m", "cgdet_ros.node.detector_node")


def ask_until(client: Any, new_message: Callable[[], Any], done: Callable[[], bool]) -> list[Any]:
    """Send a message after the other until `done`; all of them.

    That two processes are there is not yet that each has found the other's end of a topic, which nobody else can see.
    """
    sent: list[Any] = []
    deadline_s = time.monotonic() + TIMEOUT_S
    while not done():
        assert time.monotonic() < deadline_s, f"{len(sent)} messages, and not one came through"
        sent.append(new_message())
        client.send(sent[-1])
        time.sleep(0.1)
    return sent


def test_a_plain_subscriber_hears_the_very_header_of_the_image_and_bytes_that_are_no_message_end_nothing(
    start: Callable[..., Process], client: Any, image_message: Any, scene: Any, tiny_model: Path
) -> None:
    node = start(*NODE, *ros_words(client.namespace, f"model:={tiny_model}", "score_threshold:=0.0001"))
    plain = start("-c", PLAIN_SUBSCRIBER, client.namespace)
    node.line_with("active: detecting on")
    asked = ask_until(
        client, lambda: image_message(scene, "mono16", frame_id="flir/optical frame"), lambda: bool(plain.lines)
    )
    headers = json.loads(plain.line_with("flir"))
    assert len(headers) > 2
    stamps = [(message.header.stamp.sec, message.header.stamp.nanosec) for message in asked]
    assert tuple(headers[0][:2]) in stamps
    assert all(header == [*headers[0][:2], "flir/optical frame"] for header in headers)
    assert plain.end() == 0
    generator = np.random.default_rng(8)
    whole = serialize_message(image_message(scene, "mono16"))
    for number in range(200):
        torn = bytearray(whole[: int(generator.integers(4, 120))] if number % 2 else whole)
        for place in generator.integers(0, min(len(torn), 90), 4):
            torn[place] = int(generator.integers(256))
        if number % 5 == 0:
            torn[28:36] = b"\xff\xfe\xc3\x28\xf0\x9f\x00\x80"
        client.send(bytes(torn))
    good = image_message(scene, "mono16")
    assert client.ask(good).header == good.header
    assert node.end(signal.SIGINT) == 0


def test_a_missing_model_leaves_the_node_alive_until_it_is_asked_to_end(
    start: Callable[..., Process], client: Any, image_message: Any, scene: Any, tiny_model: Path
) -> None:
    node = start(*NODE, *ros_words(client.namespace, "model:=/nowhere/none.onnx"))
    assert "/nowhere/none.onnx" in node.line_with("cannot be configured")
    node.line_with("not active")
    assert client.state() == "unconfigured"
    assert client.set_parameters(model=str(tiny_model)) == (True, "")
    assert client.transition("configure")
    assert client.transition("activate")
    ask_until(client, lambda: image_message(scene, "mono16"), lambda: bool(client.answers))
    assert node.end(signal.SIGTERM) == 0


def test_help_shows_an_example_and_what_it_cannot_be_started_with_ends_it_with_one_line_and_code_2(
    start: Callable[..., Process],
) -> None:
    helped = start(*NODE, "--help")
    refused = {
        "--modle": start(*NODE, "--modle", "x", *ros_words("/x")),
        "__ns:=": start(*NODE, *ros_words("x")),
        "nms_iou": start(*NODE, *ros_words("/refused", "nms_iou:=7.0")),
    }
    assert helped.end() == 0
    assert any("cgdet-detector --ros-args -r image:=" in line for line in helped.lines)
    for named, process in refused.items():
        assert process.end() == 2
        assert named in process.lines[-1]


def test_a_camera_that_is_stopped_and_returns_is_told_of_and_no_frame_is_answered_twice(
    start: Callable[..., Process], client: Any, tiny_model: Path
) -> None:
    client.node.destroy_publisher(client.images)
    limits = ("diagnostics.period_s:=0.1", "diagnostics.image_timeout_s:=0.3", "diagnostics.image_error_s:=1.0")
    node = start(*NODE, *ros_words(client.namespace, f"model:={tiny_model}", *limits))
    node.line_with("active: detecting on")

    def detecting() -> None:
        client.report(lambda level, message, values: (level, message) == (0, "detecting"), "detecting")
        before = len(client.answers)
        client.until(lambda: len(client.answers) > before, "an answer")

    def silent(of_level: int) -> int:
        client.report(lambda level, message, _: level == of_level and message.startswith("no image on"), "the silence")
        return len(client.answers)

    camera = start("-c", CAMERA, client.namespace)
    detecting()
    camera.process.send_signal(signal.SIGSTOP)
    answered = silent(1)
    assert silent(2) == answered, "something was answered again"
    camera.process.send_signal(signal.SIGCONT)
    detecting()
    stamps = [(answer.header.stamp.sec, answer.header.stamp.nanosec) for answer in client.answers]
    assert stamps == sorted(set(stamps))
    coming, stopped = (f"{words} {client.namespace}/image" for words in ("]: detecting on", "]: no image on"))

    def told() -> list[str]:
        return [line for line in node.lines if coming in line or stopped in line]

    client.until(lambda: sum(coming in line for line in told()) == 2, "the second line in the log")
    assert any(stopped in line for line in told()[1:-1])
    assert node.end(signal.SIGINT) == 0


def test_a_ctrl_c_that_comes_twice_as_under_launch_ends_it_in_order_all_the_same(
    start: Callable[..., Process], client: Any, tiny_model: Path
) -> None:
    node = start("-c", SLOW_TO_CLOSE, *ros_words(client.namespace, f"model:={tiny_model}"))
    node.line_with("active: detecting on")
    node.process.send_signal(signal.SIGINT)
    node.line_with("closing")
    assert node.end(signal.SIGINT) == 0
