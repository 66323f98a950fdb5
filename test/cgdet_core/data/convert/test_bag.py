"""`cgdet bag extract`'s work: a COCO set of a bag's frames, whole or not at all."""

from __future__ import annotations

import json

import cv2
import numpy as np
import pytest

from cgdet_core.config import SourceConfig
from cgdet_core.data.bags.damage import BagWarning
from cgdet_core.data.convert.bag import extract_bag, extracted_sets
from cgdet_core.data.registration.homography import Registration
from cgdet_core.data.registration.pairs import open_paired
from cgdet_core.data.sets.coco import load_coco
from cgdet_core.errors import InputError
from cgdet_core.evaluation.offline import select_frames
from cgdet_core.types import CLASS_NAMES

IMAGE = "sensor_msgs/msg/Image"
DETECTIONS = "vision_msgs/msg/Detection2DArray"
SIZE = (24, 32)


def thermal_pixels(place):
    return np.random.default_rng(place).integers(0, 65536, SIZE).astype(np.uint16)


def street(ros2, path, frames=4, labelled=(0, 1, 3), broken=None):
    """16-bit frames at 10 Hz; frame 2 has no RGB, frame 1 holds nothing."""
    rows = []
    for place in range(frames):
        stamp = 1_700_000_000_000_000_000 + place * 100_000_000
        short = {"data": np.zeros(3, np.uint8)} if place == broken else {}
        rows.append(("/thermal", IMAGE, stamp, ros2.image(thermal_pixels(place), "mono16", stamp, **short)))
        if place != 2:
            rgb = np.full((*SIZE, 3), 50 + place, np.uint8)
            rows.append(("/rgb", IMAGE, stamp, ros2.image(rgb, "rgb8", stamp)))
        if place in labelled:
            boxes = [] if place == 1 else [("person", 10.0, 12.0, 4.0, 8.0), ("ignore:car", 20.0, 12.0, 6.0, 6.0)]
            rows.append(("/ground_truth", DETECTIONS, stamp, ros2.truth(boxes, stamp)))
    return ros2.write(path, rows)


def test_a_set_holds_lossless_frames_their_rgb_and_labels(tmp_path, ros2):
    bag = open_paired(street(ros2, tmp_path / "bag"))
    counts = extract_bag(bag, tmp_path / "set")
    assert (counts.frames, counts.labelled, counts.with_rgb, counts.objects) == (4, 3, 3, 2)
    coco = load_coco(tmp_path / "set" / "set.json")
    assert [record.file_name for record in coco.records] == [f"thermal/{place:06d}.png" for place in (0, 1, 3)]
    for sample, place in zip(coco, (0, 1, 3), strict=True):
        assert sample.frame.image.dtype == np.uint16
        assert (sample.frame.image == thermal_pixels(place)).all()
    first, empty, _ = coco.records
    assert first.truth.boxes_xyxy_px.tolist() == [[8, 8, 12, 16], [17, 9, 23, 15]]
    assert first.truth.class_ids.tolist() == [0, 2]
    assert first.truth.ignore.tolist() == [False, True]
    assert len(empty.truth) == 0
    rgb = coco.sample(2, with_rgb=True).rgb
    assert rgb is not None
    assert abs(int(rgb.mean()) - 53) <= 1
    assert first.rgb_valid_path is None
    # frames without labels stand apart and are no images
    (unlabelled,) = json.loads((tmp_path / "set" / "set.json").read_text())["unlabelled_images"]
    assert (unlabelled["file_name"], unlabelled["stamp_ns"]) == ("thermal/000002.png", 1_700_000_000_200_000_000)
    assert "rgb_file_name" not in unlabelled
    assert (tmp_path / "set" / "thermal" / "000002.png").is_file()


