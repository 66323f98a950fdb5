"""Exports written: each beside, to be checked there, and then put in its place."""

from __future__ import annotations

import io
import os
import shutil
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from cgdet_core.errors import InputError
from cgdet_core.files import make_folder, sha256_of
from cgdet_core.runtime.exports.description import METADATA_KEY, SUFFIXES, ExportInfo
from cgdet_core.runtime.exports.network_onnx import Ranges, network_onnx
from cgdet_core.runtime.exports.reading import ENGINE_MAGIC, WEIGHTS_KEY
from cgdet_core.runtime.exports.recording import RawNetwork
from cgdet_core.tasks.detection.head import Detector


def write_export(
    path: Path, detector: Detector, info: ExportInfo, ranges: Ranges | None = None, device: str = "auto"
) -> None:
    """Write the export that `info` describes at `path`, which has its format's suffix.

    detector: with batch norm folded, float32, on the CPU; ranges: of the convolutions to be executed
    in int8; device: the GPU that a TensorRT engine is built on.
    """
    if path.suffix != SUFFIXES[info.format]:
        raise InputError(f"{path}: an export as {info.format} ends in {SUFFIXES[info.format]}: name it so")
    description = info.model_dump_json()
    if info.format == "torchscript":
        path.write_bytes(_torchscript(detector, info.info.input_height_width_px, description))
        return
    size, metadata = info.info.input_height_width_px, {METADATA_KEY: description}
    onnx = network_onnx(detector, size, metadata, ranges, half=info.precision == "fp16")
    if info.format == "onnx":
        path.write_bytes(onnx)
    elif info.format == "openvino":
        _write_openvino(path, onnx, description)
    else:
        from cgdet_core.runtime.backends.devices import device_name
        from cgdet_core.runtime.backends.tensorrt_backend import build_engine

        engine = build_engine(onnx, device_name(device))
        path.write_bytes(ENGINE_MAGIC + description.encode() + b"\n" + engine)


def _write_openvino(path: Path, onnx: bytes, description: str) -> None:
    from cgdet_core.runtime.backends.openvino_backend import core, library

    openvino = library()
    try:
        network = core().read_model(onnx)
        network.set_rt_info(description, METADATA_KEY)
        openvino.save_model(network, path, compress_to_fp16=False)
        # the .xml says which .bin is its own
        network.set_rt_info(sha256_of(path.with_suffix(".bin")), WEIGHTS_KEY)
        openvino.save_model(network, path, compress_to_fp16=False)
    except RuntimeError as error:
        raise InputError(f"{path.name}: OpenVINO cannot write it: {' '.join(str(error).split())[:200]}") from None


def _torchscript(detector: Detector, height_width_px: tuple[int, int], description: str) -> bytes:
    buffer = io.BytesIO()
    with warnings.catch_warnings(), torch.no_grad():
        # PyTorch would have its own formats used; other programs read this one
        warnings.simplefilter("ignore")
        network = RawNetwork(detector).eval().requires_grad_(False)
        traced = torch.jit.trace(network, torch.zeros(1, 1, *height_width_px), check_trace=False)  # type: ignore[no-untyped-call]
        torch.jit.save(torch.jit.freeze(traced), buffer, _extra_files={METADATA_KEY: description})
    return buffer.getvalue()


@contextmanager
def beside(path: Path) -> Iterator[Path]:
    """Yield a path of `path`'s name in a folder of its own; on success its files replace those at `path`, else none.

    InputError, with the reason, where the disk refuses.
    """
    if path.is_dir():
        raise InputError(f"{path}: is a folder: give a file")
    make_folder(path.parent)
    folder = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
    try:
        yield folder / path.name
        # the file that names the other one comes last
        for file in sorted(folder.iterdir(), key=lambda file: file.name == path.name):
            with file.open("rb") as handle:
                os.fsync(handle.fileno())
            os.replace(file, path.with_name(file.name))
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror or error}): choose another place") from None
    finally:
        shutil.rmtree(folder, ignore_errors=True)
