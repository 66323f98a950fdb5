"""The frames that a recipe trains on and those that it holds out."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from cgdet_core import thermal
from cgdet_core.config import ModelConfig, Recipe, SourceConfig
from cgdet_core.data.coco import CocoRecord
from cgdet_core.data.sources import load_sources, split_held_out
from cgdet_core.errors import InputError
from cgdet_core.types import GroundTruth


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
