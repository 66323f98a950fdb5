"""TensorRT on an NVIDIA GPU, with what surrounds the network there too.

Written after NVIDIA's documentation of TensorRT 10 and 11; it was never run.

Networks are strongly typed: what an engine executes is what the ONNX file says (TensorRT 11 knows no
other kind), so the precision is that of the file.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from cgdet_core.config import PostprocessConfig, ThermalConfig
from cgdet_core.errors import InputError
from cgdet_core.runtime.backends.base import RawOutput
from cgdet_core.runtime.backends.device_steps import as_bits, best_candidates, canvas_of, suppressed
from cgdet_core.runtime.backends.libraries import need
from cgdet_core.runtime.exports.description import INPUT, OUTPUTS
from cgdet_core.runtime.model_file import ModelInfo
from cgdet_core.tasks.detection.cells import map_sizes
from cgdet_core.tasks.detection.decode import FoundBoxes
from cgdet_core.tasks.detection.head import cell_grid
from cgdet_core.types import FloatArray, ImageArray

_WORKSPACE_BYTES = 1 << 30


class TensorRtBackend:
    """An engine on one GPU; a frame goes up once and its detections come back once."""

    name = "tensorrt"

    def __init__(self, engine: bytes, info: ModelInfo, device: torch.device, precision: str) -> None:
        """engine: the serialised plan, built by this version of TensorRT for this kind of GPU, in `precision`."""
        trt = library()
        self._device = device
        self.device = str(device)
        self._info = info
        self._centres_xy_px, self._strides_px = cell_grid(map_sizes(info.input_height_width_px), device)
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
        self.precision = precision
        # all this was made in the default stream, which streams of PyTorch's do not wait for
        torch.cuda.synchronize(device)

    def infer(self, canvas: FloatArray) -> RawOutput:
        """See Backend."""
        with torch.cuda.device(self._device), torch.cuda.stream(self._stream):
            output = self._run(torch.from_numpy(canvas).to(self._device))
            self._stream.synchronize()
        return output

    def detect(self, picture: ImageArray | FloatArray, tone: ThermalConfig, config: PostprocessConfig) -> FoundBoxes:
        """See DetectingBackend."""
        bits = np.ascontiguousarray(as_bits(picture))
        with torch.inference_mode(), torch.cuda.device(self._device), torch.cuda.stream(self._stream):
            raw = torch.from_numpy(bits).to(self._device)
            fixed_range = None
            if tone.raw_range is not None:
                fixed_range = torch.tensor(tone.raw_range, dtype=torch.float64, device=self._device)
            output = self._run(canvas_of(raw, tone, fixed_range, self._info.input_height_width_px))
            values = [config.threshold_of(name) for name in self._info.class_names]
            thresholds = torch.tensor(values, device=self._device)
            bins = self._info.model.bins
            most = config.max_candidates
            found = best_candidates(output, thresholds, most, self._centres_xy_px, self._strides_px, bins)
            return suppressed(found, config)

    def _run(self, canvas: torch.Tensor) -> RawOutput:
        """The engine on float32 [H, W] on the device, in the stream that is current; finished when that is."""
        self._tensors[INPUT].copy_(canvas[None, None])
        if not self._context.execute_async_v3(self._stream.cuda_stream):
            raise RuntimeError("TensorRT could not start the network")
        class_logits, box_logits = (self._tensors[name] for name in OUTPUTS)
        return RawOutput(class_logits, box_logits)


def open_engine(engine: bytes, info: ModelInfo, device: str, precision: str) -> TensorRtBackend:
    """The backend on device cuda:N; see TensorRtBackend."""
    return TensorRtBackend(engine, info, torch.device(device), precision)


def library() -> Any:
    """The module tensorrt; InputError with the remedy where it is missing."""
    return need("tensorrt", "backend tensorrt", "tensorrt")


def versions(device: str) -> dict[str, str]:
    """What an engine depends on: TensorRT's version and the kind of GPU."""
    return {"version": library().__version__, "gpu": torch.cuda.get_device_name(device)}


def build_engine(onnx: bytes, device: str) -> bytes:
    """The serialised engine of an ONNX model, in the types that it states; takes minutes. InputError where refused."""
    trt = library()
    if device == "cpu":
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
