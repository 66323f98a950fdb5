"""Mosaics: pixels and labels in their quadrants, native scale, and nothing learnt where nothing is labelled."""

from __future__ import annotations

import numpy as np
import pytest
from plain_crops import plain_augment

from cgdet_core.config import AugmentConfig, Recipe, TrainConfig
from cgdet_core.data.feed.dataset import Crop, TrainingBatches, join_crops
from cgdet_core.data.feed.sources import CachedFrame, Source
from cgdet_core.tasks.detection.sampling import join_truths, mosaic_parts
from cgdet_core.thermal import ToneLimits
from cgdet_core.types import GroundTruth

REGIONS = [(0, 0, 40, 24), (40, 0, 64, 24), (0, 24, 40, 64), (40, 24, 64, 64)]
PLAIN = plain_augment(crop_px=128, scale_range=(1.0, 1.0), mosaic_probability=1, mosaic_off_fraction=0)


def truth_of(boxes: list[list[float]], class_ids: list[int], labelled: list[bool] | None = None) -> GroundTruth:
    return GroundTruth(
        np.array(boxes, np.float32),
        np.array(class_ids, np.int64),
        np.zeros(len(boxes), np.bool_),
        None if labelled is None else np.array(labelled),
    )


def test_four_crops_of_their_quadrants_sizes_meet_at_a_random_centre() -> None:
    config = AugmentConfig(crop_px=64, mosaic_centre_range=(0.25, 0.75))
    centres = set()
    for seed in range(30):
        parts = mosaic_parts(config, np.random.default_rng(seed))
        x, y = parts[0][2:]
        assert parts == [(0, 0, x, y), (x, 0, 64, y), (0, y, x, 64), (x, y, 64, 64)]
        assert 16 <= x <= 48
        assert 16 <= y <= 48
        centres.add((x, y))
        truths = [truth_of([[1, 2, 3, 4]], [number % 3]) for number in range(1, 5)]
        crops = [
            Crop(np.full((bottom - top, right - left), number / 4, np.float32), truth)
            for number, (truth, (left, top, right, bottom)) in enumerate(zip(truths, parts, strict=True), 1)
        ]
        crop = join_crops(parts, crops, join_truths(parts, truths))
        for value, part in enumerate(
            (crop.image[:y, :x], crop.image[:y, x:], crop.image[y:, :x], crop.image[y:, x:]), 1
        ):
            assert (part == value / 4).all()
        assert crop.truth.boxes_xyxy_px.tolist() == [
            [1, 2, 3, 4],
            [x + 1, 2, x + 3, 4],
            [1, y + 2, 3, y + 4],
            [x + 1, y + 2, x + 3, y + 4],
        ]
        assert crop.truth.class_ids.tolist() == [1, 2, 0, 1]
        assert crop.truth.labelled is None
    assert len(centres) > 20


def test_a_class_unlabelled_in_some_parts_is_a_region_to_ignore_there() -> None:
    persons_only, nothing = [True, False, False], [False, False, False]
    truths = [
        truth_of([[1, 1, 9, 9]], [0], persons_only),
        truth_of([[2, 2, 8, 8]], [1]),
        truth_of([], [], nothing),
        truth_of([[3, 3, 5, 5]], [2]),
    ]
    joined = join_truths(REGIONS, truths)
    assert joined.labelled is None
    rows = list(zip(joined.boxes_xyxy_px.tolist(), joined.class_ids.tolist(), joined.ignore.tolist(), strict=True))
    assert rows == [
        ([1, 1, 9, 9], 0, False),
        ([0, 0, 40, 24], 1, True),
        ([0, 0, 40, 24], 2, True),
        ([42, 2, 48, 8], 1, False),
        ([0, 24, 40, 64], 0, True),
        ([0, 24, 40, 64], 1, True),
        ([0, 24, 40, 64], 2, True),
        ([43, 27, 45, 29], 2, False),
    ]


def test_a_class_unlabelled_in_all_parts_stays_unlabelled() -> None:
    truths = [truth_of([], [], [True, False, True]) for _ in range(3)] + [truth_of([], [], [True, False, False])]
    joined = join_truths(REGIONS, truths)
    assert joined.labelled is not None
    assert joined.labelled.tolist() == [True, False, True]
    assert joined.boxes_xyxy_px.tolist() == [[40, 24, 64, 64]]
    assert joined.class_ids.tolist() == [2]
    assert joined.ignore.tolist() == [True]


def source_of_squares(name: str, frames: int, labelled: list[bool] | None = None) -> Source:
    """Frames of 20 px squares: grey 100, square and value 200 + its frame's number."""
    cached = []
    for number in range(frames):
        grey = np.full((240, 320), 100, np.uint8)
        boxes = []
        for top in range(8, 200, 60):
            for left in range(10 + number, 280, 50):
                grey[top : top + 20, left : left + 20] = 200 + number
                boxes.append([left, top, left + 20, top + 20])
        cached.append(CachedFrame(grey, ToneLimits(0, 255), truth_of(boxes, [0] * len(boxes), labelled)))
    return Source(name, 1.0, tuple(cached), polarity_free=False)


def test_objects_of_a_mosaic_keep_native_scale_and_their_boxes_under_every_cut() -> None:
    recipe = Recipe(augment=PLAIN, train=TrainConfig(images=100))
    batches = TrainingBatches([source_of_squares("a", 6)], recipe)
    whole = cut = ignored = 0
    for index in range(40):
        crop = batches.crop(index)
        assert crop.image.shape == (128, 128)
        bright = crop.image > 0.6
        covered = np.zeros_like(bright)
        for box, ignore in zip(crop.truth.boxes_xyxy_px, crop.truth.ignore, strict=True):
            x0, y0, x1, y1 = (int(value) for value in box)
            covered[y0:y1, x0:x1] = True
            share = (x1 - x0) * (y1 - y0) / 400
            assert bool(ignore) == (share < PLAIN.min_visible or min(x1 - x0, y1 - y0) < 2)
            whole, cut, ignored = whole + (share == 1), cut + (share < 1), ignored + bool(ignore)
        assert (covered == bright).all()
    assert whole > 40
    assert cut > 40
    assert ignored > 10


@pytest.mark.parametrize(("probability", "off", "share"), [(0.0, 0.0, 0.0), (1.0, 0.25, 0.75), (0.5, 0.0, 0.5)])
def test_mosaics_come_with_their_chance_and_end_before_the_run_does(
    probability: float, off: float, share: float
) -> None:
    augment = PLAIN.model_copy(
        update={"mosaic_probability": probability, "mosaic_off_fraction": off, "object_centre_probability": 0}
    )
    dark = CachedFrame(np.full((400, 400), 100, np.uint8), ToneLimits(0, 255), truth_of([[0, 0, 400, 400]], [0]))
    batches = TrainingBatches([Source("a", 1.0, (dark,), False)], Recipe(augment=augment, train=TrainConfig(images=80)))
    # the one object fills every crop, so a mosaic has a box or region for each of its parts
    mosaics = [len(batches.crop(index).truth) == 4 for index in range(100)]
    assert not any(mosaics[round(80 * (1 - off)) :])
    assert abs(np.mean(mosaics[:80]) - share) < (0.2 if probability == 0.5 else 0.001)
