"""Several processes that train one network, each on its share of every batch.

What has to be summed over them goes by gloo on the CPU and by NCCL between GPUs; how they are started
and end together is told in processes.py.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from cgdet_core.config import TrainConfig
from cgdet_core.errors import InputError
from cgdet_core.runtime.backends.devices import choose_device


class ProcessLost(InputError):
    """A process of the run ended while another waited for its share of a sum."""


@dataclass(frozen=True)
class World:
    """Which of the run's processes this is; the default is a run of one.

    rank: its number, of `size`; local_rank: its number among the `local_size` on this machine.
    """

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    local_size: int = 1

    @property
    def leads(self) -> bool:
        """True for the one process that writes files, shows progress and speaks."""
        return self.rank == 0

    def sum(self, tensor: Tensor) -> Tensor:
        """The sum over all processes, [...] as `tensor`, the same in each of them to the bit; outside autograd."""
        if self.size == 1:
            return tensor.detach()
        total = tensor.detach().clone(memory_format=torch.contiguous_format)
        _together(lambda: dist.all_reduce(total))
        return total

    def gather(self, tensor: Tensor) -> Tensor:
        """Every process' tensor of one shape, [size, ...], by rank; outside autograd."""
        if self.size == 1:
            return tensor.detach()[None]
        mine = tensor.detach().contiguous()
        parts = [torch.empty_like(mine) for _ in range(self.size)]
        _together(lambda: dist.all_gather(parts, mine))
        return torch.stack(parts)

    def gather_rows(self, rows: Tensor) -> list[Tensor]:
        """Every process' rows, by rank: [K, ...] with a K of each one's own; outside autograd."""
        if self.size == 1:
            return [rows.detach()]
        counts = self.gather(torch.tensor([len(rows)], device=rows.device)).flatten().tolist()
        padded = rows.new_zeros(max(1, *counts), *rows.shape[1:])
        padded[: len(rows)] = rows.detach()
        return [part[:count] for part, count in zip(self.gather(padded), counts, strict=True)]

    def check_alike(self, what: str, *values: object) -> None:
        """InputError, in every process, where the values, by their text, are not those of process 0."""
        digest = hashlib.sha256("\n".join(map(str, values)).encode()).digest()
        digests = self.gather(torch.tensor(list(digest), dtype=torch.uint8))
        differing = (digests != digests[0]).any(1).nonzero().flatten().tolist()
        if differing:
            raise InputError(
                f"{what}: not the same in process {differing[0]} as in process 0: "
                "give every machine the same recipe, data, files and versions"
            )


ALONE = World()


def share_of_batch(config: TrainConfig, world: World) -> int:
    """Crops of a batch that one process learns from; InputError where the batch cannot be shared evenly."""
    if config.batch_size % world.size:
        raise InputError(
            f"train.batch_size = {config.batch_size} cannot be shared evenly by {world.size} processes: "
            f"give a multiple of {world.size}"
        )
    return config.batch_size // world.size


def add_up_gradients(parameters: Iterable[nn.Parameter], values: Tensor, world: World) -> Tensor:
    """Replace every gradient by its sum over all processes; the sum of `values`, float [N], which travel along.

    One sum of one flat vector, 12 MB for the default network, after the backward pass, and not
    DistributedDataParallel: that averages, which is no gradient of a loss whose divisor is the
    whole batch's, renames the tensors of the state, and its overlap with the backward pass pays
    for far larger networks.
    """
    if world.size == 1:
        return values
    parameters = [parameter for parameter in parameters if parameter.requires_grad]
    gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in parameters]
    total = world.sum(torch.cat([gradient.flatten() for gradient in gradients] + [values]))
    parts = torch.split(total, [parameter.numel() for parameter in parameters] + [values.numel()])
    for parameter, gradient, part in zip(parameters, gradients, parts[:-1], strict=True):
        parameter.grad = gradient.copy_(part.view(gradient.shape))
    return parts[-1]


def fingerprint(tensor: Tensor) -> str:
    """The same for tensors that are equal to the bit, and for no others."""
    values = tensor.detach().cpu().contiguous().numpy()
    return f"{values.dtype} {values.shape} {hashlib.sha256(values.tobytes()).hexdigest()}"


def process_device(device: str, world: World) -> torch.device:
    """`choose_device`, where each of several processes gets the GPU of its local rank; InputError for too few."""
    if world.size == 1:
        return choose_device(device)
    if device in ("auto", "cuda") and torch.cuda.is_available():
        if world.local_size > torch.cuda.device_count():
            raise InputError(
                f"{world.local_size} processes were started on a machine with {torch.cuda.device_count()} GPUs: "
                "start one for each GPU (--nproc-per-node), or give train.device=cpu"
            )
        torch.cuda.set_device(world.local_rank)
        return torch.device("cuda", world.local_rank)
    chosen = choose_device(device)
    if chosen.type == "cuda":
        raise InputError(f"train.device = {device}: each of several processes takes its own GPU: give cuda or auto")
    return chosen


def share_threads(threads: int, world: World) -> None:
    """Set torch's CPU threads: `threads`, or, at 0, torch's own choice or this process' share of the machine's cores.

    torchrun sets OMP_NUM_THREADS to 1 wherever the user set nothing, so a 1 there is no wish of anybody.
    """
    if threads == 0 and world.size > 1 and os.environ.get("OMP_NUM_THREADS", "1") == "1":
        threads = max(1, len(os.sched_getaffinity(0)) // world.local_size)
    if threads:
        torch.set_num_threads(threads)


def _together(operation: Callable[[], Any]) -> None:
    try:
        operation()
    except RuntimeError as error:
        raise ProcessLost(
            f"another process of the run ended or fell silent ({one_line(error)}): "
            "see what it says, then go on with --resume"
        ) from None


def one_line(error: Exception) -> str:
    """What an error says, in at most 120 characters of one line."""
    text = " ".join(str(error).split())
    return text if len(text) <= 120 else text[:117] + "..."
