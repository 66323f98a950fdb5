"""The model file: one .safetensors with weights and a JSON description; never a pickle.

The file's metadata hold one key, `cgdet`, with JSON: format version, architecture and widths, class
names, input size, normalisation, default thresholds, training data and scores.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any, Final, Literal

import torch
from pydantic import Field, ValidationError
from safetensors import SafetensorError, safe_open
from torch import Tensor

from cgdet_core.config import ModelConfig, PostprocessConfig, Settings, ThermalConfig
from cgdet_core.errors import InputError
from cgdet_core.files import write_tensors
from cgdet_core.model.detector import Detector

FORMAT_VERSION: Final = 1
ARCHITECTURE: Final = "cgdet-csp-pan-dfl"
METADATA_KEY = "cgdet"


class ModelInfo(Settings):
    """All a model file says of itself besides its weights."""

    format_version: Literal[1] = FORMAT_VERSION
    architecture: Literal["cgdet-csp-pan-dfl"] = ARCHITECTURE
    model: ModelConfig
    thermal: ThermalConfig = ThermalConfig()
    postprocess: PostprocessConfig = PostprocessConfig()
    parameters: int = Field(0, ge=0, description="trained values, filled in when written")
    training: dict[str, Any] = Field(default_factory=dict, description="data, recipe, seed, length")
    scores: dict[str, Any] = Field(default_factory=dict, description="figures with their data set and command")

    @property
    def class_names(self) -> tuple[str, ...]:
        return self.model.class_names

    @property
    def input_height_width_px(self) -> tuple[int, int]:
        return self.model.input_height_width_px


def save_model(path: Path, detector: Detector, info: ModelInfo) -> None:
    """Write `detector`'s weights (float32) and `info`; beside, then renamed."""
    if detector.config != info.model:
        raise ValueError("the detector's configuration is not the one its description states")
    info = info.model_copy(update={"parameters": detector.parameter_count()})
    write_tensors(path, _stored(detector), {METADATA_KEY: info.model_dump_json()})


def read_info(path: Path) -> ModelInfo:
    """What the model file says of itself, its tensors unread; InputError where it is no such file."""
    try:
        with safe_open(path, framework="pt") as handle:
            metadata = handle.metadata() or {}
    except FileNotFoundError:
        raise InputError(f"{path}: model file is missing: give a .safetensors file written by cgdet train") from None
    except (SafetensorError, OSError, ValueError) as error:
        raise InputError(f"{path}: is not a whole safetensors file ({error}): copy or train it again") from None
    return _parse_info(path, metadata)


def _parse_info(path: Path, metadata: dict[str, str]) -> ModelInfo:
    if METADATA_KEY not in metadata:
        raise InputError(f"{path}: is a safetensors file, but not a cgdet model (no '{METADATA_KEY}' description)")
    try:
        document = json.loads(metadata[METADATA_KEY])
    except json.JSONDecodeError as error:
        raise InputError(f"{path}: its description is not JSON ({error}): copy or train it again") from None
    version = document.get("format_version") if isinstance(document, dict) else None
    if version != FORMAT_VERSION:
        raise InputError(
            f"{path}: is of format version {version}, this cgdet reads {FORMAT_VERSION}: use the matching release"
        )
    try:
        return ModelInfo.model_validate(document)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        raise InputError(f"{path}: its description is odd at '{key}': {first['msg']}") from None


def load_model(path: Path) -> tuple[Detector, ModelInfo]:
    """The detector, in evaluation mode on the CPU in float32, and its description.

    Raises InputError, in one line that names the file, for a missing or cut file, an unknown
    version, missing, additional or misshapen tensors, and weights that are not finite.
    """
    info = read_info(path)
    detector = Detector(info.model)
    expected = _stored(detector)
    try:
        with safe_open(path, framework="pt") as handle:
            found = set(handle.keys())
            for names, what in ((expected.keys() - found, "lacks"), (found - expected.keys(), "has unknown")):
                if names:
                    shown = ", ".join(sorted(names)[:3]) + (", ..." if len(names) > 3 else "")
                    raise InputError(f"{path}: {what} tensors {shown}: it does not match its description")
            state: dict[str, Tensor] = {}
            for name, tensor in expected.items():
                value = handle.get_tensor(name)
                if value.shape != tensor.shape or value.dtype != tensor.dtype:
                    raise InputError(
                        f"{path}: tensor {name} is {list(value.shape)} {value.dtype}, "
                        f"its description asks for {list(tensor.shape)} {tensor.dtype}"
                    )
                if not torch.isfinite(value).all():
                    raise InputError(f"{path}: tensor {name} holds values that are not finite: train it again")
                state[name] = value
    except (SafetensorError, OSError) as error:
        raise InputError(f"{path}: is not a whole safetensors file ({error}): copy or train it again") from None
    # batch counters are not stored: they matter to no inference
    detector.load_state_dict(state, strict=False)
    return detector.eval(), info


def _stored(detector: Detector) -> dict[str, Tensor]:
    return {name: tensor for name, tensor in detector.state_dict().items() if not name.endswith("num_batches_tracked")}


def default_model_path() -> Path:
    """The shipped model: beside the sources, in this Python's share folder, or in an ament prefix."""
    name = Path("models") / "detector.safetensors"
    share = Path("share") / "cgdet_ros" / name
    places = [Path(__file__).resolve().parents[2] / name, Path(sys.prefix) / share]
    places += [Path(prefix) / share for prefix in os.environ.get("AMENT_PREFIX_PATH", "").split(os.pathsep) if prefix]
    for place in places:
        if place.is_file():
            return place
    raise InputError(f"the shipped model is in none of {', '.join(map(str, places))}: name a model file")
