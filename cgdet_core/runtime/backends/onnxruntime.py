"""ONNX Runtime: on the CPU, and on NVIDIA GPUs through its CUDA and TensorRT providers, which were never run."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import numpy as np

from cgdet_core.errors import InputError
from cgdet_core.runtime.backends.base import INPUT, RawOutput, cache_folder, need, of_one_size
from cgdet_core.runtime.model_file import ModelDescription, parse_description
from cgdet_core.types import FloatArray

_FATAL_ONLY: Final = 4


class OnnxRuntimeBackend:
    """An inference session on one device; outputs come back to the host."""

    def __init__(self, session: Any, name: str, device: str, precision: str) -> None:
        """session: an onnxruntime.InferenceSession; precision: what it executes."""
        self.name, self.device, self.precision = name, device, precision
        self.session = session

    def infer(self, canvas: FloatArray) -> RawOutput:
        """See Backend."""
        return tuple(np.asarray(output) for output in self.session.run(None, {INPUT: canvas[None, None]}))


def open_onnxruntime(
    path: Path,
    name: str,
    device: str,
    precision: str,
    threads: int,
    input_height_width_px: tuple[int, int] | None = None,
) -> tuple[OnnxRuntimeBackend, ModelDescription]:
    """The .onnx at `path`; name: onnxruntime or tensorrt; device: cpu or cuda:N. InputError where it is refused."""
    providers: list[Any] = ["CPUExecutionProvider"]
    if device != "cpu":
        device_id = int(device.partition(":")[2] or 0)
        providers = [("CUDAExecutionProvider", {"device_id": device_id}), *providers]
    if name == "tensorrt":
        # building an engine takes minutes: it is kept for the next start
        settings = {
            "device_id": device_id,
            "trt_fp16_enable": precision != "fp32",
            "trt_engine_cache_enable": True,
            "trt_engine_cache_path": str(cache_folder()),
        }
        providers = [("TensorrtExecutionProvider", settings), *providers]
    session = session_of(path, providers, threads)
    description = parse_description(path, session.get_modelmeta().custom_metadata_map)
    description = description.at(path, precision, input_height_width_px)
    size = description.info.input_height_width_px
    if any(
        isinstance(of_file, int) and of_file != side
        for of_file, side in zip(session.get_inputs()[0].shape[2:], size, strict=True)
    ):
        raise of_one_size(path, size)
    executed = "fp16" if name == "tensorrt" and precision != "fp32" else description.precision
    return OnnxRuntimeBackend(session, name, device, executed), description


def session_of(path: Path, providers: list[Any], threads: int) -> Any:
    """An onnxruntime.InferenceSession; providers: the first has to run; threads: 0 leaves the choice to it."""
    runtime = need("onnxruntime", "backend onnxruntime")
    wanted = providers[0] if isinstance(providers[0], str) else providers[0][0]
    if wanted not in runtime.get_available_providers():
        raise InputError(f"this onnxruntime has no {wanted}: pip install onnxruntime-gpu in its place")
    options = runtime.SessionOptions()
    options.log_severity_level = _FATAL_ONLY
    options.inter_op_num_threads = 1
    options.intra_op_num_threads = threads
    # threads that wait for the next frame in a loop would take the cores from other nodes
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        session = runtime.InferenceSession(path, options, providers=providers)
    except Exception as error:  # its own exceptions have no common base but this
        reason = " ".join(str(error).split())[:300]
        raise InputError(f"{path}: ONNX Runtime cannot run it ({reason}): use another backend") from None
    # the CPU takes over in silence where the GPU's libraries do not load
    if session.get_providers()[0] != wanted:
        raise InputError(f"onnxruntime's {wanted} does not start here: use backend torch")
    return session
