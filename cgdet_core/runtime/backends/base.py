"""What all backends share: their interface, what the machine can do, and libraries that may be missing."""

from __future__ import annotations

import importlib
import importlib.util
import os
import re
import sys
from functools import cache
from pathlib import Path
from typing import Any, Final, Protocol

from cgdet_core.errors import InputError, unknown
from cgdet_core.types import FloatArray

INPUT: Final = "image"
OUTPUTS: Final = {"detection": ("class_logits", "box_logits"), "landmarks": ("map_logits",)}  # of each task

# what the drivers of NVIDIA's GPUs, of Jetson's, of WSL and of AMD's put into /dev
_GPU_NODES: Final = ("nvidia*", "nvgpu*", "nvhost*", "nvmap", "dxg", "kfd")


# What the network says of one picture, float32, in the order of OUTPUTS. Detection, of A cells, stride 8 first, row by
# row: class_logits [A, C]; box_logits [A, 4 * bins], distances left, top, right, bottom in strides. Landmarks:
# map_logits [68, S / 8, S / 8].
RawOutput = tuple[FloatArray, ...]


class Backend(Protocol):
    """A network that is loaded and can be run.

    name: as the user names it; device: cpu or cuda:N; precision: the one that is executed (fp32, fp16,
    bf16, int8), asked of the library where it tells.
    """

    name: str
    device: str
    precision: str

    def infer(self, canvas: FloatArray) -> RawOutput:
        """The network's output for `canvas`, float32 [H, W] in [0, 1] of the model's input size; finished on return.

        The arrays are valid until the next call.
        """
        ...


def is_installed(module: str) -> bool:
    """Whether `module` can be found; it is not imported."""
    return importlib.util.find_spec(module) is not None


def need(module: str, what: str, requirements: str = "") -> Any:
    """Import `module`; InputError with the remedy where it is missing or broken.

    what: who needs it, such as "backend openvino"; requirements: the file in requirements/ with its bounds.
    """
    # These would tell their makers that they were used. A vehicle sends nothing home: OpenVINO goes without
    # the package that does it, ONNX Runtime (from 1.31 on) reads the variable.
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    try:
        return importlib.import_module(module)
    except (ImportError, OSError, RuntimeError) as error:
        reason = " ".join(str(error).split())
        raise InputError(
            f"{what} needs {module}, which cannot be imported ({reason}): "
            f"pip install -r requirements/{requirements or module}.txt"
        ) from None


def of_one_size(path: Path, height_width_px: tuple[int, int]) -> InputError:
    """What is wrong where the export at `path` has one size of input alone, which is not this one."""
    size = "x".join(map(str, height_width_px))
    return InputError(f"{path}: was exported for another size than {size} alone: export it again")


def check_device_name(device: str) -> None:
    """InputError where `device` is none of auto, cpu, cuda and cuda:N."""
    if not re.fullmatch(r"auto|cpu|cuda(:\d+)?", device):
        raise unknown("", "device", device, ("auto", "cpu", "cuda", "cuda:N"))


def cache_folder() -> Path:
    """Where libraries keep what they compiled: $XDG_CACHE_HOME/cgdet, or ~/.cache/cgdet."""
    base = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(base) if os.path.isabs(base) else Path("~/.cache").expanduser()) / "cgdet"


def usable_cores() -> int:
    """CPU cores that this process may run on."""
    return len(os.sched_getaffinity(0))


def has_gpu_driver(dev: Path = Path("/dev")) -> bool:
    """Whether it is worth to ask a library for a GPU: PyTorch's import alone would be half of a node's memory."""
    return any(next(dev.glob(pattern), None) is not None for pattern in _GPU_NODES)


def cpu_precision() -> str:
    """What `auto` is on this CPU: bf16 where it has instructions for it (docs/guides/deploy.md), else fp32."""
    return "bf16" if cpu_flags() & {"amx_bf16", "avx512_bf16", "bf16"} else "fp32"


def int8_pays() -> bool:
    """Whether int8 is the fastest here: on x86 from AVX2 on, but with AMX bf16 is as fast (docs/evidence/speed.md)."""
    return cpu_flags() & {"avx2", "amx_bf16"} == {"avx2"}


def cpu_flags() -> set[str]:
    """What the first CPU can do; x86 and ARM have different words."""
    return {*cpu_facts().get("flags", "").split(), *cpu_facts().get("Features", "").split()}


@cache
def cpu_facts(path: Path = Path("/proc/cpuinfo")) -> dict[str, str]:
    """What the kernel says of the first CPU, in its words; empty where there is no such file."""
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return {}
    parts = (line.partition(":") for line in reversed(lines))
    return {name.strip(): value.strip() for name, _, value in parts}
