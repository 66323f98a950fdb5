"""What all backends share: their interface, what the machine can do, and libraries that may be missing."""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final, Protocol

from cgdet_core.errors import InputError
from cgdet_core.runtime.model_file import ModelInfo
from cgdet_core.types import FloatArray

INPUT: Final = "image"
OUTPUTS: Final = ("class_logits", "box_logits")

# Who imports these would have them tell their maker that they were used. A vehicle sends nothing home.
_TELEMETRY: Final = "openvino_telemetry"
_NO_TELEMETRY: Final = "ORT_DISABLE_TELEMETRY"  # read by ONNX Runtime at its import, from 1.31 on
# what the drivers of NVIDIA's GPUs, of Jetson's, of WSL and of AMD's put into /dev
_GPU_NODES: Final = ("nvidia*", "nvgpu*", "nvhost*", "nvmap", "dxg", "kfd")


@dataclass(frozen=True)
class RawOutput:
    """What the network says of one picture's A cells, stride 8 first, row by row (tasks/detection/head.py).

    class_logits: float32 [A, C]; box_logits: float32 [A, 4 * bins], distances left, top, right,
    bottom in strides.
    """

    class_logits: FloatArray
    box_logits: FloatArray


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


@dataclass(frozen=True)
class OpenedModel:
    """A model ready to run; model_sha256 is that of the .safetensors, of an export too."""

    backend: Backend
    info: ModelInfo
    model_sha256: str


def is_installed(module: str) -> bool:
    """Whether `module` can be found; it is not imported."""
    try:
        return importlib.util.find_spec(module) is not None
    except (ImportError, ValueError):
        return False


def need(module: str, what: str, requirements: str = "") -> Any:
    """Import `module`; InputError with the remedy where it is missing or broken.

    what: who needs it, such as "backend openvino"; requirements: the file in requirements/ with its bounds.
    """
    os.environ.setdefault(_NO_TELEMETRY, "1")
    remedy = f"pip install -r requirements/{requirements or module}.txt"
    try:
        with _without(_TELEMETRY):
            return importlib.import_module(module)
    except ModuleNotFoundError as error:
        missing = f"{module}, which is not installed" if error.name == module else f"{error.name} for {module}"
        raise InputError(f"{what} needs {missing}: {remedy}") from None
    except (ImportError, OSError, RuntimeError) as error:
        reason = " ".join(str(error).split())
        raise InputError(f"{what}: {module} cannot be imported ({reason}): {remedy}") from None


@contextmanager
def _without(module: str) -> Iterator[None]:
    """As if `module` were not installed, unless it is imported already; who imports it goes without."""
    if module in sys.modules:
        yield
        return
    sys.modules[module] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        del sys.modules[module]


def cache_folder() -> Path:
    """Where libraries keep what they compiled: $XDG_CACHE_HOME/cgdet, or ~/.cache/cgdet."""
    base = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(base) if os.path.isabs(base) else Path("~/.cache").expanduser()) / "cgdet"


def usable_cores() -> int:
    """CPU cores that this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def has_gpu_driver(dev: Path = Path("/dev")) -> bool:
    """Whether it is worth to ask a library for a GPU: PyTorch's import alone would be half of a node's memory."""
    return any(next(dev.glob(pattern), None) is not None for pattern in _GPU_NODES)


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
    words = (line.partition(":")[2].split() for line in lines if line.startswith(("flags", "Features")))
    return frozenset(next(words, []))
