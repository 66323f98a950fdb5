"""Bags that cgdet writes, read back with rosbags alone; and nothing half written left behind."""

from __future__ import annotations

import numpy as np
import pytest

from cgdet_core.data.bags.frames import read_labelled_frames
from cgdet_core.data.bags.messages import VISION_MSGS, typestore
from cgdet_core.data.bags.truth import FrameInfo
from cgdet_core.data.bags.write import BagWriter
from cgdet_core.errors import InputError
from cgdet_core.types import GroundTruth

NAMES = ("person", "bicycle", "car")
STAMP = 1_700_000_000_987_654_321


def messages(path):
    """Every message of a bag by plain rosbags calls: (topic, type, record time, message)."""
    from rosbags.highlevel import AnyReader

    with AnyReader([path]) as reader:
        return [
            (connection.topic, connection.msgtype, time, reader.deserialize(data, connection.msgtype))
            for connection, time, data in reader.messages()
        ]


def test_others_read_what_is_written(tmp_path):
    rng = np.random.default_rng(0)
    counts = rng.integers(0, 65536, (10, 12), dtype=np.uint16)
    colour = rng.integers(0, 256, (6, 7, 3), dtype=np.uint8)
    truth = GroundTruth([[1, 2, 5, 10], [0, 0, 4, 4]], [2, 0], [False, True])
    with BagWriter(tmp_path / "bag") as bag:
        bag.image("/thermal", np.asfortranarray(counts), STAMP, "ir_frame")
        bag.image("/rgb", colour, STAMP + 1, "rgb_frame")
        bag.truth("/ground_truth", truth, NAMES, STAMP + 2, "ir_frame", FrameInfo("a.png", "night"))
    thermal, rgb, labels, info = messages(tmp_path / "bag")

    topic, message_type, time, message = thermal
    assert (topic, message_type, time) == ("/thermal", "sensor_msgs/msg/Image", STAMP)
    assert (message.height, message.width, message.encoding, message.step) == (10, 12, "mono16", 24)
    assert (message.header.stamp.sec, message.header.stamp.nanosec) == (1_700_000_000, 987_654_321)
    assert (message.header.frame_id, message.is_bigendian) == ("ir_frame", 0)
    assert message.data.tobytes() == counts.astype("<u2").tobytes()

    assert (rgb[3].encoding, rgb[3].step) == ("rgb8", 21)
    assert rgb[3].data.tobytes() == colour.tobytes()

    assert labels[:2] == ("/ground_truth", "vision_msgs/msg/Detection2DArray")
    first, second = labels[3].detections
    assert (first.bbox.center.position.x, first.bbox.center.position.y) == (3, 6)
    assert (first.bbox.size_x, first.bbox.size_y, first.bbox.center.theta) == (4, 8, 0)
    assert [(r.hypothesis.class_id, r.hypothesis.score) for r in first.results] == [("car", 1.0)]
    assert second.results[0].hypothesis.class_id == "ignore:person"
    assert first.header.stamp == labels[3].header.stamp
    assert first.header.frame_id == labels[3].header.frame_id == "ir_frame"

    assert info[:2] == ("/ground_truth/frame_info", "diagnostic_msgs/msg/DiagnosticArray")
    assert [(value.key, value.value) for value in info[3].status[0].values] == [("name", "a.png"), ("light", "night")]


def test_the_definitions_are_those_that_the_package_builds(repository):
    # by rosidl from vision_msgs 4.1.1 (humble, iron, jazzy), std_msgs and sensor_msgs of Jazzy
    digest = "214274120007f4a683866481336b70310268cfa107aebe9d594a6acf75bda968"
    assert typestore().hash_rihs01("vision_msgs/msg/Detection2DArray") == f"RIHS01_{digest}"
    folder = repository / "interfaces" / "vision_msgs" / "msg"
    for name, definition in VISION_MSGS.items():
        lines = (folder / f"{name.rsplit('/', 1)[1]}.msg").read_text().splitlines()
        fields = [" ".join(line.split("#")[0].split()) for line in lines]
        package = "vision_msgs/"
        normal = [field.removeprefix(package) for field in fields if field]
        assert normal == [field.removeprefix(package) for field in definition.splitlines()], name


