"""Bags of the synthetic street and of COCO sets hold the frames and labels that they were made of."""

from __future__ import annotations

import json

import cv2
import numpy as np
import pytest

from cgdet_core.config import SyntheticConfig, settings_from_mapping
from cgdet_core.data.bags.frames import read_labelled_frames
from cgdet_core.data.bags.info import bag_info
from cgdet_core.data.bags.reader import BagReader
from cgdet_core.data.bags.topics import choose_image_topic
from cgdet_core.data.convert.bag import extract_bag
from cgdet_core.data.registration.pairs import open_paired
from cgdet_core.data.synthetic.bag import START_STAMP_NS, make_coco_bag, make_synthetic_bag
from cgdet_core.data.synthetic.street import SyntheticStreet
from cgdet_core.errors import InputError

SMALL = SyntheticConfig(height_width_px=(64, 80))


@pytest.fixture
def coco_json(tmp_path):
    """Three images of different sizes: 8-bit with an RGB partner, 16-bit, and one stored in colour, without labels."""
    folder = tmp_path / "set"
    folder.mkdir()
    rng = np.random.default_rng(5)
    cv2.imwrite(str(folder / "a.png"), rng.integers(0, 256, (40, 50), dtype=np.uint8))
    cv2.imwrite(str(folder / "a_rgb.jpg"), rng.integers(0, 256, (40, 50, 3), dtype=np.uint8))
    cv2.imwrite(str(folder / "b.png"), rng.integers(0, 65536, (30, 20), dtype=np.uint16))
    grey = rng.integers(0, 256, (24, 32, 1), dtype=np.uint8)
    cv2.imwrite(str(folder / "c.png"), np.repeat(grey, 3, axis=2))
    document = {
        "images": [
            {"id": 4, "file_name": "a.png", "height": 40, "width": 50, "rgb_file_name": "a_rgb.jpg", "light": "night"},
            {"id": 7, "file_name": "b.png", "height": 30, "width": 20, "light": "day", "scene": "yard"},
            {"id": 9, "file_name": "c.png", "height": 24, "width": 32},
        ],
        "annotations": [
            {"id": 1, "image_id": 4, "category_id": 1, "bbox": [3.5, 4.25, 10, 20], "iscrowd": 0},
            {"id": 2, "image_id": 4, "category_id": 2, "bbox": [1, 1, 5, 5], "iscrowd": 1},
            {"id": 3, "image_id": 7, "category_id": 2, "bbox": [0, 0, 20, 30], "iscrowd": 0},
        ],
        "categories": [{"id": 1, "name": "person"}, {"id": 2, "name": "car"}],
    }
    path = folder / "set.json"
    path.write_text(json.dumps(document))
    return path


def test_a_bag_of_a_coco_set_gives_the_set_back(tmp_path, coco_json):
    assert make_coco_bag(tmp_path / "bag", coco_json, frames_per_second=4) == 3
    samples = list(read_labelled_frames(tmp_path / "bag"))
    assert [sample.name for sample in samples] == ["a.png", "b.png", "c.png"]
    assert [sample.light for sample in samples] == ["night", "day", None]
    assert [sample.scene for sample in samples] == [None, "yard", None]
    assert np.diff([sample.frame.stamp_ns for sample in samples]).tolist() == [250_000_000] * 2
    for sample in samples:
        stored = cv2.imread(str(coco_json.parent / sample.name), cv2.IMREAD_UNCHANGED)
        assert np.array_equal(sample.frame.image, stored if stored.ndim == 2 else stored[:, :, 0])
        assert sample.frame.frame_id == "thermal_camera"
        assert sample.truth.labelled.tolist() == [True, False, True]  # the set has no category bicycle
    assert samples[0].truth.boxes_xyxy_px.tolist() == [[3.5, 4.25, 13.5, 24.25], [1, 1, 6, 6]]
    assert samples[0].truth.class_ids.tolist() == [0, 2]
    assert samples[0].truth.ignore.tolist() == [False, True]
    assert samples[1].truth.boxes_xyxy_px.tolist() == [[0, 0, 20, 30]]
    assert len(samples[2].truth) == 0
    with BagReader(tmp_path / "bag") as bag:
        (rgb,) = bag.images("/rgb/image_raw/compressed")
    assert bytes(rgb.data) == (coco_json.parent / "a_rgb.jpg").read_bytes()
    assert rgb.stamp_ns == samples[0].frame.stamp_ns
    info = bag_info(tmp_path / "bag")
    assert (info.image_topic, info.truth_topic) == ("/thermal/image_raw", "/ground_truth")
    assert (info.frames, info.frames_with_truth, info.light) == (3, 3, {"night": 1, "day": 1})

    assert make_coco_bag(tmp_path / "two", coco_json, class_map={"car": "ignore"}) == 3
    first, *_ = read_labelled_frames(tmp_path / "two")
    assert first.truth.class_ids.tolist() == [0, 0, 1, 2]
    assert first.truth.ignore.tolist() == [False, True, True, True]


