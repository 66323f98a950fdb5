"""Training data: batch n is always the same; shares and padding are as stated."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from plain_crops import plain_augment
from scene import tensors_of
from torch.utils.data import DataLoader

from cgdet_core import thermal
from cgdet_core.config import AugmentConfig, Recipe, ThermalConfig, TrainConfig
from cgdet_core.data.feed.dataset import Crop, TrainingBatches, stack
from cgdet_core.data.feed.sources import CachedFrame, Source
from cgdet_core.tasks.detection.task import collate
from cgdet_core.tasks.task import TrainingBatch
from cgdet_core.types import GroundTruth

RECIPE = Recipe(train=TrainConfig(images=40, batch_size=4, seed=5), augment=AugmentConfig(crop_px=64))


def a_source(name: str, weight: float, value: int, frames: int = 3) -> Source:
    rng = np.random.default_rng(value)
    cached = []
    for _ in range(frames):
        grey = rng.integers(0, 256, (80, 100), dtype=np.uint8)
        boxes = np.concatenate([rng.uniform(0, 50, (4, 2)), rng.uniform(60, 80, (4, 2))], axis=1)
        truth = GroundTruth(boxes, rng.integers(0, 3, 4), rng.random(4) < 0.3)
        cached.append(CachedFrame(grey, thermal.tone_limits(grey, ThermalConfig()), truth))
    return Source(name, weight, tuple(cached), polarity_free=False)


def bytes_of(batch: TrainingBatch) -> list[bytes]:
    return [value.numpy().tobytes() for value in tensors_of(batch).values()]


@pytest.fixture(scope="module")
def sources() -> list[Source]:
    return [a_source("a", 1.0, 1), a_source("b", 3.0, 2)]


def test_a_batch_is_the_same_in_any_order_and_in_any_process(sources: list[Source]) -> None:
    forward = [bytes_of(TrainingBatches(sources, RECIPE)[number]) for number in range(6)]
    batches = TrainingBatches(sources, RECIPE)
    backward = [bytes_of(batches[number]) for number in reversed(range(6))][::-1]
    loader = DataLoader(batches, batch_size=None, sampler=range(6), num_workers=2, multiprocessing_context="fork")
    assert forward == backward
    assert forward == [bytes_of(batch) for batch in loader]
    assert len({parts[0] for parts in forward}) == 6


def test_another_seed_gives_other_batches_and_no_crop_comes_twice(sources: list[Source]) -> None:
    batches = TrainingBatches(sources, RECIPE)
    other = RECIPE.model_copy(update={"train": RECIPE.train.model_copy(update={"seed": 6})})
    assert bytes_of(batches[0]) != bytes_of(TrainingBatches(sources, other)[0])
    crops = {batches.crop(index).image.tobytes() for index in range(40)}
    assert len(crops) == 40
    # batch 1 goes on where batch 0 ended
    assert batches[1].images[0, 0].numpy().tobytes() == batches.crop(4).image.tobytes()


@pytest.mark.parametrize(("images", "batches"), [(40, 10), (41, 11), (1, 1)])
def test_a_run_has_enough_batches_for_all_its_images(sources: list[Source], images: int, batches: int) -> None:
    recipe = RECIPE.model_copy(update={"train": RECIPE.train.model_copy(update={"images": images})})
    assert len(TrainingBatches(sources, recipe)) == batches


def test_sources_are_drawn_by_their_weights_and_frames_evenly() -> None:
    counts: dict[int, int] = {}

    class Counted(tuple):  # a source's frames, each draw noted
        def __getitem__(self, index):  # type: ignore[no-untyped-def, override]
            frame = super().__getitem__(index)
            counts[frame.truth.class_ids[0]] = counts.get(frame.truth.class_ids[0], 0) + 1
            return frame

    def flat(number: int) -> CachedFrame:
        truth = GroundTruth(np.array([[1, 1, 9, 9]]), np.array([number]), np.zeros(1, bool))
        return CachedFrame(np.zeros((40, 40), np.uint8), thermal.ToneLimits(0, 1), truth)

    data = [
        Source("a", 1.0, Counted([flat(0), flat(1)]), False),
        Source("b", 3.0, Counted([flat(2)]), False),
    ]
    batches = TrainingBatches(
        data, RECIPE.model_copy(update={"augment": AugmentConfig(crop_px=32, mosaic_probability=0)})
    )
    for index in range(800):
        batches.crop(index)
    assert sum(counts.values()) == 800
    assert abs(counts[2] - 600) < 50  # 4 standard deviations
    assert abs(counts[0] - 100) < 40
    assert abs(counts[1] - 100) < 40


def test_only_sources_without_polarity_are_turned() -> None:
    augment = plain_augment(crop_px=32, grey_invert_probability=1.0, mosaic_probability=0)
    recipe = RECIPE.model_copy(update={"augment": augment})
    bright = CachedFrame(np.full((64, 64), 90, np.uint8), thermal.ToneLimits(0, 100), GroundTruth.empty())
    for polarity_free, value in ((False, 0.9), (True, 0.1)):
        crop = TrainingBatches([Source("a", 1.0, (bright,), polarity_free)], recipe).crop(0)
        np.testing.assert_allclose(crop.image[12:20, 12:20], value, atol=1e-5)


def test_a_batch_is_padded_and_its_padding_is_neither_object_nor_ignored() -> None:
    image = np.zeros((32, 32), np.float32)
    many = GroundTruth(
        np.array([[1, 2, 3, 4], [5, 6, 7, 8], [9, 10, 11, 12]]),
        np.array([2, 0, 1]),
        np.array([False, True, False]),
        np.array([True, False, True]),
    )
    crops = [Crop(image, GroundTruth.empty()), Crop(image + 0.5, many)]
    batch = stack(crops, collate([crop.truth for crop in crops], classes=3))
    targets = batch.targets
    assert batch.images.shape == (2, 1, 32, 32)
    assert batch.images[1].unique().tolist() == [0.5]
    assert targets.boxes_xyxy_px.dtype == torch.float32
    assert targets.boxes_xyxy_px[1].tolist() == [[1, 2, 3, 4], [5, 6, 7, 8], [9, 10, 11, 12]]
    assert targets.class_ids.tolist() == [[0, 0, 0], [2, 0, 1]]
    assert targets.objects.tolist() == [[False] * 3, [True, False, True]]
    assert targets.ignored.tolist() == [[False] * 3, [False, True, False]]
    assert targets.labelled.tolist() == [[True] * 3, [True, False, True]]
    # without any object there is one empty place
    empty = collate([GroundTruth.empty()], classes=2)
    assert empty.boxes_xyxy_px.shape == (1, 1, 4)
    assert not (empty.objects | empty.ignored).any()


def test_rgb_lies_in_its_own_row_of_the_batch_and_nothing_is_valid_without_any() -> None:
    image = np.zeros((32, 32), np.float32)
    rgb = np.random.default_rng(0).integers(0, 256, (32, 32, 3)).astype(np.uint8)
    valid = np.random.default_rng(1).random((32, 32)) < 0.5
    crops = [Crop(image, GroundTruth.empty()), Crop(image, GroundTruth.empty(), rgb, valid)]
    batch = stack(crops, collate([crop.truth for crop in crops], 3), with_rgb=True)
    assert batch.rgb is not None
    assert batch.rgb_valid is not None
    assert (batch.rgb.dtype, batch.rgb_valid.dtype) == (torch.uint8, torch.bool)
    assert (batch.rgb.shape, batch.rgb_valid.shape) == ((2, 3, 32, 32), (2, 32, 32))
    for channel in range(3):
        assert (batch.rgb[1, channel].numpy() == rgb[:, :, channel]).all()
    assert (batch.rgb_valid[1].numpy() == valid).all()
    assert not batch.rgb[0].any()
    assert not batch.rgb_valid[0].any()
    # the recipe decides, not what the crops happen to hold
    empty = stack(crops[:1], collate([crops[0].truth], 3), with_rgb=True)
    assert empty.rgb_valid is not None
    assert not empty.rgb_valid.any()
    assert stack(crops, collate([crop.truth for crop in crops], 3)).rgb is None


@pytest.mark.parametrize("with_rgb", [False, True])
def test_a_batch_is_moved_with_all_that_it_has(with_rgb: bool) -> None:
    crop = Crop(
        np.ones((32, 32), np.float32), GroundTruth.empty(), np.ones((32, 32, 3), np.uint8), np.ones((32, 32), bool)
    )
    batch = stack([crop, crop], collate([crop.truth] * 2, 3), with_rgb)
    moved = batch.to(torch.device("meta"))
    assert tensors_of(moved).keys() == tensors_of(batch).keys()
    assert {value.device.type for value in tensors_of(moved).values()} == {"meta"}
    assert (moved.rgb is None) == (not with_rgb)
    halved = batch.map(lambda value: value[1:])
    assert [len(value) for value in tensors_of(halved).values()] == [1] * (8 if with_rgb else 6)
