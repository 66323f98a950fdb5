"""The four distances against loops written from their formulas, hand-computed cases, and differences for gradients."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from cgdet_core.config import GuidanceConfig
from cgdet_core.distill.distances import EPS, cosine, cwd, distance_of, mse, pkd

Array = NDArray[np.float64]
TEMPERATURE = 2.5
DISTANCES: dict[str, Callable[[Tensor, Tensor, Tensor], Tensor]] = {
    "mse": mse,
    "cosine": cosine,
    "pkd": pkd,
    "cwd": lambda student, teacher, weights: cwd(student, teacher, weights, TEMPERATURE),
}
NAMES = sorted(DISTANCES)


def plain_mse(student: Array, teacher: Array, weights: Array) -> float:
    regions, channels, places = student.shape
    total = 0.0
    for n in range(regions):
        for p in range(places):
            total += weights[n, p] * sum((student[n, c, p] - teacher[n, c, p]) ** 2 for c in range(channels)) / channels
    return total


def plain_cosine(student: Array, teacher: Array, weights: Array) -> float:
    total = 0.0
    for (n, p), weight in np.ndenumerate(weights):
        s, t = student[n, :, p], teacher[n, :, p]
        total += weight * (1 - np.dot(s, t) / (np.linalg.norm(s) * np.linalg.norm(t)))
    return float(total)


def plain_pkd(student: Array, teacher: Array, weights: Array) -> float:
    """Sum of weights times the mean over channels of 1 - r, r the weighted correlation: the paper's other form."""
    flat = weights.reshape(-1)
    one_minus_r = []
    for c in range(student.shape[1]):
        covariance = np.cov(student[:, c].reshape(-1), teacher[:, c].reshape(-1), aweights=flat, ddof=0)
        one_minus_r.append(1 - covariance[0, 1] / math.sqrt(covariance[0, 0] * covariance[1, 1]))
    return float(flat.sum() * np.mean(one_minus_r))


def plain_cwd(student: Array, teacher: Array, weights: Array) -> float:
    total = 0.0
    for n in range(len(student)):
        kept = weights[n] > 0
        divergence = 0.0
        for c in range(student.shape[1]):
            q_student = weights[n, kept] * np.exp(student[n, c, kept] / TEMPERATURE)
            q_teacher = weights[n, kept] * np.exp(teacher[n, c, kept] / TEMPERATURE)
            q_student, q_teacher = q_student / q_student.sum(), q_teacher / q_teacher.sum()
            divergence += np.sum(q_teacher * np.log(q_teacher / q_student))
        total += weights[n].sum() * TEMPERATURE**2 / student.shape[1] * divergence
    return float(total)


PLAIN = {"mse": plain_mse, "cosine": plain_cosine, "pkd": plain_pkd, "cwd": plain_cwd}


