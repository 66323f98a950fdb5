"""A TorchScript export just written, run once more for its check. Never used for a file of others: it holds code."""

from __future__ import annotations

import warnings
from pathlib import Path

import torch

from cgdet_core.runtime.backends.base import RawOutput
from cgdet_core.types import FloatArray


class TorchScriptRun:
    """See Backend."""

    name = "torchscript"
    device = "cpu"
    precision = "fp32"

    def __init__(self, path: Path) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # as in writing.py
            self._network = torch.jit.load(str(path), map_location="cpu")  # type: ignore[no-untyped-call]

    def infer(self, canvas: FloatArray) -> RawOutput:
        with torch.inference_mode():
            class_logits, box_logits = self._network(torch.from_numpy(canvas)[None, None])
        return RawOutput(class_logits.numpy(), box_logits.numpy())
