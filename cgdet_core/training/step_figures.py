"""What one training step tells of itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from cgdet_core.world import total


@dataclass(frozen=True)
class StepFigures:
    """terms: the weighted terms of the whole batch's loss by name, `loss`, their sum, first; rate: the learning rate.

    gradient_norm: of the detector's whole gradient, before it was clipped; term_gradient_norms: by name,
    what each of the terms alone does to the backbone (`gradient_norms`), where that was asked for.
    """

    terms: dict[str, float]
    rate: float
    gradient_norm: float
    term_gradient_norms: dict[str, float] = field(default_factory=dict)


def gradient_norms(terms: Mapping[str, Tensor], module: nn.Module) -> dict[str, Tensor]:
    """Norm of each weighted term's own gradient at the parameters of `module`, scalars; the graph is kept.

    Each costs a backward pass of its own.
    """
    parameters = [parameter for parameter in module.parameters() if parameter.requires_grad]
    norms = {}
    for name, term in terms.items():
        gradients = torch.autograd.grad(term, parameters, retain_graph=True, allow_unused=True)
        parts = [
            torch.zeros_like(parameter) if gradient is None else gradient
            for parameter, gradient in zip(parameters, gradients, strict=True)
        ]
        norms[name] = total(torch.cat([part.flatten() for part in parts])).norm()
    return norms
