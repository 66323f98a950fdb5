"""A face followed by its points."""

from __future__ import annotations

import numpy as np
import pytest

from cgdet_core.boxes import iou_matrix
from cgdet_core.tasks.landmarks.tracking import boxes_of, followed, search_windows
from cgdet_core.types import Landmarks


def _landmarks(*faces: tuple[float, float, float, float]) -> Landmarks:
    """Faces of (left, top, side, confidence)."""
    unit = np.random.default_rng(0).uniform(0, 1, (68, 2))
    unit[0], unit[1] = (0, 0), (1, 1)
    points = np.array([np.array(face[:2]) + unit * face[2] for face in faces], np.float32).reshape(-1, 68, 2)
    sure = np.array([[face[3]] * 68 for face in faces], np.float32).reshape(-1, 68)
    return Landmarks(points, sure, np.zeros((len(faces), 4), np.float32))


def test_the_next_box_is_about_the_points() -> None:
    np.testing.assert_allclose(boxes_of(_landmarks((10, 20, 50, 0.9))), [[10, 20, 61, 71]])
    assert boxes_of(Landmarks.empty()).shape == (0, 4)


@pytest.mark.parametrize(
    ("face", "kept"),
    [
        ((10, 20, 50, 0.9), True),
        ((10, 20, 50, 0.29), False),  # not sure
        ((170, 20, 50, 0.9), True),  # 30 of 51 px in the picture
        ((180, 20, 50, 0.9), False),
        ((10, 20, 4, 0.9), False),  # too small to be one
    ],
)
def test_a_face_is_lost_by_its_confidence_its_place_and_its_size(
    face: tuple[float, float, float, float], kept: bool
) -> None:
    assert followed(_landmarks(face), (200, 200), 0.3).tolist() == [kept]


def test_of_two_that_have_become_one_the_surer_stays() -> None:
    found = _landmarks((10, 20, 50, 0.6), (100, 20, 50, 0.5), (12, 22, 50, 0.8))
    assert followed(found, (200, 200), 0.3).tolist() == [False, True, True]
    assert followed(Landmarks.empty(), (200, 200), 0.3).shape == (0,)


@pytest.mark.parametrize("region", [(0, 0, 320, 256), (40, 10, 100, 400), (5, 5, 60, 60)])
def test_a_face_anywhere_in_the_region_fills_some_window(region: tuple[int, int, int, int]) -> None:
    windows = search_windows(np.array(region, np.float32))
    assert (windows[:, :2] >= np.array(region[:2]) - 1e-3).all()
    assert (windows[:, 2:] <= np.array(region[2:]) + 1e-3).all()
    left, top, right, bottom = region
    shorter = min(right - left, bottom - top)
    rng = np.random.default_rng(1)
    for _ in range(200):
        side = shorter * rng.uniform(0.4, 1)
        x, y = rng.uniform(left, right - side), rng.uniform(top, bottom - side)
        face = np.array([[x, y, x + side, y + side]], np.float32)
        assert iou_matrix(face, windows).max() > 0.3
    assert len(windows) < 250
