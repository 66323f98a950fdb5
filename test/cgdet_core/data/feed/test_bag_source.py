"""A bag as a source of a recipe: extracted once beside the run, and then what the extracted set gives."""

from __future__ import annotations

import json
import os
from pathlib import Path

import cv2
import numpy as np
import pytest
from scene import tensors_of

from cgdet_core.config import GuidanceConfig, Recipe, SourceConfig, TrainConfig
from cgdet_core.data.convert import bag as convert_bag
from cgdet_core.data.convert.bag import extract_bag
from cgdet_core.data.feed.dataset import TrainingBatches
from cgdet_core.data.feed.sources import load_held_out, load_sources
from cgdet_core.data.registration.homography import Registration, load_registration, save_registration
from cgdet_core.data.registration.pairs import open_paired
from cgdet_core.errors import InputError

IMAGE = "sensor_msgs/msg/Image"
DETECTIONS = "vision_msgs/msg/Detection2DArray"
SIZE = (72, 96)
FRAMES = 120
RGB = GuidanceConfig(weight=1.0)


@pytest.fixture
def folder(tmp_path, ros2):
    """A bag of 120 frames, of which each tenth is unlabelled and each third without RGB; a registration beside it."""
    rng = np.random.default_rng(0)
    rows = []
    for place in range(FRAMES):
        stamp = 10**9 + place * 50_000_000
        pixels = rng.integers(9000, 9400, SIZE).astype(np.uint16)
        rows.append(("/thermal", IMAGE, stamp, ros2.image(pixels, "mono16", stamp)))
        if place % 3:
            rgb = cv2.resize(rng.integers(0, 256, (6, 8, 3)).astype(np.uint8), SIZE[::-1])
            rows.append(("/rgb", IMAGE, stamp, ros2.image(rgb, "rgb8", stamp)))
        if place % 10:
            boxes = [(("person", "car")[place % 2], 20.0 + place % 40, 30.0, 12.0, 24.0)]
            rows.append(("/ground_truth", DETECTIONS, stamp, ros2.truth(boxes, stamp)))
    ros2.write(tmp_path / "bag", rows)
    matrix = np.array([[1, 0, 9], [0, 1, 5], [0, 0, 1.0]])
    save_registration(tmp_path / "registration.yaml", Registration(matrix, SIZE, SIZE))
    return tmp_path


def a_recipe(*sources: SourceConfig, cache_mb: int = 100, **parts: object) -> Recipe:
    train = TrainConfig(images=32, batch_size=8, cache_mb=cache_mb)
    return Recipe(sources=sources, train=train, **parts)  # type: ignore[arg-type]


def batches(recipe: Recipe, folder: Path):
    sources, held_out = load_sources(recipe, folder, progress=False, run=folder / "run")
    data = TrainingBatches(sources, recipe)
    return [{name: value.numpy() for name, value in tensors_of(data[n]).items()} for n in range(len(data))], held_out


def assert_same(one, other):
    for first, second in zip(one, other, strict=True):
        assert first.keys() == second.keys()
        for name in first:
            assert (first[name] == second[name]).all(), name


@pytest.mark.parametrize("with_rgb", [False, True])
def test_a_bag_teaches_to_the_bit_what_its_extracted_set_teaches(folder, with_rgb):
    registration = load_registration(folder / "registration.yaml")
    extract_bag(open_paired(folder / "bag", registration=registration), folder / "set")
    parts = {"guidance": RGB} if with_rgb else {}
    bag = SourceConfig(path="bag", registration="registration.yaml", hold_out_fold=1)
    from_bag, held_bag = batches(a_recipe(bag, **parts), folder)
    from_set, held_set = batches(a_recipe(SourceConfig(path="set/set.json", hold_out_fold=1), **parts), folder)
    assert_same(from_bag, from_set)
    assert ("rgb" in from_bag[0]) == with_rgb
    if with_rgb:
        shown = np.concatenate([batch["rgb_valid"] for batch in from_bag])
        assert 0 < shown.mean() < 1
    # frames 50 to 99, of which 50, 60 ... are unlabelled
    assert held_bag is not None
    assert held_set is not None
    assert len(held_bag) == 45
    assert [record.file_name for record in held_bag.records] == [record.file_name for record in held_set.records]
    alone = load_held_out(a_recipe(bag), folder, folder / "run")
    assert alone is not None
    for one, other, third in zip(held_bag, held_set, alone, strict=True):
        assert (one.frame.image == other.frame.image).all()
        assert (one.frame.image == third.frame.image).all()
        assert one.truth is not None
        assert other.truth is not None
        assert one.truth.boxes_xyxy_px.tolist() == other.truth.boxes_xyxy_px.tolist()


def test_frames_beyond_the_memory_teach_the_same(folder):
    source = SourceConfig(path="bag", hold_out_fold=0)
    within, _ = batches(a_recipe(source, guidance=RGB), folder)
    beyond, _ = batches(a_recipe(source, guidance=RGB, cache_mb=0), folder)
    assert_same(within, beyond)


def test_a_bag_is_extracted_once_for_alike_settings_and_again_for_others_and_when_it_changed(folder, monkeypatch):
    extracted = []
    real = convert_bag.extract_bag
    monkeypatch.setattr(convert_bag, "extract_bag", lambda *args, **keys: extracted.append(1) or real(*args, **keys))
    source = SourceConfig(path="bag", every=7)
    batches(a_recipe(source), folder)
    batches(a_recipe(source.model_copy(update={"weight": 2.0})), folder)
    assert len(extracted) == 1
    batches(a_recipe(source.model_copy(update={"every": 9})), folder)
    batches(a_recipe(source.model_copy(update={"class_map": {"car": "ignore"}})), folder)
    assert len(extracted) == 3
    os.utime(next((folder / "bag").glob("*.mcap")))
    batches(a_recipe(source), folder)
    assert len(extracted) == 4
    assert len([entry for entry in (folder / "bag_cache").iterdir() if entry.is_dir()]) == 4


