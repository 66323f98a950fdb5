"""Training data: batch n is always the same; shares, folds and padding are as stated."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from cgdet_core import thermal
from cgdet_core.config import AugmentConfig, ModelConfig, Recipe, SensorConfig, SourceConfig, ThermalConfig, TrainConfig
from cgdet_core.data.augment import Crop
from cgdet_core.data.coco import CocoRecord
from cgdet_core.data.dataset import (
    CachedFrame,
    Source,
    TrainingBatch,
    TrainingBatches,
    collate,
    load_sources,
    split_held_out,
)
from cgdet_core.errors import InputError
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
    return [getattr(batch, name).numpy().tobytes() for name in batch.__dataclass_fields__]


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
    augment = AugmentConfig(
        crop_px=32,
        grey_invert_probability=1.0,
        tone_probability=0,
        noise_sigma_max=0,
        mosaic_probability=0,
        sensor=SensorConfig(probability=0),
    )
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
    batch = collate([Crop(image, GroundTruth.empty()), Crop(image + 0.5, many)], classes=3)
    assert batch.images.shape == (2, 1, 32, 32)
    assert batch.images[1].unique().tolist() == [0.5]
    assert batch.boxes_xyxy_px.dtype == torch.float32
    assert batch.boxes_xyxy_px[1].tolist() == [[1, 2, 3, 4], [5, 6, 7, 8], [9, 10, 11, 12]]
    assert batch.class_ids.tolist() == [[0, 0, 0], [2, 0, 1]]
    assert batch.objects.tolist() == [[False] * 3, [True, False, True]]
    assert batch.ignored.tolist() == [[False] * 3, [False, True, False]]
    assert batch.labelled.tolist() == [[True] * 3, [True, False, True]]


def test_a_batch_without_any_object_has_one_empty_place() -> None:
    batch = collate([Crop(np.zeros((32, 32), np.float32), GroundTruth.empty())], classes=2)
    assert batch.boxes_xyxy_px.shape == (1, 1, 4)
    assert not batch.objects.any()
    assert not batch.ignored.any()


def a_record(name: str) -> CocoRecord:
    return CocoRecord(0, name, Path(name), (1, 1), GroundTruth.empty(), None, None, None)


def test_folds_hold_out_whole_blocks_disjoint_and_together_all_of_them() -> None:
    records = [a_record(f"seq2/{number:05d}N.png") for number in range(0, 1200, 7)]
    held_names: list[str] = []
    for fold in range(5):
        training, held = split_held_out(records, fold)
        assert sorted(r.file_name for r in training + held) == sorted(r.file_name for r in records)
        blocks = [{int(r.file_name[5:10]) // 50 for r in part} for part in (training, held)]
        assert not blocks[0] & blocks[1]
        # 24 blocks, all present: every fifth
        assert blocks[1] == set(range(fold, 24, 5))
        held_names += [r.file_name for r in held]
    assert sorted(held_names) == sorted(r.file_name for r in records)


def test_the_frame_number_is_the_last_one_in_the_name() -> None:
    training, held = split_held_out([a_record("day9/cam1_00049.png"), a_record("day9/cam1_00050.png")], 1)
    assert [r.file_name for r in held] == ["day9/cam1_00050.png"]
    assert len(training) == 1


def test_a_name_without_a_number_cannot_be_held_out() -> None:
    with pytest.raises(InputError, match=r"night/street\.png.*no frame number"):
        split_held_out([a_record("night/street.png")], 0)


def write_set(folder: Path, numbers: list[int]) -> None:
    folder.mkdir()
    images, annotations = [], []
    for position, number in enumerate(numbers):
        name = f"{number:04d}.png"
        picture = np.random.default_rng(number).integers(9000, 9000 + 400, (48, 64)).astype(np.uint16)
        cv2.imwrite(str(folder / name), picture)
        images.append({"id": position, "file_name": name, "height": 48, "width": 64})
        annotations.append({"id": position, "image_id": position, "category_id": 1, "bbox": [number % 30, 4, 10, 20]})
    document = {"images": images, "annotations": annotations, "categories": [{"id": 1, "name": "human"}]}
    (folder / "set.json").write_text(json.dumps(document))


def test_sources_hold_raw_frames_with_the_limits_of_the_whole_frame(tmp_path: Path) -> None:
    write_set(tmp_path / "one", [0, 1, 60, 120])
    recipe = Recipe(
        sources=(
            SourceConfig(path="one/set.json", weight=2, grey_rgb=True, class_map={"human": "person"}, hold_out_fold=1),
        )
    )
    (source,), held_out = load_sources(recipe, tmp_path, progress=False)
    assert (source.name, source.weight, source.polarity_free) == ("one/set.json", 2, True)
    assert len(source.frames) == 3
    for frame, number in zip(source.frames, (0, 1, 120), strict=True):
        picture = np.random.default_rng(number).integers(9000, 9000 + 400, (48, 64)).astype(np.uint16)
        assert (frame.grey == picture).all()
        assert frame.limits == thermal.tone_limits(picture, recipe.thermal)
        assert frame.truth.boxes_xyxy_px.tolist() == [[number % 30, 4, number % 30 + 10, 24]]
        assert frame.truth.labelled is not None
        assert frame.truth.labelled.tolist() == [True, False, False]
    assert held_out is not None
    assert [record.file_name for record in held_out.records] == ["0060.png"]
    assert held_out.sample(0).frame.height_width_px == (48, 64)


def test_without_folds_nothing_is_held_out(tmp_path: Path) -> None:
    write_set(tmp_path / "one", [0, 60])
    recipe = Recipe(sources=(SourceConfig(path="one/set.json", class_map={"human": "person"}),))
    (source,), held_out = load_sources(recipe, tmp_path, progress=False)
    assert len(source.frames) == 2
    assert held_out is None


@pytest.mark.parametrize("fold", [0, 3])
def test_a_fold_that_leaves_one_side_empty_is_refused(tmp_path: Path, fold: int) -> None:
    write_set(tmp_path / "one", [0, 1])
    recipe = Recipe(sources=(SourceConfig(path="one/set.json", class_map={"human": "person"}, hold_out_fold=fold),))
    with pytest.raises(InputError, match=f"hold_out_fold {fold}"):
        load_sources(recipe, tmp_path, progress=False)


def test_a_recipe_without_data_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="names no training data"):
        load_sources(Recipe(model=ModelConfig()), tmp_path, progress=False)
