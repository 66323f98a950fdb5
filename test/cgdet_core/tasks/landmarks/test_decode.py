"""Points and confidences out of maps."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from cgdet_core.tasks.landmarks.decode import NEAR, confidence, decode, fitted_factor, ratio_of
from cgdet_core.tasks.landmarks.loss import locate


def test_a_map_of_two_cells_by_hand() -> None:
    logits = np.full((1, 1, 4, 4), -1e4, np.float32)
    logits[0, 0, 1, 0] = np.log(3.0)
    logits[0, 0, 2, 3] = 0.0  # a quarter
    points, sure = decode(logits, 32)
    # cells of 8 px: centred on 3.5, 11.5, 19.5, 27.5
    assert points[0, 0] == pytest.approx([0.75 * 3.5 + 0.25 * 27.5, 0.75 * 11.5 + 0.25 * 19.5])
    variance = 0.75 * 0.25 * (24.0**2 + 8.0**2)
    scale = (variance / 6) ** 0.5
    ratio = NEAR * 32 / scale
    assert sure[0, 0] == pytest.approx(1 - (1 + ratio) * np.exp(-ratio), rel=1e-5)


def test_confidence_is_the_share_of_laplace_errors_that_lie_near() -> None:
    rng, scale_px = np.random.default_rng(0), 2.3
    # in the plane r is distributed as r exp(-r / b): the sum of two exponentials, of which E r^2 = 6 b^2
    radii = rng.exponential(scale_px, (2, 200_000)).sum(0)
    assert np.square(radii).mean() == pytest.approx(6 * scale_px**2, rel=0.02)
    near = (radii < NEAR * 128).mean()
    assert confidence(np.float32(NEAR * 128 / scale_px)) == pytest.approx(near, abs=0.005)


def test_the_fitted_factor_is_the_likeliest_and_makes_confidences_hold() -> None:
    rng = np.random.default_rng(3)
    stated = rng.uniform(0.15, 1.2, 40_000)  # scales b in units of R, by which confidences were stated
    errors = 0.6 * stated * rng.exponential(1, (2, 40_000)).sum(0)
    sure = confidence(1 / stated)
    np.testing.assert_allclose(ratio_of(sure), 1 / stated, rtol=1e-3)
    factor = fitted_factor(errors, sure)
    # minus log-likelihood over a grid of factors
    grid = np.linspace(0.3, 1.2, 181)
    cost = [np.mean(2 * np.log(each * stated) + errors / (each * stated)) for each in grid]
    assert factor == pytest.approx(float(grid[np.argmin(cost)]), abs=0.006)
    assert factor == pytest.approx(0.6, abs=0.01)
    # of the surest and of the least sure points as many are near as is said
    calibrated = confidence(ratio_of(sure) / np.float32(factor))
    for part in np.array_split(np.argsort(stated), 4):
        assert calibrated[part].mean() == pytest.approx((errors[part] <= 1).mean(), abs=0.015)


def test_a_factor_on_the_spread_scales_the_maps_scale_alone() -> None:
    logits = np.random.default_rng(4).normal(0, 4, (1, 3, 16, 16)).astype(np.float32)
    (points, sure), (same, surer) = decode(logits, 128), decode(logits, 128, 0.5)
    np.testing.assert_array_equal(points, same)
    np.testing.assert_allclose(ratio_of(surer), 2 * ratio_of(sure), rtol=1e-3)
    assert (surer > sure).all()


def test_a_map_that_spreads_more_is_less_sure() -> None:
    logits = np.random.default_rng(1).normal(0, 1, (1, 1, 16, 16)).astype(np.float32)
    logits[0, 0, 5, 6] += 8
    sure = [float(decode(logits * np.float32(factor), 128)[1][0, 0]) for factor in (2, 1, 0.5, 0)]
    assert sure == sorted(sure, reverse=True)
    assert 0 <= sure[-1] < sure[0] <= 1
    one_cell = np.full((1, 1, 16, 16), -1e9, np.float32)
    one_cell[0, 0, 3, 3] = 0
    assert decode(one_cell, 128)[1][0, 0] == 1


def test_numpy_and_torch_say_the_same() -> None:
    logits = np.random.default_rng(2).normal(0, 3, (3, 68, 16, 16)).astype(np.float32)
    points, sure = decode(logits, 128)
    found = locate(torch.from_numpy(logits), 128)
    np.testing.assert_allclose(points, found.points_xy_px.numpy(), atol=1e-3)
    scale_px = np.sqrt(found.variance_px2.numpy() / 6)
    np.testing.assert_allclose(sure, confidence(NEAR * 128 / scale_px), atol=1e-4)


def test_no_number_gives_no_number() -> None:
    logits = np.zeros((1, 2, 4, 4), np.float32)
    logits[0, 1, 0, 0] = np.nan
    points, sure = decode(logits, 32)
    assert np.isnan(points[0, 1]).all()
    assert np.isnan(sure[0, 1])
    assert np.isfinite(points[0, 0]).all()
