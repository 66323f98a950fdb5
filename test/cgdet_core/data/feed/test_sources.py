"""The frames that a recipe trains on and those that it holds out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from cgdet_core import thermal
from cgdet_core.config import (
    GuidanceConfig,
    ModelConfig,
    Recipe,
    SourceConfig,
    SyntheticSourceConfig,
    TrainConfig,
    settings_from_mapping,
)
from cgdet_core.data.feed.sources import Source, load_sources
from cgdet_core.data.sets.coco_file import CocoDraft, image_entry
from cgdet_core.data.synthetic.street import synthetic_training_sample
from cgdet_core.errors import InputError
from cgdet_core.images import read_image


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
    with pytest.raises(InputError, match=f"hold_out_fold {fold}.*they are of 1 block of 50 frame numbers"):
        load_sources(recipe, tmp_path, progress=False)


def test_held_out_frames_without_an_object_are_refused_before_the_training(tmp_path: Path) -> None:
    write_set(tmp_path / "one", [0, 60])
    path = tmp_path / "one" / "set.json"
    document = json.loads(path.read_text())
    del document["annotations"][0]  # of frame 0, the block that is held out
    path.write_text(json.dumps(document))
    recipe = Recipe(sources=(SourceConfig(path="one/set.json", class_map={"human": "person"}, hold_out_fold=0),))
    with pytest.raises(InputError, match="the 1 frames that hold_out_fold holds out show no object"):
        load_sources(recipe, tmp_path, progress=False)


def test_a_set_that_is_not_there_is_refused_with_the_folder_it_was_looked_for_in(tmp_path: Path) -> None:
    recipe = Recipe(sources=(SourceConfig(path="msrs/thermal_train.json"),))
    with pytest.raises(InputError, match=r"thermal_train\.json: there is no such file.*--data names.*own\.yaml"):
        load_sources(recipe, tmp_path, progress=False)


def test_a_recipe_without_data_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="names no training data"):
        load_sources(Recipe(model=ModelConfig()), tmp_path, progress=False)


def write_pairs(folder: Path, sizes: list[tuple[int, int]], partners: list[str | None], rgb: bool = False) -> None:
    """Frames of random values, as grey PNG or in colour, and a partner of the same size wherever one is named."""
    folder.mkdir()
    draft = CocoDraft()
    for number, ((height, width), partner) in enumerate(zip(sizes, partners, strict=True)):
        rng = np.random.default_rng(number)
        cv2.imwrite(
            str(folder / f"{number:04d}.png"), rng.integers(0, 256, (height, width, 3) if rgb else (height, width))
        )
        named = {} if partner is None else {"rgb_file_name": partner}
        draft.add_image(image_entry(f"{number:04d}.png", (height, width), **named))
        if partner is not None:
            cv2.imwrite(str(folder / partner), rng.integers(0, 256, (height, width, 3)))
    draft.write(folder / "set.json")


def loaded(folder: Path, weight: float = 1.0, shuffle: bool = False, seed: int = 0, **source: Any) -> Source:
    recipe = Recipe(
        sources=(SourceConfig(path=f"{folder.name}/set.json", **source),),
        guidance=GuidanceConfig(weight=weight, shuffle_rgb=shuffle),
        train=TrainConfig(seed=seed),
    )
    return load_sources(recipe, folder.parent, progress=False)[0][0]


def refused(folder: Path, **settings: Any) -> str:
    with pytest.raises(InputError) as caught:
        loaded(folder, **settings)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_frames_get_the_partner_that_the_file_names_and_only_those(tmp_path: Path) -> None:
    write_pairs(tmp_path / "a", [(24, 32)] * 3, ["x.png", None, "y.jpg"])
    for rgb in ("auto", "partner"):
        frames = loaded(tmp_path / "a", rgb=rgb).frames
        assert frames[1].rgb is None
        for frame, name in ((frames[0], "x.png"), (frames[2], "y.jpg")):
            assert frame.rgb is not None
            assert (frame.rgb.pixels() == read_image(tmp_path / "a" / name)).all()
            assert frame.rgb.valid is None
    assert all(frame.rgb is None for frame in loaded(tmp_path / "a", rgb="none", weight=0).frames)


def test_without_guidance_no_partner_is_even_looked_for(tmp_path: Path) -> None:
    write_pairs(tmp_path / "a", [(24, 32)] * 2, ["x.png", "y.png"])
    write_pairs(tmp_path / "b", [(24, 32)] * 2, [None, None], rgb=True)
    guided = loaded(tmp_path / "a").frames
    (tmp_path / "a" / "x.png").unlink()
    (tmp_path / "a" / "y.png").write_bytes(b"damaged")
    frames = loaded(tmp_path / "a", weight=0).frames
    for frame, with_rgb in zip(frames, guided, strict=True):
        assert frame.rgb is None
        assert (frame.grey == with_rgb.grey).all()
        assert frame.limits == with_rgb.limits
    assert all(frame.rgb is None for frame in loaded(tmp_path / "b", weight=0, grey_rgb=True).frames)


def test_a_grey_rgb_frame_is_partner_of_itself_in_colour(tmp_path: Path) -> None:
    write_pairs(tmp_path / "a", [(24, 32)] * 2, ["x.png", None], rgb=True)
    for settings in ({}, {"rgb": "own"}):
        for number, frame in enumerate(loaded(tmp_path / "a", grey_rgb=True, **settings).frames):
            assert frame.rgb is not None
            assert (frame.rgb.pixels() == read_image(tmp_path / "a" / f"{number:04d}.png")).all()
            assert (thermal.to_grey(frame.rgb.pixels()) == frame.grey).all()
    frames = loaded(tmp_path / "a", grey_rgb=True, rgb="partner").frames
    assert frames[0].rgb is not None
    assert frames[0].rgb.path.name == "x.png"
    assert frames[1].rgb is None


def test_own_rgb_of_a_thermal_set_is_refused() -> None:
    with pytest.raises(InputError, match=r"recipe: key 'rgb'|rgb: own is of an RGB set"):
        settings_from_mapping(SourceConfig, {"path": "a", "rgb": "own"}, "recipe")


def test_a_grey_picture_in_a_grey_rgb_set_shows_a_teacher_nothing_and_is_refused(tmp_path: Path) -> None:
    write_pairs(tmp_path / "a", [(24, 32)], [None])
    message = refused(tmp_path / "a", grey_rgb=True)
    assert str(tmp_path / "a" / "0000.png") in message
    assert "rgb: none" in message


def test_a_missing_partner_is_refused_by_name(tmp_path: Path) -> None:
    write_pairs(tmp_path / "a", [(24, 32)] * 2, ["x.png", "y.png"])
    (tmp_path / "a" / "y.png").unlink()
    message = refused(tmp_path / "a")
    assert message.startswith(f"{tmp_path / 'a' / 'y.png'}: ")
    assert "missing" in message
    assert "0001.png" in message


def test_a_partner_of_another_size_is_refused_with_both_names(tmp_path: Path) -> None:
    write_pairs(tmp_path / "a", [(24, 32)] * 2, ["x.png", "y.png"])
    cv2.imwrite(str(tmp_path / "a" / "y.png"), np.zeros((32, 24, 3)))
    message = refused(tmp_path / "a")
    assert f"{tmp_path / 'a' / 'y.png'}: is 24x32 pixels" in message
    assert f"{tmp_path / 'a' / '0001.png'} 32x24" in message


def test_guidance_without_any_rgb_is_refused_before_a_frame_is_read(tmp_path: Path) -> None:
    write_pairs(tmp_path / "a", [(24, 32)] * 2, [None, None])
    (tmp_path / "a" / "0000.png").write_bytes(b"damaged")
    message = refused(tmp_path / "a")
    assert "none of the sources a/set.json holds any" in message
    assert "guidance.weight" in message
    assert "a/set.json holds any" in refused(tmp_path / "a", rgb="none")
    message = refused(tmp_path / "a", rgb="partner")
    assert str(tmp_path / "a" / "set.json") in message
    assert "rgb_file_name" in message
    synthetic = SyntheticSourceConfig(frames=1, rgb=False)
    with pytest.raises(InputError, match="none of the sources synthetic holds any"):
        load_sources(Recipe(synthetic=synthetic, guidance=GuidanceConfig(weight=1)), tmp_path, progress=False)


@pytest.mark.parametrize("weight", [0.0, 1.0])
def test_rendered_frames_have_the_rgb_that_was_rendered_with_them(tmp_path: Path, weight: float) -> None:
    synthetic = SyntheticSourceConfig(frames=1)
    recipe = Recipe(synthetic=synthetic, guidance=GuidanceConfig(weight=weight))
    ((source,), _) = load_sources(recipe, tmp_path, progress=False)
    (frame,) = source.frames
    rendered = synthetic_training_sample(synthetic.seed, 0)
    assert (frame.grey == rendered.frame.image).all()
    assert (frame.rgb is None) == (weight == 0)
    if frame.rgb is not None:
        assert rendered.rgb is not None
        assert np.abs(frame.rgb.pixels().astype(int) - rendered.rgb).mean() < 3


def test_shuffled_rgb_is_that_of_another_frame_and_the_thermal_frames_stay(tmp_path: Path) -> None:
    write_pairs(tmp_path / "a", [(24, 32), (32, 24)] * 3 + [(24, 32)], [f"{k}.png" for k in range(6)] + [None])
    names = {
        (shuffle, seed): [
            frame.rgb and frame.rgb.path.name for frame in loaded(tmp_path / "a", 1, shuffle, seed).frames
        ]
        for shuffle in (False, True)
        for seed in range(4)
    }
    for seed in range(4):
        plain, shuffled = names[False, seed], names[True, seed]
        assert plain == ["0.png", "1.png", "2.png", "3.png", "4.png", "5.png", None]
        assert shuffled[6] is None
        assert sorted(filter(None, shuffled)) == plain[:6]
        assert all(a != b for a, b in zip(plain[:6], shuffled[:6], strict=True))
        # one size among themselves
        assert {shuffled[0], shuffled[2], shuffled[4]} == {"0.png", "2.png", "4.png"}
        again = loaded(tmp_path / "a", 1, True, seed)
        assert [frame.rgb and frame.rgb.path.name for frame in again.frames] == shuffled
        plain_frames = loaded(tmp_path / "a", 1, False, seed).frames
        assert all((a.grey == b.grey).all() for a, b in zip(again.frames, plain_frames, strict=True))
    assert len({tuple(order) for order in names.values()}) > 2


def test_rgb_that_is_alone_cannot_be_shuffled(tmp_path: Path) -> None:
    write_pairs(tmp_path / "a", [(24, 32)] * 2, ["x.png", None])
    message = refused(tmp_path / "a", shuffle=True)
    assert message.startswith("a/set.json: ")
    assert "32x24" in message
    assert loaded(tmp_path / "a", weight=0, shuffle=True).frames[0].rgb is None
