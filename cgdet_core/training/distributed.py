"""Several processes that train one network, each on its share of every batch; torchrun starts them.

Losses are shares that add up to the whole batch's (world.py). Batch norms take the statistics of the whole batch
on GPUs; on CPUs each process those of its share, and process 0 keeps the running ones.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from textwrap import shorten

import torch
import torch.distributed as dist

from cgdet_core.errors import CgdetError, InputError, RunError
from cgdet_core.runtime.backends.base import cpu_precision
from cgdet_core.runtime.backends.torch import choose_device
from cgdet_core.world import rank, world_size

# the fastest process waits so long for the slowest, which may read its data from far away
_PATIENCE = timedelta(minutes=30)


@contextmanager
def process_group(device: str) -> Iterator[None]:
    """Join the processes that torchrun started; nothing where none were.

    device: of the recipe. Within it every error names the process that it is of, and a process that was lost is a
    RunError in each that waited for it; torchrun ends the others when one ends.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield
        return
    gpus = device in ("auto", "cuda") and torch.cuda.is_available()
    try:
        dist.init_process_group("nccl" if gpus else "gloo", timeout=_PATIENCE)
    except (RuntimeError, ValueError) as error:
        raise RunError(f"the processes did not find each other ({shorten(str(error), 120)}): see torchrun") from None
    try:
        yield
    except CgdetError as error:
        if rank() == 0:
            raise
        kind = InputError if isinstance(error, InputError) else RunError
        raise kind(f"{error} (process {rank()}, {socket.gethostname()})") from None
    except RuntimeError as error:
        if not isinstance(error, dist.DistError) and "gloo" not in str(error):
            raise
        raise RunError(
            f"another process of the run ended or fell silent ({shorten(str(error), 120)}): "
            "see what it says, then go on with --resume"
        ) from None
    dist.destroy_process_group()


def process_device(device: str) -> torch.device:
    """`choose_device`, where each of several processes gets the GPU of its local rank; InputError for too few."""
    chosen = choose_device(device)
    if world_size() == 1 or chosen.type != "cuda":
        return chosen
    if device not in ("auto", "cuda"):
        raise InputError(f"train.device = {device}: each of several processes takes its own GPU: give cuda or auto")
    local_rank = int(os.environ["LOCAL_RANK"])
    if local_rank >= torch.cuda.device_count():
        raise InputError(
            f"more processes than this machine's {torch.cuda.device_count()} GPUs: "
            "start one for each GPU (--nproc-per-node), or give train.device=cpu"
        )
    torch.cuda.set_device(local_rank)
    return torch.device("cuda", local_rank)


def process_precision(precision: str, device: torch.device) -> str:
    """train.precision on this device, fp32 or bf16: what emulates bf16 is far slower with it."""
    if precision != "auto":
        return precision
    if device.type == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp32"
    return cpu_precision()


def share_threads(threads: int) -> None:
    """Set torch's CPU threads: `threads`, or, at 0, torch's own choice or this process' share of the machine's cores.

    torchrun sets OMP_NUM_THREADS to 1 wherever the user set nothing, so a 1 there is no wish of anybody.
    """
    if threads == 0 and world_size() > 1 and os.environ.get("OMP_NUM_THREADS", "1") == "1":
        threads = max(1, len(os.sched_getaffinity(0)) // int(os.environ["LOCAL_WORLD_SIZE"]))
    if threads:
        torch.set_num_threads(threads)


def check_alike(what: str, value: object) -> None:
    """InputError, in every process, where `value` is not process 0's."""
    if world_size() == 1:
        return
    values: list[object] = [None] * world_size()
    dist.all_gather_object(values, value)
    differing = [number for number, other in enumerate(values) if other != values[0]]
    if differing:
        raise InputError(
            f"{what}: differs between processes 0 and {differing[0]}: give every machine the same recipe, data, "
            "files and versions"
        )
