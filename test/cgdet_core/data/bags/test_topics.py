"""Which topic holds the thermal images, and which the labels: chosen, or asked for in one line."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from cgdet_core.data.bags.frames import read_labelled_frames, read_raw_images
from cgdet_core.data.bags.reader import BagReader
from cgdet_core.data.bags.topics import choose_image_topic, choose_truth_topic
from cgdet_core.errors import InputError

IMAGE = "sensor_msgs/msg/Image"
COMPRESSED = "sensor_msgs/msg/CompressedImage"
DETECTIONS = "vision_msgs/msg/Detection2DArray"


def write(ros2, path, topics):
    """A bag with one message on each of `topics`: name -> encoding, "jpeg", "labels" or "text"."""
    rows = []
    for name, kind in topics.items():
        shape = (8, 8, 3) if kind in ("rgb8", "bgr8") else (8, 8)
        pixels = np.zeros(shape, np.uint16 if kind in ("mono16", "16UC1") else np.uint8)
        if kind == "jpeg":
            data = cv2.imencode(".jpg", np.zeros((8, 8, 3), np.uint8))[1].tobytes()
            rows.append((name, COMPRESSED, 1, ros2.compressed(data, "jpeg", 1)))
        elif kind == "labels":
            rows.append((name, DETECTIONS, 1, ros2.truth([], 1)))
        elif kind == "text":
            rows.append((name, "std_msgs/msg/String", 1, ros2.types["std_msgs/msg/String"](data="x")))
        else:
            rows.append((name, IMAGE, 1, ros2.image(pixels, kind, 1)))
    return ros2.write(path, rows)


@pytest.mark.parametrize(
    ("topics", "expected"),
    [
        ({"/a": "rgb8", "/b": "mono8"}, "/b"),
        ({"/a": "mono8", "/b": "16UC1"}, "/b"),
        ({"/front/image": "mono16", "/thermal/image": "mono8"}, "/thermal/image"),
        ({"/rgb/image_raw": "rgb8", "/ir/image_raw": "rgb8"}, "/ir/image_raw"),
        ({"/flir_boson/image_raw": "mono8", "/mirror/image_raw": "mono16"}, "/flir_boson/image_raw"),
        ({"/lwirCam/image": "mono8", "/left/image": "mono8"}, "/lwirCam/image"),
        ({"/thermal/image_raw": "mono16", "/thermal/image_raw/compressed": "jpeg"}, "/thermal/image_raw"),
        ({"/thermal_detector/overlay": "rgb8", "/camera/image_raw": "mono8"}, "/camera/image_raw"),
        ({"/depth/image": "32FC1", "/camera/image": "rgb8"}, "/camera/image"),
        ({"/left/image": "mono8", "/right/image": "mono8"}, None),
        ({"/thermal_a/i": "mono16", "/thermal_b/i": "16UC1"}, None),
        ({}, None),
    ],
)
def test_the_thermal_topic_is_found_or_asked_for(tmp_path, ros2, topics, expected):
    with BagReader(write(ros2, tmp_path / "bag", {**topics, "/text": "text"})) as bag:
        if expected is not None:
            assert choose_image_topic(bag) == expected
            return
        with pytest.raises(InputError) as caught:
            choose_image_topic(bag)
    for name in topics or ["/text"]:
        assert name in str(caught.value)


def test_a_named_topic_is_taken_unless_it_holds_no_images(tmp_path, ros2):
    bag = write(ros2, tmp_path / "bag", {"/thermal": "mono16", "/rgb": "rgb8", "/text": "text"})
    (sample,) = read_labelled_frames(bag, "/rgb")
    assert sample.frame.image.shape == (8, 8, 3)
    for topic in ("/nowhere", "/text", "thermal"):
        with pytest.raises(InputError) as caught:
            list(read_raw_images(bag, topic))
        for part in (f"'{topic}'", "/thermal (sensor_msgs/msg/Image)", "/rgb"):
            assert part in str(caught.value)


def test_image_topics_that_cannot_be_read_are_listed_with_the_reason_of_each(tmp_path, ros2):
    from rosbags.rosbag2 import StoragePlugin, Writer

    with Writer(tmp_path / "bag", version=9, storage_plugin=StoragePlugin.MCAP) as writer:
        writer.add_connection("/thermal/image_raw", IMAGE, typestore=ros2.store)
        depth = writer.add_connection("/depth", IMAGE, typestore=ros2.store)
        pixels = np.zeros((8, 8), np.float32)
        writer.write(depth, 1, ros2.store.serialize_cdr(ros2.image(pixels, "32FC1", 1), IMAGE))
        video = writer.add_connection("/video", COMPRESSED, typestore=ros2.store)
        writer.write(video, 1, ros2.store.serialize_cdr(ros2.compressed(b"no picture", "h264", 1), COMPRESSED))
    with pytest.raises(InputError) as caught:
        list(read_labelled_frames(tmp_path / "bag"))
    for part in ("/thermal/image_raw (0 messages)", "/depth (encoding '32FC1')", "/video (compressed as 'h264'"):
        assert part in str(caught.value)
    with BagReader(tmp_path / "bag") as bag, pytest.raises(InputError, match="/thermal/image_raw"):
        choose_image_topic(bag, "/thermal/image_raw")


@pytest.mark.parametrize(
    ("topics", "expected"),
    [
        (["/detections", "/ground_truth"], "/ground_truth"),
        (["/thermal_detector/detections"], None),
        (["/boxes"], "/boxes"),
        (["/boxes", "/thermal/labels"], "/thermal/labels"),
        (["/boxes", "/detections"], "/boxes"),
        ([], None),
    ],
)
def test_the_labels_are_found_and_never_a_detectors_output(tmp_path, ros2, topics, expected):
    bag = write(ros2, tmp_path / "bag", {"/thermal": "mono8", **dict.fromkeys(topics, "labels")})
    with BagReader(bag) as reader:
        assert choose_truth_topic(reader) == expected


def test_several_topics_of_labels_are_asked_about(tmp_path, ros2):
    topics = {"/thermal": "mono8", **dict.fromkeys(["/truth", "/labels", "/detections"], "labels")}
    with BagReader(write(ros2, tmp_path / "bag", topics)) as reader:
        assert choose_truth_topic(reader, "/detections") == "/detections"
        for named in (None, "/nowhere", "/thermal"):
            with pytest.raises(InputError, match=r"/labels.*/truth|/truth.*/labels"):
                choose_truth_topic(reader, named)
