"""Faces that move in a frame."""

from __future__ import annotations

import numpy as np

from cgdet_core.config import SyntheticConfig
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
