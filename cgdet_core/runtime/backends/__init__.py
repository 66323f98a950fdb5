"""Which library runs a model, and the model opened in it.

`auto` follows docs/guides/deploy.md: on the CPU OpenVINO is the fastest in every precision. On a GPU it takes PyTorch
for a .safetensors; for an .onnx ONNX Runtime's CUDA provider in fp32, TensorRT in fp16.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cgdet_core.errors import InputError, check_known
from cgdet_core.runtime.backends.base import Backend, check_device_name, has_gpu_driver, int8_pays, is_installed, need
from cgdet_core.runtime.model_file import ModelDescription, check_is_file, default_model_path


@dataclass(frozen=True)
class _Library:
    """module: what Python imports; reads: suffixes of model files; on_cpu, on_gpu: precisions that it executes."""

    module: str
    reads: tuple[str, ...]
    on_cpu: tuple[str, ...]
    on_gpu: tuple[str, ...]


# in the order of `auto`
_LIBRARIES: Final = {
    "openvino": _Library("openvino", (".safetensors", ".onnx"), ("fp32", "bf16", "int8"), ()),
    "torch": _Library("torch", (".safetensors",), ("fp32", "bf16"), ("fp32", "fp16", "bf16")),
    "onnxruntime": _Library("onnxruntime", (".onnx",), ("fp32", "int8"), ("fp32",)),
    "tensorrt": _Library("onnxruntime", (".onnx",), (), ("fp32", "fp16")),
}
_PRECISIONS: Final = ("auto", "fp32", "fp16", "bf16", "int8")


def open_model(
    path: Path,
    backend: str,
    device: str,
    precision: str,
    threads: int,
    input_height_width_px: tuple[int, int] | None = None,
) -> tuple[Backend, ModelDescription]:
    """The model file at `path` in the backend asked for. Raises InputError for what cannot be had.

    threads: CPU threads of the network, 0 leaves the library's choice; of PyTorch those of the whole process.
    input_height_width_px: of a detector, in place of the model's own; the description has it then.
    """
    device, name = choose_how(path, backend, device, precision)
    if name == "torch":
        from cgdet_core.runtime.backends.torch import open_torch

        return open_torch(path, device, precision, threads, input_height_width_px)
    if name == "openvino":
        from cgdet_core.runtime.backends.openvino import open_openvino

        return open_openvino(path, precision, threads, input_height_width_px)
    from cgdet_core.runtime.backends.onnxruntime import open_onnxruntime

    return open_onnxruntime(path, name, device, precision, threads, input_height_width_px)


def choose_how(path: Path, backend: str, device: str, precision: str) -> tuple[str, str]:
    """The device and the backend that run the model file at `path`; InputError where none does."""
    check_is_file(path)
    if path.suffix == ".safetensors":
        need("torch", f"{path}: a .safetensors", "train")
    device = device_name(device, path.suffix)
    return device, choose_backend(path, backend, device, precision)


def shipped_model(backend: str, device: str, precision: str = "auto", task: str = "detection") -> Path:
    """The shipped model of a task, as it runs best there: with PyTorch and on a GPU the .safetensors; the detector in
    int8 where that is asked for, or left open and the fastest; else the .onnx in float32."""
    may_be = backend == "auto" and device != "cpu" and is_installed("torch")
    if backend == "torch" or (may_be and device_name(device, ".safetensors") != "cpu"):
        return default_model_path(".safetensors", task)
    in_int8 = precision == "int8" or (precision == "auto" and int8_pays() and device_name(device, ".onnx") == "cpu")
    return default_model_path(".int8.onnx" if in_int8 and task == "detection" else ".onnx", task)


def read_metadata(path: Path) -> Mapping[str, str]:
    """What an .onnx says of itself, read by whichever library is installed."""
    if is_installed("openvino"):
        from cgdet_core.runtime.backends.openvino import metadata_of, read_network

        return metadata_of(read_network(path))
    from cgdet_core.runtime.backends.onnxruntime import session_of

    found: dict[str, str] = session_of(path, ["CPUExecutionProvider"], 1).get_modelmeta().custom_metadata_map
    return found


def device_name(device: str, suffix: str) -> str:
    """auto, cpu, cuda or cuda:N -> cpu or cuda:N, for a model file of `suffix`; InputError where there is none."""
    check_device_name(device)
    if device == "cpu" or (device == "auto" and not has_gpu_driver()):
        return "cpu"
    if suffix == ".safetensors":
        from cgdet_core.runtime.backends.torch import choose_device

        return str(choose_device(device))
    if device == "auto":
        on_gpu = suffix == ".onnx" and is_installed("onnxruntime")
        providers = need("onnxruntime", "backend onnxruntime").get_available_providers() if on_gpu else []
        return "cuda:0" if "CUDAExecutionProvider" in providers else "cpu"
    return device


def choose_backend(path: Path, backend: str, device: str, precision: str) -> str:
    """`backend`, or what `auto` is (see the top of this file); InputError where none runs the file at `path` so."""
    readers = {name: library for name, library in _LIBRARIES.items() if path.suffix in library.reads}
    if not readers:
        raise InputError(f"{path}: is not a model file: give a .safetensors or .onnx")
    check_known("", "backend", [backend], ("auto", *_LIBRARIES))
    check_known("", "precision", [precision], _PRECISIONS)
    if backend not in ("auto", *readers):
        raise InputError(f"{path}: backend '{backend}' cannot run it: use auto or {' or '.join(readers)}")
    able = {
        name: library.on_cpu if device == "cpu" else library.on_gpu
        for name, library in readers.items()
        if backend in ("auto", name)
    }
    fitting = [name for name, executed in able.items() if precision in executed or (executed and precision == "auto")]
    if not fitting:
        there = "; ".join(f"{name} runs {', '.join(executed) or 'nothing'}" for name, executed in able.items())
        raise InputError(f"{path}: {there} on {device}, not '{precision}': give another device, backend or precision")
    if backend != "auto":
        return backend
    # where none is there, the absence of the first is told with its remedy
    return next((name for name in fitting if is_installed(_LIBRARIES[name].module)), fitting[0])
