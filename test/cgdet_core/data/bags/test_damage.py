"""Bags that are missing, cut short or damaged: one line that names the file and the remedy, never half a bag."""

from __future__ import annotations

import random
import shutil

import numpy as np
import pytest

from cgdet_core.data.bags.frames import read_labelled_frames, read_raw_images
from cgdet_core.data.bags.info import bag_info
from cgdet_core.data.bags.reader import BagReader
from cgdet_core.errors import InputError

IMAGE = "sensor_msgs/msg/Image"
SUFFIX = {"mcap": ".mcap", "sqlite3": ".db3"}


def refused(path, reader=read_labelled_frames):
    """The message of the InputError that reading `path` ends in."""
    with pytest.raises(InputError) as caught:
        list(reader(path))
    message = str(caught.value)
    assert "\n" not in message
    assert str(path) in message
    assert len(message) < 600
    return message


def storage_file(bag, storage):
    (file,) = (entry for entry in bag.iterdir() if entry.suffix == SUFFIX[storage])
    return file


def test_a_missing_bag_is_named(tmp_path):
    assert "no such bag" in refused(tmp_path / "nothing")


def test_a_folder_that_is_no_bag_is_named_and_the_bags_in_it_offered(tmp_path, thermal_bag):
    thermal_bag("inner")
    message = refused(tmp_path)
    assert "is not a bag" in message
    assert "inner" in message


def test_a_file_that_is_no_bag_is_named(tmp_path):
    (tmp_path / "picture.png").write_bytes(b"\x89PNG")
    assert "is not a bag" in refused(tmp_path / "picture.png")


