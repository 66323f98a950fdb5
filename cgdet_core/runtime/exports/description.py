"""What an export says of itself, and where it lies."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final, Literal

from pydantic import Field, ValidationError

from cgdet_core.config import Settings
from cgdet_core.errors import InputError
from cgdet_core.files import sha256_of
from cgdet_core.runtime.model_file import ModelInfo

EXPORT_VERSION: Final = 1
METADATA_KEY: Final = "cgdet"
INPUT: Final = "image"
OUTPUTS: Final = ("class_logits", "box_logits")
SUFFIXES: Final = {"onnx": ".onnx", "openvino": ".xml", "torchscript": ".torchscript", "tensorrt": ".engine"}
LOADED_SUFFIXES: Final = (".onnx", ".xml", ".engine")  # TorchScript is for others: it holds code
_MARKS: Final = (".int8", ".fp16")  # of a precision, between name and suffix


class ExportInfo(Settings):
    """The description that every export carries."""

    export_version: Literal[1] = EXPORT_VERSION
    format: Literal["onnx", "openvino", "torchscript", "tensorrt"]
    precision: Literal["fp32", "fp16", "int8"] = Field("fp32", description="of the file's arithmetic")
    model_sha256: str = Field(min_length=64, max_length=64, description="of the .safetensors it was made from")
    info: ModelInfo = Field(description="what that file says of itself")
    calibration: dict[str, Any] = Field(default_factory=dict, description="frames that int8 was scaled by")


def parse_description(path: Path, text: str | None) -> ExportInfo:
    """The description of the export at `path`; InputError where it has none, or one of another version."""
    if text is None:
        raise InputError(f"{path}: was not written by cgdet export: it does not say what model it is")
    try:
        document = json.loads(text)
        version = document.get("export_version") if isinstance(document, dict) else None
        if version == EXPORT_VERSION:
            return ExportInfo.model_validate(document)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        raise InputError(f"{path}: its description is odd at '{key}': {first['msg']}: export it again") from None
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: its description is not JSON ({error}): export it again") from None
    raise InputError(
        f"{path}: is an export of version {version}, this cgdet reads {EXPORT_VERSION}: export the model again"
    )


def is_export(path: Path) -> bool:
    return path.suffix in LOADED_SUFFIXES


def export_path(model: Path, format_name: str, precision: str) -> Path:
    """Where an export of `model` lies: detector.safetensors -> detector.onnx, detector.int8.onnx."""
    mark = f".{precision}" if f".{precision}" in _MARKS else ""
    return model.with_name(f"{model.name.removesuffix('.safetensors')}{mark}{SUFFIXES[format_name]}")


def model_beside(export: Path) -> Path:
    """The .safetensors that an export lies beside, whether it is there or not."""
    name = export.name.removesuffix(export.suffix)
    for mark in _MARKS:
        name = name.removesuffix(mark)
    return export.with_name(f"{name}.safetensors")


def check_beside(export: Path, info: ExportInfo) -> None:
    """InputError where `export` lies beside a model file that it was not made from."""
    model = model_beside(export)
    if model.is_file() and sha256_of(model) != info.model_sha256:
        raise InputError(
            f"{export}: was made from another model than {model.name} beside it: "
            f"cgdet export --model {model} --format {info.format}, or take it away"
        )
