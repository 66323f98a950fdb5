"""messages.py: images, detections and their headers, without a node."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

pytest.importorskip("vision_msgs", reason="vision_msgs is not installed: make setup")

from cgdet_core.data.bags.messages import RawImage
from cgdet_core.errors import InputError
from cgdet_core.images import encode_png
from cgdet_core.types import Detections
from cgdet_ros.node import messages

GENERATOR = np.random.default_rng(5)
PIXELS = {
    "mono8": GENERATOR.integers(0, 256, (6, 10), np.uint8),
    "8UC1": GENERATOR.integers(0, 256, (6, 10), np.uint8),
    "mono16": GENERATOR.integers(0, 65536, (6, 10), np.uint16),
    "16UC1": GENERATOR.integers(0, 65536, (6, 10), np.uint16),
    "rgb8": GENERATOR.integers(0, 256, (6, 10, 3), np.uint8),
    "bgr8": GENERATOR.integers(0, 256, (6, 10, 3), np.uint8),
}


@pytest.mark.parametrize("encoding", PIXELS)
@pytest.mark.parametrize("big_endian", [False, True])
@pytest.mark.parametrize("padding_bytes", [0, 7])
def test_the_pixels_of_a_message_are_those_that_were_put_in(
    encoding: str, big_endian: bool, padding_bytes: int, image_message: Callable[..., Any]
) -> None:
    pixels = PIXELS[encoding]
    message = image_message(pixels, encoding, big_endian=big_endian, padding_bytes=padding_bytes)
    got = messages.image_from_message(message)
    np.testing.assert_array_equal(got, pixels[:, :, ::-1] if encoding == "bgr8" else pixels)
    assert got.dtype == pixels.dtype
    assert got.dtype.isnative


def test_cv_bridge_and_our_own_decoder_give_the_same_where_either_may_be_asked(
    image_message: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    bridge = messages._BRIDGE

    class Noting:
        def imgmsg_to_cv2(self, message: Any, encoding: str) -> Any:
            asked.append(message.encoding)
            return bridge.imgmsg_to_cv2(message, encoding)

    monkeypatch.setattr(messages, "_BRIDGE", Noting())
    got = {
        encoding: messages.image_from_message(image_message(pixels, encoding)) for encoding, pixels in PIXELS.items()
    }
    assert asked == ["mono8", "8UC1", "mono16"]
    monkeypatch.setattr(messages, "_BRIDGED", {})
    for encoding, pixels in PIXELS.items():
        ours = messages.image_from_message(image_message(pixels, encoding))
        assert (ours.dtype, ours.shape) == (got[encoding].dtype, got[encoding].shape)
        np.testing.assert_array_equal(ours, got[encoding])


@pytest.mark.parametrize("encoding", ["mono8", "mono16", "16UC1", "rgb8"])
def test_a_little_endian_message_is_not_copied(encoding: str, image_message: Callable[..., Any]) -> None:
    if sys.byteorder != "little":
        pytest.skip("little-endian data is not native here")
    message = image_message(PIXELS[encoding], encoding)
    got = messages.image_from_message(message)
    assert np.shares_memory(got, np.frombuffer(message.data, np.uint8))


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"encoding": "bayer_rggb8"}, "'bayer_rggb8'"),
        ({"height": 0}, "nothing"),
        ({"width": 0}, "nothing"),
        ({"step": 19}, "19"),
        ({"height": 7}, "7"),
        ({"height": 3}, "3 rows"),
        ({"encoding": "mono8"}, "mono16"),
    ],
)
def test_a_malformed_message_is_refused_with_its_reason(
    change: dict[str, Any], named: str, image_message: Callable[..., Any]
) -> None:
    message = image_message(PIXELS["mono16"], "mono16")
    for name, value in change.items():
        setattr(message, name, value)
    with pytest.raises(InputError, match=named):
        messages.image_from_message(message)


def test_detections_become_an_array_whose_every_header_is_that_of_the_image(image_message: Callable[..., Any]) -> None:
    header = image_message(PIXELS["mono8"], "mono8", frame_id="lens").header
    detections = Detections(
        np.array([[10, 20, 40, 100], [0.5, 1, 2.5, 4]], np.float32), np.array([0.75, 0.5]), np.array([2, 0])
    )
    array = messages.detections_to_message(header, detections, ("person", "bicycle", "car"))
    assert array.header == header
    first, second = array.detections
    assert first.header == second.header == header
    assert first.results[0].hypothesis.class_id == "car"
    assert first.results[0].hypothesis.score == 0.75
    box = first.bbox
    assert (box.center.position.x, box.center.position.y, box.size_x, box.size_y) == (25.0, 60.0, 30.0, 80.0)
    box = second.bbox
    assert (box.center.position.x, box.center.position.y, box.size_x, box.size_y) == (1.5, 2.5, 2.0, 3.0)
    assert second.results[0].hypothesis.class_id == "person"
    assert len(second.results) == 1
    assert list(messages.detections_to_message(header, Detections.empty(), ("person",)).detections) == []


def test_entries_that_are_written_over_leave_nothing_in_a_later_array(image_message: Callable[..., Any]) -> None:
    entries: list[Any] = []
    rng = np.random.default_rng(0)
    for count in (0, 30, 1, 0, 2, 31):
        header = image_message(PIXELS["mono8"], "mono8", frame_id=f"lens{count}").header
        corners = rng.uniform(-5, 600, (count, 2))
        boxes = np.concatenate([corners, corners + rng.uniform(0, 90, (count, 2))], axis=1)
        scores = np.sort(rng.uniform(0, 1, count))[::-1]
        detections = Detections(boxes, scores, rng.integers(0, 3, count))
        plain = messages.detections_to_message(header, detections, ("a", "b", "c"))
        assert messages.detections_to_message(header, detections, ("a", "b", "c"), entries) == plain
    assert len(entries) == 31


def test_a_picture_becomes_an_image_message_that_reads_the_same(image_message: Callable[..., Any]) -> None:
    header = image_message(PIXELS["rgb8"], "rgb8").header
    for encoding in ("rgb8", "mono16"):
        view = PIXELS[encoding][::2, 1:]  # not contiguous
        message = messages.image_to_message(header, view, encoding)
        assert message.header == header
        assert message.step == view.shape[1] * (3 if encoding == "rgb8" else 2)
        np.testing.assert_array_equal(messages.image_from_message(message), view)


@pytest.mark.parametrize("encoding", ["mono8", "mono16", "rgb8"])
def test_a_recorded_image_that_is_compressed_is_sent_unpacked(encoding: str) -> None:
    data = np.frombuffer(encode_png(PIXELS[encoding]), np.uint8)
    raw = RawImage("/ir", 5, 7_000_000_009, "lens", 0, 0, "", 0, False, data, "png")
    message = messages.recorded_image_message(raw)
    assert (message.header.stamp.sec, message.header.stamp.nanosec, message.header.frame_id) == (7, 9, "lens")
    assert (message.encoding, message.is_bigendian) == (encoding, 0)
    np.testing.assert_array_equal(messages.image_from_message(message), PIXELS[encoding])
