"""Each term of the landmark loss against a loop over points, and what must cost nothing."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from cgdet_core.config import LandmarkLossConfig
from cgdet_core.tasks.landmarks.loss import landmark_loss, laplace_cost, locate, map_divergence, wing
from cgdet_core.types import FloatArray

CROP_PX, CELLS = 32, 4
CONFIG = LandmarkLossConfig(wing_width_px=5, wing_curvature_px=0.8, marginal_sigma_cells=0.6)


def _batch() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(2, 3, CELLS, CELLS, generator=generator, dtype=torch.float64).float() * 2
    points = torch.rand(2, 3, 2, generator=generator) * CROP_PX
    return logits, points, torch.tensor([[True, True, False], [True, False, False]])


def _by_loop(logits: FloatArray, point: FloatArray) -> tuple[float, float, float]:
    """wing, marginal and likelihood of one point, in float64."""
    shares = np.exp(logits.astype(np.float64))
    shares /= shares.sum()
    places = [(cell + 0.5) * CROP_PX / CELLS - 0.5 for cell in range(CELLS)]
    x = sum(shares[row, column] * places[column] for row in range(CELLS) for column in range(CELLS))
    y = sum(shares[row, column] * places[row] for row in range(CELLS) for column in range(CELLS))
    spread = sum(
        shares[row, column] * ((places[column] - x) ** 2 + (places[row] - y) ** 2)
        for row in range(CELLS)
        for column in range(CELLS)
    )
    of_wing = 0.0
    for found, wanted in ((x, point[0]), (y, point[1])):
        error = abs(found - wanted)
        if error < 5:
            of_wing += 5 * math.log(1 + error / 0.8) / 2
        else:
            of_wing += (error - (5 - 5 * math.log(1 + 5 / 0.8))) / 2
    of_marginal = 0.0
    for marginal, wanted in ((shares.sum(0), point[0]), (shares.sum(1), point[1])):
        target = np.array([math.exp(-((place - wanted) ** 2) / (2 * (0.6 * 8) ** 2)) for place in places])
        of_marginal -= float((target / target.sum() * np.log(marginal)).sum())
    scale = math.sqrt(spread / 6)
    distance = math.hypot(x - point[0], y - point[1])
    return of_wing, of_marginal, 2 * math.log(scale) + distance / scale


def test_each_term_against_a_loop_over_the_labelled_points() -> None:
    logits, points, labelled = _batch()
    terms = landmark_loss(logits, points, labelled, CROP_PX, CONFIG)
    rows = [_by_loop(logits[b, p].numpy(), points[b, p].numpy()) for b, p in labelled.nonzero().tolist()]
    wanted = np.mean(rows, axis=0)
    assert float(terms["wing"]) == pytest.approx(wanted[0], rel=1e-4)
    assert float(terms["marginal"]) == pytest.approx(0.5 * wanted[1], rel=1e-4)
    assert float(terms["likelihood"]) == pytest.approx(wanted[2], rel=1e-4)


def test_a_point_without_a_label_costs_nothing_whatever_stands_there() -> None:
    logits, points, labelled = _batch()
    logits.requires_grad_()
    sum(landmark_loss(logits, points, labelled, CROP_PX, CONFIG).values()).backward()  # type: ignore[union-attr]
    first, logits.grad = logits.grad, None
    assert first is not None
    assert (first[~labelled] == 0).all()
    assert (first[labelled].abs().sum((1, 2)) > 0).all()
    points[~labelled] = torch.nan
    sum(landmark_loss(logits, points, labelled, CROP_PX, CONFIG).values()).backward()  # type: ignore[union-attr]
    assert torch.equal(first, logits.grad)


def test_a_batch_without_labels_gives_zero_and_zero_gradients() -> None:
    logits, points, labelled = _batch()
    logits.requires_grad_()
    loss = sum(landmark_loss(logits, points, torch.zeros_like(labelled), CROP_PX, CONFIG).values())
    assert isinstance(loss, torch.Tensor)
    loss.backward()
    assert float(loss.detach()) == 0
    assert (logits.grad == 0).all()


def test_gradients_are_those_of_finite_differences() -> None:
    logits, points, labelled = _batch()
    logits.requires_grad_()
    loss = sum(landmark_loss(logits, points, labelled, CROP_PX, CONFIG).values())
    assert isinstance(loss, torch.Tensor)
    loss.backward()
    assert logits.grad is not None
    for place in ((0, 0, 1, 2), (1, 0, 3, 0)):
        values = []
        for step in (1e-2, -1e-2):
            moved = logits.detach().clone()
            moved[place] += step
            values.append(float(sum(landmark_loss(moved, points, labelled, CROP_PX, CONFIG).values())))
        assert float(logits.grad[place]) == pytest.approx((values[0] - values[1]) / 2e-2, rel=2e-2, abs=1e-3)


def test_wing_is_continuous_and_linear_beyond_its_width() -> None:
    near, far = wing(torch.tensor([4.9999, 5.0001]), CONFIG)
    assert float(far - near) == pytest.approx(0, abs=1e-3)
    beyond = wing(torch.tensor([7.0, 8.0, -8.0]), CONFIG)
    assert float(beyond[1] - beyond[0]) == pytest.approx(1, abs=1e-5)
    assert beyond[1] == beyond[2]


def test_the_likelihood_is_least_where_the_scale_is_half_the_distance() -> None:
    distance = torch.tensor(3.0)
    scales = torch.linspace(0.5, 4, 351)
    costs = laplace_cost(distance, 6 * scales.square())
    assert float(scales[costs.argmin()]) == pytest.approx(1.5, abs=0.02)


def test_maps_diverge_by_kullback_and_leibler_and_the_target_learns_nothing() -> None:
    target, logits = torch.randn(1, 2, 3, 3), torch.randn(1, 2, 3, 3)
    target.requires_grad_()
    logits.requires_grad_()
    divergence = map_divergence(target, logits)
    p = np.exp(target.detach().numpy().reshape(2, 9).astype(np.float64))
    q = np.exp(logits.detach().numpy().reshape(2, 9).astype(np.float64))
    p, q = p / p.sum(1, keepdims=True), q / q.sum(1, keepdims=True)
    np.testing.assert_allclose(divergence.detach().numpy()[0], (p * np.log(p / q)).sum(1), rtol=1e-4)
    divergence.sum().backward()
    assert target.grad is None
    assert (map_divergence(target, target.detach() + 3).abs() < 1e-5).all()


def test_a_map_learns_the_point_between_its_cells() -> None:
    logits = torch.zeros(1, 1, CELLS, CELLS, requires_grad=True)
    point, labelled = torch.tensor([[[13.0, 17.6]]]), torch.ones(1, 1, dtype=torch.bool)
    for step in range(400):
        loss = sum(landmark_loss(logits, point, labelled, CROP_PX, CONFIG).values())
        assert isinstance(loss, torch.Tensor)
        (gradient,) = torch.autograd.grad(loss, logits)
        logits = (logits - gradient * (0.5 - step / 800)).detach().requires_grad_()
    np.testing.assert_allclose(locate(logits, CROP_PX).points_xy_px[0, 0].detach(), point[0, 0], atol=0.2)
