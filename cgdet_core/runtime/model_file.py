"""The model file: one .safetensors with weights and a JSON description, or an .onnx made of it; never a pickle.

The file's metadata hold the key `cgdet` with JSON: format version, architecture and widths, class
names, input size, normalisation, default thresholds, training data and scores. Reading them, and
where the shipped model lies, imports no PyTorch: a vehicle needs none.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np
from pydantic import Field, ValidationError, ValidationInfo, field_validator
from safetensors import SafetensorError, safe_open

from cgdet_core.config import NetworkConfig, OfTask, ThermalConfig, settings_from_mapping
from cgdet_core.config.training import TaskPostprocessConfig, usual
from cgdet_core.errors import InputError, unknown
from cgdet_core.files import sha256_of, shipped_places, write_tensors

if TYPE_CHECKING:
    from torch import Tensor

    from cgdet_core.model.network import Network

ARCHITECTURES: Final = {"detection": "cgdet-csp-pan-dfl", "landmarks": "cgdet-residual-maps"}
EXPORT_SUFFIX: Final = ".onnx"


class ModelInfo(OfTask):
    """All a model file says of itself besides its weights. A file that states no task is of a detector."""

    format_version: Literal[1] = 1
    architecture: str = Field("", validate_default=True, description="of the task: one of ARCHITECTURES")
    model: NetworkConfig
    thermal: ThermalConfig = ThermalConfig()
    postprocess: TaskPostprocessConfig = usual()
    parameters: int = Field(0, ge=0, description="trained values, filled in when written; checked when read")
    training: dict[str, Any] = Field(default_factory=dict, description="data, recipe, seed, length")
    scores: dict[str, Any] = Field(default_factory=dict, description="figures with their data set and command")

    @field_validator("architecture")
    @classmethod
    def _of_its_task(cls, value: str, info: ValidationInfo) -> str:
        expected = ARCHITECTURES[info.data.get("task", "detection")]
        if value not in ("", expected):
            raise ValueError(f"'{value}' is none of this cgdet, which reads {expected}")
        return expected

    @property
    def class_names(self) -> tuple[str, ...]:
        return self.model.class_names

    @property
    def input_height_width_px(self) -> tuple[int, int]:
        return self.model.input_height_width_px


def save_model(path: Path, network: Network, info: ModelInfo) -> None:
    """Write `network`'s weights and `info`, beside, then renamed: float32, a matrix float16 where that is the same."""
    if network.config != info.model:
        raise ValueError("the network's configuration is not the one its description states")
    info = info.model_copy(update={"parameters": network.parameter_count()})
    halves = {name: (tensor, tensor.half()) for name, tensor in _stored(network).items()}
    tensors = {name: half if one.ndim > 1 and half.float().equal(one) else one for name, (one, half) in halves.items()}
    write_tensors(path, tensors, {"cgdet": info.model_dump_json()})


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
        return {
            "cgdet": self.info.model_dump_json(),
            "cgdet_sha256": self.model_sha256,
            "cgdet_precision": self.precision,
            "cgdet_calibration": self.calibration,
        }

    def at(self, path: Path, precision: str, height_width_px: tuple[int, int] | None) -> ModelDescription:
        """The same with another size of the network's input, None: as it is; InputError where the file at `path` cannot
        be executed so, or not in `precision`, or auto."""
        if precision != "auto" and (precision == "int8") != (self.precision == "int8"):
            raise InputError(
                f"{path}: is a model in {self.precision}, not {precision}: use precision auto, or another export "
                "(cgdet export --calibration writes int8)"
            )
        if height_width_px in (None, self.info.input_height_width_px):
            return self
        if self.info.task != "detection":
            raise InputError(f"{path}: the input is a face's crop, whose size is the model's: leave the size out")
        changed = self.info.model.model_dump() | {"input_height_width_px": height_width_px}
        network = settings_from_mapping(type(self.info.model), changed, f"{path}: input")
        return replace(self, info=self.info.model_copy(update={"model": network}))


def read_info(path: Path) -> ModelInfo:
    """What the model file or export says of itself, its tensors unread; InputError where it is no such file."""
    return read_description(path).info


def read_description(path: Path) -> ModelDescription:
    """See read_info."""
    check_is_file(path)
    if path.suffix == EXPORT_SUFFIX:
        from cgdet_core.runtime.backends import read_metadata

        return parse_description(path, read_metadata(path))
    with _open(path) as handle:
        metadata = handle.metadata() or {}
    return parse_description(path, {**metadata, "cgdet_sha256": sha256_of(path), "cgdet_precision": "fp32"})


