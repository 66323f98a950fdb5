"""PyTorch: on the CPU, and on NVIDIA GPUs, where it was never run."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from cgdet_core.errors import InputError
from cgdet_core.files import sha256_of
from cgdet_core.model.blocks import fuse
from cgdet_core.model.network import Network
from cgdet_core.runtime.backends.base import RawOutput, check_device_name, cpu_precision
from cgdet_core.runtime.model_file import ModelDescription, load_model
from cgdet_core.types import FloatArray

DTYPES: dict[str, torch.dtype] = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}
_WARM_UP_RUNS = 3  # before a capture, as PyTorch's documentation of CUDA graphs has it


class RawNetwork(nn.Module):
    """Picture float [1, 1, H, W] -> RawOutput, as tensors."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = network

    def forward(self, picture: Tensor) -> tuple[Tensor, ...]:
        output = self.network(picture)
        if isinstance(output, Tensor):  # the maps of landmarks
            return (output[0].float(),)
        return output.class_logits[0].float(), output.box_logits[0].flatten(1).float()


class TorchBackend:
    """The network with batch norm folded into its convolutions, channels last; on a GPU as one CUDA graph."""

    name = "torch"

    def __init__(
        self, network: Network, device: torch.device, precision: str, input_height_width_px: tuple[int, int]
    ) -> None:
        """Takes `network` over; precision: auto or one of DTYPES."""
        if precision == "auto":
            precision = "fp16" if device.type == "cuda" else cpu_precision()
        self.device, self.precision = str(device), precision
        self._dtype = DTYPES[self.precision]
        fused = fuse(network).to(device, self._dtype).to(memory_format=torch.channels_last)
        self.network = RawNetwork(fused).eval().requires_grad_(False)
        self._graph: torch.cuda.CUDAGraph | None = None
        if device.type == "cuda":
            self._capture(device, input_height_width_px)

    def infer(self, canvas: FloatArray) -> RawOutput:
        """See Backend."""
        with torch.inference_mode():
            if self._graph is None:
                outputs = self.network(torch.from_numpy(canvas)[None, None].to(self._dtype))
            else:
                self._input.copy_(torch.from_numpy(canvas)[None, None])
                self._graph.replay()
                outputs = self._outputs
            return tuple(output.cpu().numpy() for output in outputs)

    def _capture(self, device: torch.device, height_width_px: tuple[int, int]) -> None:
        """The network on `_input` as a graph that the GPU repeats without the CPU's help."""
        self._input = torch.zeros(1, 1, *height_width_px, dtype=self._dtype, device=device)
        stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        with torch.inference_mode(), torch.cuda.device(device):
            stream.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(stream):
                for _ in range(_WARM_UP_RUNS):
                    self.network(self._input)
            torch.cuda.current_stream().wait_stream(stream)
            self._graph = torch.cuda.CUDAGraph()
            # the node's other threads may use the GPU meanwhile
            with torch.cuda.graph(self._graph, capture_error_mode="thread_local"):
                self._outputs = self.network(self._input)


def open_torch(
    path: Path, device: str, precision: str, threads: int, input_height_width_px: tuple[int, int] | None = None
) -> tuple[TorchBackend, ModelDescription]:
    """The .safetensors at `path`; threads: CPU threads, for the whole process, 0 leaves PyTorch its choice."""
    if threads > 0:
        torch.set_num_threads(threads)
    network, info = load_model(path)
    description = ModelDescription(info, sha256_of(path)).at(path, precision, input_height_width_px)
    return TorchBackend(network, torch.device(device), precision, description.info.input_height_width_px), description


def choose_device(device: str) -> torch.device:
    """auto, cpu, cuda or cuda:N -> the torch device; InputError where it is not to be had."""
    check_device_name(device)
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    chosen = torch.device(device)
    if chosen.type == "cuda" and (chosen.index or 0) >= torch.cuda.device_count():
        raise InputError(f"device '{device}': torch sees {torch.cuda.device_count()} GPUs: use device auto or cpu")
    return chosen
