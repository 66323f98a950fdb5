"""What is said of a bag, against what was put into it."""

from __future__ import annotations

from dataclasses import asdict

import numpy as np
import pytest

from cgdet_core.data.bags.info import bag_info

IMAGE = "sensor_msgs/msg/Image"
DETECTIONS = "vision_msgs/msg/Detection2DArray"


@pytest.fixture
def bag(tmp_path, ros2):
    """Thermal images at 4 Hz with one stamp going back, two sizes, labels for three of five, and a String topic."""
    stamps = [10_000_000_000, 10_250_000_000, 10_500_000_000, 10_400_000_000, 11_000_000_000]
    rows = []
    for k, stamp in enumerate(stamps):
        pixels = np.zeros((8 if k else 6, 8), np.uint16)
        rows.append(("/ir", IMAGE, stamps[0] + k, ros2.image(pixels, "mono16", stamp)))
    labels = [("person", 3, 3, 2, 2), ("car", 3, 3, 2, 2), ("ignore:car", 3, 3, 2, 2)]
    rows.append(("/truth", DETECTIONS, 1, ros2.truth(labels, stamps[0])))
    rows.append(("/truth", DETECTIONS, 2, ros2.truth([], stamps[1])))
    rows.append(("/truth", DETECTIONS, 3, ros2.truth([("person", 3, 3, 2, 2)], stamps[4])))
    rows.append(("/truth", DETECTIONS, 4, ros2.truth([], 77)))
    rows.append(("/text", "std_msgs/msg/String", 9, ros2.types["std_msgs/msg/String"](data="x")))
    return ros2.write(tmp_path / "bag", rows)


def test_topics_rates_stamps_sizes_and_labels_are_told(bag):
    info = bag_info(bag)
    topics = {topic.name: topic for topic in info.topics}
    thermal = topics["/ir"]
    assert (thermal.type, thermal.count) == (IMAGE, 5)
    assert (thermal.first_stamp_ns, thermal.last_stamp_ns) == (10_000_000_000, 11_000_000_000)
    assert thermal.duration_s == 1.0
    assert thermal.rate_hz == 4.0
    assert thermal.stamps_backwards == 1
    assert thermal.images == {"8x6 mono16": 1, "8x8 mono16": 4}
    assert topics["/text"].count == 1
    assert topics["/text"].first_stamp_ns is None
    assert topics["/text"].rate_hz is None
    assert (info.storage, info.messages) == ("mcap", 10)
    assert (info.image_topic, info.truth_topic) == ("/ir", "/truth")
    assert (info.frames, info.frames_with_truth) == (5, 3)
    assert info.labels == {"person": 2, "car": 1}
    assert info.ignored == {"car": 1}
    assert info.size_bytes == sum(entry.stat().st_size for entry in bag.iterdir())
    document = asdict(info)
    assert [topic["name"] for topic in document["topics"]] == [topic.name for topic in info.topics]
    assert document["topics"][0]["rate_hz"] == 4.0
    assert document["labels"] == {"person": 2, "car": 1}
    text = info.to_text()
    for part in ("/ir", "mono16", "4.0", "1 stamps going backwards", "3 of 5 frames", "2 person", "/text", "mcap"):
        assert part in text


def test_images_that_contradict_themselves_are_told(tmp_path, ros2):
    image = ros2.image(np.zeros((4, 6), np.uint16), "mono16", 1)
    image.encoding, image.step = "mono8", 6
    (topic,) = bag_info(ros2.write(tmp_path / "bag", [("/ir", IMAGE, 1, image)])).topics
    ((told, count),) = topic.images.items()
    assert count == 1
    assert "48 bytes of data, 4 rows of step 6 are 24" in told


def test_where_no_topic_can_be_chosen_the_reason_is_told(tmp_path, ros2):
    pixels = np.zeros((4, 4), np.uint8)
    rows = [(name, IMAGE, 1, ros2.image(pixels, "mono8", 1)) for name in ("/left", "/right")]
    path = ros2.write(tmp_path / "bag", rows)
    info = bag_info(path)
    assert info.image_topic is None
    assert "/left" in info.image_topic_reason
    assert "several thermal image topics" in info.to_text()


def test_a_bag_without_messages_is_described(tmp_path, ros2):
    from rosbags.rosbag2 import StoragePlugin, Writer

    with Writer(tmp_path / "bag", version=9, storage_plugin=StoragePlugin.MCAP) as writer:
        writer.add_connection("/ir", IMAGE, typestore=ros2.store)
    info = bag_info(tmp_path / "bag")
    assert (info.messages, info.frames, info.duration_s) == (0, 0, 0.0)
    assert "/ir" in info.to_text()


def test_stamps_that_repeat_or_are_zero_and_labels_of_no_image_are_told(tmp_path, ros2):
    pixels = np.zeros((4, 4), np.uint8)
    rows = [("/ir", IMAGE, 10 + k, ros2.image(pixels, "mono8", stamp)) for k, stamp in enumerate((5, 5, 0, 0, 0, 9))]
    rows += [("/truth", DETECTIONS, 20 + k, ros2.truth([], stamp)) for k, stamp in enumerate((9, 10, 11))]
    info = bag_info(ros2.write(tmp_path / "bag", rows))
    thermal, truth = info.topics
    assert (thermal.stamps_repeated, thermal.stamps_zero) == (3, 3)
    assert (truth.stamps_repeated, truth.stamps_zero) == (0, 0)
    assert (info.frames_with_truth, info.truth_without_frame) == (1, 2)
    text = info.to_text()
    for part in ("3 repeated stamps", "3 stamps of zero", "--by record", "labels of no image: 2"):
        assert part in text


@pytest.mark.parametrize(("width", "told"), [(8, False), (9, True)])
def test_a_camera_info_of_another_size_than_the_images_is_told(tmp_path, ros2, width, told):
    types = ros2.types
    camera = types["sensor_msgs/msg/CameraInfo"](
        *(ros2.header(1), 6, width, "plumb_bob", np.zeros(5), np.zeros(9), np.zeros(9), np.zeros(12), 0, 0),
        types["sensor_msgs/msg/RegionOfInterest"](0, 0, 0, 0, False),
    )
    rows = [("/ir/image_raw", IMAGE, 1, ros2.image(np.zeros((6, 8), np.uint8), "mono8", 1))]
    rows.append(("/ir/camera_info", "sensor_msgs/msg/CameraInfo", 1, camera))
    notes = bag_info(ros2.write(tmp_path / "bag", rows)).notes
    assert [f"{width}x6" in note and "8x6" in note for note in notes] == [True] * told
