"""Which frames of a set a recipe holds out: whole blocks, since neighbours in time show the same scene."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cgdet_core.data.sets.coco import CocoRecord
from cgdet_core.errors import InputError

FOLDS = 5
BLOCK_FRAMES = 50  # frame numbers of one block are of one scene, or nearly


def block_of_name(file_name: str) -> int | None:
    """The block of 50 frame numbers that a file lies in, by the last run of digits in its name; None without any."""
    digits = re.findall(r"\d+", Path(file_name).stem)
    return int(digits[-1]) // BLOCK_FRAMES if digits else None


@dataclass(frozen=True)
class Split:
    """The two parts of a set, in its order. blocks: such as `3 scenes`; warning: what makes it a poor judge."""

    training: tuple[CocoRecord, ...]
    held_out: tuple[CocoRecord, ...]
    blocks: str
    warning: str | None


def split_held_out(records: Sequence[CocoRecord], fold: int) -> Split:
    """Of the blocks present, in their order, every fifth from `fold` is held out.

    A block is a scene where every frame names one, else 50 frame numbers (block_of_name). InputError without any.
    """
    named = sum(record.scene is not None for record in records)
    by_scene = named == len(records)
    blocks: list[Any] = [record.scene if by_scene else block_of_name(record.file_name) for record in records]
    if None in blocks:
        remedy = "hold_out_fold needs a frame number in the name: name each image's scene in the JSON instead"
        raise InputError(f"{records[blocks.index(None)].path}: {remedy}")
    present = sorted(set(blocks))
    held = set(present[fold::FOLDS])
    parts: tuple[list[CocoRecord], list[CocoRecord]] = [], []
    for record, block in zip(records, blocks, strict=True):
        parts[block in held].append(record)
    found = f"{len(present)} {'scene' if by_scene else 'block'}{'s' * (len(present) != 1)}"
    found += "" if by_scene else f" of {BLOCK_FRAMES} frame numbers"
    warning = None
    if not by_scene and 2 * len(present) > len(records):
        near = "so that frames held out may be neighbours of those trained on: name each image's scene in the JSON"
        warning = f"its {len(records)} frames are of {found}, {near}"
    if named and not by_scene:
        warning = f"{named} of its {len(records)} images name a scene: name those of all, or frame numbers divide them"
    return Split(tuple(parts[0]), tuple(parts[1]), found, warning)
