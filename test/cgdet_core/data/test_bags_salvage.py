"""Damaged mcap files and ROS 1 bags: what can be read is read, the rest is named."""

from __future__ import annotations

import random
import struct

import bag_bytes as by_hand
import pytest
from damaged_bags import FILES, ROWS, START, broken, bytes_read, read

from cgdet_core.data.bags.frames import read_labelled_frames
from cgdet_core.errors import InputError


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
