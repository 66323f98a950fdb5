"""Which boxes are regions, on which level, and RoIAlign against loops over samples in NumPy."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from pydantic import ValidationError
from torch import Tensor

from cgdet_core.config import TermConfig
from cgdet_core.distill.taps import levels, pool
from cgdet_core.tasks.detection.targets import DetectionTargets, regions_of
from cgdet_core.tasks.task import Regions

torch.set_num_threads(1)


def targets_of(boxes: list[list[list[float]]], class_ids: list[list[int]], kinds: list[str]) -> DetectionTargets:
    """kinds: a letter for each slot of an image, o(bject), i(gnored) or anything else for padding."""
    letters = np.array([list(kind) for kind in kinds])
    return DetectionTargets(
        torch.tensor(boxes),
        torch.tensor(class_ids),
        torch.from_numpy(letters == "o"),
        torch.from_numpy(letters == "i"),
        torch.ones(len(boxes), 3, dtype=torch.bool),
    )


def sized(*sizes: tuple[float, float]) -> DetectionTargets:
    """One image with a box of each width and height, all at (8, 4)."""
    boxes = [[8.0, 4.0, 8 + width, 4 + height] for width, height in sizes]
    return targets_of([boxes], [[0] * len(sizes)], ["o" * len(sizes)])


def strides_of(targets: DetectionTargets, **settings: Any) -> list[int]:
    return levels(regions_of(targets), TermConfig(**settings)).tolist()


def test_true_objects_are_regions_in_the_batchs_order_and_regions_to_ignore_are_none() -> None:
    boxes = [[[float(10 * image + slot), 2, 40, 50 + slot] for slot in range(4)] for image in range(3)]
    batch = targets_of(boxes, [[0, 1, 2, 0], [1, 1, 1, 1], [2, 0, 1, 2]], ["oio-", "-ii-", "---o"])
    regions = regions_of(batch)
    assert regions.rois.tolist() == [[0, 0, 2, 40, 50], [0, 2, 2, 40, 52], [2, 23, 2, 40, 53]]
    assert regions.class_ids.tolist() == [0, 2, 2]
    assert levels(regions, TermConfig()).tolist() == [8, 8, 8]
    assert len(regions) == 3
    assert (regions.rois.dtype, regions.class_ids.dtype) == (torch.float32, torch.int64)


def test_the_level_is_by_the_root_of_the_area_and_changes_at_exactly_the_bounds() -> None:
    below, above = (math.nextafter(64, 0) - 1e-4, 64), (128 - 1e-4, 128)
    batch = sized((8, 8), below, (64, 64), (32, 128), (65, 64), above, (128, 128), (64, 256), (240, 240))
    assert strides_of(batch) == [8, 8, 16, 16, 16, 16, 32, 32, 32]
    # long and thin ones, and empty ones
    assert strides_of(sized((240, 10), (0, 200), (200, -3))) == [8, 8, 8]
    batch = sized((15, 16), (16, 16), (31, 31), (32, 32), (100, 100))
    assert strides_of(batch, small_below_px=16, middle_below_px=32) == [8, 16, 16, 32, 32]
    for wrong in ({"small_below_px": 90, "middle_below_px": 80}, {"small_below_px": 200}, {"strides": (16, 8)}):
        with pytest.raises(ValidationError, match="ascend"):
            TermConfig.model_validate(wrong)


@pytest.mark.parametrize(
    ("in_use", "expected"),
    [
        ((16, 32), [16, 16, 32]),
        ((8, 32), [8, 8, 32]),  # of two as near the finer
        ((32,), [32, 32, 32]),
    ],
)
def test_where_a_level_is_not_in_use_the_nearest_takes_its_boxes(in_use: tuple[int, ...], expected: list[int]) -> None:
    assert strides_of(sized((20, 20), (90, 90), (200, 200)), strides=in_use) == expected


def bilinear(channel: NDArray[np.float64], y: float, x: float) -> float:
    """Value of [H, W] at cell coordinates; 0 more than a cell outside, else the border goes on."""
    height, width = channel.shape
    if not (-1 <= y <= height and -1 <= x <= width):
        return 0.0
    y, x = min(max(y, 0.0), height - 1), min(max(x, 0.0), width - 1)
    top, left = min(int(y), height - 2), min(int(x), width - 2)
    dy, dx = y - top, x - left
    upper = (1 - dx) * channel[top, left] + dx * channel[top, left + 1]
    lower = (1 - dx) * channel[top + 1, left] + dx * channel[top + 1, left + 1]
    return float((1 - dy) * upper + dy * lower)


def plain_roi_align(features: Tensor, roi: list[float], stride: int, size: int) -> NDArray[np.float64]:
    """[C, size, size]: mean of 2 x 2 samples a bin; the first cell's centre lies half a stride inside the map."""
    image, *box = roi
    left, top, right, bottom = (value / stride - 0.5 for value in box)
    maps = features[int(image)].double().numpy()
    pooled = np.zeros((len(maps), size, size))
    for channel, row, column in np.ndindex(pooled.shape):
        for part_y in (0.25, 0.75):
            for part_x in (0.25, 0.75):
                y = top + (row + part_y) * (bottom - top) / size
                x = left + (column + part_x) * (right - left) / size
                pooled[channel, row, column] += bilinear(maps[channel], y, x) / 4
    return pooled


