"""What the network does to one picture, as a list of PyTorch's own operations."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from cgdet_core.tasks.detection.head import Detector


@dataclass(frozen=True)
class Step:
    """One operation: its name such as `aten.convolution`, its arguments and its result, tensors as they were."""

    operation: str
    arguments: tuple[Any, ...]
    result: Any


class RawNetwork(nn.Module):
    """Picture float [1, 1, H, W] -> class_logits float [A, C] and box_logits float [A, 4 * bins] (RawOutput)."""

    def __init__(self, detector: Detector) -> None:
        super().__init__()
        self.detector = detector

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        output = self.detector(image)
        return output.class_logits[0], output.box_logits[0].flatten(1)


class _Recorder(TorchDispatchMode):  # type: ignore[no-untyped-call]
    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.steps: list[Step] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        self.steps.append(Step(str(func.overloadpacket), tuple(args), result))
        return result


def record(detector: Detector, image: Tensor) -> tuple[list[Step], tuple[Tensor, Tensor]]:
    """Every step of the network on `image`, float32 [1, 1, H, W], in order, and its two outputs."""
    network = RawNetwork(detector).float().eval()
    with torch.no_grad(), _Recorder() as recorder:
        outputs = network(image)
    return recorder.steps, outputs
