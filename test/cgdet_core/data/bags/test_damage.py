"""Bags that are missing, cut short or damaged: what of an MCAP is read and what is said, and what is refused."""

from __future__ import annotations

import io
import random
import shutil
import sqlite3
import subprocess
import warnings

import numpy as np
import pytest
import yaml
from mcap.writer import CompressionType
from mcap.writer import Writer as McapWriter

from cgdet_core.data.bags.damage import BagWarning, bag_errors
from cgdet_core.data.bags.frames import read_labelled_frames, read_raw_images
from cgdet_core.data.bags.info import bag_info
from cgdet_core.data.bags.reader import BagReader
from cgdet_core.errors import CgdetError, InputError, RunError

IMAGE = "sensor_msgs/msg/Image"
SUFFIX = {"mcap": ".mcap", "sqlite3": ".db3"}
START, STEP, TOPIC = 1_700_000_000_000_000_000, 100_000_000, "/thermal/image_raw"
COUNTS = [np.full((20, 30), 1000 * index, np.uint16) + np.arange(30, dtype=np.uint16) for index in range(10)]
CHUNK = 6  # the opcode


@pytest.fixture
def made(tmp_path, ros2):
    """The file of a bag of ten frames, of a storage of rosbags."""

    def make(storage, ros=ros2):
        rows = [
            (TOPIC, IMAGE, START + index * STEP, ros.image(counts, "mono16", START + index * STEP))
            for index, counts in enumerate(COUNTS)
        ]
        written = ros.write(tmp_path / ("a.bag" if storage == "ros1" else "made"), rows, storage)
        if storage != "ros1":
            written = written / f"made{SUFFIX[storage]}"
        return written.rename(tmp_path / f"a{written.suffix}")

    return make


@pytest.fixture
def mcap(ros2):
    """Bytes of an MCAP, by the mcap library: the frames of `places`, two to a chunk; compression None: no chunks."""

    def make(compression="ZSTD", crc=True, places=range(10), encoding="cdr"):
        chunked = {"use_chunking": compression is not None, "compression": CompressionType[compression or "NONE"]}
        out = io.BytesIO()
        writer = McapWriter(out, chunk_size=2000, enable_crcs=crc, **chunked)
        writer.start("ros2" if encoding == "cdr" else "")
        text, _ = ros2.store.generate_msgdef(IMAGE, ros_version=2)
        channel = writer.register_channel(TOPIC, encoding, writer.register_schema(IMAGE, "ros2msg", text.encode()))
        for place in places:
            time_ns = START + place * STEP
            data = ros2.store.serialize_cdr(ros2.image(COUNTS[place], "mono16", time_ns), IMAGE)
            writer.add_message(channel, time_ns, bytes(data), time_ns)
        writer.finish()
        return out.getvalue()

    return make


def records(data):
    """(opcode, first byte, byte behind the last) of every record of an MCAP."""
    found, at = [], 8
    while at < len(data) - 8:
        end = at + 9 + int.from_bytes(data[at + 1 : at + 9], "little")
        found.append((data[at], at, end))
        at = end
    return found


def refused(path, reader=read_labelled_frames):
    """The message of the InputError that reading `path` ends in."""
    with pytest.raises(InputError) as caught:
        list(reader(path))
    message = str(caught.value)
    assert "\n" not in message
    assert str(path) in message
    assert len(message) < 600
    return message


def read(path):
    """How many frames are read, from the first on and each as it was packed, and what is said to be missing."""
    losses = []
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        samples = list(read_labelled_frames(path, TOPIC, losses=losses))
    for sample, counts in zip(samples, COUNTS, strict=False):
        assert np.array_equal(sample.frame.image, counts)
    assert {warning.category for warning in caught} <= {BagWarning}
    assert {str(warning.message) for warning in caught} >= set(losses)
    assert not any("\n" in loss for loss in losses)
    return len(samples), losses


def test_what_is_no_bag_is_named(tmp_path, thermal_bag, mcap):
    refused(tmp_path / "nothing")
    for name in ("picture.png", "a.mcap", "a.db3", "a.bag"):
        for content in (b"", b"no bag at all, whatever its name says" * 10):
            (tmp_path / name).write_bytes(content)
            refused(tmp_path / name)
    (tmp_path / "other.mcap").write_bytes(mcap(encoding="ros1"))
    refused(tmp_path / "other.mcap")
    (tmp_path / "bags").mkdir()
    refused(tmp_path / "bags")
    misread = thermal_bag("bag", "sqlite3").rename(tmp_path / "50%25")
    assert "?#%" in refused(misread)


