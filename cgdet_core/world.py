"""Sums over the processes that share a batch: what losses and training terms know of torch.distributed.

In a run of one process each function gives back what it was given. In several every process must make the same
calls in the same order, forward and backward; gradients pass through, and a process' own part gets the sum of all
processes' gradients of it.
"""

from __future__ import annotations

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.nn import functional as collective
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
    summed: Tensor = collective.all_reduce(tensor)  # type: ignore[no-untyped-call]
    return summed


def gather_rows(rows: Tensor) -> Tensor:
    """The rows of all processes in the order of their ranks: [K, ...] with a K of each one's own -> [sum of K, ...]."""
    if world_size() == 1:
        return rows
    counts = [torch.zeros(1, dtype=torch.int64, device=rows.device) for _ in range(world_size())]
    dist.all_gather(counts, torch.tensor([len(rows)], device=rows.device))
    most = max(1, *map(int, counts))
    padding = [0, 0] * (rows.ndim - 1) + [0, most - len(rows)]
    parts = collective.all_gather(functional.pad(rows, padding))  # type: ignore[no-untyped-call]
    return torch.cat([part[: int(count)] for part, count in zip(parts, counts, strict=True)])
