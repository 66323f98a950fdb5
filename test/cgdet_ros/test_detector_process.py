"""The node as a process of its own: how it starts, fails, is heard by others, and ends."""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("vision_msgs", reason="vision_msgs is not installed: make setup")

TIMEOUT_S = 60.0

# somebody else's program: rclpy and vision_msgs, nothing of cgdet
PLAIN_SUBSCRIBER = """
import json, sys, rclpy
from vision_msgs.msg import Detection2DArray
rclpy.init()
node = rclpy.create_node("plain", namespace=sys.argv[1])
heard = []
node.create_subscription(Detection2DArray, "detections", heard.append, 10)
print("listening", flush=True)
while not heard:
    rclpy.spin_once(node, timeout_sec=0.1)
array = heard[0]
headers = [array.header] + [detection.header for detection in array.detections]
print(json.dumps([[h.stamp.sec, h.stamp.nanosec, h.frame_id] for h in headers]), flush=True)
assert not any(name.startswith("cgdet") for name in sys.modules)
"""


class Process:
    """A started process and the lines that it has printed."""

    def __init__(self, words: list[str]) -> None:
        environment = {**os.environ, "PYTHONUNBUFFERED": "1", "OMP_NUM_THREADS": "1"}
        self.process = subprocess.Popen(
            words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment
        )
        self.lines: list[str] = []
        self._queue: queue.Queue[str | None] = queue.Queue()
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self._queue.put(line)
        self._queue.put(None)

    def line_with(self, text: str) -> str:
        """The next line with `text`."""
        deadline_s = time.monotonic() + TIMEOUT_S
        while True:
            line = self._queue.get(timeout=max(0.01, deadline_s - time.monotonic()))
            assert line is not None, f"it ended before it printed '{text}': {self.lines}"
            self.lines.append(line)
            if text in line:
                return line

    def end(self) -> int:
        """Its exit code, once it has ended; the rest of what it printed is in `lines`."""
        code = self.process.wait(TIMEOUT_S)
        self._thread.join(TIMEOUT_S)
        while (line := self._queue.get(timeout=1)) is not None:
            self.lines.append(line)
        return code


@pytest.fixture
def start(python: str) -> Iterator[Callable[..., Process]]:
    """Starts Python programs; what still runs at the end is killed."""
    started: list[Process] = []

    def run(*words: str) -> Process:
        started.append(Process([python, *words]))
        return started[-1]

    yield run
    for process in started:
        if process.process.poll() is None:
            process.process.kill()
            process.process.wait()


def node_words(namespace: str, *parameters: str) -> list[str]:
    words = ["-m", "cgdet_ros.detector_node", "--ros-args", "-r", f"__ns:={namespace}"]
    for parameter in parameters:
        words += ["-p", parameter]
    return words


def test_a_plain_subscriber_of_another_process_hears_the_very_header_of_the_image(
    start: Callable[..., Process], client: Any, image_message: Any, scene: Any, tiny_model: Path
) -> None:
    node = start(*node_words(client.namespace, f"model:={tiny_model}", "score_threshold:=0.0001"))
    plain = start("-c", PLAIN_SUBSCRIBER, client.namespace)
    node.line_with("active: detecting on")
    plain.line_with("listening")
    client.connected()
    client.until(lambda: client.node.count_subscribers(f"{client.namespace}/detections") == 2, "the plain subscriber")
    time.sleep(0.5)
    message = image_message(scene, "mono16", frame_id="flir/optical frame")
    client.ask(message)
    headers = json.loads(plain.line_with("flir"))
    stamp = message.header.stamp
    assert len(headers) > 2
    assert all(header == [stamp.sec, stamp.nanosec, "flir/optical frame"] for header in headers)
    assert plain.end() == 0
    node.process.send_signal(signal.SIGINT)
    assert node.end() == 0
    assert not any("Traceback" in line for line in node.lines)


def test_a_missing_model_leaves_the_node_alive_until_it_is_asked_to_end(
    start: Callable[..., Process], client: Any, image_message: Any, scene: Any, tiny_model: Path
) -> None:
    node = start(*node_words(client.namespace, "model:=/nowhere/none.safetensors"))
    line = node.line_with("cannot be configured")
    assert "/nowhere/none.safetensors: model file is missing" in line
    assert client.state() == "unconfigured"
    assert client.set_parameters(model=str(tiny_model)) == (True, "")
    assert client.transition("configure")
    assert client.transition("activate")
    client.connected()
    client.ask(image_message(scene, "mono16"))
    node.process.send_signal(signal.SIGTERM)
    assert node.end() == 0
    assert not any("Traceback" in line for line in node.lines)


def test_help_shows_an_example_and_starts_nothing_and_words_that_are_none_end_it(start: Callable[..., Process]) -> None:
    helped = start("-m", "cgdet_ros.detector_node", "--help")
    wrong = start("-m", "cgdet_ros.detector_node", "--modle", "x", "--ros-args", "-r", "__ns:=/x")
    assert helped.end() == 0
    assert any("cgdet-detector --ros-args -r image:=" in line for line in helped.lines)
    assert wrong.end() == 2
    assert any("unrecognized arguments: --modle x" in line for line in wrong.lines)
    assert not any("configured" in line for line in helped.lines + wrong.lines)


def test_parameters_that_are_none_end_it_with_one_line_and_code_2(start: Callable[..., Process]) -> None:
    processes = [start(*node_words("/refused", word)) for word in ("nms_iou:=7.0", "class_thresholds:=['x']")]
    for process, name in zip(processes, ("nms_iou", "class_thresholds"), strict=True):
        assert process.end() == 2
        said = [line for line in process.lines if line.strip()]
        assert len(said) == 1, said
        assert name in said[0]