@pytest.mark.parametrize(("compression", "crc"), [("NONE", False), ("ZSTD", True), ("LZ4", False), (None, True)])
def test_an_mcap_cut_at_any_byte_is_read_up_to_its_last_whole_chunk(tmp_path, mcap, compression, crc):
    data = mcap(compression, crc)
    opcode, per_chunk = (5, 1) if compression is None else (CHUNK, 2)
    ends = [end for found, _, end in records(data) if found == opcode]
    assert len(ends) * per_chunk == 10
    path = tmp_path / "a.mcap"
    lengths = {len(data) - 1, *(end + byte for end in ends for byte in (-1, 0))}
    lengths |= {random.Random(length).randrange(200, len(data)) for length in range(10)}
    for length in sorted(lengths):
        path.write_bytes(data[:length])
        whole = sum(end <= length for end in ends)
        if not whole:
            assert "nothing in the bag can be read" in refused(path)
            continue
        count, losses = read(path)
        assert count == whole * per_chunk, length
        assert len(losses) == 1
        assert str(path) in losses[0]
        assert f"{count} messages" in losses[0]
    path.write_bytes(data)
    assert read(path) == (10, [])


def test_of_a_split_mcap_the_whole_files_are_read_and_the_damaged_one_up_to_the_damage(tmp_path, mcap, made):
    bag = made("mcap").parent / "made"
    names = ["drive_8.mcap", "drive_9.mcap", "drive_10.mcap"]
    for name, places in zip(names, (range(4), range(4, 8), range(8, 10)), strict=True):
        (bag / name).write_bytes(mcap(places=places))
    index = yaml.safe_load((bag / "metadata.yaml").read_text())
    index["rosbag2_bagfile_information"]["relative_file_paths"] = names
    (bag / "metadata.yaml").write_text(yaml.safe_dump(index))
    assert read(bag) == (10, [])
    last = bag / names[2]
    last.write_bytes(last.read_bytes()[:100])
    count, (loss, total) = read(bag)
    assert count == 8
    assert names[2] in loss
    assert "8 of 10 messages" in total
    (bag / "metadata.yaml").unlink()
    assert read(bag) == (8, [loss])
    (bag / "metadata.yaml").write_text(yaml.safe_dump(index))
    last.unlink()
    count, (loss,) = read(bag)
    assert count == 8
    assert names[2] in loss
    assert "8 of 10 messages" in loss


@pytest.mark.parametrize("compression", ["NONE", "ZSTD", "LZ4"])
def test_an_mcap_with_a_damaged_chunk_is_read_up_to_it(tmp_path, mcap, compression):
    """The index is whole: every chunk before the damaged one comes."""
    data = bytearray(mcap(compression))
    _, start, _ = [record for record in records(data) if record[0] == CHUNK][3]
    data[start + 70 : start + 80] = b"\xa5" * 10
    (tmp_path / "a.mcap").write_bytes(data)
    count, (loss,) = read(tmp_path / "a.mcap")
    assert count == 6
    assert "6 of 10 messages" in loss


