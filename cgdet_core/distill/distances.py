"""How far a student's features are from a teacher's at the same places: PKD, CWD, cosine and MSE.

All have one form. student, teacher: float [N, C, P], C channels at P places of each of N regions (RoIs or images);
weights: float [N, P], >= 0, what each place counts. The value is a scalar,

    sum over n, p of weights[n, p] * d(n, p),

so it grows with the weights, and whoever wants a mean gives weights that add up to 1. A place of weight 0 takes no
part at all: neither its student nor its teacher features reach the value, and its gradient is exactly 0. Teacher
features get a gradient like any other tensor; who calls detaches them. Values are in the dtype of the features.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from cgdet_core.config import GuidanceConfig
from cgdet_core.world import total

# beside a variance or a squared length; features are of the order of 1, so it matters only where they are all alike
EPS = 1e-6


def distance_of(config: GuidanceConfig) -> Callable[[Tensor, Tensor, Tensor], Tensor]:
    """The distance that a recipe names: (student, teacher, weights) -> value."""
    if config.distance == "cwd":
        return lambda student, teacher, weights: cwd(student, teacher, weights, config.temperature)
    return {"pkd": pkd, "cosine": cosine, "mse": mse}[config.distance]


def mse(student: Tensor, teacher: Tensor, weights: Tensor) -> Tensor:
    """d = mean over channels of (s - t)^2."""
    return ((student - teacher).square().mean(1) * weights).sum()


def cosine(student: Tensor, teacher: Tensor, weights: Tensor) -> Tensor:
    """d = 1 - s.t / (|s| |t|), over the channels of a place; in [0, 2]. Each |.|^2 has EPS added."""
    student_length = student.square().sum(1).add(EPS).rsqrt()
    teacher_length = teacher.square().sum(1).add(EPS).rsqrt()
    return ((1 - (student * teacher).sum(1) * student_length * teacher_length) * weights).sum()


def pkd(student: Tensor, teacher: Tensor, weights: Tensor) -> Tensor:
    """PKD (Cao et al. 2022): d = mean over channels of (s^ - t^)^2 / 2.

    x^ = (x - m) / sqrt(v + EPS), with m and v the mean and variance of a channel of x over all N * P places, each
    counted by its weight: m = sum w x / sum w, v = sum w (x - m)^2 / sum w. Over whole maps of weight 1 that is the
    paper's, over batch and positions; over RoIs it is all places of all RoIs that are given together. Weighted so,
    the value stays what the paper shows it to be: sum w times the channels' mean of 1 - r, r the (weighted) Pearson
    correlation of student and teacher. It does not change with the scale (> 0) and offset of any channel of either.

    Where processes share a batch, sums run over all of them: their values add up to the value of the whole batch,
    and so do their gradients. Each must call it, forward and backward, with N = 0 where it has no region.
    """
    difference = _standardised(student, weights) - _standardised(teacher, weights)
    return (difference.square().mean(1) / 2 * weights).sum()


def _standardised(features: Tensor, weights: Tensor) -> Tensor:
    counts = weights[:, None]
    weight = total(weights.sum())
    # without any weight: whatever is finite, as it counts nothing
    weight = torch.where(weight > 0, weight, torch.ones_like(weight))
    centred = features - (total((features * counts).sum((0, 2))) / weight)[:, None]
    variance = total((centred.square() * counts).sum((0, 2))) / weight
    return centred * (variance + EPS).rsqrt()[:, None]


def cwd(student: Tensor, teacher: Tensor, weights: Tensor, temperature: float) -> Tensor:
    """CWD (Shu et al. 2021, section 3.2), of each region by itself:

        T^2 / C * sum over channels c and places p of q_T(c, p) * log( q_T(c, p) / q_S(c, p) ),

    q(c, p) = w_p exp(x(c, p) / T) / sum over i of w_i exp(x(c, i) / T): the softmax over places, in which a place of
    weight 0 is left out and one of weight 2 counts as two. The divergence of a region counts by the sum of its
    weights. It does not change where a constant is added to a channel of a region, of student or teacher.
    """
    counted = weights > 0
    # a region without a counted place keeps them all, to be a distribution: its divergence counts 0
    kept = (counted | ~counted.any(1, keepdim=True))[:, None]
    log_weights = torch.where(counted, weights, 1.0).log()[:, None]
    log_student = (student / temperature + log_weights).masked_fill(~kept, -torch.inf).log_softmax(2)
    log_teacher = (teacher / temperature + log_weights).masked_fill(~kept, -torch.inf).log_softmax(2)
    # -inf - -inf is no number
    log_ratio = (log_teacher - log_student).masked_fill(~kept, 0.0)
    divergence = (log_teacher.exp() * log_ratio).sum((1, 2)) * (temperature**2 / student.shape[1])
    return (divergence * weights.sum(1)).sum()
