"""TensorRT on an NVIDIA GPU. Written after NVIDIA's documentation of TensorRT 10 and 11; it was never run.

Networks are strongly typed: what an engine executes is what the ONNX file says (TensorRT 11 knows no
other kind), so the precision is that of the file.
"""

from __future__ import annotations

from typing import Any

import torch

from cgdet_core.errors import InputError
from cgdet_core.runtime.backends.base import RawOutput
from cgdet_core.runtime.backends.libraries import need
from cgdet_core.runtime.exports.network_onnx import INPUT, OUTPUTS
from cgdet_core.types import FloatArray

_WORKSPACE_BYTES = 1 << 30


class TensorRtBackend:
    """An engine on one GPU; its outputs stay there."""

    name = "tensorrt"

    def __init__(self, engine: bytes, device: torch.device, precision: str) -> None:
        """engine: the serialised plan, built by this version of TensorRT for this kind of GPU, in `precision`."""
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
        self.precision = precision

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


def build_engine(onnx: bytes, device: torch.device) -> bytes:
    """The serialised engine of an ONNX model, in the types that it states; takes minutes. InputError where refused."""
    trt = library()
    if device.type != "cuda":
        raise InputError("backend tensorrt needs an NVIDIA GPU: use backend torch or openvino")
    logger = trt.Logger(trt.Logger.ERROR)
    with torch.cuda.device(device):
        builder = trt.Builder(logger)
        network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
        parser = trt.OnnxParser(network, logger)
        if not parser.parse(onnx):
            reasons = "; ".join(str(parser.get_error(index)) for index in range(parser.num_errors))
            raise InputError(f"backend tensorrt {trt.__version__}: does not take the model ({reasons})")
        config = builder.create_builder_config()
        config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, _WORKSPACE_BYTES)
        plan = builder.build_serialized_network(network, config)
    if plan is None:
        raise InputError(f"backend tensorrt {trt.__version__}: could not build the engine: use backend torch")
    return bytes(plan)
