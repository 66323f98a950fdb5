"""A bag labelled by a teacher: objects, dark frames unlabelled, all of it keyed by stamp."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from colour_teacher import ColourTeacher

from cgdet_core.config import LabelConfig
from cgdet_core.data.bags.frames import read_labelled_frames
from cgdet_core.data.bags.write import BagWriter
from cgdet_core.data.registration.homography import Registration
from cgdet_core.data.registration.pairs import open_paired
from cgdet_core.errors import InputError
from cgdet_core.training.pseudo_labels import (
    LabelledFrame,
    label_frames,
    with_second_opinion,
    write_labels,
)
from cgdet_core.types import CLASS_NAMES, Detections, GroundTruth

SIZE = (64, 96)
START = 1_700_000_000_000_000_000
STEP = 100_000_000
RED, BLUE = (255, 0, 0), (0, 0, 255)

Patch = tuple[tuple[int, int, int], list[int]]


def picture(*patches: Patch, dark: bool = False) -> np.ndarray:
    """Grey noise, of median 20 or 120, with patches of colour."""
    noise = np.random.default_rng(0).integers(0, 40 if dark else 240, (*SIZE, 1)).astype(np.uint8)
    pixels = np.repeat(noise, 3, axis=2)
    for colour, (left, top, right, bottom) in patches:
        pixels[top:bottom, left:right] = colour
    return pixels


def bag_of(path: Path, pictures: list[np.ndarray | None]) -> Path:
    with BagWriter(path) as bag:
        for place, rgb in enumerate(pictures):
            stamp = START + place * STEP
            bag.image("/thermal/image", np.full(SIZE, place, np.uint16), stamp, "thermal")
            if rgb is not None:
                bag.image("/rgb/image", rgb, stamp, "rgb")
    return path


def labelled(path: Path, registration: Registration | None = None, **settings: object) -> list[LabelledFrame]:
    bag = open_paired(path, registration=registration)
    config = LabelConfig(**settings)  # type: ignore[arg-type]
    return list(label_frames(bag, ColourTeacher(), config, CLASS_NAMES))


def objects(frame: LabelledFrame) -> list[tuple[int, list[float]]]:
    assert frame.truth is not None
    sure = ~frame.truth.ignore
    boxes = frame.truth.boxes_xyxy_px[sure].tolist()
    return list(zip(frame.truth.class_ids[sure].tolist(), boxes, strict=True))


PERSON: Patch = (RED, [10, 20, 20, 50])
CAR: Patch = (BLUE, [50, 30, 80, 50])


def test_dark_frames_and_those_without_rgb_are_unlabelled_not_empty(tmp_path: Path) -> None:
    pictures = [picture(), picture(dark=True), None, picture(CAR, dark=True), np.full((*SIZE, 3), 128, np.uint8)]
    frames = labelled(bag_of(tmp_path / "bag", pictures))
    assert [None if frame.truth is None else len(frame.truth) for frame in frames] == [0, None, None, None, None]
    reasons = ["", "RGB is dark", "no RGB frame beside it", "RGB is dark", "RGB is flat"]
    assert [frame.reason for frame in frames] == reasons


def test_labels_lie_where_the_registration_puts_them(tmp_path: Path) -> None:
    registration = Registration(np.array([[0.5, 0, 8], [0, 0.5, 4], [0, 0, 1.0]]), SIZE, SIZE)
    (frame,) = labelled(bag_of(tmp_path / "bag", [picture(CAR)]), registration)
    assert objects(frame) == [(2, [33, 19, 48, 29])]
    assert frame.truth is not None
    # the RGB picture ends at column 56 and row 36: beyond, nothing is known of any class
    regions = frame.truth.boxes_xyxy_px[frame.truth.ignore]
    for x, y in ((2, 20), (30, 2), (60, 20), (30, 40)):
        inside = (regions[:, 0] <= x) & (x <= regions[:, 2]) & (regions[:, 1] <= y) & (y <= regions[:, 3])
        assert sorted(frame.truth.class_ids[frame.truth.ignore][inside].tolist()) == [0, 1, 2]


def test_a_second_opinion_makes_regions_to_ignore_where_there_is_no_object() -> None:
    truth = GroundTruth(np.array([[0, 0, 10, 20]], np.float32), np.array([0]), np.array([False]))
    second = Detections(np.array([[0, 0, 10, 19], [50, 0, 60, 20]], np.float32), np.array([0.9, 0.8]), np.array([0, 1]))
    both = with_second_opinion(truth, second)
    assert both.boxes_xyxy_px.tolist() == [[0, 0, 10, 20], [50, 0, 60, 20]]
    assert both.class_ids.tolist() == [0, 1]
    assert both.ignore.tolist() == [False, True]
    assert len(with_second_opinion(GroundTruth.empty(), second)) == 2


def test_the_file_is_read_back_as_it_was_labelled(tmp_path: Path) -> None:
    path = bag_of(tmp_path / "bag", [picture(CAR), None, picture(CAR, PERSON)])
    frames = labelled(path)
    summary = write_labels(tmp_path / "labels.json", frames, SIZE, CLASS_NAMES, {"labelled_by": "colours"})
    assert summary.splitlines() == ["2 of 3 frames labelled: 2 car, 1 person", "  1 unlabelled: no RGB frame beside it"]
    read = list(read_labelled_frames(path, "/thermal/image", str(tmp_path / "labels.json")))
    for sample, frame in zip(read, frames, strict=True):
        if frame.truth is None:
            assert sample.truth is None
            continue
        for name in ("boxes_xyxy_px", "class_ids", "ignore"):
            assert getattr(sample.truth, name).tolist() == getattr(frame.truth, name).tolist()
    document = json.loads((tmp_path / "labels.json").read_text())
    assert document["info"] == {"labelled_by": "colours"}
    assert document["unlabelled_images"] == [{"stamp_ns": START + STEP, "reason": "no RGB frame beside it"}]


def test_an_error_half_way_leaves_no_labels(tmp_path: Path) -> None:
    path = bag_of(tmp_path / "bag", [picture(CAR), np.zeros((10, 10, 3), np.uint8)])
    bag = open_paired(path)
    frames = label_frames(bag, ColourTeacher(), LabelConfig(), CLASS_NAMES)
    with pytest.raises(InputError, match="is 10x10 pixels, the registration is of 96x64"):
        write_labels(tmp_path / "labels.json", frames, SIZE, CLASS_NAMES, {})
    assert not (tmp_path / "labels.json").exists()