def case(seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """Student and teacher float64 [4, 3, 7] of differing scales, and weights with places and a region left out."""
    generator = torch.Generator().manual_seed(seed)
    student = 2 * torch.randn(4, 3, 7, generator=generator, dtype=torch.float64) + 1
    teacher = 0.5 * student + torch.randn(4, 3, 7, generator=generator, dtype=torch.float64)
    weights = torch.rand(4, 7, generator=generator, dtype=torch.float64)
    weights[0] = 1
    weights[1, ::2] = 0
    weights[2] = 0
    return student, teacher, weights


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("seed", range(3))
def test_a_distance_is_what_its_formula_gives_and_the_recipe_names_it(name: str, seed: int) -> None:
    student, teacher, weights = case(seed)
    expected = PLAIN[name](student.numpy(), teacher.numpy(), weights.numpy())
    config = GuidanceConfig.model_validate({"distance": name, "temperature": TEMPERATURE})
    for distance in (DISTANCES[name], distance_of(config)):
        assert distance(student, teacher, weights).item() == pytest.approx(expected, rel=1e-5)


def row(*values: float) -> Tensor:
    """One region, one channel."""
    return torch.tensor(values, dtype=torch.float64)[None, None]


def even(places: int) -> Tensor:
    return torch.full((1, places), 1 / places, dtype=torch.float64)


@pytest.mark.parametrize("temperature", [1.0, 2.0, 0.5])
def test_hand_cases_of_cwd(temperature: float) -> None:
    # the teacher's shares are 3/4 and 1/4 at that temperature, the student's are even
    teacher, student = row(temperature * math.log(3), 0), row(0.3, 0.3)
    towards = 0.75 * math.log(0.75 / 0.5) + 0.25 * math.log(0.25 / 0.5)
    found = cwd(student, teacher, even(2), temperature).item()
    assert found == pytest.approx(temperature**2 * towards)
    # from the other end it is another value
    back = 0.5 * math.log(0.5 / 0.75) + 0.5 * math.log(0.5 / 0.25)
    assert cwd(teacher, student, even(2), temperature).item() == pytest.approx(temperature**2 * back)
    # mean over channels
    two = cwd(torch.cat((student, row(1, 1)), 1), torch.cat((teacher, row(2, 2)), 1), even(2), temperature)
    assert two.item() == pytest.approx(temperature**2 * towards / 2)


def test_a_place_of_weight_two_counts_as_two_places() -> None:
    student, teacher, _ = case()
    twice = torch.cat((student, student[..., :1]), 2), torch.cat((teacher, teacher[..., :1]), 2)
    weights = torch.ones(4, 7, dtype=torch.float64)
    weights[:, 0] = 2
    for name, distance in DISTANCES.items():
        expected = distance(*twice, torch.ones(4, 8, dtype=torch.float64)).item()
        assert distance(student, teacher, weights).item() == pytest.approx(expected), name


@pytest.mark.parametrize("name", NAMES)
def test_it_is_nothing_for_what_is_alike_and_grows_with_the_weights(name: str) -> None:
    student, teacher, weights = case()
    assert DISTANCES[name](student, student.clone(), weights).item() == pytest.approx(0, abs=1e-5)
    whole = DISTANCES[name](student, teacher, weights).item()
    assert whole > 0.1
    assert DISTANCES[name](student, teacher, weights / 4).item() == pytest.approx(whole / 4)


@pytest.mark.parametrize("name", NAMES)
def test_gradients_are_those_of_finite_differences(name: str) -> None:
    student, teacher, weights = case()
    student.requires_grad_()
    assert torch.autograd.gradcheck(lambda x: DISTANCES[name](x, teacher, weights), [student])


@pytest.mark.parametrize("name", NAMES)
def test_a_place_without_weight_takes_no_part(name: str) -> None:
    student, teacher, weights = case()
    student.requires_grad_()
    value = DISTANCES[name](student, teacher, weights)
    (gradient,) = torch.autograd.grad(value, student)
    out = (weights == 0)[:, None].expand_as(student)
    assert (gradient[out] == 0).all()
    assert (gradient[~out] != 0).all()
    other = torch.where(out, 1e3 * torch.randn_like(student), student)
    assert DISTANCES[name](other, teacher, weights).item() == pytest.approx(value.item(), rel=1e-12)
    unlike = torch.where(out, 1e3 * torch.randn_like(teacher), teacher)
    assert DISTANCES[name](student, unlike, weights).item() == pytest.approx(value.item(), rel=1e-12)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("regions", [0, 2])
def test_nothing_that_counts_is_a_zero_with_zero_gradients(name: str, regions: int) -> None:
    student = torch.randn(regions, 3, 5, requires_grad=True)
    value = DISTANCES[name](student, torch.randn(regions, 3, 5), torch.zeros(regions, 5))
    (gradient,) = torch.autograd.grad(value, student)
    assert value.item() == 0
    assert gradient.shape == student.shape
    assert (gradient == 0).all()


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("level", [0.0, 3.0])
def test_features_that_are_all_alike_give_finite_values_and_gradients(name: str, level: float) -> None:
    varied = torch.randn(1, 3, 5, generator=torch.Generator().manual_seed(0))
    for student, teacher in ((torch.full_like(varied, level), varied), (varied, torch.full_like(varied, level))):
        student = student.clone().requires_grad_()
        value = DISTANCES[name](student, teacher, torch.full((1, 5), 0.2))
        (gradient,) = torch.autograd.grad(value, student)
        assert 0 <= value.item() < 20
        assert gradient.isfinite().all()
        assert gradient.abs().max() <= 2 / math.sqrt(EPS)