def test_a_cut_sqlite_bag_is_refused_and_the_command_that_is_named_repairs_it(tmp_path, made):
    path = made("sqlite3")
    whole = path.read_bytes()
    for length in (0, 1, 50, 99, 100, 4096, len(whole) // 2, len(whole) - 4096, len(whole) - 1):
        path.write_bytes(whole[:length])
        refused(path)
    path.write_bytes(whole[: len(whole) * 4 // 5])
    message = refused(path)
    recover, dump = message.split("`")[1:4:2]
    if shutil.which("sqlite3") is None:
        return
    # Debian's sqlite3 has no .recover
    has_it = subprocess.run(["sqlite3", ":memory:", "SELECT 1 FROM sqlite_dbpage"], capture_output=True).returncode == 0
    for command in (recover, dump) if has_it else (dump,):
        subprocess.run(command, shell=True, cwd=tmp_path, check=True)
        # the last images may be torn
        images = [sample.frame.image for sample in read_labelled_frames(tmp_path / "new.db3")]
        assert 5 <= len(images) < 10
        assert all(np.array_equal(images[index], COUNTS[index]) for index in range(3))
        (tmp_path / "new.db3").unlink()


def test_a_sqlite_bag_whose_last_messages_lie_in_a_log_is_refused_with_the_command_that_brings_them_in(made):
    path = made("sqlite3")
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("DELETE FROM messages WHERE id = 1")
    connection.commit()
    assert "`sqlite3 a.db3 'PRAGMA wal_checkpoint'`" in refused(path)
    connection.close()


@pytest.mark.parametrize("kind", ["mcap", "sqlite3", "ros1"])
def test_no_byte_that_is_wrong_ends_in_a_traceback(tmp_path, made, mcap, ros1, kind):
    """Every frame comes, or one line says why not; of an MCAP the first ones, and a line says that they are not all."""
    path = tmp_path / "a.mcap"
    if kind == "mcap":
        path.write_bytes(mcap("LZ4"))
    else:
        path = made(kind, *((ros1,) if kind == "ros1" else ()))
    whole = path.read_bytes()
    if kind == "ros1":
        for length in (0, 5, 13, 100, 4096, len(whole) // 2, len(whole) - 1, len(whole) - 200):
            path.write_bytes(whole[:length])
            assert "rosbag reindex" in refused(path)
    rng = random.Random(1)
    refusals = []
    for _ in range(60):
        damaged = bytearray(whole)
        # the indexes lie at both ends
        position = rng.choice([rng.randrange(100), len(whole) - 1 - rng.randrange(1500), rng.randrange(len(whole))])
        damaged[position] ^= rng.randrange(1, 256)
        path.write_bytes(damaged)
        try:
            with warnings.catch_warnings(record=True):
                losses = []
                count = len(list(read_labelled_frames(path, losses=losses)))
        except CgdetError as error:
            refusals.append(error)
        else:
            assert count == 10 or (losses and kind == "mcap")
    assert refusals
    assert not any("\n" in str(error) for error in refusals)
    assert all(isinstance(error, InputError) or "report it" in str(error) for error in refusals)


def test_a_fault_of_ours_or_of_a_library_is_told_with_its_type_and_not_as_damage(tmp_path, thermal_bag, monkeypatch):
    for fault in (TypeError, AttributeError, AssertionError, MemoryError, RuntimeError):
        with pytest.raises(RunError, match=fault.__name__) as caught, bag_errors(tmp_path / "a.mcap"):
            raise fault("odd")
        assert caught.value.__cause__.__class__ is fault

    def odd(*_, **__):
        raise AttributeError("no such thing")
        yield

    monkeypatch.setattr("rosbags.rosbag2.Reader.messages", odd)
    with pytest.raises(RunError, match="AttributeError"):
        list(read_raw_images(thermal_bag()))


@pytest.mark.parametrize(
    ("content", "storage"),
    [
        *((None, "mcap"), (None, "sqlite3"), (b"", "mcap"), (b"a: [b", "sqlite3")),
        *((b"\xff\xfe\x00", "mcap"), (b"rosbag2_bagfile_information: {}", "sqlite3")),
        (b"rosbag2_bagfile_information: {storage_identifier: mcap, relative_file_paths: [[1]]}", "mcap"),
    ],
)
def test_without_an_index_all_is_read_and_told(thermal_bag, storage, content):
    bag = thermal_bag("bag", storage)
    (bag / "metadata.yaml").unlink()
    if content is not None:
        (bag / "metadata.yaml").write_bytes(content)
    losses = []
    with pytest.warns(BagWarning) as told:
        assert len(list(read_labelled_frames(bag, losses=losses))) == 5
    assert losses == []
    (message,) = {str(warning.message) for warning in told}
    assert str(bag / "metadata.yaml") in message
    assert f"ros2 bag reindex {bag}" in message


def change_index(bag, change):
    """metadata.yaml as `change` leaves it."""
    path = bag / "metadata.yaml"
    document = yaml.safe_load(path.read_text())
    change(document["rosbag2_bagfile_information"])
    path.write_text(yaml.safe_dump(document))


def counts_of(count):
    def change(index):
        for topic in index["topics_with_message_count"]:
            topic["message_count"] = count

    return change


@pytest.mark.parametrize("storage", ["mcap", "sqlite3"])
@pytest.mark.parametrize(
    "change",
    [
        counts_of(0),
        counts_of(2),
        lambda index: index["topics_with_message_count"].pop(0),
        lambda index: index["topics_with_message_count"].clear(),
        lambda index: index["relative_file_paths"].clear(),
    ],
    ids=["no message", "fewer messages", "a topic less", "no topic", "no file"],
)
def test_an_index_that_names_less_than_the_files_hold_is_told_and_the_files_are_read(thermal_bag, storage, change):
    bag = thermal_bag("bag", storage)
    whole = [sample.frame.image for sample in read_labelled_frames(bag)]
    change_index(bag, change)
    with pytest.warns(BagWarning, match="names less"):
        samples = list(read_labelled_frames(bag))
    assert [len(sample.truth.class_ids) for sample in samples] == [1] * 5
    assert all(np.array_equal(sample.frame.image, image) for sample, image in zip(samples, whole, strict=True))
    with pytest.warns(BagWarning):
        info = bag_info(bag)
    assert (info.messages, info.frames, info.frames_with_truth, info.losses) == (10, 5, 5, [])
    assert info.duration_s == pytest.approx(0.4)
    assert len(info.notes) == 1


@pytest.mark.parametrize("storage", ["mcap", "sqlite3"])
def test_an_index_that_names_more_than_the_files_hold_is_a_loss(thermal_bag, storage):
    bag = thermal_bag("bag", storage)
    change_index(bag, counts_of(7))
    losses = []
    with pytest.warns(BagWarning):
        assert len(list(read_labelled_frames(bag, losses=losses))) == 5
    (loss,) = losses
    assert "5 of 7 messages of /thermal/image_raw" in loss
    change_index(bag, counts_of(5))
    change_index(bag, lambda index: index["relative_file_paths"].append("bag_1" + SUFFIX[storage]))
    with pytest.warns(BagWarning):
        assert f"bag_1{SUFFIX[storage]} is missing" in bag_info(bag).losses[0]
    (bag / f"bag{SUFFIX[storage]}").unlink()
    with pytest.warns(BagWarning):
        refused(bag)


def test_what_macos_writes_beside_the_files_is_no_part_of_a_bag(thermal_bag):
    for storage in ("mcap", "sqlite3"):
        bag = thermal_bag(storage, storage)
        for file in [*bag.iterdir()]:
            (bag / f"._{file.name}").write_bytes(b"\0\5\x16\7Mac OS X")
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert len(list(read_labelled_frames(bag))) == 5


def test_info_tells_what_of_a_cut_mcap_is_read(tmp_path, mcap):
    data = mcap()
    chunks = [record for record in records(data) if record[0] == CHUNK]
    (tmp_path / "a.mcap").write_bytes(data[: chunks[3][1]])
    with pytest.warns(BagWarning):
        info = bag_info(tmp_path / "a.mcap")
    assert (info.messages, info.topics[0].count, info.frames) == (6, 6, 6)
    assert info.duration_s == pytest.approx(0.5)
    assert len(info.losses) == 1
    assert "DAMAGED" in info.to_text()


@pytest.mark.parametrize("definition", ["", "string x", "vendor_msgs/Missing x", "this is ! no definition"])
def test_an_odd_type_elsewhere_does_not_hide_the_images(tmp_path, ros2, definition):
    """Vendors' types with a wrong hash, a missing part or no sense matter only to who reads them."""
    from rosbags.rosbag2 import StoragePlugin, Writer

    with Writer(tmp_path / "bag", version=9, storage_plugin=StoragePlugin.MCAP) as writer:
        image = writer.add_connection("/ir", IMAGE, typestore=ros2.store)
        odd_type, odd_hash = "vendor_msgs/msg/Odd", "RIHS01_" + "0" * 64
        odd = writer.add_connection("/odd", odd_type, msgdef=definition, rihs01=odd_hash)
        pixels = np.full((4, 4), 9, np.uint8)
        writer.write(image, 1, ros2.store.serialize_cdr(ros2.image(pixels, "mono8", 1), IMAGE))
        writer.write(odd, 2, b"\xff" * 12)
    (sample,) = read_labelled_frames(tmp_path / "bag")
    assert np.array_equal(sample.frame.image, pixels)
    info = bag_info(tmp_path / "bag")
    assert [(topic.name, topic.type, topic.count) for topic in info.topics] == [
        ("/ir", IMAGE, 1),
        ("/odd", odd_type, 1),
    ]
    with BagReader(tmp_path / "bag") as bag, pytest.raises(InputError, match=str(tmp_path)):
        list(bag.messages(["/odd"]))  # bytes that are no message, or of an unknown type


def test_a_definition_with_other_fields_is_refused(tmp_path, ros2):
    """The bytes are an image's, the definition calls a field otherwise."""
    from rosbags.rosbag2 import StoragePlugin, Writer
    from rosbags.typesys import Stores, get_types_from_msg, get_typestore

    definition, _ = ros2.store.generate_msgdef(IMAGE, ros_version=2)
    renamed = definition.replace("uint32 height", "uint32 heighT2")
    other = get_typestore(Stores.EMPTY)
    other.register(get_types_from_msg(renamed, IMAGE))
    data = ros2.store.serialize_cdr(ros2.image(np.zeros((4, 4), np.uint8), "mono8", 1), IMAGE)
    with Writer(tmp_path / "bag", version=9, storage_plugin=StoragePlugin.MCAP) as writer:
        connection = writer.add_connection("/ir", IMAGE, msgdef=renamed, rihs01=other.hash_rihs01(IMAGE))
        writer.write(connection, 1, data)
    with pytest.raises(InputError, match=r"topic '/ir': .*sensor_msgs/msg/Image"):
        list(read_raw_images(tmp_path / "bag"))