@pytest.mark.parametrize(
    ("edit", "match"),
    [
        (lambda document: document["images"].append({"id": 1, "file_name": "x.png", "height": 2, "width": 2}), "x.png"),
        (lambda document: document["images"][1].update(height=31), "b.png"),
        (lambda document: document["images"][0].update(rgb_file_name="gone.jpg"), "gone.jpg"),
    ],
)
def test_a_wrong_set_is_refused_and_leaves_no_bag(tmp_path, coco_json, edit, match):
    document = json.loads(coco_json.read_text())
    edit(document)
    coco_json.write_text(json.dumps(document))
    with pytest.raises(InputError, match=match):
        make_coco_bag(tmp_path / "bag", coco_json)
    assert [entry.name for entry in tmp_path.iterdir()] == ["set"]


def test_own_classes_keep_their_names_and_order_through_bag_and_set(tmp_path, coco_json):
    document = json.loads(coco_json.read_text())
    names = ("zebra", "car", "antelope")
    document["categories"] = [{"id": 7 - place, "name": name} for place, name in enumerate(names)]
    boxes = enumerate([(7, 0), (5, 0), (6, 1), (5, 0)])
    document["annotations"] = [
        {"id": place, "image_id": document["images"][place // 2]["id"], "category_id": category, "iscrowd": crowd}
        | {"bbox": [2 + place, 3, 8, 9]}
        for place, (category, crowd) in boxes
    ]
    coco_json.write_text(json.dumps(document))
    make_coco_bag(tmp_path / "bag", coco_json)
    first, second, third = read_labelled_frames(tmp_path / "bag", class_names=("antelope", "zebra", "car"))
    assert first.truth.class_ids.tolist() == [1, 0]
    assert second.truth.class_ids.tolist() == [2, 0]
    assert second.truth.ignore.tolist() == [True, False]
    assert third.truth.labelled is None  # all three are, and there is none
    with pytest.raises(InputError, match="zebra"):
        list(read_labelled_frames(tmp_path / "bag"))
    assert bag_info(tmp_path / "bag").labels == {"zebra": 1, "antelope": 2}
    extract_bag(open_paired(tmp_path / "bag", with_rgb=False), tmp_path / "again")
    written = json.loads((tmp_path / "again" / "set.json").read_text())
    assert written["categories"] == [{"id": number, "name": name} for number, name in enumerate(names, 1)]
    assert [box["category_id"] for box in written["annotations"]] == [1, 3, 2, 3]
    mapped = {"antelope": "zebra"}
    make_coco_bag(tmp_path / "mapped", coco_json, class_map=mapped)
    assert bag_info(tmp_path / "mapped").labels == {"zebra": 3}
    with pytest.raises(InputError, match="zebar"):
        make_coco_bag(tmp_path / "typo", coco_json, class_map={"antelope": "zebar"})


def test_a_length_rate_or_seed_that_no_bag_can_have_is_named(tmp_path, coco_json):
    rates = (0, -1, 1001, 1e-9, float("nan"), float("inf"))
    for name, value in [("seconds", 0), ("seconds", float("nan")), *(("frames_per_second", rate) for rate in rates)]:
        with pytest.raises(InputError, match=name):
            settings_from_mapping(SyntheticConfig, {name: value}, "bag.yaml")
    with pytest.raises(InputError, match="seed -1"):
        make_synthetic_bag(tmp_path / "bag", seed=-1)
    assert not (tmp_path / "bag").exists()


@pytest.mark.parametrize("bit_depth", [16, 8])
def test_a_synthetic_bag_holds_the_street(tmp_path, bit_depth):
    made = {"bit_depth": bit_depth, "light": "day", "seconds": 0.6, "frames_per_second": 5.0}
    config = SMALL.model_copy(update=made)
    frames = make_synthetic_bag(tmp_path / "bag", config, seed=11)
    samples = list(read_labelled_frames(tmp_path / "bag"))
    assert frames == len(samples) == 3
    street = SyntheticStreet(11, config)
    for index, sample in enumerate(samples):
        rendered = street.sample(index)
        assert sample.frame.image.dtype == {16: np.uint16, 8: np.uint8}[bit_depth]
        assert np.array_equal(sample.frame.image, rendered.frame.image)
        assert np.allclose(sample.truth.boxes_xyxy_px, rendered.truth.boxes_xyxy_px, atol=1e-4)
        assert np.array_equal(sample.truth.class_ids, rendered.truth.class_ids)
        assert np.array_equal(sample.truth.ignore, rendered.truth.ignore)
        assert (sample.name, sample.light, sample.scene) == (rendered.name, "day", rendered.scene)
        assert sample.frame.stamp_ns == START_STAMP_NS + index * 200_000_000


def test_a_longer_synthetic_bag_goes_through_streets_by_night_and_day(tmp_path):
    config = SMALL.model_copy(update={"seconds": 1.2, "seconds_per_scene": 0.4, "frames_per_second": 5.0})
    make_synthetic_bag(tmp_path / "bag", config, seed=999)
    samples = list(read_labelled_frames(tmp_path / "bag"))
    assert [sample.light for sample in samples] == ["night", "night", "day", "day", "night", "night"]
    # the seeds stay below 1000: the training's streets begin there
    assert [sample.scene for sample in samples[::2]] == ["street-999", "street-0", "street-1"]
    assert np.diff([sample.frame.stamp_ns for sample in samples]).tolist() == [200_000_000] * 5
    assert len({sample.name for sample in samples}) == 6


def test_beside_the_thermal_images_come_rgb_and_the_streets_lens(tmp_path):
    config = SMALL.model_copy(update={"seconds": 0.1})
    make_synthetic_bag(tmp_path / "bag", config, seed=2)
    street = SyntheticStreet(2, SMALL)
    with BagReader(tmp_path / "bag") as bag:
        (item,) = bag.messages(["/thermal/camera_info"])
        (rgb,) = bag.images("/rgb/image_raw/compressed")
        (thermal,) = bag.images(choose_image_topic(bag))
    assert np.abs(rgb.decode().astype(int) - street.sample(0).rgb).mean() < 6
    assert rgb.stamp_ns == thermal.stamp_ns
    expected = np.array([[street.camera(0.0).focal_px, 0, 39.5], [0, street.camera(0.0).focal_px, 31.5], [0, 0, 1]])
    assert np.array_equal(item.message.k.reshape(3, 3), expected)
    assert np.array_equal(item.message.p.reshape(3, 4), np.hstack([expected, np.zeros((3, 1))]))
    assert (item.message.width, item.message.height) == (80, 64)
    make_synthetic_bag(tmp_path / "none", config.model_copy(update={"with_rgb": False}))
    with BagReader(tmp_path / "none") as bag:
        assert not any("rgb" in topic for topic in bag.topics)


def test_the_same_seed_gives_the_same_bag(tmp_path):
    for name, seed in [("a", 1), ("b", 1), ("c", 2)]:
        make_synthetic_bag(tmp_path / name / "bag", SMALL.model_copy(update={"seconds": 0.2}), seed=seed)
    a, b, c = ((tmp_path / name / "bag" / "bag.mcap").read_bytes() for name in "abc")
    assert a == b
    assert a != c
