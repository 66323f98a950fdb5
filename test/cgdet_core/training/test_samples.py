"""The sheet of samples, pixel by pixel."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import torch

from cgdet_core.data.feed.dataset import TrainingBatch
from cgdet_core.drawing import class_colour
from cgdet_core.training.samples import contact_sheet, write_samples

NAMES = ("person", "bicycle", "car")


def batch(size: int = 64, count: int = 2) -> TrainingBatch:
    """Grey crops with a car at (8, 16) to (40, 48) and a person's region to ignore at (50, 2) to (60, 30)."""
    images = torch.full((count, 1, size, size), 0.5)
    images[0, 0, 5, 5] = torch.nan
    boxes = torch.tensor([[8.0, 16, 40, 48], [50, 2, 60, 30], [0, 0, 0, 0]]).repeat(count, 1, 1)
    ids = torch.tensor([2, 0, 0]).repeat(count, 1)
    objects = torch.tensor([True, False, False]).repeat(count, 1)
    ignored = torch.tensor([False, True, False]).repeat(count, 1)
    return TrainingBatch(images, boxes, ids, objects, ignored, torch.ones(count, 3, dtype=torch.bool))


def test_objects_are_framed_in_their_class_colour_and_regions_to_ignore_in_grey_dashes() -> None:
    sheet = contact_sheet([batch()], NAMES)
    tile = sheet[28 : 28 + 64, :64]
    framed = np.zeros((64, 64), bool)
    framed[16:48, 8:40] = True
    framed[17:47, 9:39] = False
    assert (tile[framed] == class_colour(2)).all()
    dashes = np.zeros((64, 64), bool)
    dashes[2:30, 50:60] = True
    dashes[3:29, 51:59] = False
    grey = (tile[dashes] == 160).all(axis=1)
    assert 0.3 < grey.mean() < 0.7
    rest = tile[~framed & ~dashes]
    assert set(map(tuple, rest.tolist())) == {(128, 128, 128), (0, 0, 0)}
    assert tuple(tile[5, 5]) == (0, 0, 0)  # no number
    # the second crop stands beside the first
    assert (sheet[28 : 28 + 64, 68 : 68 + 64][framed] == class_colour(2)).all()


def test_large_crops_are_shrunk_with_their_boxes_and_the_sheet_holds_no_more_than_asked(tmp_path: Path) -> None:
    large = batch(size=640, count=3)
    sheet = contact_sheet([large, large, large], NAMES, most=7)
    assert sheet.shape == (28 + 2 * 324, 6 * 324, 3)
    tile = sheet[28 : 28 + 320, :320]
    assert (tile[8, 4:20] == class_colour(2)).all()
    write_samples(tmp_path / "samples.jpg", [large], NAMES)
    assert cv2.imread(str(tmp_path / "samples.jpg")).shape == (28 + 324, 3 * 324, 3)


def test_rgb_stands_beside_its_crop_with_the_same_boxes_and_stripes_where_it_is_not_valid() -> None:
    rgb = torch.zeros(2, 3, 64, 64, dtype=torch.uint8)
    rgb[:, 0], rgb[:, 2] = 10, 30  # red and blue: the order of the channels shows
    valid = torch.ones(2, 64, 64, dtype=torch.bool)
    valid[:, :, 52:] = False
    with_rgb = replace(batch(), rgb=rgb, rgb_valid=valid)
    sheet = contact_sheet([with_rgb], NAMES)
    assert sheet.shape == (28 + 68, 480, 3)
    without = contact_sheet([batch()], NAMES)
    for number in range(2):
        left = number * (128 + 4)
        tile = sheet[28 : 28 + 64, left : left + 128]
        assert (tile[:, :64] == without[28 : 28 + 64, number * 68 : number * 68 + 64]).all()
        beside = tile[:, 64:]
        car = (tile[:, :64] == class_colour(2)).all(axis=2)
        assert car.sum() == 4 * 31
        assert (beside[car] == class_colour(2)).all()
        drawn = car | (beside == 160).all(axis=2)
        stripes = (beside == (190, 40, 120)).all(axis=2)
        assert not stripes[:, :52].any()
        assert 0.1 < stripes[:, 60:].mean() < 0.25
        assert (beside[~drawn & ~stripes] == (10, 0, 30)).all()


def test_large_rgb_is_shrunk_with_its_crop_and_half_as_many_stand_in_a_row() -> None:
    rgb = torch.full((4, 3, 640, 640), 77, dtype=torch.uint8)
    large = replace(batch(size=640, count=4), rgb=rgb, rgb_valid=torch.ones(4, 640, 640, dtype=torch.bool))
    sheet = contact_sheet([large], NAMES)
    assert sheet.shape == (28 + 2 * 324, 3 * 644, 3)
    assert (sheet[28 + 8, 320 + 4 : 320 + 20] == class_colour(2)).all()
    assert (sheet[28 + 200 : 28 + 320, 320:640] == 77).all()