def check_is_file(path: Path) -> None:
    """InputError where there is no file at `path`."""
    if not path.is_file():
        folder = path if path.is_dir() else path.parent
        there = sorted(os.listdir(folder)) if folder.is_dir() else []
        models = [name for name in there if name.endswith((EXPORT_SUFFIX, ".safetensors"))]
        raise unknown(str(path), "model", path.name, models, "cgdet train and cgdet export write model files")


def parse_description(path: Path, metadata: Mapping[str, str]) -> ModelDescription:
    """What the export at `path` says in its metadata properties; InputError where that is not what an export says."""
    if "cgdet" not in metadata:
        raise InputError(f"{path}: is not a cgdet model: give a file that cgdet train or export wrote")
    try:
        document = json.loads(metadata["cgdet"])
        if isinstance(document, dict) and isinstance(document.get("thermal"), dict):
            # files from before there was a limit were trained and measured without one
            document["thermal"].setdefault("hot_limit_spans", None)
        info = ModelInfo.model_validate(document)
        info.model_dump_json()  # what is nested too deep to be written again is told here
        sha256, precision = metadata.get("cgdet_sha256", ""), metadata.get("cgdet_precision", "")
        if len(sha256) == 64 and precision in ("fp32", "int8"):
            return ModelDescription(info, sha256, precision, metadata.get("cgdet_calibration", ""))
        reason = "at 'cgdet_sha256' or 'cgdet_precision'"
    except ValidationError as error:
        first = error.errors()[0]
        reason = f"at '{'.'.join(map(str, first['loc']))}': {first['msg']}"
    except (ValueError, RecursionError) as error:  # no JSON, too deep, or a number too long
        reason = f"({error})"
    raise InputError(f"{path}: its description cannot be read {reason}: copy it again, or use the cgdet that wrote it")


@contextmanager
def _open(path: Path) -> Iterator[Any]:
    """The open .safetensors; InputError where the block finds that it is none, or not whole."""
    try:
        # as NumPy arrays: as torch's, safetensors 0.8 loses 150 bytes with every tensor that it gives
        with safe_open(path, framework="np") as handle:
            yield handle
    except (SafetensorError, OSError) as error:
        raise InputError(f"{path}: is not a whole safetensors file ({error}): copy or train it again") from None


def load_model(path: Path) -> tuple[Network, ModelInfo]:
    """The network of its task, in evaluation mode on the CPU in float32, and its description.

    Raises InputError for a missing or cut file, an unknown version, tensors other than the description's,
    and weights that are not finite. Nothing of the size that the description states is allocated before the
    file is seen to hold it.
    """
    import torch

    from cgdet_core.tasks import build_network

    info = read_info(path)
    if path.suffix == EXPORT_SUFFIX:
        raise InputError(f"{path}: is an export: give the .safetensors that it was made from")
    with torch.device("meta"):
        outline = build_network(info.task, info.model)
    if info.parameters != outline.parameter_count():
        raise InputError(f"{path}: its description states {info.parameters} parameters: copy or train it again")
    expected = {(name, True, tuple(tensor.shape)) for name, tensor in _stored(outline).items()}  # True: as are_floats
    with _open(path) as handle:
        slices = {name: handle.get_slice(name) for name in handle.keys()}  # noqa: SIM118
        are_floats = {name: part.get_dtype() in ("F16", "F32") for name, part in slices.items()}
        others = expected ^ {(name, are_floats[name], tuple(part.get_shape())) for name, part in slices.items()}
        if others:
            raise InputError(f"{path}: its tensors are not as described ({min(others)[0]}): copy or train it again")
        values = {name: handle.get_tensor(name).astype(np.float32, copy=False) for name in slices}
    for name, value in values.items():
        if not np.isfinite(value).all():
            raise InputError(f"{path}: tensor {name} holds values that are not finite: train it again")
    state = {name: torch.from_numpy(value) for name, value in values.items()}
    network = build_network(info.task, info.model)
    # batch counters are not stored: they matter to no inference
    network.load_state_dict(state, strict=False)
    return network.eval(), info


def _stored(network: Network) -> dict[str, Tensor]:
    return {name: tensor for name, tensor in network.state_dict().items() if not name.endswith("num_batches_tracked")}


def default_model_path(suffix: str = ".onnx", task: str = "detection") -> Path:
    """The shipped model of a task; suffix: .onnx, which is deployed, or .safetensors, which is trained on."""
    places = shipped_places(Path("models", f"{'detector' if task == 'detection' else task}{suffix}"))
    for place in places:
        if place.is_file():
            return place
    raise InputError(f"no shipped model in {', '.join(map(str, places))}: name a model file")
