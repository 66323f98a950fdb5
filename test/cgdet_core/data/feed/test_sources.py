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
    Recipe,
    SourceConfig,
    SyntheticSourceConfig,
    TrainConfig,
)
from cgdet_core.data.feed.sources import Source, load_sources
from cgdet_core.data.sets.coco import CocoSet
from cgdet_core.data.sets.coco_file import CocoDraft, image_entry
from cgdet_core.data.synthetic.faces.drawing import drawn_face
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


def sources_of(*sources: SourceConfig, folder: Path) -> tuple[list[Source], CocoSet | None]:
    return load_sources(Recipe(sources=sources), folder, progress=False)


def test_without_folds_nothing_is_held_out(tmp_path: Path) -> None:
    write_set(tmp_path / "one", [0, 60])
    (source,), held_out = sources_of(SourceConfig(path="one/set.json", class_map={"human": "person"}), folder=tmp_path)
    assert len(source.frames) == 2
    assert held_out is None


def test_a_fold_that_cannot_be_a_set_that_is_not_there_and_a_recipe_without_any_are_refused(tmp_path: Path) -> None:
    write_set(tmp_path / "one", [0, 1])
    write_set(tmp_path / "two", [0, 60])
    path = tmp_path / "two" / "set.json"
    document = json.loads(path.read_text())
    del document["annotations"][0]  # of frame 0, the block that is held out
    path.write_text(json.dumps(document))
    of_persons = {"human": "person"}
    for sources, named in (
        ([SourceConfig(path="one/set.json", class_map=of_persons, hold_out_fold=0)], "one/set.json: hold_out_fold 0"),
        ([SourceConfig(path="one/set.json", class_map=of_persons, hold_out_fold=3)], "one/set.json: hold_out_fold 3"),
        ([SourceConfig(path="two/set.json", class_map=of_persons, hold_out_fold=0)], "show no object"),
        ([SourceConfig(path="msrs/thermal_train.json")], str(tmp_path / "msrs" / "thermal_train.json")),
        ([], "sources"),
    ):
        with pytest.raises(InputError, match=named):
            sources_of(*sources, folder=tmp_path)


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
    frames = loaded(tmp_path / "a").frames
    assert frames[1].rgb is None
    for frame, name in ((frames[0], "x.png"), (frames[2], "y.jpg")):
        assert frame.rgb is not None
        assert (frame.rgb.pixels() == read_image(tmp_path / "a" / name)).all()
        assert frame.rgb.valid is None


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
    for number, frame in enumerate(loaded(tmp_path / "a", grey_rgb=True).frames):
        assert frame.rgb is not None
        assert (frame.rgb.pixels() == read_image(tmp_path / "a" / f"{number:04d}.png")).all()
        assert (thermal.to_grey(frame.rgb.pixels()) == frame.grey).all()


def test_a_partner_that_is_grey_missing_or_of_another_size_is_refused_by_name(tmp_path: Path) -> None:
    write_pairs(tmp_path / "grey", [(24, 32)], [None])
    assert str(tmp_path / "grey" / "0000.png") in refused(tmp_path / "grey", grey_rgb=True)
    write_pairs(tmp_path / "a", [(24, 32)] * 2, ["x.png", "y.png"])
    partner = tmp_path / "a" / "y.png"
    cv2.imwrite(str(partner), np.zeros((32, 24, 3)))
    message = refused(tmp_path / "a")
    assert f"{partner}: is not an RGB picture of 32x24 pixels" in message
    assert str(tmp_path / "a" / "0001.png") in message
    partner.unlink()
    assert refused(tmp_path / "a").startswith(f"{partner}: ")


