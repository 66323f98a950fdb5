"""Rare classes: how often their frames and objects are drawn, and sets of which only some classes are labelled."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from cgdet_core.config import (
    AugmentConfig,
    ModelConfig,
    Recipe,
    SensorConfig,
    SourceConfig,
    SyntheticSourceConfig,
    TrainConfig,
)
from cgdet_core.data.feed.dataset import TrainingBatches
from cgdet_core.data.feed.sources import CachedFrame, Source, load_sources
from cgdet_core.errors import InputError
from cgdet_core.tasks.detection.sampling import class_weights, repeat_factors
from cgdet_core.thermal import ToneLimits
from cgdet_core.types import CLASS_NAMES, GroundTruth


def showing(*class_ids: int, ignore: tuple[int, ...] = ()) -> GroundTruth:
    """Boxes of 10 px in a row, 60 px apart; those at the positions `ignore` are regions to ignore."""
    boxes = [[60.0 * k + 10, 100, 60 * k + 20, 110] for k in range(len(class_ids))]
    return GroundTruth(
        np.array(boxes, np.float32),
        np.array(class_ids, np.int64),
        np.isin(np.arange(len(class_ids)), ignore),
    )


def test_repeat_factors_are_those_of_the_rarest_class_a_frame_shows() -> None:
    truths = [showing(0), showing(0, 0), showing(0, 1), showing(), showing(2, ignore=(0,)), showing(0), showing(0, 2)]
    truths += [showing(0)]
    # of 8 frames 6 show class 0, one class 1, one class 2: sqrt(0.5 / 0.125) = 2
    assert repeat_factors(truths, 3, 0.5).tolist() == [1, 1, 2, 1, 1, 1, 2, 1]
    expected = np.sqrt(1 / 0.75)
    np.testing.assert_allclose(
        repeat_factors(truths, 3, 1.0), [expected, expected, np.sqrt(8), 1, 1, expected, np.sqrt(8), expected]
    )
    assert repeat_factors(truths, 3, 0.0).tolist() == [1] * 8


def test_weights_of_classes_are_inverse_to_their_objects() -> None:
    truths = [showing(0, 0, 0), showing(0, 2, 2, ignore=(2,)), showing()]
    np.testing.assert_allclose(class_weights(truths, 3, 1.0), [1 / 4, 1, 1])
    np.testing.assert_allclose(class_weights(truths, 3, 0.5), [1 / 2, 1, 1])
    assert class_weights(truths, 3, 0.0).tolist() == [1, 1, 1]


def batches_of(truths: list[GroundTruth], **augment: object) -> TrainingBatches:
    config = AugmentConfig(
        crop_px=32,
        scale_range=(1.0, 1.0),
        object_centre_probability=1,
        mosaic_probability=0,
        sensor=SensorConfig(probability=0),
        **augment,  # type: ignore[arg-type]
    )
    frames = tuple(CachedFrame(np.zeros((200, 400), np.uint8), ToneLimits(0, 1), truth) for truth in truths)
    return TrainingBatches([Source("a", 1.0, frames, False)], Recipe(augment=config, train=TrainConfig(images=1000)))


@pytest.mark.parametrize(("balance", "share"), [(0.0, 0.2), (1.0, 0.5)])
def test_crops_are_laid_over_rare_classes_as_often_as_asked(balance: float, share: float) -> None:
    batches = batches_of([showing(0, 0, 1, 0, 0)] * 3, centre_class_balance=balance)
    # the boxes stand farther apart than a crop is wide
    rare = [batches.crop(index).truth.class_ids.tolist() == [1] for index in range(600)]
    assert abs(np.mean(rare) - share) < 0.08


@pytest.mark.parametrize(("threshold", "share"), [(0.0, 0.1), (0.9, 0.25)])
def test_frames_of_rare_classes_are_drawn_as_often_as_asked(threshold: float, share: float) -> None:
    # sqrt(0.9 / 0.1) = 3 against 9 frames of factor 1
    batches = batches_of([showing(0)] * 9 + [showing(1)], frame_class_balance=threshold)
    rare = [batches.crop(index).truth.class_ids.tolist() == [1] for index in range(600)]
    assert abs(np.mean(rare) - share) < 0.07


def write_set(folder: Path, categories: tuple[str, ...] = ("person", "bicycle", "car")) -> None:
    cv2.imwrite(str(folder / "0.png"), np.zeros((48, 64), np.uint8))
    annotations = [
        {"id": k, "image_id": 0, "category_id": k, "bbox": [10 * k, 4, 8, 9]} for k in range(len(categories))
    ]
    document = {
        "images": [{"id": 0, "file_name": "0.png", "height": 48, "width": 64}],
        "annotations": annotations,
        "categories": [{"id": k, "name": name} for k, name in enumerate(categories)],
    }
    (folder / "set.json").write_text(json.dumps(document))


def load(folder: Path, **settings: object) -> GroundTruth:
    config = SourceConfig(path="set.json", **settings)  # type: ignore[arg-type]
    (source,), _ = load_sources(Recipe(sources=(config,)), folder, progress=False)
    return source.frames[0].truth


def test_of_classes_that_are_not_really_labelled_nothing_is_left(tmp_path: Path) -> None:
    write_set(tmp_path)
    truth = load(tmp_path, labelled_classes=("person", "car"))
    assert truth.labelled is not None
    assert truth.labelled.tolist() == [True, False, True]
    assert truth.class_ids.tolist() == [0, 2]
    assert truth.boxes_xyxy_px.tolist() == [[0, 4, 8, 13], [20, 4, 28, 13]]
    assert load(tmp_path).labelled is None
    assert load(tmp_path, labelled_classes=("person", "bicycle", "car")).labelled is None


def test_regions_to_ignore_of_labelled_classes_stay(tmp_path: Path) -> None:
    write_set(tmp_path, ("person", "car", "dontcare"))
    truth = load(tmp_path, labelled_classes=("person",), class_map={"dontcare": "ignore"})
    assert truth.class_ids.tolist() == [0, 0]
    assert truth.ignore.tolist() == [False, True]


@pytest.mark.parametrize("name", ["lorry", "bicycle"])
def test_labelled_classes_that_cannot_be_are_refused(tmp_path: Path, name: str) -> None:
    write_set(tmp_path, ("person", "car"))
    with pytest.raises(InputError, match=rf"set\.json: labelled_classes: unknown class '{name}'"):
        load(tmp_path, labelled_classes=("person", name))


@pytest.mark.parametrize("names", [("person",), ("dog", "car", "person")])
def test_rendered_frames_are_labelled_in_the_recipes_own_classes(names: tuple[str, ...]) -> None:
    def rendered(names: tuple[str, ...]) -> list[GroundTruth]:
        synthetic = SyntheticSourceConfig(frames=3)
        recipe = Recipe(model=ModelConfig(class_names=names), synthetic=synthetic)
        (source,), _ = load_sources(recipe, Path(), progress=False)
        return [frame.truth for frame in source.frames]

    shown = set()
    for own, all_three in zip(rendered(names), rendered(CLASS_NAMES), strict=True):
        assert all_three.labelled is None
        for index, name in enumerate(names):
            of_name = own.boxes_xyxy_px[own.class_ids == index].tolist()
            shown |= {name} if of_name else set()
            known = name in CLASS_NAMES
            in_all = (
                all_three.boxes_xyxy_px[all_three.class_ids == CLASS_NAMES.index(name)] if known else np.zeros((0, 4))
            )
            assert of_name == in_all.tolist()
            assert own.labelled is None or own.labelled[index] == known
        assert (own.labelled is None) == ("dog" not in names)
    assert shown == set(names) - {"dog"}


def test_rendered_frames_of_no_class_at_all_are_refused() -> None:
    recipe = Recipe(model=ModelConfig(class_names=("dog",)), synthetic=SyntheticSourceConfig(frames=3))
    with pytest.raises(InputError, match=r"synthetic\.frames"):
        load_sources(recipe, Path(), progress=False)