def random_case(seed: int) -> tuple[dict[int, Tensor], Regions, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    maps = {
        stride: torch.randn(2, 3, 96 // stride, 128 // stride, generator=generator, requires_grad=True)
        for stride in (8, 16, 32)
    }
    # up to and beyond every border
    corners = torch.rand(12, 2, generator=generator) * torch.tensor([130.0, 100]) - 12
    sizes = 2 + 60 * torch.rand(12, 2, generator=generator)
    image = torch.randint(0, 2, (12, 1), generator=generator)
    rois = torch.cat((image.float(), corners, corners + sizes), dim=1)
    strides = torch.tensor([8, 16, 32])[torch.randint(0, 3, (12,), generator=generator)]
    return maps, Regions(rois, torch.zeros(12, dtype=torch.int64)), strides


@pytest.mark.parametrize("size", [1, 2, 5])
def test_pooled_features_are_those_of_loops_over_samples(size: int) -> None:
    maps, regions, strides = random_case(size)
    pooled = pool(maps, regions, strides, size)
    rows = torch.cat([pooled[stride][0] for stride in (8, 16, 32)])
    assert sorted(rows.tolist()) == list(range(12))
    for stride, (numbers, features) in pooled.items():
        assert strides[numbers].tolist() == [stride] * len(numbers)
        assert numbers.tolist() == sorted(numbers.tolist())
        assert features.shape == (len(numbers), 3, size, size)
        for number, found in zip(numbers.tolist(), features.detach(), strict=True):
            expected = plain_roi_align(maps[stride].detach(), regions.rois[number].tolist(), stride, size)
            np.testing.assert_allclose(found.numpy(), expected, atol=1e-4)


def test_maps_in_half_precision_are_pooled_in_single_also_under_autocast() -> None:
    maps, regions, strides = random_case(3)
    half = {stride: features.detach().bfloat16() for stride, features in maps.items()}
    with torch.autocast("cpu", torch.bfloat16):
        found = pool(half, regions, strides, 3)
    expected = pool({stride: features.float() for stride, features in half.items()}, regions, strides, 3)
    for stride, (_, features) in found.items():
        assert features.dtype == torch.float32
        assert torch.equal(features, expected[stride][1])


def test_a_level_without_a_region_is_left_out_and_so_is_all_of_an_empty_batch() -> None:
    maps = {stride: torch.ones(1, 2, 256 // stride, 256 // stride) for stride in (8, 16, 32)}
    found = regions_of(sized((20, 20), (200, 200)))
    assert list(pool(maps, found, levels(found, TermConfig()), 5)) == [8, 32]
    empty = regions_of(targets_of([[[0, 0, 0, 0]]], [[0]], ["-"]))
    strides = levels(empty, TermConfig())
    assert len(empty) == 0
    assert (empty.rois.shape, empty.class_ids.shape, strides.shape) == ((0, 5), (0,), (0,))
    assert pool(maps, empty, strides, 5) == {}
