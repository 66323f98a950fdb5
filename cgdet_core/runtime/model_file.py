"""The model file: one .safetensors with weights and a JSON description, or an .onnx made of it; never a pickle.

The file's metadata hold the key `cgdet` with JSON: format version, architecture and widths, class
names, input size, normalisation, default thresholds, training data and scores. Reading them, and
where the shipped model lies, imports no PyTorch: a vehicle needs none.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np
from pydantic import Field, ValidationError, field_validator
from safetensors import SafetensorError, safe_open

from cgdet_core.config import ModelConfig, PostprocessConfig, Settings, ThermalConfig
from cgdet_core.errors import InputError
from cgdet_core.files import sha256_of, write_tensors

if TYPE_CHECKING:
    from torch import Tensor

    from cgdet_core.model.network import Network
    from cgdet_core.tasks.detection.head import Detector

FORMAT_VERSION: Final = 1
ARCHITECTURE: Final = "cgdet-csp-pan-dfl"
METADATA_KEY: Final = "cgdet"
EXPORT_SUFFIXES: Final = (".onnx", ".xml")


class ModelInfo(Settings):
    """All a model file says of itself besides its weights."""

    format_version: Literal[1] = FORMAT_VERSION
    architecture: Literal["cgdet-csp-pan-dfl"] = ARCHITECTURE
    model: ModelConfig
    thermal: ThermalConfig = ThermalConfig()
    postprocess: PostprocessConfig = PostprocessConfig()
    parameters: int = Field(0, ge=0, description="trained values, filled in when written; checked when read")
    training: dict[str, Any] = Field(default_factory=dict, description="data, recipe, seed, length")
    scores: dict[str, Any] = Field(default_factory=dict, description="figures with their data set and command")

    @field_validator("training")
    @classmethod
    def _frames_of_each_set(cls, value: dict[str, Any]) -> dict[str, Any]:
        data = value.get("data", {})
        if not isinstance(data, dict) or not all(type(frames) is int for frames in data.values()):
            raise ValueError("its data must be names of sets with their numbers of frames")
        return value

    @property
    def class_names(self) -> tuple[str, ...]:
        return self.model.class_names

    @property
    def input_height_width_px(self) -> tuple[int, int]:
        return self.model.input_height_width_px


def save_model(path: Path, detector: Network, info: ModelInfo) -> None:
    """Write `detector`'s weights (float32) and `info`; beside, then renamed."""
    if detector.config != info.model:
        raise ValueError("the detector's configuration is not the one its description states")
    info = info.model_copy(update={"parameters": detector.parameter_count()})
    write_tensors(path, _stored(detector), {METADATA_KEY: info.model_dump_json()})


@dataclass(frozen=True)
class ModelDescription:
    """What a model file says of itself.

    info: as training wrote it; model_sha256: of the .safetensors, of an export too; precision: int8
    where the file was quantised, else fp32; calibration: the frames that int8 was scaled by.
    """

    info: ModelInfo
    model_sha256: str
    precision: str = "fp32"
    calibration: str = ""

    def to_metadata(self) -> dict[str, str]:
        """The metadata properties of an export."""
        facts = {"sha256": self.model_sha256, "precision": self.precision, "calibration": self.calibration}
        return {METADATA_KEY: self.info.model_dump_json(), **{f"{METADATA_KEY}_{key}": facts[key] for key in facts}}

    def check_precision(self, path: Path, precision: str) -> None:
        """InputError where the file at `path` cannot be executed in `precision`, or auto."""
        if precision != "auto" and (precision == "int8") != (self.precision == "int8"):
            raise InputError(
                f"{path}: is of precision {self.precision}, which does not become {precision}: use precision auto, "
                "or another export (cgdet export --calibration writes int8)"
            )


def read_info(path: Path) -> ModelInfo:
    """What the model file or export says of itself, its tensors unread; InputError where it is no such file."""
    return read_description(path).info


def read_description(path: Path) -> ModelDescription:
    """See read_info."""
    if path.is_dir():
        raise InputError(f"{path}: is a folder: give the model file in it")
    if not path.exists():
        raise InputError(f"{path}: model file is missing: give one written by cgdet train or cgdet export")
    if path.suffix in EXPORT_SUFFIXES:
        from cgdet_core.runtime.backends import read_metadata

        return parse_description(path, read_metadata(path))
    try:
        with safe_open(path, framework="np") as handle:
            metadata = handle.metadata() or {}
    except (SafetensorError, OSError, ValueError) as error:
        raise InputError(f"{path}: is not a whole safetensors file ({error}): copy or train it again") from None
    return ModelDescription(_parse_info(path, metadata), sha256_of(path))


def parse_description(path: Path, metadata: Mapping[str, str]) -> ModelDescription:
    """What the export at `path` says in its metadata properties; InputError where that is not what an export says."""
    info = _parse_info(path, metadata)
    facts = [metadata.get(f"{METADATA_KEY}_{name}", "") for name in ("sha256", "precision", "calibration")]
    if len(facts[0]) != 64 or facts[1] not in ("fp32", "int8"):
        raise InputError(f"{path}: does not say which model it was made from: write it by cgdet export")
    return ModelDescription(info, *facts)


