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


@pytest.mark.parametrize("letters", range(9))
def test_strings_of_every_length_are_laid_as_they_must(letters: int) -> None:
    writer = DetectionWriter()
    for name_letters in range(9):
        names = ("x" * name_letters, "ü" * 3, "0", "a" * (17 - name_letters))
        check_read_back(writer, Header(frame_id="f" * letters), random_detections(9, 4, letters), names)
        assert writer._layout is not None


def test_any_number_of_detections_and_every_stamp_read_as_in_the_plain_message_and_leave_nothing_in_the_next() -> None:
    writer = DetectionWriter()
    for number, (sec, nanosec, frame_id, count, names) in enumerate(
        [
            (0, 0, "a", 0, NAMES),
            (-1, 0, "a", 300, NAMES),
            (2**31 - 1, 999_999_999, "a", 1, NAMES),
            (-(2**31), 2**32 - 1, "a", 2, NAMES),
            (1_700_000_000, 123_456_789, "a", 20, ("0", "1", "2")),
            (5, 6, "camera_b", 3, NAMES),
            (7, 8, "a", 0, NAMES),
        ]
    ):
        header = Header(stamp=Time(sec=sec, nanosec=nanosec), frame_id=frame_id)
        check_read_back(writer, header, random_detections(count, 3, number), names)
        assert writer._layout is not None


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
