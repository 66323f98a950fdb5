"""OpenVINO on the CPU: fp32, bf16, and int8 where the file was quantised."""

from __future__ import annotations

import ctypes
import logging
from collections import Counter
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any, Final

import numpy as np

from cgdet_core.errors import InputError
from cgdet_core.runtime.backends.base import RawOutput, cache_folder, cpu_precision, need, of_one_size, usable_cores
from cgdet_core.runtime.model_file import ModelDescription, parse_description, read_description
from cgdet_core.types import FloatArray

_HINTS: Final = {"fp32": "f32", "bf16": "bf16"}
_EXECUTED: Final = {"f32": "fp32", "bf16": "bf16", "f16": "fp16", "u8": "int8", "i8": "int8"}

_log = logging.getLogger("cgdet")


class OpenVinoBackend:
    """A network compiled by OpenVINO for this machine's CPU."""

    name = "openvino"
    device = "cpu"

    def __init__(self, compiled: Any) -> None:
        """compiled: an openvino.CompiledModel of one input and the outputs of its task."""
        self.compiled = compiled
        self._request = compiled.create_infer_request()
        self.precision = executed_precision(compiled)

    def infer(self, canvas: FloatArray) -> RawOutput:
        """See Backend."""
        results = self._request.infer([canvas[None, None]], share_inputs=True, share_outputs=True)
        return tuple(np.asarray(results[place]) for place in range(len(self.compiled.outputs)))


def open_openvino(
    path: Path, precision: str, threads: int, input_height_width_px: tuple[int, int] | None = None
) -> tuple[OpenVinoBackend, ModelDescription]:
    """The model file at `path` in OpenVINO; precision: auto, fp32, bf16 or int8. InputError where it is refused."""
    if path.suffix == ".safetensors":
        from cgdet_core.runtime.export import openvino_network

        _log.info("%s is converted for OpenVINO now; `cgdet export` writes an .onnx that starts at once", path)
        description = read_description(path).at(path, precision, input_height_width_px)
        network = openvino_network(path, description.info.input_height_width_px)
    else:
        network = read_network(path)
        description = parse_description(path, metadata_of(network)).at(path, precision, input_height_width_px)
        size = description.info.input_height_width_px
        try:
            network.reshape([1, 1, *size])
        except RuntimeError:
            raise of_one_size(path, size) from None
    arithmetic = precision if precision in _HINTS else cpu_precision()
    compiled = compile_network(network, arithmetic, threads)
    del network
    # what was read and is not needed any more would stay with the process: a tenth of a node's memory
    with suppress(AttributeError):  # a C library that is not glibc
        ctypes.CDLL(None).malloc_trim(0)
    return OpenVinoBackend(compiled), description


@cache
def core() -> Any:
    """The process' one openvino.Core, which is never let go.

    Each Core sets up a stack for signal handlers (for AMX), and puts back at its end the one that it
    found. Of two whose lives overlap, the later puts back the freed stack of the earlier, and the next
    signal, a Ctrl-C, is a segmentation fault (OpenVINO 2026.4).
    """
    return need("openvino", "backend openvino", "core").Core()


def read_network(path: Path) -> Any:
    """The openvino.Model of an .onnx; InputError where it is none."""
    try:
        return core().read_model(path)
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:200]
        raise InputError(f"{path}: OpenVINO cannot read it ({reason}): copy or export it again") from None


def metadata_of(network: Any) -> dict[str, str]:
    """The metadata properties of the ONNX file that `network` came from."""
    return {key: value.astype(str) for key, value in dict(network.get_rt_info()).get("framework", {}).items()}


def compile_network(network: Any, precision: str, threads: int) -> Any:
    """An openvino.CompiledModel; InputError where OpenVINO refuses it.

    precision: fp32 or bf16, of what is not int8 in the network; threads: 0 leaves the choice to OpenVINO.
    """
    settings: dict[str, Any] = {
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_PRECISION_HINT": _HINTS[precision],
        # Threads that may use every core have to keep apart: unpinned, both often wake on one core, and the
        # network takes half as long again. Fewer are left free: two processes would pin them to the same cores.
        "ENABLE_CPU_PINNING": threads == 0 or threads >= usable_cores(),
    }
    if threads > 0:
        settings["INFERENCE_NUM_THREADS"] = threads
    # a disk that cannot be written to is no reason to refuse: it is compiled at every start then
    for cache_settings in ({"CACHE_DIR": str(cache_folder())}, {}):
        try:
            return core().compile_model(network, "CPU", {**settings, **cache_settings})
        except RuntimeError as error:
            reason = " ".join(str(error).split())[:300]
    raise InputError(f"backend openvino: {reason}: use backend torch")


def executed_precision(compiled: Any) -> str:
    """The precision that most of the arithmetic runs in, as the compiled network itself says it."""
    counts: Counter[str] = Counter()
    for node in compiled.get_runtime_model().get_ordered_ops():
        facts = node.get_rt_info()
        if facts["layerType"].astype(str) == "Convolution":
            counts[_EXECUTED.get(facts["runtimePrecision"].astype(str), "unknown")] += 1
    return counts.most_common(1)[0][0] if counts else "unknown"
