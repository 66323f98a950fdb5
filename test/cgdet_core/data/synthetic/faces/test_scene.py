"""Faces that move in a frame, and the bag of them."""

from __future__ import annotations

import numpy as np
import pytest

from cgdet_core.config import BagConfig, SyntheticConfig
from cgdet_core.data.bags.frames import read_labelled_frames
from cgdet_core.data.bags.info import bag_info
from cgdet_core.data.bags.reader import BagReader
from cgdet_core.data.bags.truth import arrays_by_stamp
from cgdet_core.data.sets.coco_file import read_coco
from cgdet_core.data.synthetic.bag import FACES_TOPIC, make_face_bag
from cgdet_core.data.synthetic.faces.drawing import FaceScene

SMALL = SyntheticConfig(height_width_px=(128, 160), frames_per_second=2, bit_depth=8)


def test_a_frame_is_a_function_of_seed_and_index():
    first, again = FaceScene(3, 2, SMALL), FaceScene(3, 2, SMALL)
    one, other = first.sample(5), again.sample(5)
    again.sample(1)
    assert np.array_equal(one.frame.image, other.frame.image)
    assert np.array_equal(one.rgb, other.rgb)
    assert np.array_equal(one.truth.points_xy_px, other.truth.points_xy_px)
    assert one.frame.image.shape == one.rgb.shape[:2] == (128, 160)
    assert not np.array_equal(FaceScene(4, 2, SMALL).sample(5).rgb, one.rgb)


def test_faces_move_a_little_from_frame_to_frame_and_the_last_one_leaves_and_comes_back():
    scene = FaceScene(1, 3, SMALL)
    truths = [scene.sample(index).truth for index in range(24)]
    counts = [len(truth) for truth in truths]
    assert counts[0] == counts[-1] == 3
    assert min(counts) == 2
    away = np.flatnonzero(np.array(counts) == 2)
    assert np.array_equal(away, np.arange(away[0], away[-1] + 1))  # in one go
    assert 3 <= len(away) <= 9
    first = np.array([truth.points_xy_px[0] for truth in truths])
    steps = np.linalg.norm(np.diff(first, axis=0), axis=2)
    assert 0.05 < steps.mean() < 8
    assert len(FaceScene(1, 1, SMALL).sample(14).truth) == 1  # alone, it stays


def test_faces_are_warmer_than_the_wall():
    sample = FaceScene(2, 2, SMALL.model_copy(update={"bit_depth": 16})).sample(0)
    assert sample.frame.image.dtype == np.uint16
    wall = np.median(sample.frame.image[:20])
    for points in sample.truth.points_xy_px:
        x, y = np.rint(points[[29, 30, 33, 51]]).astype(int).T
        assert (sample.frame.image[y, x] > wall).all()


def test_the_bag_holds_images_partners_and_boxes_and_the_json_the_points_by_stamp(tmp_path):
    labels = tmp_path / "faces.json"
    config = BagConfig(seconds=1, frames_per_second=2)
    assert make_face_bag(tmp_path / "bag", labels, config, faces=2, seed=1) == 2
    info = bag_info(tmp_path / "bag")
    assert (info.image_topic, info.truth_topic, info.frames) == ("/thermal/image_raw", FACES_TOPIC, 2)
    with BagReader(tmp_path / "bag") as bag:
        messages = list(arrays_by_stamp(bag, FACES_TOPIC))
    assert [len(message.detections) for _, message, _ in messages] == [2, 2]
    assert messages[0][1].detections[0].results[0].hypothesis.class_id == "face"
    document = read_coco(labels)
    assert [image.stamp_ns for image in document.images] == [1_700_000_000_000_000_000, 1_700_000_000_500_000_000]
    scene = FaceScene(1, 2, SyntheticConfig(frames_per_second=2, bit_depth=8))
    truth = scene.sample(1).truth
    *_, read = read_labelled_frames(tmp_path / "bag", truth_topic=str(labels), class_names=("face",))
    assert np.array_equal(read.frame.image, scene.sample(1).frame.image)
    assert read.truth.points_xy_px == pytest.approx(truth.points_xy_px, abs=1e-3)
    assert read.truth.points_labelled.all()
