"""Which frames a recipe holds out: whole blocks or scenes, told where they are too small to judge by."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from cgdet_core.data.sets.coco import CocoRecord
from cgdet_core.data.sets.held_out import split_held_out
from cgdet_core.errors import InputError
from cgdet_core.types import GroundTruth


def a_record(name: str, scene: str | None = None) -> CocoRecord:
    return CocoRecord(name, Path(name), (1, 1), GroundTruth.empty(), None, None, scene)


def names(records: Sequence[CocoRecord]) -> list[str]:
    return [record.file_name for record in records]


def test_folds_hold_out_whole_blocks_disjoint_and_together_all_of_them() -> None:
    records = [a_record(f"seq2/{number:05d}N.png") for number in range(0, 1200, 7)]
    held_names: list[str] = []
    for fold in range(5):
        split = split_held_out(records, fold)
        assert sorted(names(split.training + split.held_out)) == sorted(names(records))
        blocks = [{int(name[5:10]) // 50 for name in names(part)} for part in (split.training, split.held_out)]
        assert not blocks[0] & blocks[1]
        # 24 blocks, all present: every fifth
        assert blocks[1] == set(range(fold, 24, 5))
        held_names += names(split.held_out)
        assert (split.blocks, split.warning) == ("24 blocks of 50 frame numbers", None)
    assert sorted(held_names) == sorted(names(records))


def test_the_frame_number_is_the_last_one_in_the_name() -> None:
    split = split_held_out([a_record("day9/cam1_00049.png"), a_record("day9/cam1_00050.png")], 1)
    assert names(split.held_out) == ["day9/cam1_00050.png"]
    assert names(split.training) == ["day9/cam1_00049.png"]


def test_a_name_without_a_number_cannot_be_held_out() -> None:
    with pytest.raises(InputError, match=r"night/street\.png.*frame number.*scene"):
        split_held_out([a_record("night/street.png")], 0)


def test_scenes_are_the_blocks_where_every_frame_names_one() -> None:
    records = [a_record(f"{letter}{number}.png", f"drive {letter}") for letter in "bacgfed" for number in range(3)]
    split = split_held_out(records, 1)
    # in the order of their names: b and g are the second of each five
    assert {record.scene for record in split.held_out} == {"drive b", "drive g"}
    assert len(split.held_out) == 6
    assert (split.blocks, split.warning) == ("7 scenes", None)
    # one frame without a scene, and numbers count for all
    split = split_held_out([*records, a_record("x400.png")], 0)
    assert "scene" not in split.blocks
    assert split.warning is not None
    assert split.warning.startswith("21 of its 22 images name a scene")


def test_frames_that_are_blocks_of_their_own_are_told() -> None:
    """Names that hold a time in nanoseconds: neighbours fall into different blocks."""
    split = split_held_out([a_record(f"{1_700_000_000_000_000_000 + 33_000_000 * k}.png") for k in range(10)], 0)
    assert len(split.held_out) == 2
    assert split.warning is not None
    assert "its 10 frames are of 10 blocks of 50 frame numbers" in split.warning
    assert "scene" in split.warning
