"""Which library runs a model, and the model opened in it.

`auto` follows docs/backends.md, where every backend was timed in turns: on the CPU OpenVINO is the
fastest in every precision. On a GPU it takes PyTorch for a .safetensors; for an .onnx ONNX Runtime's CUDA
provider in fp32, TensorRT in fp16.
"""

from __future__ import annotations

import logging
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cgdet_core.errors import InputError
from cgdet_core.runtime.backends.base import OpenedModel, has_gpu_driver, is_installed, need
from cgdet_core.runtime.model_file import default_model_path

PRECISIONS: Final = ("auto", "fp32", "fp16", "bf16", "int8")


@dataclass(frozen=True)
class _Library:
    """module: what Python imports; reads: suffixes of model files; on_cpu, on_gpu: precisions that it executes."""

    module: str
    reads: tuple[str, ...]
    on_cpu: tuple[str, ...]
    on_gpu: tuple[str, ...]


# in the order of `auto`
_LIBRARIES: Final = {
    "openvino": _Library("openvino", (".safetensors", ".onnx", ".xml"), ("fp32", "bf16", "int8"), ()),
    "torch": _Library("torch", (".safetensors",), ("fp32", "bf16"), ("fp32", "fp16", "bf16")),
    "onnxruntime": _Library("onnxruntime", (".onnx",), ("fp32",), ("fp32",)),
    "tensorrt": _Library("onnxruntime", (".onnx",), (), ("fp32", "fp16")),
}
BACKENDS: Final = ("auto", *_LIBRARIES)

_log = logging.getLogger("cgdet")


def open_model(path: Path, backend: str, device: str, precision: str, threads: int) -> OpenedModel:
    """The model file at `path` in the backend asked for. Raises InputError for what cannot be had.

    threads: CPU threads of the network, 0 leaves the library's choice. PyTorch knows one number for the
    whole process, which is set where PyTorch runs the network; other libraries leave it alone.
    """
    if backend not in BACKENDS:
        raise InputError(f"backend '{backend}' is unknown: use {', '.join(BACKENDS)}")
    if precision not in PRECISIONS:
        raise InputError(f"precision '{precision}' is unknown: use {', '.join(PRECISIONS)}")
    readers = [name for name, library in _LIBRARIES.items() if path.suffix in library.reads]
    if not readers:
        raise InputError(f"{path}: is no model file: give a .safetensors, .onnx or .xml")
    if not path.is_file():
        raise InputError(f"{path}: model file is missing: give one written by cgdet train or cgdet export")
    if backend not in ("auto", *readers):
        raise InputError(f"{path}: backend {backend} does not run it: use {' or '.join(readers)}")
    device = device_name(device, path.suffix)
    name = choose_backend(path.suffix, device, precision) if backend == "auto" else backend
    _check_combination(name, device, precision)
    if name == "torch":
        from cgdet_core.runtime.backends.torch import open_torch

        return open_torch(path, device, precision, threads)
    if name == "openvino":
        from cgdet_core.runtime.backends.openvino import open_openvino

        return open_openvino(path, precision, threads)
    from cgdet_core.runtime.backends.onnxruntime import open_onnxruntime

    return open_onnxruntime(path, name, device, precision, threads)


def shipped_model(backend: str = "auto", device: str = "auto") -> Path:
    """The shipped model, in the form that runs best there: the .onnx, with PyTorch and on a GPU the .safetensors."""
    in_torch = backend == "torch" or (backend == "auto" and device_name(device, ".safetensors") != "cpu")
    return default_model_path(".safetensors" if in_torch else ".onnx")


def read_metadata(path: Path) -> dict[str, str]:
    """What an .onnx or .xml says of itself, read by whichever library is installed."""
    if path.suffix == ".xml" or not is_installed("onnxruntime") or is_installed("openvino"):
        from cgdet_core.runtime.backends.openvino import metadata_of, read_network

        return metadata_of(read_network(path))
    from cgdet_core.runtime.backends.onnxruntime import session_of

    return dict(session_of(path, ["CPUExecutionProvider"], 1).get_modelmeta().custom_metadata_map)


def device_name(device: str, suffix: str) -> str:
    """auto, cpu, cuda or cuda:N -> cpu or cuda:N, for a model file of `suffix`; InputError where there is none."""
    if device == "cpu" or (device == "auto" and not has_gpu_driver()):
        return "cpu"
    if suffix == ".safetensors":
        from cgdet_core.runtime.backends.torch import choose_device

        return str(choose_device(device))
    if device == "auto":
        on_gpu = suffix == ".onnx" and is_installed("onnxruntime")
        providers = need("onnxruntime", "backend onnxruntime").get_available_providers() if on_gpu else []
        return "cuda:0" if "CUDAExecutionProvider" in providers else "cpu"
    if not re.fullmatch(r"cuda(:\d+)?", device):
        raise InputError(f"device '{device}' is unknown: use auto, cpu or cuda:N")
    return device


def choose_backend(suffix: str, device: str, precision: str) -> str:
    """What `auto` is: see the top of this file."""
    able = {
        name: library.on_cpu if device == "cpu" else library.on_gpu
        for name, library in _LIBRARIES.items()
        if suffix in library.reads
    }
    fitting = [name for name, executed in able.items() if precision in executed or (executed and precision == "auto")]
    for name in fitting:
        if usable(name):
            return name
    return next(iter(fitting or able))  # whose absence, or inability, is told with its remedy


def usable(name: str) -> bool:
    """Whether the library of a backend is there and can be imported; one that is broken is told in the log."""
    if not is_installed(_LIBRARIES[name].module):
        return False
    try:
        need(_LIBRARIES[name].module, f"backend {name}")
    except InputError as error:
        _log.warning("%s; going on without it", error)
        return False
    return True


def _check_combination(name: str, device: str, precision: str) -> None:
    """InputError where a backend does not run on a device, or not in that precision."""
    library = _LIBRARIES[name]
    supported = library.on_cpu if device == "cpu" else library.on_gpu
    if not supported:
        other = "openvino, torch or onnxruntime" if device == "cpu" else "torch or onnxruntime"
        raise InputError(f"backend {name} does not run on device {device}: use backend {other}")
    if precision != "auto" and precision not in supported:
        raise InputError(
            f"precision '{precision}' is not executed by backend {name} on {device}: use auto, {', '.join(supported)}"
        )