def test_the_same_frames_give_the_same_file(tmp_path):
    contents = []
    for run in ("a", "b"):
        with BagWriter(tmp_path / run / "bag") as bag:
            for index in range(3):
                bag.image("/thermal", np.full((8, 8), index, np.uint8), index, "ir")
        contents.append({entry.name: entry.read_bytes() for entry in (tmp_path / run / "bag").iterdir()})
    assert contents[0] == contents[1]


def test_an_existing_bag_is_kept_unless_told_otherwise(tmp_path, thermal_bag):
    bag = thermal_bag()
    before = {entry.name: entry.read_bytes() for entry in bag.iterdir()}
    with pytest.raises(InputError, match=r"exists already.*--overwrite"):
        BagWriter(bag)
    assert {entry.name: entry.read_bytes() for entry in bag.iterdir()} == before
    with BagWriter(bag, overwrite=True) as writer:
        writer.image("/new", np.zeros((4, 4), np.uint8), 1, "ir")
        assert {entry.name: entry.read_bytes() for entry in bag.iterdir()} == before
    assert [row[0] for row in messages(bag)] == ["/new"]
    assert [entry.name for entry in tmp_path.iterdir()] == ["bag"]


def test_what_is_no_bag_is_never_overwritten(tmp_path):
    precious = tmp_path / "thesis"
    precious.mkdir()
    (precious / "chapter1.txt").write_text("words")
    (tmp_path / "file").write_text("more words")
    (tmp_path / "link").symlink_to(precious)
    for out in (precious, tmp_path / "file", tmp_path / "link", ".", "..", "/"):
        with pytest.raises(InputError, match=str(out)):
            BagWriter(out, overwrite=True)
    assert (precious / "chapter1.txt").read_text() == "words"
    with pytest.raises(InputError, match="file/bag"), BagWriter(tmp_path / "file" / "bag"):
        pass


@pytest.mark.parametrize(("error", "existing"), [(RuntimeError, True), (KeyboardInterrupt, False)])
def test_nothing_half_written_is_left_after_an_error(tmp_path, thermal_bag, error, existing):
    if existing:
        thermal_bag("out")
    before = sorted((path, path.stat().st_size) for path in tmp_path.rglob("*"))

    def write():
        with BagWriter(tmp_path / "out", overwrite=True) as bag:
            bag.image("/thermal", np.zeros((2000, 1000), np.uint8), 1, "ir")
            raise error

    with pytest.raises(error):
        write()
    assert sorted((path, path.stat().st_size) for path in tmp_path.rglob("*")) == before


def test_a_full_disk_is_one_line(tmp_path, full_disk):
    def write():
        with BagWriter(tmp_path / "out") as bag:
            for stamp in range(9):
                bag.image("/ir", np.zeros((1000, 1000), np.uint8), stamp, "ir")

    with full_disk(1_000_000), pytest.raises(InputError, match="out: "):
        write()
    assert list(tmp_path.iterdir()) == []


def test_truth_of_a_frame_is_found_again_by_its_stamp(tmp_path):
    truth = GroundTruth([[1.25, 2.5, 30.125, 40]], [1], [False], np.array([True, True, False]))
    with BagWriter(tmp_path / "bag") as bag:
        info = FrameInfo("one", "day", "street", ("person", "bicycle"))
        bag.truth("/ground_truth", truth, NAMES, STAMP, "ir", info)
        bag.image("/thermal", np.zeros((48, 64), np.uint16), STAMP, "ir")
    (sample,) = read_labelled_frames(tmp_path / "bag")
    assert (sample.name, sample.light, sample.scene) == ("one", "day", "street")
    assert sample.truth.boxes_xyxy_px.tolist() == truth.boxes_xyxy_px.tolist()
    assert sample.truth.labelled.tolist() == [True, True, False]
