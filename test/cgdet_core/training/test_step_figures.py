"""What a step tells: the gradient of each term alone, at the backbone."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from cgdet_core.training.step_figures import gradient_norms


def test_each_norm_is_of_the_terms_own_gradient_and_the_graph_is_kept() -> None:
    torch.manual_seed(0)
    module = nn.Linear(3, 2)
    inputs = torch.randn(5, 3)
    output = module(inputs)
    terms = {"square": (output**2).sum(), "sum": 3 * output.sum(), "elsewhere": torch.zeros((), requires_grad=True) * 2}
    norms = gradient_norms(terms, module)
    # by hand: d(sum of squares)/dW = 2 o^T x, d/db = 2 sum o; d(3 sum)/dW = 3 sum x for each row, d/db = 3 n
    weight, bias = 2 * output.detach().T @ inputs, 2 * output.detach().sum(0)
    assert norms["square"].item() == pytest.approx(
        (weight.square().sum() + bias.square().sum()).sqrt().item(), rel=1e-5
    )
    rows = 3 * inputs.sum(0)
    assert norms["sum"].item() == pytest.approx((2 * rows.square().sum() + 2 * 15.0**2).sqrt().item(), rel=1e-5)
    assert norms["elsewhere"].item() == 0
    assert module.weight.grad is None
    sum(terms.values()).backward()  # type: ignore[union-attr]
    assert module.weight.grad is not None
