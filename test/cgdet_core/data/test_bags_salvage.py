"""Damaged bags, put together byte by byte and broken: what can be read is read, the rest is named."""

from __future__ import annotations

import json
import random
import shutil
import sqlite3
import struct
import tracemalloc

import bag_bytes as by_hand
import cv2
import numpy as np
import pytest

from cgdet_core.cli import main
from cgdet_core.data.bag_info import bag_info
from cgdet_core.data.bags import BagReader, choose_image_topic, read_labelled_frames
from cgdet_core.errors import InputError

START = 1_700_000_000_000_000_000
STEP = 100_000_000
TOPIC = "/thermal/image_raw"
COUNTS = [np.full((20, 30), 1000 * index, np.uint16) + np.arange(30, dtype=np.uint16) for index in range(10)]
ROWS = [by_hand.image(TOPIC, START + index * STEP, counts, "mono16") for index, counts in enumerate(COUNTS)]
FILES = {"mcap": ("a.mcap", by_hand.mcap), "ros1": ("a.bag", by_hand.ros1)}


def read(path):
    """(indices of the frames that are read, what is named or why it is refused).

    Every frame that is read is as it was packed.
    """
    frames, losses, refusal = samples_of(path)
    if refusal:
        return [], [refusal]
    indices = []
    for sample in frames:
        index = int(sample.frame.image[0, 0]) // 1000
        assert np.array_equal(sample.frame.image, COUNTS[index])
        assert sample.frame.stamp_ns == ROWS[index].stamp_ns
        indices.append(index)
    return indices, losses


@pytest.mark.parametrize("length", [b"\xff\xff\xff\x7f", bytes(4)])
@pytest.mark.parametrize("compression", ["bz2", "lz4"])
def test_a_chunk_that_claims_the_rest_of_the_bag_does_not_get_it(tmp_path, compression, length):
    """A compressed stream says itself where it ends; where it is damaged too, the next record is looked for."""
    made = by_hand.ros1(ROWS, compression)
    start, _ = made.chunks[1]
    length_at = start + 4 + struct.unpack_from("<I", made.data, start)[0]
    claims = broken(made.data, length_at, length)
    assert bytes_read(tmp_path / "a.bag", claims) == list(range(10))
    (tmp_path / "a.bag").write_bytes(broken(claims, length_at + 20, b"\xa5" * 30))
    frames, losses = read(tmp_path / "a.bag")
    assert frames == [0, 1, *range(4, 10)]
    assert "is damaged" in losses[0]


def bytes_read(path, data):
    path.write_bytes(data)
    return read(path)[0]


def samples_of(path, topic=TOPIC):
    """(samples, what is named, why it is refused): the last where nothing can be read."""
    losses = []
    try:
        samples = list(read_labelled_frames(path, topic, damaged="read", losses=losses))
    except InputError as error:
        return [], [], str(error)
    return samples, [str(loss) for loss in losses], ""


def broken(data, at, new):
    return data[:at] + new + data[at + len(new) :]


@pytest.mark.parametrize("compression", ["", "zstd", "lz4", None])
def test_an_mcap_cut_anywhere_gives_all_frames_before_the_cut(tmp_path, compression):
    made = by_hand.mcap(ROWS, compression, summary=compression != "lz4")
    per_part = 1 if compression is None else 2
    rng = random.Random(0)
    lengths = {rng.randrange(len(made.data)) for _ in range(25)} | {end - 1 for _, end in made.chunks}
    for length in sorted(lengths | {len(made.data) - 1, 0, 8, 20}):
        (tmp_path / "a.mcap").write_bytes(made.data[:length])
        with pytest.raises(InputError):
            list(read_labelled_frames(tmp_path / "a.mcap"))
        whole = per_part * sum(end <= length for _, end in made.chunks)
        frames, losses = read(tmp_path / "a.mcap")
        if not frames:
            assert whole == 0
            assert "nothing in the bag can be read" in losses[0]
            continue
        assert frames == list(range(len(frames)))
        assert whole <= len(frames) <= whole + per_part
        assert "a.mcap: does not end as an mcap file does, as if cut short: what came after is not known" in losses


