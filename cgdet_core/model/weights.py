"""Weights of networks that others trained: read from .safetensors, never from a pickle, and checked."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from cgdet_core.errors import InputError

_LONGEST_HEADER_BYTES = 100_000_000  # that safetensors takes


def read_weights(path: Path, entry: str = "") -> dict[str, Tensor]:
    """All tensors of a .safetensors file by name.

    entry: how the state is got out of what torch.load gives of the publisher's own file, such as
    "['model']"; only for the line that refuses a pickle. Raises InputError for a file that is
    missing, a pickle, or not whole.
    """
    try:
        with path.open("rb") as handle:
            start = handle.read(8)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}): give a .safetensors file") from None
    # .safetensors begin with the length of their header; torch.save writes a zip archive, long ago a bare pickle
    is_other = int.from_bytes(start, "little") > _LONGEST_HEADER_BYTES
    if is_other and (start[:2] == b"PK" or start[:1] == b"\x80" or path.suffix in (".pth", ".pt")):
        raise InputError(
            f'{path}: is a pickle, which can run any code and is not loaded: convert it with python -c "import torch, '
            f"safetensors.torch as s; s.save_file(torch.load('{path.name}', 'cpu', weights_only=True){entry}, "
            f"'{path.stem}.safetensors')\""
        )
    try:
        with safe_open(path, framework="pt") as handle:
            return {name: handle.get_tensor(name) for name in handle.keys()}  # noqa: SIM118, it is no mapping
    except (SafetensorError, OSError, ValueError) as error:
        raise InputError(f"{path}: is not a whole safetensors file ({error}): copy or convert it again") from None


def load_weights(network: nn.Module, tensors: Mapping[str, Tensor], path: Path, what: str) -> None:
    """Give `network` (which may lie on the meta device) the tensors of `path`, in float32.

    Batch norm's counters of batches, which matter to no inference, may be absent. Raises InputError for tensors that
    are missing, unknown, misshapen or not finite; `what` names the network there.
    """
    state = {name: value if name.endswith("num_batches_tracked") else value.float() for name, value in tensors.items()}
    for name, value in state.items():
        if not torch.isfinite(value).all():
            raise InputError(f"{path}: tensor {name} holds values that are not finite: convert or copy the file again")
    try:
        network.load_state_dict(state, assign=True)
    except RuntimeError as error:
        said = " ".join(str(error).split())[:400]
        raise InputError(f"{path}: give a checkpoint of {what}: {said}") from None
