"""Exports read from disk, checked against what they say of themselves and the model they lie beside."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from cgdet_core.errors import InputError
from cgdet_core.files import sha256_of
from cgdet_core.runtime.exports.description import METADATA_KEY, ExportInfo, check_beside, parse_description
from cgdet_core.runtime.exports.onnx_graph import read_metadata

ENGINE_MAGIC: Final = b"cgdet engine 1\n"
WEIGHTS_KEY: Final = "cgdet_weights_sha256"  # of the .bin beside an OpenVINO .xml


def read_onnx(path: Path) -> tuple[bytes, ExportInfo]:
    """An ONNX model's bytes and description."""
    content = _read(path)
    info = parse_description(path, read_metadata(content, str(path)).get(METADATA_KEY))
    check_beside(path, info)
    return content, info


def read_openvino(path: Path, core: Any) -> tuple[Any, ExportInfo]:
    """An openvino.Model and its description; its weights lie beside it as .bin."""
    weights = path.with_suffix(".bin")
    _read(path)
    if not weights.is_file():
        raise InputError(f"{weights}: the weights of {path.name} are missing: copy both files")
    try:
        model = core.read_model(path)
        known = model.get_rt_info()
        text = known[METADATA_KEY].astype(str) if METADATA_KEY in known else None
        stated = known[WEIGHTS_KEY].astype(str) if WEIGHTS_KEY in known else None
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:200]
        raise InputError(f"{path}: OpenVINO cannot read it ({reason}): export it again") from None
    info = parse_description(path, text)
    if stated != sha256_of(weights):
        raise InputError(f"{weights}: is not the file that {path.name} was written with: copy or export both again")
    check_beside(path, info)
    return model, info


def read_engine(path: Path) -> tuple[bytes, ExportInfo]:
    """A TensorRT engine's bytes and description."""
    content = _read(path)
    if not content.startswith(ENGINE_MAGIC):
        raise InputError(f"{path}: was not written by cgdet export: it does not say what model it is")
    text, _, engine = content[len(ENGINE_MAGIC) :].partition(b"\n")
    info = parse_description(path, text.decode("utf-8", errors="replace"))
    check_beside(path, info)
    return engine, info


def describe(path: Path) -> ExportInfo:
    """What the export at `path` says of itself."""
    if path.suffix == ".onnx":
        return read_onnx(path)[1]
    if path.suffix == ".engine":
        return read_engine(path)[1]
    from cgdet_core.runtime.backends.openvino_backend import core

    return read_openvino(path, core())[1]


def _read(path: Path) -> bytes:
    if path.is_dir():
        raise InputError(f"{path}: is a folder: give the file in it")
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise InputError(f"{path}: the export is missing: make it with cgdet export") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}): copy it again") from None
