"""A face drawn from a point model: anatomical, posed, with points where it shows what they name."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest

from cgdet_core.data.synthetic.faces.drawing import drawn_face, face_truth
from cgdet_core.data.synthetic.faces.head import Pose, drawn_head_mm, generic_head_mm, seen
from cgdet_core.tasks.landmarks.points import MIRROR

FRONT = Pose((0.0, 0.0), 1.0)


def test_the_generic_head_is_symmetric_and_of_human_proportions():
    head = generic_head_mm()
    assert np.array_equal(head[MIRROR] * (-1, 1, 1), head)
    outer, inner = (np.linalg.norm(head[a] - head[b]) for a, b in ((36, 45), (39, 42)))
    assert outer == pytest.approx(90, abs=5)
    assert inner == pytest.approx(33, abs=4)
    assert np.linalg.norm(head[48] - head[54]) == pytest.approx(50, abs=5)
    assert head[30, 2] == head[:, 2].max()  # the tip of the nose is nearest


@pytest.mark.parametrize("seed", range(4))
def test_a_mirrored_pose_gives_the_mirrored_permuted_points(seed):
    rng = np.random.default_rng(seed)
    yaw, pitch, roll = rng.uniform(-35, 35, 3).tolist()
    pose = replace(FRONT, yaw_deg=yaw, pitch_deg=pitch, roll_deg=roll, open_mouth=0.4, smile=0.6, brows=0.5)
    mirrored = replace(pose, yaw_deg=-yaw, roll_deg=-roll)
    points, others = seen(generic_head_mm(), pose), seen(generic_head_mm(), mirrored)
    assert np.allclose(points[MIRROR] * (-1, 1), others, atol=1e-9)


def test_angles_turn_the_face_as_they_say():
    head = generic_head_mm()
    assert seen(head, replace(FRONT, yaw_deg=20))[30, 0] > 5  # the nose goes to the right
    nose_to_eyes = [seen(head, replace(FRONT, pitch_deg=pitch))[[30, 27], 1] @ (1, -1) for pitch in (-15, 0, 15)]
    assert nose_to_eyes[0] < nose_to_eyes[1] < nose_to_eyes[2]  # the tip goes down
    eyes = seen(head, replace(FRONT, roll_deg=10))[[36, 45]]
    assert np.degrees(np.arctan2(*(eyes[1] - eyes[0])[::-1])) == pytest.approx(10, abs=0.01)
    assert np.allclose(seen(head, replace(FRONT, scale=2.0)), 2 * seen(head, FRONT))


def test_jaw_points_that_are_hidden_lie_on_the_contour():
    points = seen(generic_head_mm(), replace(FRONT, yaw_deg=35))
    # turned to the right, the right cheek is the contour: no point of the face is further out at its height
    for jaw in (13, 14, 15):
        inside = points[17:][np.abs(points[17:, 1] - points[jaw, 1]) < 12]
        assert (inside[:, 0] < points[jaw, 0]).all()
    near = seen(generic_head_mm(), FRONT)
    assert np.ptp(points[:, 0]) > 0.75 * np.ptp(near[:, 0])


def test_mouth_lids_and_brows_move():
    head = generic_head_mm()
    rest = seen(head, FRONT)
    opened = seen(head, replace(FRONT, open_mouth=1.0))
    assert opened[66, 1] - opened[62, 1] > 20 > rest[66, 1] - rest[62, 1]
    assert opened[8, 1] > rest[8, 1] + 10
    shut = seen(head, replace(FRONT, blink=1.0))
    assert shut[41, 1] - shut[37, 1] < 0.3 * (rest[41, 1] - rest[37, 1])
    assert (seen(head, replace(FRONT, brows=1.0))[17:27, 1] < rest[17:27, 1]).all()
    smiling = seen(head, replace(FRONT, smile=1.0))
    assert smiling[54, 0] - smiling[48, 0] > rest[54, 0] - rest[48, 0] + 5


def test_no_two_heads_are_alike_and_none_is_far_from_the_mean():
    first, second = (drawn_head_mm(np.random.default_rng(seed)) for seed in (0, 1))
    assert np.abs(first - second).max() > 2
    assert np.abs(first - generic_head_mm()).max() < 30


def test_a_drawn_face_is_a_function_of_its_seed_with_its_points_in_the_picture():
    first, again, other = drawn_face(4), drawn_face(4), drawn_face(5)
    assert np.array_equal(first.frame.image, again.frame.image)
    assert np.array_equal(first.rgb, again.rgb)
    assert not np.array_equal(first.frame.image, other.frame.image)
    assert first.frame.image.shape == first.rgb.shape[:2] == (224, 224)
    for seed in range(12):
        truth = drawn_face(seed, 96).truth
        assert truth.points_xy_px.shape == (1, 68, 2)
        assert truth.points_labelled.mean() > 0.9
        left, top, right, bottom = truth.boxes_xyxy_px[0]
        x, y = truth.points_xy_px[0][truth.points_labelled[0]].T + 0.5
        assert (x.min(), y.min(), x.max(), y.max()) == pytest.approx((left, top, right, bottom))


def test_colour_edges_lie_where_the_points_say():
    """Brows have another brightness than the forehead above them."""
    found = []
    for seed in range(10):
        face = drawn_face(seed)
        grey, points = cv2.cvtColor(face.rgb, cv2.COLOR_RGB2GRAY), face.truth.points_xy_px[0]
        brow = points[18:21]
        down = points[8] - points[27]
        above = brow - 0.08 * down
        x, y = np.rint(np.concatenate([brow, above])).astype(int).T
        values = grey[y, x].astype(float)
        found.append(abs(values[:3].mean() - values[3:].mean()))
    assert np.median(found) > 12


def test_points_off_the_frame_are_not_labelled_and_a_face_mostly_off_it_is_none():
    points = seen(generic_head_mm(), replace(FRONT, eyes_px=(100.0, 100.0)))
    assert face_truth([points], (300, 200)).points_labelled.all()
    half = face_truth([points], (300, 130))
    assert half.points_labelled[0].tolist() == (points[:, 0] <= 129).tolist()
    assert half.boxes_xyxy_px[0, 2] <= 130
    assert len(face_truth([points], (300, 90))) == 0
    assert face_truth([], (30, 30)).points_xy_px.shape == (0, 68, 2)
