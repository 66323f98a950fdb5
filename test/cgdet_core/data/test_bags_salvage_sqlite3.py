"""Damaged SQLite files: what their pages still hold is read, the rest is named."""

from __future__ import annotations

import shutil
import sqlite3

import bag_bytes as by_hand
import numpy as np
import pytest
from damaged_bags import ROWS, START, STEP, TOPIC, broken, read, samples_of

from cgdet_core.data.bags.frames import read_labelled_frames
from cgdet_core.errors import InputError


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
