"""PyTorch on a GPU: a frame goes up once and its detections come back once.

Written after PyTorch's documentation (CUDA semantics: CUDA graphs, pinned memory); it was never run,
as no GPU was at hand. What it is made of runs on the CPU in the tests (device_steps.py).
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from torch import Tensor

from cgdet_core.config import PostprocessConfig, ThermalConfig
from cgdet_core.runtime.backends.base import RawOutput
from cgdet_core.runtime.backends.device_steps import Candidates, as_bits, best_candidates, canvas_of, suppressed
from cgdet_core.runtime.backends.torch_backend import TorchBackend
from cgdet_core.runtime.model_file import ModelInfo
from cgdet_core.tasks.detection.cells import map_sizes
from cgdet_core.tasks.detection.decode import FoundBoxes
from cgdet_core.tasks.detection.head import Detector, cell_grid
from cgdet_core.types import FloatArray, ImageArray

GRAPHS: Final = 4  # of the sizes and kinds of frames met last
WARM_UP_RUNS: Final = 3  # before a capture, so that libraries have chosen their kernels


@dataclass(frozen=True)
class _Graph:
    """A captured frame: fill `pinned`, copy it to `raw`, replay, read `candidates`."""

    graph: torch.cuda.CUDAGraph
    pinned: Tensor
    raw: Tensor
    candidates: Candidates


class CudaBackend(TorchBackend):
    """A CUDA graph for each size and kind of frame: normalisation, network and candidates; then NMS on the device."""

    def __init__(self, detector: Detector, info: ModelInfo, device: torch.device, precision: str) -> None:
        super().__init__(detector, device, precision)
        self._info = info
        self._stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        self._graphs: OrderedDict[object, _Graph] = OrderedDict()
        self._config: PostprocessConfig | None = None
        with torch.inference_mode():
            sizes = map_sizes(info.input_height_width_px)
            self._centres_xy_px, self._strides_px = cell_grid(sizes, device)
            self._thresholds = torch.zeros(len(info.class_names), device=device)
            self._range = torch.zeros(2, dtype=torch.float64, device=device)
        # weights and these were made in the default stream, which streams of PyTorch's do not wait for
        torch.cuda.synchronize(device)

    def detect(self, picture: ImageArray | FloatArray, tone: ThermalConfig, config: PostprocessConfig) -> FoundBoxes:
        """See DetectingBackend."""
        with torch.inference_mode(), torch.cuda.device(self._device), torch.cuda.stream(self._stream):
            self._set_thresholds(config)
            tone = self._set_range(tone)
            bits = as_bits(picture)
            captured = self._captured(bits.shape, bits.dtype, tone, config.max_candidates)
            captured.pinned.numpy()[...] = bits
            captured.raw.copy_(captured.pinned, non_blocking=True)
            captured.graph.replay()
            return suppressed(captured.candidates, config)

    def _set_thresholds(self, config: PostprocessConfig) -> None:
        if config != self._config:
            values = [config.threshold_of(name) for name in self._info.class_names]
            self._thresholds.copy_(torch.tensor(values))
            self._config = config

    def _set_range(self, tone: ThermalConfig) -> ThermalConfig:
        """A fixed range, which the node may give anew for every frame, is no part of a graph: any stands for all."""
        if tone.raw_range is None:
            return tone
        self._range.copy_(torch.tensor(tone.raw_range, dtype=torch.float64))
        return tone.model_copy(update={"raw_range": (0.0, 1.0)})

    def _captured(self, shape: tuple[int, ...], dtype: np.dtype[np.generic], tone: ThermalConfig, most: int) -> _Graph:
        key = (shape, dtype.str, tone, most)
        if key in self._graphs:
            self._graphs.move_to_end(key)
            return self._graphs[key]
        self._stream.synchronize()
        pinned = torch.from_numpy(np.zeros(shape, dtype)).pin_memory()
        raw = pinned.to(self._device)
        for _ in range(WARM_UP_RUNS):
            self._whole(raw, tone, most)
        self._stream.synchronize()
        graph = torch.cuda.CUDAGraph()
        # the node's other threads may talk to the GPU meanwhile
        with torch.cuda.graph(graph, stream=self._stream, capture_error_mode="thread_local"):
            candidates = self._whole(raw, tone, most)
        self._graphs[key] = _Graph(graph, pinned, raw, candidates)
        if len(self._graphs) > GRAPHS:
            self._graphs.popitem(last=False)
        return self._graphs[key]

    def _whole(self, raw: Tensor, tone: ThermalConfig, most: int) -> Candidates:
        fixed_range = self._range if tone.raw_range is not None else None
        canvas = canvas_of(raw, tone, fixed_range, self._info.input_height_width_px)
        output = self.network(canvas[None, None].to(self._dtype))
        whole = RawOutput(output.class_logits[0].float(), output.box_logits[0].flatten(1).float())
        return best_candidates(
            whole, self._thresholds, most, self._centres_xy_px, self._strides_px, self._info.model.bins
        )
