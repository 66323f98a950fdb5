"""Images and labels out of bags that rosbags alone has written."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from cgdet_core.data.bags.damage import DamagedBag
from cgdet_core.data.bags.frames import read_labelled_frames, read_raw_images
from cgdet_core.data.bags.info import bag_info
from cgdet_core.errors import InputError

IMAGE = "sensor_msgs/msg/Image"
COMPRESSED = "sensor_msgs/msg/CompressedImage"
DETECTIONS = "vision_msgs/msg/Detection2DArray"
STAMP = 1_700_000_000_123_456_789


def frames_of(bag, topic=None):
    return [sample.frame for sample in read_labelled_frames(bag, topic)]


def random_image(seed, shape, dtype):
    return np.random.default_rng(seed).integers(0, np.iinfo(dtype).max + 1, shape, dtype=dtype)


@pytest.mark.parametrize("storage", ["mcap", "sqlite3"])
def test_images_come_out_as_they_went_in(tmp_path, ros2, storage):
    counts, colour = random_image(1, (13, 17), np.uint16), random_image(2, (13, 17, 3), np.uint8)
    rows = [("/ir", IMAGE, 5, ros2.image(counts, "16UC1", STAMP)), ("/rgb", IMAGE, 5, ros2.image(colour, "bgr8", 7))]
    bag = ros2.write(tmp_path / "recorded.bag", rows, storage)  # a folder, though named as a ROS 1 bag
    for path in (bag, next(entry for entry in bag.iterdir() if entry.suffix in (".mcap", ".db3"))):
        (frame,) = frames_of(path, "/ir")
        assert np.array_equal(frame.image, counts)
        assert (frame.stamp_ns, frame.frame_id) == (STAMP, "camera")
        assert np.array_equal(frames_of(path, "/rgb")[0].image, colour[:, :, ::-1])


def test_padded_rows_and_big_endian_counts_are_honoured(tmp_path, ros2):
    pixels = random_image(2, (6, 5), np.uint16)
    padded = np.full((6, 16), 0xAB, np.uint8)
    padded[:, :10] = pixels.astype(">u2").view(np.uint8)
    message = ros2.image(pixels, "mono16", STAMP, step=16, is_bigendian=1, data=padded.reshape(-1))
    bag = ros2.write(tmp_path / "bag", [("/ir", IMAGE, 5, message)])
    (frame,) = frames_of(bag)
    assert np.array_equal(frame.image, pixels)
    (raw,) = read_raw_images(bag)
    assert (raw.height_px, raw.width_px, raw.encoding, raw.step_bytes, raw.is_bigendian) == (6, 5, "mono16", 16, True)
    assert bytes(raw.data) == padded.tobytes()


@pytest.mark.parametrize("compression", [None, "BZ2", "LZ4"])
def test_a_ros1_bag_is_read(tmp_path, ros1, compression):
    from rosbags.rosbag1 import Writer

    pixels = [random_image(seed, (8, 9), np.uint16) for seed in range(3)]
    writer = Writer(tmp_path / "old.bag")
    if compression is not None:
        writer.set_compression(Writer.CompressionFormat[compression])
    with writer:
        images = writer.add_connection("/flir/image_raw", IMAGE, typestore=ros1.store)
        labels = writer.add_connection("/labels", DETECTIONS, typestore=ros1.store)
        for index, image in enumerate(pixels):
            message = ros1.image(image, "16UC1", STAMP + index)
            writer.write(images, 10 + index, ros1.store.serialize_ros1(message, IMAGE))
            truth = ros1.truth([("car", 4.0, 4.0, 2.0, 2.0)], STAMP + index)
            writer.write(labels, 10 + index, ros1.store.serialize_ros1(truth, DETECTIONS))
    samples = list(read_labelled_frames(tmp_path / "old.bag"))
    assert [sample.frame.stamp_ns for sample in samples] == [STAMP, STAMP + 1, STAMP + 2]
    for sample, image in zip(samples, pixels, strict=True):
        assert np.array_equal(sample.frame.image, image)
        assert sample.truth.class_ids.tolist() == [2]
        assert sample.truth.boxes_xyxy_px.tolist() == [[3.0, 3.0, 5.0, 5.0]]


@pytest.mark.parametrize("compression", ["message", "file"])
@pytest.mark.parametrize("storage", ["MCAP", "SQLITE3"])
def test_compressed_bags_are_read(tmp_path, ros2, storage, compression):
    from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin, Writer

    pixels = random_image(3, (10, 11), np.uint16)
    writer = Writer(tmp_path / "bag", version=9, storage_plugin=StoragePlugin[storage])
    writer.set_compression(CompressionMode[compression.upper()], CompressionFormat.ZSTD)
    with writer:
        connection = writer.add_connection("/ir", IMAGE, typestore=ros2.store)
        writer.write(connection, 5, ros2.store.serialize_cdr(ros2.image(pixels, "mono16", STAMP), IMAGE))
    (frame,) = frames_of(tmp_path / "bag")
    assert np.array_equal(frame.image, pixels)


@pytest.mark.parametrize(("dtype", "encoding"), [(np.uint8, "mono8"), (np.uint16, "mono16")])
def test_a_png_of_8_or_16_bits_keeps_every_count(tmp_path, ros2, dtype, encoding):
    pixels = random_image(4, (12, 14), dtype)
    data = cv2.imencode(".png", pixels)[1].tobytes()
    form = f"{encoding}; png compressed "
    bag = ros2.write(tmp_path / "bag", [("/ir/compressed", COMPRESSED, 5, ros2.compressed(data, form, STAMP))])
    (frame,) = frames_of(bag)
    assert frame.image.dtype == dtype
    assert np.array_equal(frame.image, pixels)
    (raw,) = read_raw_images(bag)
    assert raw.compressed_format == form
    assert np.array_equal(raw.decode(), pixels)


def test_a_malformed_image_is_named_with_bag_topic_and_stamp(tmp_path, ros2):
    broken = ros2.image(np.zeros((4, 4), np.uint16), "mono16", STAMP, data=np.zeros(7, np.uint8))
    bag = ros2.write(tmp_path / "bag", [("/ir", IMAGE, 5, broken)])
    with pytest.raises(InputError) as caught:
        list(frames_of(bag))
    for part in (str(bag), "/ir", str(STAMP)):
        assert part in str(caught.value)
    # the replay still gets it: the node is the one to refuse it
    assert [len(raw.data) for raw in read_raw_images(bag, "/ir")] == [7]


def test_a_bag_without_type_definitions_is_read(tmp_path, ros2):
    """sqlite3 bags before Iron carry none: the tables as ROS 2 Humble writes them."""
    import sqlite3

    pixels = random_image(5, (7, 8), np.uint16)
    bag = tmp_path / "humble"
    bag.mkdir()
    database = sqlite3.connect(bag / "humble_0.db3")
    database.executescript(
        "CREATE TABLE schema(schema_version INTEGER PRIMARY KEY, ros_distro TEXT NOT NULL);"
        "CREATE TABLE metadata(id INTEGER PRIMARY KEY, metadata_version INTEGER NOT NULL, metadata TEXT NOT NULL);"
        "CREATE TABLE topics(id INTEGER PRIMARY KEY, name TEXT NOT NULL, type TEXT NOT NULL,"
        " serialization_format TEXT NOT NULL, offered_qos_profiles TEXT NOT NULL);"
        "CREATE TABLE messages(id INTEGER PRIMARY KEY, topic_id INTEGER NOT NULL, timestamp INTEGER NOT NULL,"
        " data BLOB NOT NULL);"
        "INSERT INTO schema VALUES (3, 'humble');"
    )
    rows = [
        ("/thermal", IMAGE, ros2.image(pixels, "mono16", STAMP)),
        ("/truth", DETECTIONS, ros2.truth([("1", 4.0, 4.0, 2.0, 2.0)], STAMP)),
    ]
    topics = ""
    for number, (topic, message_type, message) in enumerate(rows, 1):
        database.execute("INSERT INTO topics VALUES (?, ?, ?, 'cdr', '')", (number, topic, message_type))
        data = bytes(ros2.store.serialize_cdr(message, message_type))
        database.execute("INSERT INTO messages(topic_id, timestamp, data) VALUES (?, ?, ?)", (number, 5, data))
        topics += (
            f"  - topic_metadata: {{name: {topic}, type: {message_type}, serialization_format: cdr, "
            "offered_qos_profiles: ''}\n    message_count: 1\n"
        )
    database.commit()
    database.close()
    (bag / "metadata.yaml").write_text(
        "rosbag2_bagfile_information:\n  version: 5\n  storage_identifier: sqlite3\n  duration: {nanoseconds: 0}\n"
        "  starting_time: {nanoseconds_since_epoch: 5}\n  message_count: 2\n  relative_file_paths: [humble_0.db3]\n"
        f"  compression_format: ''\n  compression_mode: ''\n  topics_with_message_count:\n{topics}"
    )
    (sample,) = read_labelled_frames(bag)
    assert np.array_equal(sample.frame.image, pixels)
    assert sample.truth.class_ids.tolist() == [1]


@pytest.fixture
def without_definitions(tmp_path, ros2):
    """A sqlite3 bag of two images and what stands on /labels, (bytes, stamp) of each message, without definitions."""
    import sqlite3

    def make(labels):
        rows = [("/ir", IMAGE, stamp, ros2.image(np.zeros((8, 8), np.uint8), "mono8", stamp)) for stamp in (1, 2)]
        rows.append(("/labels", DETECTIONS, 3, ros2.truth([], 3)))
        bag = ros2.write(tmp_path / "bag", rows, "sqlite3")
        with sqlite3.connect(bag / "bag.db3") as database:
            ((topic,),) = database.execute("SELECT id FROM topics WHERE name = '/labels'")
            database.execute("DELETE FROM message_definitions")
            database.execute("DELETE FROM messages WHERE topic_id = ?", (topic,))
            for data, stamp in labels:
                row = (topic, stamp, data)
                database.execute("INSERT INTO messages(topic_id, timestamp, data) VALUES (?, ?, ?)", row)
        database.close()
        return bag

    return make


def test_labels_of_an_unknown_release_are_named_as_that_and_the_images_are_read(ros2, without_definitions):
    data = ros2.store.serialize_cdr(ros2.truth([("car", 4.0, 3.0, 2.0, 1.0)], 1), DETECTIONS)
    bag = without_definitions([(bytes(data[:40]) + b"\xff" * 8 + bytes(data[40:]), 1)])
    with pytest.raises(InputError, match="/labels cannot be read as vision_msgs") as refusal:
        list(read_labelled_frames(bag))
    assert not isinstance(refusal.value, DamagedBag)
    assert len(list(read_raw_images(bag))) == 2
    info = bag_info(bag)
    assert (info.frames, info.losses) == (2, [])
    assert [topic.name for topic in info.topics if topic.unreadable] == ["/labels"]
    assert "/labels cannot be read as vision_msgs" in info.to_text()


def test_reading_holds_one_image_at_a_time(tmp_path, ros2):
    import tracemalloc

    pixels = np.zeros((256, 1024), np.uint16)  # 0.5 MB each, 20 MB in all
    rows = [("/ir", IMAGE, k, ros2.image(pixels, "mono16", k)) for k in range(40)]
    bag = ros2.write(tmp_path / "bag", rows)
    tracemalloc.start()
    count = sum(1 for _ in read_raw_images(bag))
    peak_bytes = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert count == 40
    assert peak_bytes < 10e6


def test_types_defined_in_idl_are_read(tmp_path, ros2):
    """As mcap recorders embed them for types that come as .idl."""
    from rosbags.rosbag2 import StoragePlugin, Writer

    parts = {
        "sensor_msgs/msg/Image": (
            '#include "std_msgs/msg/Header.idl"\nmodule sensor_msgs { module msg { struct Image {'
            " std_msgs::msg::Header header; uint32 height; uint32 width; string encoding; uint8 is_bigendian;"
            " uint32 step; sequence<uint8> data; }; }; };\n"
        ),
        "std_msgs/msg/Header": (
            '#include "builtin_interfaces/msg/Time.idl"\nmodule std_msgs { module msg { struct Header {'
            " builtin_interfaces::msg::Time stamp; string frame_id; }; }; };\n"
        ),
        "builtin_interfaces/msg/Time": (
            "module builtin_interfaces { module msg { struct Time { int32 sec; uint32 nanosec; }; }; };\n"
        ),
    }
    definition = "".join(f"{'=' * 80}\nIDL: {name}\n{text}" for name, text in parts.items())
    pixels = random_image(6, (5, 6), np.uint16)
    with Writer(tmp_path / "bag", version=9, storage_plugin=StoragePlugin.MCAP) as writer:
        digest = ros2.store.hash_rihs01(IMAGE)
        connection = writer.add_connection("/ir", IMAGE, msgdef=definition, rihs01=digest)
        writer.write(connection, 5, ros2.store.serialize_cdr(ros2.image(pixels, "mono16", STAMP), IMAGE))
    (frame,) = frames_of(tmp_path / "bag")
    assert np.array_equal(frame.image, pixels)
    assert frame.stamp_ns == STAMP