@pytest.mark.parametrize("compression", ["none", "bz2", "lz4"])
def test_a_ros1_bag_cut_anywhere_gives_all_frames_before_the_cut(tmp_path, compression):
    made = by_hand.ros1(ROWS, compression)
    rng = random.Random(1)
    lengths = {rng.randrange(4200, len(made.data)) for _ in range(25)} | {end - 1 for _, end in made.chunks}
    for length in sorted(lengths | {len(made.data) - 1, 0, 13}):
        (tmp_path / "a.bag").write_bytes(made.data[:length])
        whole = 2 * sum(end <= length for _, end in made.chunks)
        frames, losses = read(tmp_path / "a.bag")
        if not frames:
            assert whole == 0
            assert "nothing in the bag can be read" in losses[0]
            continue
        assert frames == list(range(len(frames)))
        assert whole <= len(frames) <= whole + 2
        assert losses


@pytest.mark.parametrize("compression", ["none", "bz2", "lz4"])
def test_a_ros1_recording_that_was_never_closed_is_read_to_its_last_whole_message(tmp_path, compression):
    """As a recorder leaves it: no index, and the last chunk's length still 0."""
    made = by_hand.ros1(ROWS, compression)
    (start, end), head = made.chunks[3], made.data[: 13 + 4096]
    chunk = made.data[start:end]
    header_bytes = struct.unpack_from("<I", chunk)[0]
    stored = struct.unpack_from("<I", chunk, 4 + header_bytes)[0]
    body = chunk[8 + header_bytes : 8 + header_bytes + stored]
    size_at = chunk.index(b"size=") + 5
    chunk = broken(chunk[: 4 + header_bytes], size_at, bytes(4)) + bytes(4) + body
    index_at = head.index(b"index_pos=") + 10
    data = broken(head, index_at, bytes(8)) + made.data[len(head) : start] + chunk
    (tmp_path / "a.bag").write_bytes(data)
    with pytest.raises(InputError, match="rosbag reindex"):
        list(read_labelled_frames(tmp_path / "a.bag"))
    frames, losses = read(tmp_path / "a.bag")
    assert frames == list(range(8))
    assert any("has no index" in loss for loss in losses)
    (tmp_path / "a.bag").write_bytes(data[:-30])
    frames, losses = read(tmp_path / "a.bag")
    assert frames[:6] == list(range(6))
    assert "breaks off in" in " ".join(losses)


@pytest.mark.parametrize(
    ("kind", "compression"), [("mcap", ""), ("mcap", "zstd"), ("mcap", "lz4"), ("ros1", "bz2"), ("ros1", "lz4")]
)
def test_a_damaged_chunk_costs_its_own_messages_and_is_named(tmp_path, kind, compression):
    name, make = FILES[kind]
    made = make(ROWS, compression)
    start, end = made.chunks[2]
    middle = start + (end - start) // 3
    (tmp_path / name).write_bytes(broken(made.data, middle, b"\xa5" * 40))
    frames, losses = read(tmp_path / name)
    assert frames == [0, 1, 2, 3, 6, 7, 8, 9]
    (loss,) = losses
    assert loss.startswith(f"{name}: the chunk at byte ")
    assert "is damaged" in loss
    assert "2 messages" in loss
    if kind == "mcap":
        assert f"recorded at {START // 10**9}.400 s to {START // 10**9}.500 s" in loss


@pytest.mark.parametrize("kind", ["mcap", "ros1"])
@pytest.mark.parametrize("compressed", [False, True])
def test_behind_a_length_that_is_none_the_next_record_is_found(tmp_path, kind, compressed):
    name, make = FILES[kind]
    made = make(ROWS, "lz4" if compressed else {"mcap": "", "ros1": "none"}[kind])
    start, _ = made.chunks[1]
    data = broken(made.data, start, b"\xff" * 12)
    if kind == "mcap":  # whose index leads to the chunk's contents past its head
        assert len(bytes_read(tmp_path / name, data)) == 10
        data = data[:-1]
    (tmp_path / name).write_bytes(data)
    frames, losses = read(tmp_path / name)
    # an uncompressed ROS 1 chunk is no more than the records in it, which are found again
    found_again = kind == "ros1" and not compressed
    assert frames == (list(range(10)) if found_again else [0, 1, *range(4, 10)])
    assert f"{name}: holds bytes of no record at byte {start}" in losses[0]


