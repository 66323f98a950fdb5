"""TensorRT on an NVIDIA GPU. Written after NVIDIA's documentation of TensorRT 10; it was never run."""

from __future__ import annotations

import json
from typing import Any

import torch

from cgdet_core.errors import InputError
from cgdet_core.runtime.backends.base import RawOutput
from cgdet_core.runtime.backends.libraries import need
from cgdet_core.runtime.exports.network_onnx import INPUT, OUTPUTS
from cgdet_core.types import FloatArray

_WORKSPACE_BYTES = 1 << 30
_OF_FORMAT = {"Half": "fp16", "Int8": "int8", "Float": "fp32"}  # as the engine's inspector names them


class TensorRtBackend:
    """An engine on one GPU; its outputs stay there."""

    name = "tensorrt"

    def __init__(self, engine: bytes, device: torch.device) -> None:
        """engine: the serialised plan, built by this version of TensorRT for this kind of GPU."""
        trt = library()
        self._device = device
        self.device = str(device)
        with torch.cuda.device(device):
            self._runtime = trt.Runtime(trt.Logger(trt.Logger.ERROR))
            self._engine = self._runtime.deserialize_cuda_engine(engine)
            if self._engine is None:
                raise InputError(
                    f"backend tensorrt {trt.__version__}: does not take this engine, which is of another version or "
                    "kind of GPU: export it again here"
                )
            self._context = self._engine.create_execution_context()
            self._stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
            self._tensors = {
                name: torch.empty(tuple(self._engine.get_tensor_shape(name)), dtype=torch.float32, device=device)
                for name in (INPUT, *OUTPUTS)
            }
        for name, tensor in self._tensors.items():
            self._context.set_tensor_address(name, tensor.data_ptr())
        self._pinned = torch.empty(self._tensors[INPUT].shape, dtype=torch.float32, pin_memory=True)
        self.precision = executed_precision(trt, self._engine)

    def infer(self, canvas: FloatArray) -> RawOutput:
        """See Backend."""
        self._pinned.copy_(torch.from_numpy(canvas)[None, None])
        with torch.cuda.stream(self._stream):
            self._tensors[INPUT].copy_(self._pinned, non_blocking=True)
            if not self._context.execute_async_v3(self._stream.cuda_stream):
                raise RuntimeError("TensorRT could not start the network")
        self._stream.synchronize()
        class_logits, box_logits = (self._tensors[name] for name in OUTPUTS)
        return RawOutput(class_logits, box_logits)


def library() -> Any:
    """The module tensorrt; InputError with the remedy where it is missing."""
    return need("tensorrt", "backend tensorrt", "tensorrt")


def versions(device: torch.device) -> dict[str, str]:
    """What an engine depends on: TensorRT's version and the kind of GPU."""
    return {"version": library().__version__, "gpu": torch.cuda.get_device_name(device)}


def build_engine(onnx: bytes, precision: str, device: torch.device) -> bytes:
    """The serialised engine of an ONNX model; takes minutes. InputError where TensorRT refuses it.

    precision: fp32, fp16, or int8 where the model's layers are rounded in pairs (network_onnx.py); what
    is not int8 is fp16 then.
    """
    trt = library()
    if device.type != "cuda":
        raise InputError("backend tensorrt needs an NVIDIA GPU: use backend torch or openvino")
    logger = trt.Logger(trt.Logger.ERROR)
    with torch.cuda.device(device):
        builder = trt.Builder(logger)
        network = builder.create_network(0)
        parser = trt.OnnxParser(network, logger)
        if not parser.parse(onnx):
            reasons = "; ".join(str(parser.get_error(index)) for index in range(parser.num_errors))
            raise InputError(f"backend tensorrt {trt.__version__}: does not take the model ({reasons})")
        config = builder.create_builder_config()
        config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, _WORKSPACE_BYTES)
        config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED  # so that the engine can say what it executes
        if precision in ("fp16", "int8"):
            config.set_flag(trt.BuilderFlag.FP16)
        if precision == "int8":
            config.set_flag(trt.BuilderFlag.INT8)
        plan = builder.build_serialized_network(network, config)
    if plan is None:
        raise InputError(f"backend tensorrt {trt.__version__}: could not build the engine: use backend torch")
    return bytes(plan)


def executed_precision(trt: Any, engine: Any) -> str:
    """The precision of most convolutions' outputs, as the engine's inspector tells it."""
    inspector = engine.create_engine_inspector()
    document = json.loads(inspector.get_engine_information(trt.LayerInformationFormat.JSON))
    counts: dict[str, int] = {}
    for layer in document.get("Layers", []):
        if not isinstance(layer, dict) or "conv" not in str(layer.get("LayerType", "")).lower():
            continue
        for tensor in layer.get("Inputs", []):
            words = str(tensor.get("Format/Datatype", ""))
            for word, name in _OF_FORMAT.items():
                if word.lower() in words.lower():
                    counts[name] = counts.get(name, 0) + 1
    return max(counts, key=lambda name: counts[name]) if counts else "unknown"
