"""Sums over the processes that share a batch: what losses and training terms know of torch.distributed.

In a run of one process each function gives back what it was given. In several every process must make the same
calls in the same order, forward and backward; gradients pass through, and a process' own part gets the sum of all.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.nn import functional


def world_size() -> int:
    """How many processes share each batch."""
    return dist.get_world_size() if dist.is_initialized() else 1


def rank() -> int:
    """This process' number; number 0 alone writes files and speaks."""
    return dist.get_rank() if dist.is_initialized() else 0


def total(tensor: Tensor) -> Tensor:
    """The sum over all processes, of the same shape, equal to the bit in each of them."""
    if world_size() == 1:
        return tensor
    summed: Tensor = _Total.apply(tensor)
    return summed


def gather_rows(rows: Tensor) -> Tensor:
    """The rows of all processes in the order of their ranks: [K, ...] with a K of each one's own -> [sum of K, ...]."""
    if world_size() == 1:
        return rows
    counts = torch.zeros(world_size(), dtype=torch.int64, device=rows.device)
    counts[rank()] = len(rows)
    each = total(counts).tolist()
    around = [0, 0] * (rows.ndim - 1) + [sum(each[: rank()]), sum(each[rank() + 1 :])]
    return total(functional.pad(rows, around))


class _Total(torch.autograd.Function):
    """Every process' loss depends on the sum, so a part's gradient is the sum of all processes' gradients of it."""

    @staticmethod
    def forward(ctx: Any, tensor: Tensor) -> Tensor:
        summed = tensor.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(summed)
        return summed

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        return total(gradients[0])
