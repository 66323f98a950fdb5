"""Messages of damaged bags, whatever the storage: those that are none, wrong bytes anywhere, several readings."""

from __future__ import annotations

import random
import tracemalloc

import bag_bytes as by_hand
import cv2
import numpy as np
import pytest
from damaged_bags import FILES, ROWS, START, STEP, TOPIC, broken, read, samples_of

from cgdet_core.data.bags.frames import BagReader, choose_image_topic, read_labelled_frames
from cgdet_core.errors import InputError


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
