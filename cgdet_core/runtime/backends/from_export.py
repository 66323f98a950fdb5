"""Backends that run an exported network: from a file, or compiled now and kept in the cache."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from cgdet_core import __version__
from cgdet_core.errors import InputError
from cgdet_core.runtime.backends import choice
from cgdet_core.runtime.backends.base import Backend
from cgdet_core.runtime.backends.devices import cpu_flags, cpu_precision, device_name
from cgdet_core.runtime.exports import cache, reading
from cgdet_core.runtime.exports.description import METADATA_KEY, ExportInfo
from cgdet_core.runtime.model_file import ModelInfo

_RUN_BY = {".onnx": ("openvino", "onnxruntime", "tensorrt"), ".xml": ("openvino",), ".engine": ("tensorrt",)}


def open_export(path: Path, backend: str, device: str, precision: str, threads: int) -> choice.OpenedModel:
    """The export at `path`, run by one of the libraries that read it; see choice.open_model."""
    name = _library_of(path, backend, device)
    chosen_device = device_name("cpu" if device == "auto" and name == "openvino" else device)
    opened: Backend
    if path.suffix == ".engine":
        from cgdet_core.runtime.backends import tensorrt_backend

        content, description = reading.read_engine(path)
        opened = tensorrt_backend.open_engine(content, description.info, chosen_device, description.precision)
    elif path.suffix == ".xml":
        from cgdet_core.runtime.backends import openvino_backend

        network, description = reading.read_openvino(path, openvino_backend.core())
        _check_precision(path, description, name, chosen_device, precision)
        compiled = openvino_backend.compile_network(network, _of_arithmetic(precision), threads)
        opened = openvino_backend.OpenVinoBackend(compiled)
    else:
        content, description = reading.read_onnx(path)
        _check_precision(path, description, name, chosen_device, precision)
        source = {"file": hashlib.sha256(content).hexdigest()}
        of_library = description.precision if name == "tensorrt" else precision
        opened = _run_onnx(lambda: content, description.info, source, name, chosen_device, of_library, threads)
    return choice.OpenedModel(opened, description.info, description.model_sha256)


def compile_model(
    model: Path, description: ExportInfo, name: str, device: str, precision: str, threads: int
) -> Backend:
    """The network of the model file in library `name`, through the cache, which spares PyTorch's import."""

    def onnx() -> bytes:
        from cgdet_core.runtime.exports.from_model import onnx_of_model

        metadata = {METADATA_KEY: description.model_dump_json()}
        return onnx_of_model(model, metadata, half=of_file == "fp16", threads=threads)

    of_file = "fp16" if name == "tensorrt" and precision in ("auto", "fp16") else "fp32"
    source = {"model": description.model_sha256, "written_by": f"cgdet {__version__}"}
    of_library = of_file if name == "tensorrt" else precision
    return _run_onnx(onnx, description.info, source, name, device, of_library, threads)


def _run_onnx(
    onnx: Callable[[], bytes],
    info: ModelInfo,
    source: Mapping[str, str],
    name: str,
    device: str,
    precision: str,
    threads: int,
) -> Backend:
    """What takes time to make is kept in the cache; source: what the ONNX model's bytes depend on."""
    key: dict[str, object] = {"library": name, "device": device.partition(":")[0], **source}
    if name == "onnxruntime":
        from cgdet_core.runtime.backends.onnxruntime_backend import OnnxRuntimeBackend

        return OnnxRuntimeBackend(onnx() if "file" in source else _cached(key, onnx), device, threads)
    if name == "tensorrt":
        from cgdet_core.runtime.backends import tensorrt_backend

        key |= {"precision": precision, **tensorrt_backend.versions(device)}
        engine = _cached(key, lambda: tensorrt_backend.build_engine(onnx(), device))
        return tensorrt_backend.open_engine(engine, info, device, precision)
    from cgdet_core.runtime.backends import openvino_backend

    openvino = openvino_backend.library()
    arithmetic = _of_arithmetic(precision)
    key |= {"version": openvino.__version__, "precision": arithmetic, "threads": threads, "cpu": sorted(cpu_flags())}
    key["stem"] = "wide"
    kept = cache.load(key)
    compiled: Any = None if kept is None else openvino_backend.from_blob(kept, arithmetic, threads)
    if compiled is None:
        compiled = openvino_backend.compile_onnx(onnx(), arithmetic, threads)
        cache.store(key, openvino_backend.to_blob(compiled))
    return openvino_backend.OpenVinoBackend(compiled)


def _cached(key: dict[str, object], make: Callable[[], bytes]) -> bytes:
    content = cache.load(key)
    if content is None:
        content = make()
        cache.store(key, content)
    return content


def _of_arithmetic(precision: str) -> str:
    """The precision of what is not int8 in the file."""
    return precision if precision in ("fp32", "bf16") else cpu_precision()


def _library_of(path: Path, backend: str, device: str) -> str:
    able = _RUN_BY[path.suffix]
    if backend != "auto":
        if backend not in able:
            raise InputError(f"{path}: backend {backend} does not run it: use {' or '.join(able)}, or the .safetensors")
        return backend
    on_gpu = device.startswith("cuda")
    preferred = [name for name in able if not on_gpu or name != "openvino"]
    if not preferred:
        raise InputError(f"{path}: runs on the CPU alone: use device cpu, or the .safetensors")
    for name in preferred:
        if choice.usable(name):
            return name
    return preferred[0]  # whose absence is told with its remedy


def _check_precision(path: Path, description: ExportInfo, name: str, device: str, precision: str) -> None:
    wanted = description.precision if precision == "auto" else precision
    if (description.precision == "int8") != (wanted == "int8"):
        raise InputError(
            f"{path}: is of precision {description.precision}, which does not become {precision}: use precision auto"
        )
    if name == "tensorrt" and wanted != description.precision:
        raise InputError(f"{path}: TensorRT runs it in {description.precision} as it is written: use precision auto")
    choice.check_combination(name, device, "auto" if wanted == "fp32" else wanted)
