"""A model file's network as ONNX, made by PyTorch where no cache holds what becomes of it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch

from cgdet_core.runtime.backends.torch_backend import fuse
from cgdet_core.runtime.exports.network_onnx import network_onnx
from cgdet_core.runtime.model_file import load_model


def onnx_of_model(model: Path, metadata: Mapping[str, str], half: bool, threads: int) -> bytes:
    """See network_onnx; threads: that PyTorch takes meanwhile, 0 leaves it its choice."""
    before = torch.get_num_threads()
    if threads > 0:
        torch.set_num_threads(threads)
    try:
        detector, info = load_model(model)
        return network_onnx(fuse(detector), info.input_height_width_px, metadata, half=half)
    finally:
        torch.set_num_threads(before)