def test_an_extraction_that_is_broken_off_leaves_nothing_and_begins_anew(folder, monkeypatch):
    def broken_off(*_, **__):
        raise KeyboardInterrupt

    recipe = a_recipe(SourceConfig(path="bag", every=7))
    with monkeypatch.context() as patch:
        patch.setattr(convert_bag, "image_entry", broken_off)
        with pytest.raises(KeyboardInterrupt):
            batches(recipe, folder)
    assert not [entry for entry in (folder / "bag_cache").iterdir() if entry.is_dir()]
    assert batches(recipe, folder)[0]


def test_labels_may_come_from_a_file_or_a_topic_and_only_every_so_many_frames_be_taken(folder):
    images = [
        {"id": place, "file_name": str(10**9 + place * 50_000_000), "height": SIZE[0], "width": SIZE[1]}
        for place in range(0, FRAMES, 2)
    ]
    box = {"id": 1, "image_id": 4, "category_id": 1, "bbox": [3, 4, 10, 20]}
    document = {"images": images, "annotations": [box], "categories": [{"id": 1, "name": "person"}]}
    (folder / "labels.json").write_text(json.dumps(document))
    recipe = a_recipe(SourceConfig(path="bag", labels="labels.json", every=4, image_topic="/thermal"))
    (source,), _ = load_sources(recipe, folder, progress=False, run=folder / "run")
    assert source.name == "bag"
    assert len(source.frames) == FRAMES // 4
    assert [frame.truth.boxes_xyxy_px.tolist() for frame in source.frames[:3]] == [[], [[3, 4, 13, 24]], []]
    assert {tuple(frame.truth.labelled) for frame in source.frames if frame.truth.labelled is not None} == {
        (True, False, False)
    }
    recipe = a_recipe(SourceConfig(path="bag", labels="/ground_truth", class_map={"car": "ignore"}))
    (source,), _ = load_sources(recipe, folder, progress=False, run=folder / "run")
    assert len(source.frames) == FRAMES * 9 // 10
    assert not any(2 in frame.truth.class_ids[~frame.truth.ignore] for frame in source.frames)


@pytest.mark.parametrize(
    ("keys", "named"),
    [
        ({"path": "nowhere"}, "nowhere"),
        ({"path": "bag", "image_topic": "/lidar"}, "/lidar"),
        ({"path": "bag", "labels": "/thermal"}, "Detection2DArray"),
        ({"path": "bag", "labels": "none.json"}, r"none\.json"),
        ({"path": "bag", "registration": "none.yaml"}, r"none\.yaml"),
        ({"path": "bag", "rgb_topic": "/nir"}, "/nir"),
        ({"path": "bag", "every": 120}, "cgdet bag label"),
    ],
)
def test_what_is_wrong_with_a_bag_is_one_line(folder, keys, named):
    with pytest.raises(InputError, match=named) as error:
        load_sources(a_recipe(SourceConfig(**keys), guidance=RGB), folder, progress=False, run=folder / "run")
    assert "\n" not in str(error.value)


def test_guidance_by_a_bag_without_rgb_is_refused(tmp_path, ros2):
    rows = [
        ("/ir", IMAGE, 1, ros2.image(np.zeros(SIZE, np.uint8), "mono8", 1)),
        ("/ground_truth", DETECTIONS, 1, ros2.truth([], 1)),
    ]
    ros2.write(tmp_path / "bag", rows)
    with pytest.raises(InputError, match="guidance"):
        load_sources(a_recipe(SourceConfig(path="bag"), guidance=RGB), tmp_path, False, tmp_path / "run")


@pytest.mark.parametrize("key", ["image_topic", "rgb_topic", "labels", "registration"])
def test_keys_of_bags_are_none_of_a_set(key):
    with pytest.raises(ValueError, match=key):
        SourceConfig(path="set.json", **{key: "x"})


def test_a_frame_in_which_no_class_is_labelled_takes_no_part(folder):
    extract_bag(open_paired(folder / "bag"), folder / "set")
    path = folder / "set" / "set.json"
    document = json.loads(path.read_text())
    document["images"][0]["labelled"] = []
    document["images"][1]["labelled"] = ["car"]
    path.write_text(json.dumps(document))
    (source,), _ = load_sources(a_recipe(SourceConfig(path="set/set.json")), folder, progress=False, run=folder / "run")
    assert len(source.frames) == FRAMES * 9 // 10 - 1
    assert source.frames[0].truth.labelled is not None
    assert source.frames[0].truth.labelled.tolist() == [False, False, True]


def test_a_mask_of_valid_rgb_must_be_of_the_frames_size(folder):
    registration = load_registration(folder / "registration.yaml")
    extract_bag(open_paired(folder / "bag", registration=registration), folder / "set")
    recipe = a_recipe(SourceConfig(path="set/set.json"), guidance=RGB)
    for mask in (np.full((10, 10), 255, np.uint8), np.full((*SIZE, 3), 255, np.uint8), np.ones(SIZE, np.uint16)):
        cv2.imwrite(str(folder / "set" / "rgb_valid.png"), mask)
        with pytest.raises(InputError, match=r"rgb_valid\.png: .*96x72"):
            load_sources(recipe, folder, progress=False, run=folder / "run")
    (folder / "set" / "rgb_valid.png").unlink()
    with pytest.raises(InputError, match=r"rgb_valid\.png: the image cannot be read"):
        load_sources(recipe, folder, progress=False, run=folder / "run")
