"""The crop of a face: points and pixels go the same way."""

from __future__ import annotations

import math

import numpy as np
import pytest

from cgdet_core.tasks.landmarks.crop import FaceCrop, box_of_points, crop_of_box
from cgdet_core.tasks.landmarks.points import GROUPS, MIRROR, POINTS
from cgdet_core.types import FloatArray


def _dot(x: float, y: float, side: int = 200) -> FloatArray:
    """A smooth blob about (x, y), counted from the first pixel's centre."""
    rows, columns = np.mgrid[:side, :side]
    return np.exp(-((columns - x) ** 2 + (rows - y) ** 2) / (2 * 6.0**2)).astype(np.float32)


def _centroid(picture: FloatArray) -> tuple[float, float]:
    rows, columns = np.mgrid[: picture.shape[0], : picture.shape[1]]
    return float((picture * columns).sum() / picture.sum()), float((picture * rows).sum() / picture.sum())


@pytest.mark.parametrize(("angle", "mirrored"), [(0.0, False), (0.4, False), (-0.7, True)])
@pytest.mark.parametrize("crop_px", [96, 40])  # 40: averaged over areas first
def test_a_blob_lies_in_the_crop_where_its_point_does(angle: float, mirrored: bool, crop_px: int) -> None:
    crop = FaceCrop((97.3, 104.8), 120.0, crop_px, angle, mirrored)
    for point in ((90.0, 100.0), (113.0, 84.5)):
        wanted = crop.to_crop(np.array(point))
        assert _centroid(crop.lay(crop.cut(_dot(*point)))) == pytest.approx(tuple(wanted), abs=0.05)


def test_the_way_to_the_crop_by_hand() -> None:
    # a box of 40 by 50 from (10, 20): its centre (30, 45) is the crop's, and a side is 100 px of the frame in 50
    crop = crop_of_box(np.array([10, 20, 50, 70], np.float32), 2.0, 50)
    assert crop.side_px == 100
    # the frame's outer corner (30, 45) is the pixel-centre (29.5, 44.5); the crop's middle is (24.5, 24.5)
    np.testing.assert_allclose(crop.to_crop(np.array([[29.5, 44.5], [31.5, 44.5]])), [[24.5, 24.5], [25.5, 24.5]])
    turned = FaceCrop((30, 45), 100, 50, math.pi / 2)
    np.testing.assert_allclose(turned.to_crop(np.array([31.5, 44.5])), [24.5, 23.5], atol=1e-6)


def test_back_to_the_frame_is_the_inverse() -> None:
    points = np.random.default_rng(0).uniform(0, 200, (68, 2)).astype(np.float32)
    crop = FaceCrop((80, 120), 77.0, 128, 0.3, True)
    np.testing.assert_allclose(crop.to_frame(crop.to_crop(points)), points, atol=1e-3)


def test_off_the_frame_its_edge_goes_on() -> None:
    crop = FaceCrop((5, 5), 400.0, 64)
    np.testing.assert_allclose(crop.lay(crop.cut(np.full((30, 20), 0.7, np.float32))), 0.7, rtol=1e-6)


def test_what_is_cut_does_not_hang_on_the_frame_about_it() -> None:
    picture = np.random.default_rng(3).integers(0, 255, (300, 260), np.uint8)
    crop = FaceCrop((140, 150), 90.0, 64, 0.2)
    part = crop.cut(picture)
    rows, columns = np.mgrid[:300, :260]
    far = np.hypot(columns - 140, rows - 150) > 90
    np.testing.assert_array_equal(part, crop.cut(np.where(far, 0, picture).astype(np.uint8)))
    np.testing.assert_array_equal(crop.cut(np.stack([picture] * 3, axis=2))[..., 1], part)


def test_a_box_keeps_its_points_inside() -> None:
    crop = FaceCrop((97, 104), 120.0, 96, 0.5, True)
    points = np.random.default_rng(4).uniform(60, 140, (20, 2)).astype(np.float32)
    left, top, right, bottom = crop.boxes(box_of_points(points)[None])[0]
    inside = crop.to_crop(points)
    assert (inside > [left - 0.5, top - 0.5]).all()
    assert (inside < [right - 0.5, bottom - 0.5]).all()
    upright = FaceCrop((50, 50), 100.0, 50)
    np.testing.assert_allclose(upright.boxes(np.array([[10, 20, 30, 60]], np.float32)), [[5, 10, 15, 30]], atol=1e-5)


def test_the_box_of_points_holds_their_pixels() -> None:
    np.testing.assert_array_equal(box_of_points(np.array([[3, 4], [9, 2]], np.float32)), [3, 2, 10, 5])


def test_the_mirror_exchanges_sides_within_a_group() -> None:
    assert (MIRROR[MIRROR] == np.arange(POINTS)).all()
    assert sorted(place for places in GROUPS.values() for place in places) == list(range(POINTS))
    for places in GROUPS.values():
        assert {int(MIRROR[place]) for place in places} == set(places)
    # the nose's ridge, its tip, the chin and the middles of the lips are their own
    assert np.flatnonzero(np.arange(POINTS) == MIRROR).tolist() == [8, 27, 28, 29, 30, 33, 51, 57, 62, 66]
