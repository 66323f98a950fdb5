"""Frames beyond the memory that they may take lie in a file; what is read is the same."""

from __future__ import annotations

import gc
import os

import numpy as np
import pytest

from cgdet_core.data.feed.frame_store import FrameStore
from cgdet_core.errors import InputError

MB = 1 << 20


def frames(count, height=700, width=1000):
    rng = np.random.default_rng(3)
    return [rng.integers(0, 65536, (height, width)).astype(np.uint16) for _ in range(count)]  # 1.3 MB each


def test_frames_are_the_same_in_memory_and_in_the_file(tmp_path):
    given = [*frames(60), np.arange(7, dtype=np.uint8), *frames(2)]
    store = FrameStore(tmp_path, memory_mb=3)
    kept = [store.keep(frame) for frame in given]
    # two fit, and the small one still does
    assert [one is other for one, other in zip(kept, given, strict=True)] == [True] * 2 + [False] * 58 + [True] + [
        False
    ] * 2
    assert store.file_bytes == 128 * MB
    for one, other in zip(kept, given, strict=True):
        assert one.dtype == other.dtype
        assert (one == other).all()


def test_what_lies_in_the_file_cannot_be_written_to(tmp_path):
    kept = FrameStore(tmp_path).keep(np.zeros((2, 2), np.uint8))
    with pytest.raises(ValueError, match="read-only"):
        kept[0, 0] = 1


def test_frames_outlive_their_store_and_nothing_is_left_of_the_file(tmp_path):
    store = FrameStore(tmp_path)
    kept = store.keep(np.arange(6, dtype=np.uint16).reshape(2, 3))
    assert list(tmp_path.iterdir()) == []
    del store
    gc.collect()
    assert kept.tolist() == [[0, 1, 2], [3, 4, 5]]


def test_a_forked_process_reads_the_same_frames(tmp_path):
    kept = FrameStore(tmp_path).keep(np.full((3, 3), 7, np.uint8))
    child = os.fork()
    if child == 0:
        os._exit(int(kept.sum()))
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 63


def test_a_frame_larger_than_a_segment_has_one_of_its_own(tmp_path):
    large = np.zeros((65, MB), np.uint8)
    large[-1, -1] = 5
    store = FrameStore(tmp_path)
    assert store.keep(np.ones(3, np.uint8)).tolist() == [1, 1, 1]
    kept = store.keep(large)
    assert kept.shape == large.shape
    assert kept[-1, -1] == 5
    assert store.file_bytes == 192 * MB


def test_without_a_folder_everything_stays_in_memory():
    frame = np.zeros((2000, 2000), np.uint8)
    assert FrameStore(None, 1).keep(frame) is frame


def test_a_full_disk_is_one_line(tmp_path, full_disk):
    store = FrameStore(tmp_path)
    with (
        full_disk(1000),
        pytest.raises(InputError, match=r"beyond train\.cache_mb cannot be laid there .*free the disk"),
    ):
        store.keep(np.zeros(10, np.uint8))


def test_a_place_that_cannot_be_written_to_is_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"file/run: training frames beyond train\.cache_mb"):
        FrameStore(tmp_path / "file" / "run").keep(np.zeros(10, np.uint8))