def test_unchunked_messages_are_found_again_behind_damage(tmp_path):
    made = by_hand.mcap(ROWS, None)
    (tmp_path / "a.mcap").write_bytes(broken(made.data, made.chunks[4][0], b"\xff" * 12))
    frames, losses = read(tmp_path / "a.mcap")
    assert frames == [0, 1, 2, 3, *range(5, 10)]
    assert len(losses) == 1


def test_descriptions_in_a_lost_chunk_are_taken_from_the_summary(tmp_path):
    """Recorders write topics and types before the first message, and once more at the end."""
    made = by_hand.mcap(ROWS, "zstd")
    start, end = made.chunks[0]
    (tmp_path / "a.mcap").write_bytes(broken(made.data, (start + end) // 2, bytes(40)))
    assert read(tmp_path / "a.mcap")[0] == list(range(2, 10))
    without = by_hand.mcap(ROWS, "zstd", summary=False)
    (tmp_path / "a.mcap").write_bytes(broken(without.data, (start + end) // 2, bytes(40)))
    assert "channel 1 stood in a part that is lost (8 messages)" in read(tmp_path / "a.mcap")[1][0]


@pytest.mark.parametrize("size_px", [(20, 30), (200, 300)])
def test_an_sqlite_file_cut_anywhere_gives_the_frames_whose_pages_are_there(tmp_path, size_px):
    noise = np.random.default_rng(2)
    pixels = [noise.integers(0, 65536, size_px, dtype=np.uint16) for _ in range(10)]
    rows = [by_hand.image(TOPIC, START + index * STEP, image, "mono16") for index, image in enumerate(pixels)]
    by_hand.sqlite(tmp_path / "whole.db3", rows)
    whole = (tmp_path / "whole.db3").read_bytes()
    # behind the pages with the last and with the first bytes of each: the latter are moved while the tree grows
    ends = [(whole.index(by_hand.cdr(row)[-100:]), whole.index(by_hand.cdr(row)[:20])) for row in rows]
    place = [max(last + 99, first + 19) // 4096 * 4096 + 4096 for last, first in ends]
    file = tmp_path / "a.db3"
    for length in (*range(6 * 4096, len(whole), max(4096, len(whole) // 20)), len(whole) - 1, len(whole) - 5000):
        file.write_bytes(whole[:length])
        with pytest.raises(InputError):
            list(read_labelled_frames(file))
        there = sum(end <= length for end in place)
        samples, losses, refusal = samples_of(file)
        if refusal:
            assert there == 0
            assert "nothing in the bag can be read" in refusal
            continue
        assert len(samples) == there
        held = [image for image, end in zip(pixels, place, strict=True) if end <= length]
        for sample, image in zip(samples, held, strict=True):
            assert np.array_equal(sample.frame.image, image)
        assert f"a.db3: is cut short: {length} bytes of {len(whole)} ({len(whole) - length} bytes)" in losses


def test_a_lost_page_costs_its_own_messages(tmp_path):
    """Every page in turn is overwritten: inner pages cost nothing, leaf and overflow pages what lay on them."""
    by_hand.sqlite(tmp_path / "a.db3", ROWS)
    file = tmp_path / "a.db3"
    whole = file.read_bytes()
    for page in range(len(whole) // 4096):
        file.write_bytes(broken(whole, page * 4096, b"\xee" * 4096))
        lies_there = (
            whole[page * 4096 : page * 4096 + 1] == b"\x0d"
            and by_hand.IMAGE.encode() in whole[page * 4096 : page * 4096 + 4096]
        )
        frames, losses = read(file)
        if not frames:
            assert lies_there  # the page with the topics
            assert "the name of topic 1 stood on a page that is lost" in losses[0]
            continue
        assert len(frames) >= 6
        assert len(frames) == 10 or any("row" in loss or "page" in loss for loss in losses)


def test_a_log_left_by_a_crash_is_read_too(tmp_path):
    """SQLite's write-ahead log holds what was not yet brought into the file."""
    by_hand.sqlite(tmp_path / "live.db3", ROWS[:4])
    database = sqlite3.connect(tmp_path / "live.db3")
    database.execute("PRAGMA journal_mode=WAL")
    database.execute("PRAGMA wal_autocheckpoint=0")
    for row in ROWS[4:9]:
        values = (1, row.time_ns, by_hand.cdr(row))
        database.execute("INSERT INTO messages(topic_id, timestamp, data) VALUES (?, ?, ?)", values)
    database.commit()
    for suffix in ("db3", "db3-wal"):
        shutil.copy(tmp_path / f"live.{suffix}", tmp_path / f"a.{suffix}")
    database.close()
    with pytest.raises(InputError, match=r"its last messages lie in a\.db3-wal"):
        list(read_labelled_frames(tmp_path / "a.db3"))
    assert read(tmp_path / "a.db3") == (
        list(range(9)),
        ["a.db3: its last messages lay in the log a.db3-wal: they are read"],
    )


def split_bag(folder, storage="mcap"):
    """Three files of 4, 4 and 2 messages."""
    folder.mkdir()
    parts = [ROWS[:4], ROWS[4:8], ROWS[8:]]
    suffix = {"mcap": "mcap", "sqlite3": "db3"}[storage]
    files = [(f"drive_{number}.{suffix}", part) for number, part in enumerate(parts)]
    for name, part in files:
        if storage == "mcap":
            (folder / name).write_bytes(by_hand.mcap(part, "zstd").data)
        else:
            by_hand.sqlite(folder / name, part)
    return by_hand.metadata(folder, storage, files)


@pytest.mark.parametrize("storage", ["mcap", "sqlite3"])
def test_a_missing_or_damaged_file_of_a_split_bag_leaves_the_others(tmp_path, storage):
    bag = split_bag(tmp_path / "bag", storage)
    (file,) = bag.glob("drive_1.*")
    whole = file.read_bytes()
    file.write_bytes(whole[: len(whole) // 2])
    frames, losses = read(bag)
    assert frames[:4] == [0, 1, 2, 3]
    assert frames[-2:] == [8, 9]
    assert all(loss.startswith(file.name) for loss in losses)
    info = bag_info(bag, damaged="read")
    assert (info.topics[0].count, info.topics[0].expected) == (len(frames), 10)
    assert f"{len(frames)} of 10" in info.to_text()
    file.unlink()
    frames, losses = read(bag)
    assert frames == [0, 1, 2, 3, 8, 9]
    assert losses == [f"{file.name}: is missing (4 messages)"]


def test_files_without_an_index_are_taken_in_the_order_of_their_numbers(tmp_path):
    for number in range(10):
        (tmp_path / f"drive_{number + 5}.mcap").write_bytes(by_hand.mcap(ROWS[number : number + 1]).data)
    assert read(tmp_path)[0] == list(range(10))


def test_a_compressed_file_cut_short_is_read_as_far_as_it_can_be_unpacked(tmp_path):
    noise = np.random.default_rng(0).integers(0, 65536, (200, 300), dtype=np.uint16)
    rows = [by_hand.image(TOPIC, START + index * STEP, noise + np.uint16(index), "mono16") for index in range(10)]
    packed = by_hand.zstd.compress(by_hand.mcap(rows, "", 1).data)
    (tmp_path / "drive_0.mcap.zstd").write_bytes(packed[: len(packed) * 6 // 10])
    by_hand.metadata(tmp_path, "mcap", [("drive_0.mcap.zstd", rows)], format="zstd", mode="FILE")
    losses = []
    samples = list(read_labelled_frames(tmp_path, TOPIC, damaged="read", losses=losses))
    assert 4 <= len(samples) <= 6
    assert all(np.array_equal(s.frame.image, noise + np.uint16(k)) for k, s in enumerate(samples))
    assert "drive_0.mcap.zstd: is cut short" in str(losses[0])


def test_a_message_that_is_none_is_left_out_and_named(tmp_path):
    """Its bytes are whole by every count of the file's, but no image."""
    made = by_hand.mcap(ROWS, "", crc=False)
    at = made.data.index(by_hand.cdr(ROWS[5]))
    text_length_at = at + 4 + 8  # of the frame_id, behind the stamp
    (tmp_path / "a.mcap").write_bytes(broken(made.data, text_length_at, b"\xff" * 4))
    with pytest.raises(InputError, match="damaged"):
        list(read_labelled_frames(tmp_path / "a.mcap"))
    frames, losses = read(tmp_path / "a.mcap")
    assert frames == [0, 1, 2, 3, 4, 6, 7, 8, 9]
    seconds = f"{START // 10**9}.500 s"
    assert losses == [f"{TOPIC}: holds bytes that are no sensor_msgs/msg/Image (1 message, recorded at {seconds})"]


def test_images_that_cannot_be_decoded_are_left_out_and_named_together(tmp_path):
    jpeg = cv2.imencode(".jpg", np.random.default_rng(0).integers(0, 255, (32, 32), dtype=np.uint8))[1].tobytes()
    cut = jpeg[: len(jpeg) // 2]
    pictures = [cut, jpeg, jpeg, cut, jpeg]
    rows = [by_hand.compressed("/ir/compressed", START + k * STEP, data, "jpeg") for k, data in enumerate(pictures)]
    (tmp_path / "a.mcap").write_bytes(by_hand.mcap(rows).data)
    with pytest.raises(InputError, match=r"cut short|none of its image topics"):
        list(read_labelled_frames(tmp_path / "a.mcap"))
    losses = []
    samples = list(read_labelled_frames(tmp_path / "a.mcap", damaged="read", losses=losses))
    assert [sample.frame.stamp_ns for sample in samples] == [rows[k].stamp_ns for k in (1, 2, 4)]
    assert len(losses) == 1
    assert losses[0].messages == 2
    rows = [by_hand.compressed("/ir/compressed", START, cut, "jpeg")]
    (tmp_path / "a.mcap").write_bytes(by_hand.mcap(rows).data)
    with pytest.raises(InputError, match="no image can be decoded"):
        list(read_labelled_frames(tmp_path / "a.mcap", "/ir/compressed", damaged="read"))


@pytest.mark.parametrize("kind", ["mcap", "ros1", "sqlite3"])
def test_whatever_bytes_are_wrong_nothing_but_a_refusal_or_frames_comes(tmp_path, kind):
    if kind == "sqlite3":
        file = tmp_path / "a.db3"
        by_hand.sqlite(file, ROWS)
        whole = file.read_bytes()
    else:
        name, make = FILES[kind]
        file, whole = tmp_path / name, make(ROWS, "lz4").data
    rng = random.Random(5)
    counts = []
    for _ in range(120):
        data = bytearray(whole)
        for _ in range(rng.choice([1, 1, 3, 30])):
            at = rng.randrange(len(data))
            data[at : at + rng.choice([1, 8, 64])] = rng.randbytes(rng.choice([1, 8, 64]))
        file.write_bytes(data)
        samples, losses, refusal = samples_of(file)
        assert not any("\n" in said for said in (refusal, *losses))
        counts.append(len(samples))
    assert max(counts) == 10
    assert sum(counts) > 120 * 2


def test_a_damaged_bag_looked_at_twice_is_named_once_and_the_topic_is_chosen(tmp_path):
    made = by_hand.mcap(ROWS, "zstd")
    start, _ = made.chunks[2]
    (tmp_path / "a.mcap").write_bytes(broken(made.data, start + 200, b"\xa5" * 40))
    with BagReader(tmp_path / "a.mcap", "read") as bag:
        assert choose_image_topic(bag) == TOPIC
        first = [item.record_time_ns for item in bag.messages([TOPIC])]
        assert first == [item.record_time_ns for item in bag.messages([TOPIC])]
        assert len(first) == 8
        assert len(bag.losses) == 1


def test_two_readings_at_once_of_a_damaged_bag_give_the_same(tmp_path):
    made = by_hand.mcap(ROWS, "zstd")
    (tmp_path / "a.mcap").write_bytes(broken(made.data, made.chunks[2][0] + 200, b"\xa5" * 40))
    with BagReader(tmp_path / "a.mcap", "read") as bag:
        one, other = bag.messages([TOPIC]), bag.messages([TOPIC])
        assert next(other).record_time_ns == START
        assert len(list(one)) == 8
        assert len(list(other)) == 7


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
def test_salvage_holds_a_few_messages_at_a_time(tmp_path, kind):
    """A recording of 100 MB that was never closed."""
    pixels, count = np.zeros((512, 1024), np.uint16), 100
    rows = [by_hand.image(TOPIC, START + k * STEP, pixels, "mono16") for k in range(count)]
    file = tmp_path / {"mcap": "a.mcap", "ros1": "a.bag", "sqlite3": "a.db3"}[kind]
    if kind == "sqlite3":
        by_hand.sqlite(file, rows)
    else:
        # one chunk after the other, since by_hand holds a whole file
        first = FILES[kind][1](rows[:1], per_chunk=1)
        with file.open("wb") as out:
            out.write(first.data[: first.chunks[0][1]])
            for row in rows[1:]:
                made = FILES[kind][1]([row], per_chunk=1)
                out.write(made.data[made.chunks[0][0] : made.chunks[0][1]])
    size_bytes = file.stat().st_size
    with file.open("rb+") as cut:
        cut.truncate(size_bytes - 100_000)
    assert size_bytes > 100e6
    tracemalloc.start()
    with BagReader(file, "read") as bag:
        read_count = sum(1 for _ in bag.messages([TOPIC]))
        losses = bag.losses
    peak_bytes = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert count - 2 <= read_count < count
    assert losses
    assert peak_bytes < 12e6


def times(path, topic, damaged="refuse"):
    with BagReader(path, damaged) as bag:
        return [item.record_time_ns for item in bag.messages([topic])]


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
    assert main(["bag", "repair", str(file), "--out", str(new)]) == 2
    assert "exists already" in capsys.readouterr().err
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
    words = ["bag", "repair", str(tmp_path / "a.bag"), "--overwrite", "--out"]
    assert main([*words, str(tmp_path / "a.bag")]) == 2
    assert "is the damaged bag itself" in capsys.readouterr().err
    assert main([*words, str(tmp_path / "new")]) == 2
    assert "give it that suffix" in capsys.readouterr().err
    assert (tmp_path / "a.bag").read_bytes() == before
    (tmp_path / "b.mcap").write_bytes(by_hand.mcap(ROWS).data[:60])
    assert main(["bag", "repair", str(tmp_path / "b.mcap"), "--out", str(tmp_path / "new")]) == 2
    assert "nothing in the bag can be read" in capsys.readouterr().err
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["a.bag", "b.mcap"]


def test_evaluation_takes_a_damaged_bag_only_where_asked_to(tmp_path):
    from cgdet_core.evaluation.offline import open_samples

    (tmp_path / "a.mcap").write_bytes(by_hand.mcap(ROWS, "zstd").data[:-1])
    with pytest.raises(InputError, match="cgdet bag repair"):
        list(open_samples(tmp_path / "a.mcap", ("person", "bicycle", "car"))[0])
    losses = []
    samples, _ = open_samples(tmp_path / "a.mcap", ("person", "bicycle", "car"), damaged="read", losses=losses)
    assert len(list(samples)) == 10
    assert len(losses) == 1
