"""Which device, and what it can do."""

from __future__ import annotations

import os
import sys
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from cgdet_core.errors import InputError

if TYPE_CHECKING:
    import torch

# what the drivers of NVIDIA's GPUs, of Jetson's, of WSL and of AMD's put into /dev
_GPU_NODES = ("nvidia*", "nvgpu*", "nvhost*", "nvmap", "dxg", "kfd")


def usable_cores() -> int:
    """CPU cores that this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def device_name(device: str, dev: Path = Path("/dev")) -> str:
    """auto, cpu, cuda or cuda:N -> cpu or cuda:N; InputError where it is not to be had.

    For the CPU this imports no PyTorch: half of a node's memory would be its.
    """
    if device == "cpu" or (device == "auto" and sys.platform == "linux" and not _has_gpu_driver(dev)):
        return "cpu"
    return str(choose_device(device))


def _has_gpu_driver(dev: Path) -> bool:
    return any(next(dev.glob(pattern), None) is not None for pattern in _GPU_NODES)


def choose_device(device: str) -> torch.device:
    """auto, cpu, cuda or cuda:N -> the torch device; InputError where it is not to be had."""
    import torch

    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        chosen = torch.device(device)
    except RuntimeError:
        raise InputError(f"device '{device}' is unknown: use auto, cpu or cuda:N") from None
    if chosen.type not in ("cpu", "cuda"):
        raise InputError(f"device '{device}' is not supported: use auto, cpu or cuda:N")
    if chosen.type == "cuda" and (chosen.index or 0) >= torch.cuda.device_count():
        raise InputError(f"device '{device}': torch sees {torch.cuda.device_count()} GPUs: use device auto or cpu")
    return chosen


def cpu_precision() -> str:
    """What `auto` is on this CPU: bf16 where it has instructions for it (docs/backends.md), else fp32."""
    return "bf16" if cpu_flags() & {"amx_bf16", "avx512_bf16", "bf16"} else "fp32"


@cache
def cpu_flags(path: Path = Path("/proc/cpuinfo")) -> frozenset[str]:
    """What the first CPU can do, in the kernel's words; empty where there is no such file."""
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return frozenset()
    # "flags" on x86, "Features" on ARM
    return next(
        (frozenset(line.partition(":")[2].split()) for line in lines if line.startswith(("flags", "Features"))),
        frozenset(),
    )