def test_guidance_without_any_rgb_is_refused_before_a_frame_is_read(tmp_path: Path) -> None:
    write_pairs(tmp_path / "a", [(24, 32)] * 2, [None, None])
    (tmp_path / "a" / "0000.png").write_bytes(b"damaged")
    assert "no source has RGB" in refused(tmp_path / "a")
    assert "no source has RGB" in refused(tmp_path / "a", rgb=False, grey_rgb=True)
    synthetic = SyntheticSourceConfig(frames=1, rgb=False)
    with pytest.raises(InputError, match="no source has RGB"):
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

    def names(source: Source) -> list[str | None]:
        return [frame.rgb and frame.rgb.path.name for frame in source.frames]

    plain = loaded(tmp_path / "a")
    assert names(plain) == ["0.png", "1.png", "2.png", "3.png", "4.png", "5.png", None]
    orders = set()
    for seed in range(4):
        mixed = loaded(tmp_path / "a", shuffle=True, seed=seed)
        shuffled = names(mixed)
        assert shuffled[6] is None
        assert all(a != b for a, b in zip(names(plain)[:6], shuffled[:6], strict=True))
        # one size among themselves
        assert {shuffled[0], shuffled[2], shuffled[4]} == {"0.png", "2.png", "4.png"}
        assert {shuffled[1], shuffled[3], shuffled[5]} == {"1.png", "3.png", "5.png"}
        assert names(loaded(tmp_path / "a", shuffle=True, seed=seed)) == shuffled
        assert all((a.grey == b.grey).all() for a, b in zip(mixed.frames, plain.frames, strict=True))
        orders.add(tuple(shuffled))
    assert len(orders) > 1


def test_rgb_that_is_alone_cannot_be_shuffled(tmp_path: Path) -> None:
    write_pairs(tmp_path / "a", [(24, 32)] * 2, ["x.png", None])
    assert refused(tmp_path / "a", shuffle=True).startswith("a/set.json: ")
    assert loaded(tmp_path / "a", weight=0, shuffle=True).frames[0].rgb is None


def write_faces(folder: Path, count: int) -> None:
    """Drawn faces as an RGB set with points."""
    folder.mkdir()
    draft = CocoDraft(["face"], faces=True)
    for seed in range(count):
        face = drawn_face(seed, 64)
        assert face.rgb is not None
        assert face.truth is not None
        cv2.imwrite(str(folder / f"{seed}.png"), face.rgb[:, :, ::-1])
        draft.add_image(image_entry(f"{seed}.png", (64, 64)))
        draft.add_truth(face.truth)
    draft.write(folder / "faces.json")


def test_an_rgb_set_of_faces_is_rendered_and_each_rendering_has_its_picture_as_partner(tmp_path: Path) -> None:
    write_faces(tmp_path / "rgb", 2)
    source = SourceConfig(path="rgb/faces.json", render_thermal=3, class_map={"face": "person"})
    guided = Recipe(sources=(source,), guidance=GuidanceConfig(weight=1.0), train=TrainConfig(seed=4))
    (read,), held_out = load_sources(guided, tmp_path, progress=False)
    assert held_out is None
    assert not read.polarity_free
    assert len(read.frames) == 6
    for number, frame in enumerate(read.frames):
        face = drawn_face(number // 3, 64)
        assert frame.grey.shape == (64, 64)
        assert frame.rgb is not None
        assert face.rgb is not None
        assert np.abs(frame.rgb.pixels().astype(int) - face.rgb).mean() < 6  # a JPEG of it
        assert frame.truth.points_xy_px is not None
        assert face.truth is not None
        assert face.truth.points_xy_px is not None
        assert frame.truth.points_xy_px == pytest.approx(face.truth.points_xy_px, abs=1e-3)
    greys = [frame.grey for frame in read.frames]
    assert not np.array_equal(greys[0], greys[1])

    plain = guided.model_copy(update={"guidance": GuidanceConfig(weight=0.0)})
    (alone,), _ = load_sources(plain, tmp_path, progress=False)
    assert all(frame.rgb is None for frame in alone.frames)
    assert all(np.array_equal(one.grey, other) for one, other in zip(alone.frames, greys, strict=True))
    other_seed = plain.model_copy(update={"train": TrainConfig(seed=5)})
    (others,), _ = load_sources(other_seed, tmp_path, progress=False)
    assert not np.array_equal(others.frames[0].grey, greys[0])


@pytest.mark.parametrize(
    "wrong", [{"grey_rgb": True}, {"hold_out_fold": 0}, {"path": "a_bag"}], ids=["grey", "held out", "bag"]
)
def test_renderings_are_of_an_rgb_set_that_is_learnt_from(wrong: dict[str, Any]) -> None:
    words = {"path": "rgb/faces.json", "render_thermal": 2}
    assert SourceConfig(**words).render_thermal == 2  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="render_thermal"):
        SourceConfig(**{**words, **wrong})
