"""Which backend runs a model, and the model made ready for it.

`auto` follows docs/backends.md, where every backend was timed in turns: on the CPU OpenVINO is the
fastest in every precision; PyTorch in bf16 comes before ONNX Runtime, which has fp32 alone, and in
fp32 after it. On a GPU it takes PyTorch; TensorRT was never measured and is taken by name only.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cgdet_core.errors import InputError
from cgdet_core.files import sha256_of
from cgdet_core.runtime.backends.base import Backend
from cgdet_core.runtime.backends.devices import cpu_precision, device_name
from cgdet_core.runtime.backends.libraries import is_installed, need
from cgdet_core.runtime.exports.description import SUFFIXES, ExportInfo, export_path, is_export
from cgdet_core.runtime.model_file import ModelInfo, load_model, read_info

BACKENDS = ("auto", "torch", "openvino", "onnxruntime", "tensorrt")
PRECISIONS = ("auto", "fp32", "fp16", "bf16", "int8")
# backend -> precisions on the CPU and on a GPU
_SUPPORTED: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "torch": (("fp32", "bf16"), ("fp32", "fp16", "bf16")),
    "openvino": (("fp32", "bf16", "int8"), ()),
    "onnxruntime": (("fp32",), ("fp32",)),
    "tensorrt": ((), ("fp32", "fp16", "int8")),
}

_log = logging.getLogger("cgdet")


@dataclass(frozen=True)
class OpenedModel:
    """A model ready to run; model_sha256 is that of the .safetensors, of an export too."""

    backend: Backend
    info: ModelInfo
    model_sha256: str


def open_model(path: Path, backend: str, device: str, precision: str, threads: int) -> OpenedModel:
    """The model file or export at `path` in the backend asked for. Raises InputError for what cannot be had.

    threads: CPU threads of the network, 0 leaves the library's choice. PyTorch knows one number for the
    whole process, which is set where PyTorch runs the network; other libraries leave it alone.
    """
    if backend not in BACKENDS:
        raise InputError(f"backend '{backend}' is unknown: use {', '.join(BACKENDS)}")
    if precision not in PRECISIONS:
        raise InputError(f"precision '{precision}' is unknown: use {', '.join(PRECISIONS)}")
    if path.suffix == SUFFIXES["torchscript"]:
        raise InputError(f"{path}: TorchScript holds code and is not loaded: give the .safetensors, .onnx or .xml file")
    if is_export(path):
        from cgdet_core.runtime.backends.from_export import open_export

        return open_export(path, backend, device, precision, threads)
    info = read_info(path)  # a model that is none is told before a device that is none
    chosen_device = device_name(device)
    name = choose_backend(chosen_device, precision) if backend == "auto" else backend
    check_combination(name, chosen_device, precision)
    if name == "torch":
        return _open_torch(path, chosen_device, precision, threads)
    from cgdet_core.runtime.backends import from_export

    beside = _beside(path, name, precision)
    if beside is not None:
        return from_export.open_export(beside, name, chosen_device, precision, threads)
    if precision == "int8":
        raise InputError(
            f"{path}: precision int8 needs a calibrated export beside it: cgdet export --model {path} --format onnx "
            "--precision int8 --calibration COCO.json"
        )
    description = ExportInfo(format="onnx", model_sha256=sha256_of(path), info=info)
    compiled = from_export.compile_model(path, description, name, chosen_device, precision, threads)
    return OpenedModel(compiled, info, description.model_sha256)


def _open_torch(path: Path, device: str, precision: str, threads: int) -> OpenedModel:
    import torch

    from cgdet_core.runtime.backends.cuda_backend import CudaBackend
    from cgdet_core.runtime.backends.torch_backend import TorchBackend

    if threads > 0:
        torch.set_num_threads(threads)
    detector, info = load_model(path)
    place = torch.device(device)
    opened: Backend
    if place.type == "cuda":
        opened = CudaBackend(detector, info, place, precision)
    else:
        opened = TorchBackend(detector, place, precision)
    return OpenedModel(opened, info, sha256_of(path))


def choose_backend(device: str, precision: str) -> str:
    """What `auto` is: see the top of this file."""
    if device != "cpu":
        return "torch"
    wanted = cpu_precision() if precision == "auto" else precision
    names = ("openvino", "torch") if wanted == "bf16" else ("openvino", "onnxruntime", "torch")
    for name in names:
        if wanted in _SUPPORTED[name][0] and usable(name):
            return name
    return "openvino" if precision == "int8" else "torch"


def usable(name: str) -> bool:
    """Whether the library of a backend is there and can be imported; one that is broken is told in the log."""
    if not is_installed(name):
        return False
    try:
        need(name, f"backend {name}", name)
    except InputError as error:
        _log.warning("%s; going on without it", error)
        return False
    return True


def check_combination(name: str, device: str, precision: str) -> None:
    """InputError where a backend does not run on a device, or not in that precision."""
    on_gpu = device != "cpu"
    supported = _SUPPORTED[name][on_gpu]
    if not supported:
        raise InputError(
            f"backend {name} does not run on device {device}: use backend {'torch' if on_gpu else 'openvino or torch'}"
        )
    if precision != "auto" and precision not in supported:
        raise InputError(
            f"precision '{precision}' is not executed by backend {name} on {device}: use auto, {', '.join(supported)}"
        )


def _beside(model: Path, name: str, precision: str) -> Path | None:
    """The export beside the model file that serves a backend, if there is one."""
    formats: dict[str, Any] = {"openvino": ("openvino", "onnx"), "onnxruntime": ("onnx",), "tensorrt": ("tensorrt",)}
    of_file = precision if precision == "int8" else "fp16" if name == "tensorrt" and precision != "fp32" else "fp32"
    places = [export_path(model, format_name, of_file) for format_name in formats[name]]
    return next((place for place in places if place.is_file()), None)
