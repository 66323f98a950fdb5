"""OpenVINO on the CPU: fp32, bf16, and int8 where the model was calibrated."""

from __future__ import annotations

from collections import Counter
from functools import cache
from typing import Any

import numpy as np

from cgdet_core.errors import InputError
from cgdet_core.runtime.backends.base import RawOutput
from cgdet_core.runtime.backends.devices import usable_cores
from cgdet_core.runtime.backends.libraries import need
from cgdet_core.runtime.backends.openvino_stem import widen_stem
from cgdet_core.runtime.exports.description import OUTPUTS
from cgdet_core.types import FloatArray

_HINTS = {"fp32": "f32", "bf16": "bf16"}
_EXECUTED = {"f32": "fp32", "bf16": "bf16", "f16": "fp16", "u8": "int8", "i8": "int8"}


class OpenVinoBackend:
    """A network compiled by OpenVINO for this machine's CPU."""

    name = "openvino"
    device = "cpu"

    def __init__(self, compiled: Any) -> None:
        """compiled: an openvino.CompiledModel of one input and the outputs class_logits and box_logits."""
        self.compiled = compiled
        self._request = compiled.create_infer_request()
        self._outputs = tuple(compiled.output(name) for name in OUTPUTS)
        self.precision = executed_precision(compiled)

    def infer(self, canvas: FloatArray) -> RawOutput:
        """See Backend."""
        results = self._request.infer([canvas[None, None]], share_inputs=True, share_outputs=True)
        class_logits, box_logits = (np.asarray(results[output]) for output in self._outputs)
        return RawOutput(class_logits, box_logits)


def library() -> Any:
    """The module openvino; InputError with the remedy where it is missing."""
    return need("openvino", "backend openvino", "openvino")


@cache
def core() -> Any:
    """The process' one openvino.Core, which is never let go.

    Each Core sets up a stack for signal handlers (for AMX), and puts back at its end the one that it
    found. Of two whose lives overlap, the later puts back the freed stack of the earlier, and the next
    signal, a Ctrl-C, is a segmentation fault (OpenVINO 2026.4).
    """
    return library().Core()


def settings(precision: str, threads: int) -> dict[str, Any]:
    """Of the compilation. precision: of what is not int8 in the model; threads: 0 leaves the choice to OpenVINO."""
    chosen: dict[str, Any] = {
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_PRECISION_HINT": _HINTS[precision],
        # Threads that may use every core have to keep apart: unpinned, both often wake on one core, and the
        # network takes half as long again. Fewer are left free: two processes would pin them to the same cores.
        "ENABLE_CPU_PINNING": threads == 0 or threads >= usable_cores(),
    }
    if threads > 0:
        chosen["INFERENCE_NUM_THREADS"] = threads
    return chosen


def compile_onnx(onnx: bytes, precision: str, threads: int) -> Any:
    """An openvino.CompiledModel of an ONNX model; InputError where OpenVINO refuses it."""
    try:
        network = core().read_model(onnx)
    except RuntimeError as error:
        raise _refused(error) from None
    return compile_network(network, precision, threads)


def compile_network(network: Any, precision: str, threads: int) -> Any:
    """An openvino.CompiledModel of an openvino.Model, whose first convolution is changed for it."""
    widen_stem(network)
    try:
        return core().compile_model(network, "CPU", settings(precision, threads))
    except RuntimeError as error:
        raise _refused(error) from None


def to_blob(compiled: Any) -> bytes:
    """The compiled network, for this version of OpenVINO and this kind of CPU."""
    return bytes(compiled.export_model().getvalue())


def from_blob(blob: bytes, precision: str, threads: int) -> Any | None:
    """The openvino.CompiledModel of `to_blob`; None where this OpenVINO does not take it."""
    try:
        return core().import_model(blob, "CPU", settings(precision, threads))
    except RuntimeError:
        return None


def _refused(error: RuntimeError) -> InputError:
    return InputError(f"backend openvino: {' '.join(str(error).split())[:300]}: use backend torch")


def executed_precision(compiled: Any) -> str:
    """The precision that most of the arithmetic runs in, as the compiled network itself says it."""
    counts: Counter[str] = Counter()
    for node in compiled.get_runtime_model().get_ordered_ops():
        facts = node.get_rt_info()
        if facts["layerType"].astype(str) == "Convolution":
            counts[_EXECUTED.get(facts["runtimePrecision"].astype(str), "unknown")] += 1
    return counts.most_common(1)[0][0] if counts else "unknown"
