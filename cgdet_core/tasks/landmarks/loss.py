"""The landmark loss: how far the points are, and that each map is a distribution that says so itself."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from cgdet_core.config import LandmarkLossConfig
from cgdet_core.world import total

_TINY = 1e-6  # of a share or a distance in pixels: a logarithm and a root keep their gradients finite


@dataclass(frozen=True)
class Located:
    """What maps float [B, P, h, w] say, in float32, in pixels of the crop (from its first pixel's centre).

    points_xy_px: [B, P, 2], the mean of each map's distribution; along_x: [B, P, w], along_y: [B, P, h], its marginals;
    variance_px2: [B, P], of both axes together.
    """

    points_xy_px: Tensor
    variance_px2: Tensor
    along_x: Tensor
    along_y: Tensor


def locate(map_logits: Tensor, crop_px: int) -> Located:
    """See decode.decode, which does the same in NumPy."""
    height, width = map_logits.shape[2:]
    shares = map_logits.float().flatten(2).softmax(2).reshape(*map_logits.shape[:2], height, width)
    along_x, along_y = shares.sum(2), shares.sum(3)
    (x, of_x), (y, of_y) = _moments(along_x, crop_px), _moments(along_y, crop_px)
    return Located(torch.stack((x, y), dim=2), of_x + of_y, along_x, along_y)


def landmark_loss(
    map_logits: Tensor, points_xy_px: Tensor, labelled: Tensor, crop_px: int, config: LandmarkLossConfig
) -> dict[str, Tensor]:
    """The weighted terms wing, marginal and likelihood, scalars, whose sum is minimised.

    points_xy_px: float32 [B, P, 2] in pixels of the crop; labelled: bool [B, P]. Each term is a mean over the labelled
    points of the batch; a point without a label costs nothing, whatever stands there. Where processes share a batch
    the divisor is the whole batch's. A term of weight 0 is left out.
    """
    found = locate(map_logits, crop_px)
    # what is not labelled may be anything, and 0 * NaN is NaN
    wanted = torch.where(labelled[..., None], points_xy_px, found.points_xy_px.detach())
    count = total(labelled.sum().float()).clamp(min=1)

    def mean(costs: Tensor) -> Tensor:
        return (costs * labelled).sum() / count

    terms = {"wing": config.wing_weight * mean(wing(found.points_xy_px - wanted, config).mean(2))}
    if config.marginal_weight:
        sigma_px = config.marginal_sigma_cells * crop_px / map_logits.shape[3]
        costs = marginal_cross_entropy(found.along_x, wanted[..., 0], sigma_px, crop_px)
        costs = costs + marginal_cross_entropy(found.along_y, wanted[..., 1], sigma_px, crop_px)
        terms["marginal"] = config.marginal_weight * mean(costs)
    if config.likelihood_weight:
        distance_px = (found.points_xy_px - wanted).square().sum(2).add(_TINY).sqrt()
        terms["likelihood"] = config.likelihood_weight * mean(laplace_cost(distance_px, found.variance_px2))
    return terms


def wing(error_px: Tensor, config: LandmarkLossConfig) -> Tensor:
    """Wing loss (Feng et al. 2018, eq. 5) of coordinates: w ln(1 + |e| / eps) below w, |e| - C beyond, continuous."""
    width, curvature = config.wing_width_px, config.wing_curvature_px
    error = error_px.abs()
    offset = width - width * math.log1p(width / curvature)
    return torch.where(error < width, width * torch.log1p(error / curvature), error - offset)


def marginal_cross_entropy(shares: Tensor, places_px: Tensor, sigma_px: float, crop_px: int) -> Tensor:
    """[B, P]: cross-entropy of marginals [B, P, n] against a Gaussian about places_px [B, P], cut to the crop's cells
    and of sum 1; of a point far off the crop, of which no cell holds any, nothing."""
    away = _centres(shares, crop_px) - places_px[..., None]
    target = torch.exp(-0.5 * (away / sigma_px).square())
    target = target / target.sum(2, keepdim=True).clamp(min=_TINY)
    return -(target * (shares + _TINY).log()).sum(2)


def laplace_cost(distance_px: Tensor, variance_px2: Tensor) -> Tensor:
    """-log of Laplace's law in the plane, exp(-r / b) / (2 pi b^2), without its constant: 2 log b + r / b, of the
    variance that the map states, E r^2 = 6 b^2. Least where b is half of the mean distance."""
    scale = (variance_px2 / 6 + _TINY).sqrt()
    return 2 * scale.log() + distance_px / scale


def map_divergence(target_logits: Tensor, map_logits: Tensor) -> Tensor:
    """[B, P]: Kullback-Leibler divergence of maps from target maps, each a distribution over its cells; a float32 that
    is 0 where both are alike. The target gets no gradient."""
    theirs = target_logits.detach().float().flatten(2).log_softmax(2)
    return (theirs.exp() * (theirs - map_logits.float().flatten(2).log_softmax(2))).sum(2)


def _moments(shares: Tensor, crop_px: int) -> tuple[Tensor, Tensor]:
    """Mean and variance of marginals [B, P, n]."""
    places = _centres(shares, crop_px)
    mean = (shares * places).sum(2)
    return mean, (shares * (places - mean[..., None]).square()).sum(2)


def _centres(shares: Tensor, crop_px: int) -> Tensor:
    cells = shares.shape[-1]
    return (torch.arange(cells, dtype=torch.float32, device=shares.device) + 0.5) * (crop_px / cells) - 0.5
