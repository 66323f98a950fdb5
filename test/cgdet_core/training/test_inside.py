"""What inside.py computes, by hand: neighbours of other frames, colours of like features, unlikeness."""

from __future__ import annotations

import numpy as np
import pytest

from cgdet_core.training.inside import EmbeddedRegions, common_colours, unlikeness


def test_the_nearest_neighbour_is_sought_in_other_frames() -> None:
    angles = np.radians([0, 1, 5, 90, 91, 60])
    vectors = np.stack((np.cos(angles), np.sin(angles)), axis=1).astype(np.float32)
    classes = np.array([0, 1, 0, 1, 1, 0])
    # 0 and 1 share a frame: 0's nearest elsewhere is 2 (alike), 1's is 2 too (not alike), 2's is 1 (not alike)
    frames = ("a", "a", "b", "b", "c", "c")
    regions = EmbeddedRegions(vectors, classes, np.ones(6, np.float32), frames, ("",) * 6)
    # 3's is 4 (alike), 4's is 3 (alike), 5's (60 degrees) is 3 (90) before 2 (5): not alike
    assert regions.agreement() == pytest.approx({0: 1 / 3, 1: 2 / 3})


def test_regions_of_a_single_frame_have_no_neighbour_to_agree_with() -> None:
    regions = EmbeddedRegions(
        np.eye(2, dtype=np.float32), np.array([0, 1]), np.ones(2, np.float32), ("a",) * 2, ("",) * 2
    )
    assert regions.agreement() == {}


def test_the_plane_holds_most_of_what_differs() -> None:
    rng = np.random.default_rng(0)
    spread = rng.normal(size=(50, 2)) * (5, 2)
    basis = np.linalg.qr(rng.normal(size=(6, 6)))[0][:, :2]
    vectors = (spread @ basis.T + 3).astype(np.float32)
    plane = EmbeddedRegions(vectors, np.zeros(50, np.int64), np.ones(50, np.float32), ("a",) * 50, ("",) * 50).plane()
    # two dimensions of six: distances are kept
    ours = np.linalg.norm(plane[:, None] - plane[None], axis=2)
    theirs = np.linalg.norm(vectors[:, None] - vectors[None], axis=2)
    assert np.allclose(ours, theirs, atol=1e-3)


def test_like_features_have_like_colours_whatever_the_scale_of_a_channel() -> None:
    rng = np.random.default_rng(1)
    features = rng.normal(size=(5, 6, 8)).astype(np.float32)
    scaled = features * np.array([1, 10, 0.1, 3, 7], np.float32)[:, None, None] + 4
    one, other = common_colours(features, scaled)
    assert one.shape == (6, 8, 3)
    assert one.dtype == np.uint8
    assert np.abs(one.astype(int) - other).max() <= 1
    different = common_colours(features, rng.normal(size=(5, 6, 8)).astype(np.float32))
    assert np.abs(different[0].astype(int) - different[1]).mean() > 30


def test_maps_of_fewer_than_three_channels_have_colours_too() -> None:
    (picture,) = common_colours(np.random.default_rng(2).normal(size=(2, 4, 4)).astype(np.float32))
    assert picture.shape == (4, 4, 3)
    assert picture[..., 2].max() == 0


def test_unlikeness_is_nothing_for_the_same_and_one_on_average_for_what_has_nothing_in_common() -> None:
    rng = np.random.default_rng(3)
    features = rng.normal(size=(64, 12, 12)).astype(np.float32)
    assert unlikeness(features, 3 * features + 1).max() < 1e-6
    assert unlikeness(features, rng.normal(size=features.shape).astype(np.float32)).mean() == pytest.approx(1, abs=0.05)
    assert unlikeness(features, -features).mean() == pytest.approx(2, abs=0.01)