@pytest.mark.parametrize("name", ["a.mcap", "a.db3", "a.bag"])
@pytest.mark.parametrize("content", [b"", b"no bag at all, whatever its name says" * 10])
def test_a_file_that_only_bears_the_name_of_a_bag_is_refused(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    refused(tmp_path / name)


@pytest.mark.parametrize("storage", ["mcap", "sqlite3"])
def test_a_bag_cut_at_any_length_is_refused(thermal_bag, storage):
    bag = thermal_bag("bag", storage)
    file = storage_file(bag, storage)
    whole = file.read_bytes()
    rng = random.Random(0)
    lengths = {0, 1, 7, 8, 9, 20, 37, 100, 4096, 8192, *(len(whole) - n for n in (1, 8, 36, 37, 100, 1000))}
    lengths |= {rng.randrange(len(whole)) for _ in range(12)}
    for length in sorted(lengths):
        file.write_bytes(whole[:length])
        refused(bag)
        refused(file)
        refused(bag, read_raw_images)
    file.write_bytes(whole)
    assert len(list(read_labelled_frames(bag))) == 5


@pytest.mark.parametrize("storage", ["mcap", "sqlite3"])
def test_flipped_bytes_are_refused_or_harmless(thermal_bag, storage):
    """Whatever byte is wrong: every frame comes, or one line says why not. Never another error, never fewer frames."""
    bag = thermal_bag("bag", storage)
    file = storage_file(bag, storage)
    whole = file.read_bytes()
    rng = random.Random(1)
    refusals = []
    for _ in range(40):
        damaged = bytearray(whole)
        # where the indexes lie: at both ends of an mcap, in the first 4096 bytes of an SQLite file
        places = [rng.randrange(100), rng.randrange(2500, 4096), len(whole) - 1 - rng.randrange(2000)]
        position = rng.choice([*places, rng.randrange(len(whole))])
        damaged[position] ^= rng.randrange(1, 256)
        file.write_bytes(damaged)
        try:
            count = len(list(read_labelled_frames(bag)))
        except InputError as error:
            refusals.append(str(error))
        else:
            assert count == 5
    assert refusals
    assert not any("\n" in refusal for refusal in refusals)


def test_a_cut_ros1_bag_is_refused(tmp_path, ros1):
    pixels = np.zeros((16, 16), np.uint8)
    rows = [("/ir", IMAGE, k, ros1.image(pixels, "mono8", k)) for k in range(1, 6)]
    bag = ros1.write(tmp_path / "old.bag", rows, "ros1")
    whole = bag.read_bytes()
    for length in (0, 5, 13, 100, 4096, len(whole) // 2, len(whole) - 1, len(whole) - 200):
        bag.write_bytes(whole[:length])
        assert "rosbag reindex" in refused(bag)


@pytest.mark.parametrize("storage", ["mcap", "sqlite3"])
def test_a_missing_index_is_named_with_the_remedy(thermal_bag, storage):
    bag = thermal_bag("bag", storage)
    (bag / "metadata.yaml").unlink()
    message = refused(bag)
    assert "metadata.yaml is missing" in message
    assert "reindex" in message
    assert storage_file(bag, storage).name in message


@pytest.mark.parametrize(
    "content", [b"", b"rosbag2_bagfile_information", b"a: [b", b"\xff\xfe\x00", b"rosbag2_bagfile_information: {}"]
)
def test_a_damaged_index_is_named_with_the_remedy(thermal_bag, content):
    bag = thermal_bag()
    (bag / "metadata.yaml").write_bytes(content)
    message = refused(bag)
    assert str(bag / "metadata.yaml") in message
    assert "reindex" in message


@pytest.mark.parametrize("storage", ["mcap", "sqlite3"])
def test_a_missing_storage_file_is_named_and_nothing_is_to_be_repaired(thermal_bag, storage):
    bag = thermal_bag("bag", storage)
    storage_file(bag, storage).unlink()
    message = refused(bag)
    assert f"{bag}: lacks bag{SUFFIX[storage]}, which its metadata.yaml names: copy the whole folder again" in message
    assert "repair" not in message
    assert {"mcap": ".db3", "sqlite3": ".mcap"}[storage] not in message


@pytest.mark.parametrize(("storage", "tool"), [("mcap", "mcap recover"), ("sqlite3", "sqlite3 FILE .recover")])
def test_the_repair_that_is_advised_is_that_of_the_storage_which_the_index_states(thermal_bag, storage, tool):
    bag = thermal_bag("bag", storage)
    storage_file(bag, storage).write_bytes(b"")
    assert tool in refused(bag)


@pytest.mark.parametrize("paths", ["5", "[5]", "{}", "[[1]]", "null"])
def test_an_index_with_odd_file_names_is_refused(thermal_bag, paths):
    bag = thermal_bag()
    lines = (bag / "metadata.yaml").read_text().splitlines()
    (place,) = (number for number, line in enumerate(lines) if line.strip().startswith("relative_file_paths"))
    rest = [line for line in lines[place + 1 :] if not line.strip().startswith("- bag")]
    (bag / "metadata.yaml").write_text("\n".join([*lines[:place], f"  relative_file_paths: {paths}", *rest]))
    refused(bag)


def test_an_index_that_promises_more_than_there_is_means_a_damaged_bag(thermal_bag):
    bag = thermal_bag(frames=4)
    index = (bag / "metadata.yaml").read_text()
    assert index.count("message_count: 4") == 2
    (bag / "metadata.yaml").write_text(index.replace("message_count: 4", "message_count: 6"))
    assert "4 of 6 messages" in refused(bag)


def test_bytes_that_are_no_message_are_refused(tmp_path, ros2):
    from rosbags.rosbag2 import StoragePlugin, Writer

    with Writer(tmp_path / "bag", version=9, storage_plugin=StoragePlugin.MCAP) as writer:
        connection = writer.add_connection("/ir", IMAGE, typestore=ros2.store)
        writer.write(connection, 1, b"\x00\x01\x00\x00" + b"\xff" * 30)
    assert "damaged" in refused(tmp_path / "bag")


def test_info_refuses_a_damaged_bag_too(thermal_bag):
    bag = thermal_bag()
    file = storage_file(bag, "mcap")
    file.write_bytes(file.read_bytes()[:-50])
    with pytest.raises(InputError, match="seems damaged or cut short"):
        bag_info(bag)


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
        list(bag.messages(["/odd"]))


def test_a_definition_with_other_fields_is_refused(tmp_path, ros2):
    """The bytes are an image's, the definition calls a field otherwise; a hash that fits it says no more."""
    from rosbags.rosbag2 import StoragePlugin, Writer
    from rosbags.typesys import Stores, get_types_from_msg, get_typestore

    definition, _ = ros2.store.generate_msgdef(IMAGE, ros_version=2)
    renamed = definition.replace("uint32 height", "uint32 heighT2")
    other = get_typestore(Stores.EMPTY)
    other.register(get_types_from_msg(renamed, IMAGE))
    data = ros2.store.serialize_cdr(ros2.image(np.zeros((4, 4), np.uint8), "mono8", 1), IMAGE)
    for name, digest in [("fitting", other.hash_rihs01(IMAGE)), ("wrong", ros2.store.hash_rihs01(IMAGE))]:
        with Writer(tmp_path / name, version=9, storage_plugin=StoragePlugin.MCAP) as writer:
            writer.write(writer.add_connection("/ir", IMAGE, msgdef=renamed, rihs01=digest), 1, data)
    with pytest.raises(InputError, match=r"topic '/ir': is no sensor_msgs/msg/Image that cgdet knows"):
        list(read_raw_images(tmp_path / "fitting"))
    assert "does not match the hash" in refused(tmp_path / "wrong")


def test_a_path_that_sqlite_would_misread_is_refused(thermal_bag, tmp_path):
    bag = thermal_bag("bag", "sqlite3")
    shutil.move(bag, tmp_path / "50%25")
    assert "?#%" in refused(tmp_path / "50%25")
