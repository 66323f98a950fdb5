"""Bags of several files, of which some are damaged or missing."""

from __future__ import annotations

import bag_bytes as by_hand
import numpy as np
import pytest
from damaged_bags import ROWS, START, STEP, TOPIC, read, split_bag

from cgdet_core.data.bags.frames import read_labelled_frames
from cgdet_core.data.bags.info import bag_info


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
