"""Damaged bags in commands: told by `cgdet bag info`, repaired, and refused by what learns or judges."""

from __future__ import annotations

import json

import bag_bytes as by_hand
import cv2
import numpy as np
import pytest
from damaged_bags import COUNTS, FILES, ROWS, START, STEP, TOPIC, broken, split_bag, times
from refusing import refusal

from cgdet_core.cli import main
from cgdet_core.data.bags.frames import BagReader, read_labelled_frames
from cgdet_core.errors import InputError


def test_the_command_tells_what_is_read_and_what_is_not(tmp_path, capsys):
    bag = split_bag(tmp_path / "bag")
    (bag / "drive_1.mcap").unlink()
    assert main(["bag", "info", str(bag)]) == 0
    said = capsys.readouterr().out
    assert "6 of 10" in said
    assert "DAMAGED" in said
    assert "drive_1.mcap: is missing (4 messages)" in said
    assert main(["bag", "info", str(bag), "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["losses"] == [
        {
            "where": "drive_1.mcap",
            "what": "is missing",
            "size_bytes": 0,
            "messages": 4,
            "first_ns": None,
            "last_ns": None,
        }
    ]
    assert (document["messages"], document["topics"][0]["expected"]) == (6, 10)


@pytest.mark.parametrize("kind", ["mcap", "ros1", "sqlite3"])
def test_a_repaired_bag_is_a_whole_one_of_what_could_be_read(tmp_path, capsys, kind):
    jpeg = cv2.imencode(".jpg", np.random.default_rng(0).integers(0, 255, (32, 32), dtype=np.uint8))[1].tobytes()
    pictures = [jpeg if index != 1 else jpeg[:200] for index in range(10)]
    colour = [by_hand.compressed("/rgb", START + k * STEP + 9, data, "jpeg") for k, data in enumerate(pictures)]
    rows = [row for pair in zip(ROWS, colour, strict=True) for row in pair]
    file = tmp_path / {"mcap": "a.mcap", "ros1": "a.bag", "sqlite3": "a.db3"}[kind]
    if kind == "sqlite3":
        by_hand.sqlite(file, rows)
        whole = file.read_bytes()
        file.write_bytes(whole[: len(whole) * 4 // 5])
    else:
        made = FILES[kind][1](rows, "lz4")
        file.write_bytes(made.data[: made.chunks[7][1]])
    new = tmp_path / ("new.bag" if kind == "ros1" else "new")
    assert main(["bag", "repair", str(file), "--out", str(new)]) == 0
    told = capsys.readouterr()
    assert "cgdet: not read: " in told.err
    assert "/rgb: holds images that cannot be decoded" in told.err
    thermal, rgb = times(file, TOPIC, "read"), times(file, "/rgb", "read")
    assert 5 <= len(thermal) < 10
    assert times(new, TOPIC) == thermal
    assert times(new, "/rgb") == [time_ns for time_ns in rgb if time_ns != START + STEP + 9]
    frames = [sample.frame.image for sample in read_labelled_frames(new, TOPIC)]
    assert all(np.array_equal(frame, counts) for frame, counts in zip(frames, COUNTS, strict=False))
    assert f"{len(thermal)} of {TOPIC}" in told.out
    assert "exists already" in refusal(capsys, "bag", "repair", file, "--out", new)
    assert main(["bag", "repair", str(file), "--out", str(new), "--overwrite"]) == 0


def test_a_repair_takes_along_what_it_does_not_know(tmp_path):
    """A vendor's type, whose definition defines another."""
    made = by_hand.mcap(ROWS, "", 1, crc=False)
    data = made.data.replace(b"sensor_msgs/msg/Image", b"vendors_msgs/msg/Odd1").replace(
        TOPIC.encode(), b"/odd/image_odd_raw"
    )
    assert len(data) == len(made.data)
    (tmp_path / "a.mcap").write_bytes(by_hand.mcap(ROWS, "", 1).data[:-1])
    assert main(["bag", "repair", str(tmp_path / "a.mcap"), "--out", str(tmp_path / "new")]) == 0
    assert times(tmp_path / "new", TOPIC) == [row.time_ns for row in ROWS]
    (tmp_path / "b.mcap").write_bytes(data[:-1])
    assert main(["bag", "repair", str(tmp_path / "b.mcap"), "--out", str(tmp_path / "other")]) == 0
    with BagReader(tmp_path / "other") as bag:
        (topic,) = bag.topics.values()
        assert (topic.name, topic.type, topic.count) == ("/odd/image_odd_raw", "vendors_msgs/msg/Odd1", 10)
        items = list(bag.serialised([topic.name]))
    assert [bytes(item[2]) for item in items] == [by_hand.cdr(row) for row in ROWS]


def test_a_repair_never_writes_over_the_bag_itself_and_leaves_nothing_where_nothing_is_read(tmp_path, capsys):
    (tmp_path / "a.bag").write_bytes(by_hand.ros1(ROWS).data[:-200])
    before = (tmp_path / "a.bag").read_bytes()
    words = ["bag", "repair", tmp_path / "a.bag", "--overwrite", "--out"]
    assert "is the damaged bag itself" in refusal(capsys, *words, tmp_path / "a.bag")
    assert "give it that suffix" in refusal(capsys, *words, tmp_path / "new")
    assert (tmp_path / "a.bag").read_bytes() == before
    (tmp_path / "b.mcap").write_bytes(by_hand.mcap(ROWS).data[:60])
    assert "nothing in the bag can be read" in refusal(
        capsys, "bag", "repair", tmp_path / "b.mcap", "--out", tmp_path / "new"
    )
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["a.bag", "b.mcap"]


def test_evaluation_takes_a_damaged_bag_only_where_asked_to(tmp_path):
    from cgdet_core.evaluation.offline import open_samples

    (tmp_path / "a.mcap").write_bytes(by_hand.mcap(ROWS, "zstd").data[:-1])
    images = [
        {"id": stamp, "stamp_ns": stamp, "file_name": f"{stamp}.png", "height": 20, "width": 30}
        for stamp in (row.stamp_ns for row in ROWS)
    ]
    labels = tmp_path / "labels.json"
    labels.write_text(json.dumps({"images": images, "annotations": [], "categories": [{"id": 1, "name": "person"}]}))
    given = (tmp_path / "a.mcap", ("person", "bicycle", "car"), None, str(labels))
    with pytest.raises(InputError, match="cgdet bag repair"):
        list(open_samples(*given)[0])
    losses = []
    samples, _ = open_samples(*given, damaged="read", losses=losses)
    assert len(list(samples)) == 10
    assert len(losses) == 1


COLOUR = np.random.default_rng(4).integers(0, 256, (20, 30, 3)).astype(np.uint8)
PAIRED = [row for each in ROWS for row in (each, by_hand.image("/rgb", each.stamp_ns, COLOUR, "rgb8"))]


def cut_storage(folder):
    """A folder whose index is whole and whose only file lacks its end, as after a copy that was broken off."""
    folder.mkdir()
    made = by_hand.mcap(PAIRED, "zstd")
    (folder / "drive_0.mcap").write_bytes(made.data[: made.chunks[3][1]])
    return by_hand.metadata(folder, "mcap", [("drive_0.mcap", PAIRED)])


def damaged_within(folder):
    """A bag that opens, and in whose midst a chunk is damaged."""
    folder.mkdir()
    made = by_hand.mcap(PAIRED, "zstd")
    (folder / "drive_0.mcap").write_bytes(broken(made.data, made.chunks[2][0] + 200, b"\xa5" * 40))
    return by_hand.metadata(folder, "mcap", [("drive_0.mcap", PAIRED)])


def without_a_file(folder):
    bag = split_bag(folder)
    (bag / "drive_1.mcap").unlink()
    return bag


@pytest.mark.parametrize("damage", [cut_storage, damaged_within, without_a_file])
@pytest.mark.parametrize(
    "words",
    [
        ["bag", "extract", "BAG", "--out", "OUT"],
        ["bag", "label", "BAG", "--teacher", "TEACHER", "--out", "OUT"],
        ["bag", "register", "BAG", "--out", "OUT"],
    ],
    ids=["extract", "label", "register"],
)
def test_what_learns_from_a_bag_refuses_a_damaged_one_in_a_line_that_says_how_to_repair_it(
    tmp_path, capsys, damage, words
):
    bag = damage(tmp_path / "bag")
    (tmp_path / "teacher.safetensors").touch()
    places = {"BAG": bag, "OUT": tmp_path / "out", "TEACHER": tmp_path / "teacher.safetensors"}
    said = refusal(capsys, *(places.get(word, word) for word in words))
    assert said.startswith(f"cgdet: error: {bag}")
    assert f"`cgdet bag repair {bag} --out NEW` writes what can be read of it to a new bag" in said
    assert len(said) < 500
    assert not (tmp_path / "out").exists()
