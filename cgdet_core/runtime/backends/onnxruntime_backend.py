"""ONNX Runtime, on the CPU and through its CUDA provider."""

from __future__ import annotations

from typing import Any

import numpy as np

from cgdet_core.errors import InputError
from cgdet_core.runtime.backends.base import RawOutput
from cgdet_core.runtime.backends.libraries import need
from cgdet_core.runtime.exports.description import INPUT, OUTPUTS
from cgdet_core.types import FloatArray

_FATAL_ONLY = 4


class OnnxRuntimeBackend:
    """An inference session on one device; outputs come back to the host."""

    name = "onnxruntime"

    def __init__(self, onnx: bytes, device: str, threads: int) -> None:
        """onnx: a float32 model; device: cpu or cuda:N; threads: 0 leaves the choice to ONNX Runtime."""
        self.device = device
        self.precision = "fp32"
        self._session = _session(onnx, device, threads)

    def infer(self, canvas: FloatArray) -> RawOutput:
        """See Backend."""
        class_logits, box_logits = self._session.run(OUTPUTS, {INPUT: canvas[None, None]})
        return RawOutput(np.asarray(class_logits), np.asarray(box_logits))


def _session(onnx: bytes, device: str, threads: int) -> Any:
    runtime = need("onnxruntime", "backend onnxruntime", "onnxruntime")
    options = runtime.SessionOptions()
    options.log_severity_level = _FATAL_ONLY
    options.inter_op_num_threads = 1
    if threads > 0:
        options.intra_op_num_threads = threads
    # threads that wait for the next frame in a loop would take the cores from other nodes
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    providers: list[Any] = ["CPUExecutionProvider"]
    if device != "cpu":
        if "CUDAExecutionProvider" not in runtime.get_available_providers():
            raise InputError(
                f"device '{device}': this onnxruntime is for the CPU alone: pip install onnxruntime-gpu in its place"
            )
        providers = [("CUDAExecutionProvider", {"device_id": int(device.partition(":")[2] or 0)}), *providers]
    try:
        session = runtime.InferenceSession(onnx, options, providers=providers)
    except Exception as error:  # its own exceptions have no common base but this
        reason = " ".join(str(error).split())[:300]
        raise InputError(f"backend onnxruntime: {reason}: use backend torch") from None
    # the CPU takes over in silence where the CUDA libraries do not load
    if device != "cpu" and session.get_providers()[0] != "CUDAExecutionProvider":
        raise InputError(f"device '{device}': onnxruntime's CUDA provider does not start here: use backend torch")
    return session