def test_numbers_count_the_frames_that_are_taken(tmp_path, ros2):
    path = street(ros2, tmp_path / "bag", frames=7, labelled=range(7))
    extract_bag(open_paired(path, every=3), tmp_path / "set")
    coco = load_coco(tmp_path / "set" / "set.json")
    assert [record.file_name for record in coco.records] == [f"thermal/{place:06d}.png" for place in range(3)]
    assert (coco.sample(2).frame.image == thermal_pixels(6)).all()


def test_where_rgb_does_not_reach_is_written_beside(tmp_path, ros2):
    registration = Registration(np.array([[1, 0, 8], [0, 1, 0], [0, 0, 1.0]]), SIZE, SIZE)
    bag = open_paired(street(ros2, tmp_path / "bag"), registration=registration)
    extract_bag(bag, tmp_path / "set")
    coco = load_coco(tmp_path / "set" / "set.json")
    assert {record.rgb_valid_path for record in coco.records} == {tmp_path / "set" / "rgb_valid.png"}
    mask = cv2.imread(str(tmp_path / "set" / "rgb_valid.png"), cv2.IMREAD_UNCHANGED)
    expected = np.zeros(SIZE, np.uint8)
    expected[:, 8:] = 255
    assert (mask == expected).all()


def test_after_an_error_nothing_is_left(tmp_path, ros2):
    bag = open_paired(street(ros2, tmp_path / "bag", broken=3))
    with pytest.raises(InputError, match="stamp 1700000000300000000"):
        extract_bag(bag, tmp_path / "out" / "set")
    assert list((tmp_path / "out").iterdir()) == []


def test_what_lies_there_stays_unless_it_is_a_set_to_overwrite(tmp_path, ros2):
    bag = open_paired(street(ros2, tmp_path / "bag", labelled=()))
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("mine")
    counts = extract_bag(bag, tmp_path / "set")
    assert (counts.frames, counts.labelled) == (4, 0)
    (tmp_path / "set" / "old.txt").write_text("")
    for out, overwrite in (("mine", False), ("mine", True), ("set", False)):
        with pytest.raises(InputError, match=out):
            extract_bag(bag, tmp_path / out, overwrite=overwrite)
    assert (tmp_path / "mine" / "thesis.txt").read_text() == "mine"
    assert (tmp_path / "set" / "old.txt").exists()
    extract_bag(bag, tmp_path / "set", overwrite=True)
    assert not (tmp_path / "set" / "old.txt").exists()


def test_by_record_times_labels_find_frames_of_one_stamp(tmp_path, ros2):
    rows = [("/thermal", IMAGE, 10 + place, ros2.image(thermal_pixels(place), "mono16", 0)) for place in range(3)]
    rows += [("/ground_truth", DETECTIONS, 12, ros2.truth([("car", 10.0, 12.0, 4.0, 8.0)], 0))]
    path = ros2.write(tmp_path / "bag", rows)
    with pytest.warns(BagWarning, match="2 images of /thermal repeat the stamp"):
        counts = extract_bag(open_paired(path, with_rgb=False), tmp_path / "by_stamp")
    assert counts.labelled == 3
    counts = extract_bag(open_paired(path, with_rgb=False, by="record"), tmp_path / "set")
    assert (counts.labelled, counts.objects) == (1, 1)
    assert (load_coco(tmp_path / "set" / "set.json").sample(0).frame.image == thermal_pixels(2)).all()
    assert [image["stamp_ns"] for image in json.loads((tmp_path / "set" / "set.json").read_text())["images"]] == [12]
    # frames that are evaluated, and a recipe's, likewise
    truths = [sample.truth for sample in select_frames(path, CLASS_NAMES, by="record").samples]
    assert [truth is not None for truth in truths] == [False, False, True]
    source = SourceConfig(path="bag", by="record")
    (cached,) = extracted_sets(source, tmp_path, CLASS_NAMES, False, tmp_path / "cache")
    assert len(load_coco(cached)) == 1
    with pytest.raises(InputError, match="--by"):
        select_frames(tmp_path / "set" / "set.json", CLASS_NAMES, by="record")
