"""detection_bytes.py: what a subscriber reads out of the bytes is the message made element by element."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

pytest.importorskip("vision_msgs", reason="vision_msgs is not installed: make setup")

from builtin_interfaces.msg import Time
from rclpy.serialization import deserialize_message, serialize_message
from std_msgs.msg import Header
from vision_msgs.msg import Detection2DArray

from cgdet_core.types import Detections
from cgdet_ros.node import detection_bytes, messages
from cgdet_ros.node.detection_bytes import DetectionWriter

NAMES = ("person", "bicycle", "car")


def random_detections(count: int, classes: int, seed: int = 0) -> Detections:
    rng = np.random.default_rng(seed)
    corners = rng.uniform(-5, 600, (count, 2))
    boxes = np.concatenate([corners, corners + rng.uniform(0, 90, (count, 2))], axis=1)
    return Detections(boxes, np.sort(rng.uniform(0, 1, count))[::-1], rng.integers(0, classes, count))


def check_read_back(writer: DetectionWriter, header: Header, detections: Detections, names: tuple[str, ...]) -> None:
    plain = messages.detections_to_message(header, detections, names)
    written = writer.write(header, detections, names)
    assert isinstance(written, bytes)
    assert len(written) == len(serialize_message(plain))
    assert deserialize_message(written, Detection2DArray) == plain


@pytest.mark.parametrize("count", [0, 1, 2, 3, 20, 300])
def test_any_number_of_detections_reads_as_the_plain_message(count: int) -> None:
    writer = DetectionWriter()
    header = Header(stamp=Time(sec=1_700_000_000, nanosec=123_456_789), frame_id="thermal_optical")
    for seed in range(3):
        check_read_back(writer, header, random_detections(count, 3, seed), NAMES)
    assert writer._layout is not None


@pytest.mark.parametrize("letters", range(9))
def test_strings_of_every_length_are_laid_as_they_must(letters: int) -> None:
    writer = DetectionWriter()
    for name_letters in range(9):
        names = ("x" * name_letters, "ü" * 3, "0", "a" * (17 - name_letters))
        check_read_back(writer, Header(frame_id="f" * letters), random_detections(9, 4, letters), names)
        assert writer._layout is not None


@pytest.mark.parametrize(("sec", "nanosec"), [(0, 0), (-1, 0), (2**31 - 1, 999_999_999), (-(2**31), 2**32 - 1)])
def test_every_stamp_stands_on_the_array_and_on_each_detection(sec: int, nanosec: int) -> None:
    writer = DetectionWriter()
    header = Header(stamp=Time(sec=sec, nanosec=nanosec), frame_id="cam")
    check_read_back(writer, header, random_detections(4, 3), NAMES)
    message = deserialize_message(writer.write(header, random_detections(4, 3), NAMES), Detection2DArray)
    assert [message.header] + [detection.header for detection in message.detections] == [header] * 5


def test_a_frame_leaves_nothing_in_the_next_one() -> None:
    writer = DetectionWriter()
    for number, (frame_id, count, names) in enumerate(
        [("a", 30, NAMES), ("a", 2, NAMES), ("a", 2, ("0", "1", "2")), ("camera_b", 5, NAMES), ("a", 0, NAMES)]
    ):
        header = Header(stamp=Time(sec=number), frame_id=frame_id)
        check_read_back(writer, header, random_detections(count, 3, number), names)


def test_values_arrive_to_the_last_bit() -> None:
    boxes = np.array([[1e-30, 0.1, 1 / 3, np.float32(2**24 - 1)]], np.float32)
    detections = Detections(boxes, np.array([np.nextafter(np.float32(1), np.float32(0))]), np.array([1]))
    (found,) = deserialize_message(DetectionWriter().write(Header(), detections, NAMES), Detection2DArray).detections
    left, top, right, bottom = boxes[0]
    assert found.bbox.center.position.x == float((left + right) / np.float32(2))
    assert found.bbox.size_y == float(bottom - top)
    assert found.results[0].hypothesis.score == float(detections.scores[0])


def test_a_layout_that_is_not_understood_gives_the_plain_message(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_such_number(*_: Any) -> Any:
        raise ValueError("subsection not found")

    monkeypatch.setattr(detection_bytes, "_cut", no_such_number)
    writer = DetectionWriter()
    check_read_back(writer, Header(frame_id="cam"), random_detections(5, 3), NAMES)
    assert writer._layout is None


def test_a_layout_with_a_number_out_of_place_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    cut = detection_bytes._cut

    def shifted(*arguments: Any) -> Any:
        layout = cut(*arguments)
        layout.places[1, 1, 4] += 8
        return layout

    monkeypatch.setattr(detection_bytes, "_cut", shifted)
    writer = DetectionWriter()
    check_read_back(writer, Header(frame_id="cam"), random_detections(5, 3), NAMES)
    assert writer._layout is None


def test_a_class_without_a_name_is_refused() -> None:
    with pytest.raises(IndexError):
        DetectionWriter().write(Header(), Detections(np.ones((1, 4)), np.ones(1), np.array([3])), NAMES)
