"""The sheet of samples, pixel by pixel."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import torch

from cgdet_core.config import ModelConfig, Recipe
from cgdet_core.drawing import class_colour
from cgdet_core.tasks.detection.targets import DetectionTargets
from cgdet_core.tasks.detection.task import DetectionTask
from cgdet_core.tasks.task import TrainingBatch
from cgdet_core.training.first_look import contact_sheet

LEGEND = DetectionTask(Recipe(model=ModelConfig(class_names=("person", "a $dear$ class", "car")))).legend


def batch(size: int = 64, count: int = 2) -> TrainingBatch:
    """Grey crops with a car at (8, 16) to (40, 48) and a person's region to ignore at (50, 2) to (60, 30)."""
    images = torch.full((count, 1, size, size), 0.5)
    images[0, 0, 5, 5] = torch.nan
    boxes = torch.tensor([[8.0, 16, 40, 48], [50, 2, 60, 30], [0, 0, 0, 0]]).repeat(count, 1, 1)
    ids = torch.tensor([2, 0, 0]).repeat(count, 1)
    objects = torch.tensor([True, False, False]).repeat(count, 1)
    ignored = torch.tensor([False, True, False]).repeat(count, 1)
    labelled = torch.ones(count, 3, dtype=torch.bool)
    return TrainingBatch(images, DetectionTargets(boxes, ids, objects, ignored, labelled))


def edge(left: int, top: int, right: int, bottom: int) -> np.ndarray[Any, Any]:
    pixels = np.zeros((64, 64), bool)
    pixels[top:bottom, left:right] = True
    pixels[top + 1 : bottom - 1, left + 1 : right - 1] = False
    return pixels


def test_objects_are_framed_in_their_class_colour_and_regions_to_ignore_in_grey() -> None:
    sheet = contact_sheet([batch()], LEGEND)
    tile = sheet[28 : 28 + 64, :64]
    car, ignored = edge(8, 16, 40, 48), edge(50, 2, 60, 30)
    assert (tile[car] == class_colour(2)).all()
    assert (tile[ignored] == 160).all()
    assert set(map(tuple, tile[~car & ~ignored].tolist())) == {(128, 128, 128), (0, 0, 0)}
    assert tuple(tile[5, 5]) == (0, 0, 0)  # no number
    # the second crop stands beside the first
    assert (sheet[28 : 28 + 64, 68 : 68 + 64][car] == class_colour(2)).all()


def test_rgb_stands_beside_its_crop_with_the_same_boxes_and_its_invalid_part_marked() -> None:
    rgb = torch.zeros(2, 3, 64, 64, dtype=torch.uint8)
    rgb[:, 0], rgb[:, 2] = 10, 30  # red and blue: the order of the channels shows
    valid = torch.ones(2, 64, 64, dtype=torch.bool)
    valid[:, :, 62:] = False
    sheet = contact_sheet([replace(batch(), rgb=rgb, rgb_valid=valid)], LEGEND)
    for left in (0, 132):
        beside = sheet[28 : 28 + 64, left + 64 : left + 128]
        drawn = edge(8, 16, 40, 48) | edge(50, 2, 60, 30)
        assert (beside[edge(8, 16, 40, 48)] == class_colour(2)).all()
        assert (beside[:, 62:] == (190, 40, 120)).all()
        assert (beside[:, :62][~drawn[:, :62]] == (10, 0, 30)).all()


def test_large_crops_are_shrunk_with_their_boxes_and_the_sheet_holds_no_more_than_24() -> None:
    large = batch(size=640, count=3)
    sheet = contact_sheet([large] * 9, LEGEND)
    assert sheet.shape == (28 + 4 * 324, 6 * 324, 3)
    assert (sheet[28 + 8, 4:20] == class_colour(2)).all()
    assert contact_sheet([large], LEGEND).shape == (28 + 324, 3 * 324, 3)