def _parse_info(path: Path, metadata: Mapping[str, str]) -> ModelInfo:
    if METADATA_KEY not in metadata:
        raise InputError(f"{path}: is no cgdet model, it has no description '{METADATA_KEY}'")
    try:
        document = json.loads(metadata[METADATA_KEY])
    except (ValueError, RecursionError) as error:  # no JSON, too deep, or a number too long
        raise InputError(f"{path}: its description is not JSON ({error}): copy or train it again") from None
    version = document.get("format_version") if isinstance(document, dict) else None
    if version != FORMAT_VERSION:
        raise InputError(
            f"{path}: is of format version {version}, this cgdet reads {FORMAT_VERSION}: use the matching release"
        )
    if isinstance(document.get("thermal"), dict):
        # files from before there was a limit were trained and measured without one
        document["thermal"].setdefault("hot_limit_spans", None)
    try:
        info = ModelInfo.model_validate(document)
        info.model_dump_json()  # what is nested too deep to be written again is told here
        return info
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        raise InputError(f"{path}: its description is odd at '{key}': {first['msg']}") from None
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: its description is odd ({error}): copy or train it again") from None


def load_model(path: Path) -> tuple[Detector, ModelInfo]:
    """The detector, in evaluation mode on the CPU in float32, and its description.

    Raises InputError, in one line that names the file, for a missing or cut file, an unknown
    version, missing, additional or misshapen tensors, another number of parameters than stated, and
    weights that are not finite. Nothing of the size that the description states is allocated before
    the file is seen to hold it.
    """
    import torch

    from cgdet_core.tasks.detection.head import Detector

    info = read_info(path)
    if path.suffix in EXPORT_SUFFIXES:
        raise InputError(f"{path}: is an export: give the .safetensors that it was made from")
    with torch.device("meta"):
        outline = Detector(info.model)
    try:
        # as NumPy arrays: as torch's, safetensors 0.8 loses 150 bytes with every tensor that it gives
        with safe_open(path, framework="np") as handle:
            state = _read_tensors(path, handle, _stored(outline))
    except (SafetensorError, OSError) as error:
        raise InputError(f"{path}: is not a whole safetensors file ({error}): copy or train it again") from None
    if info.parameters != outline.parameter_count():
        raise InputError(
            f"{path}: its description states {info.parameters} parameters, its weights are "
            f"{outline.parameter_count()}: copy or train it again"
        )
    detector = Detector(info.model)
    # batch counters are not stored: they matter to no inference
    detector.load_state_dict(state, strict=False)
    return detector.eval(), info


def _read_tensors(path: Path, handle: Any, expected: dict[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of the open file, where they are those expected: in name, shape and type; and finite."""
    found = set(handle.keys())
    for names, what in ((expected.keys() - found, "lacks"), (found - expected.keys(), "has unknown")):
        if names:
            shown = ", ".join(sorted(names)[:3]) + (", ..." if len(names) > 3 else "")
            raise InputError(f"{path}: {what} tensors {shown}: it does not match its description")
    state: dict[str, Tensor] = {}
    for name, tensor in expected.items():
        value = _read_tensor(path, handle, name)
        if value.shape != tensor.shape or value.dtype != tensor.dtype:
            raise InputError(
                f"{path}: tensor {name} is {list(value.shape)} {value.dtype}, "
                f"its description asks for {list(tensor.shape)} {tensor.dtype}"
            )
        if not np.isfinite(value.numpy()).all():
            raise InputError(f"{path}: tensor {name} holds values that are not finite: train it again")
        state[name] = value
    return state


def _read_tensor(path: Path, handle: Any, name: str) -> Tensor:
    import torch

    try:
        return torch.from_numpy(handle.get_tensor(name))
    except (TypeError, AttributeError) as error:  # a type that NumPy or torch lacks, such as bfloat16
        shape = handle.get_slice(name).get_shape()
        raise InputError(f"{path}: tensor {name} is {shape} of a type that no model has ({error})") from None


def _stored(detector: Network) -> dict[str, Tensor]:
    return {name: tensor for name, tensor in detector.state_dict().items() if not name.endswith("num_batches_tracked")}


def default_model_path(suffix: str = ".onnx") -> Path:
    """The shipped model: beside the sources, in this Python's share folder, or in an ament prefix.

    suffix: .onnx, which is deployed, or .safetensors, which is trained on.
    """
    name = Path("models") / f"detector{suffix}"
    share = Path("share") / "cgdet_ros" / name
    places = [Path(__file__).resolve().parents[2] / name, Path(sys.prefix) / share]
    places += [Path(prefix) / share for prefix in os.environ.get("AMENT_PREFIX_PATH", "").split(os.pathsep) if prefix]
    for place in places:
        if place.is_file():
            return place
    raise InputError(f"the shipped model is in none of {', '.join(map(str, places))}: name a model file")
