"""The range of values that every convolution meets, from pictures as they come: what int8 is scaled by."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from cgdet_core.tasks.detection.head import Detector
from cgdet_core.types import FloatArray


def calibrate(detector: Detector, canvases: Iterable[FloatArray]) -> dict[str, tuple[float, float]]:
    """Least and greatest value of every convolution's input (0 among them), by the name of its weight.

    detector: with batch norm folded, in float32; canvases: the network's inputs float32 [H, W]. The
    whole range is kept: an upper end cut to where the squared error of rounding is least cost 0.007
    mAP more on held-out frames (docs/backends.md), since what is rare and large is what is detected.
    """
    ranges: dict[str, tuple[float, float]] = {}
    with _watching(detector, ranges), torch.inference_mode():
        for canvas in canvases:
            detector(torch.from_numpy(canvas)[None, None])
    return ranges


@contextmanager
def _watching(detector: Detector, ranges: dict[str, tuple[float, float]]) -> Iterator[None]:
    def watcher(name: str) -> Callable[[nn.Module, tuple[Any, ...]], None]:
        def watch(_: nn.Module, inputs: tuple[Any, ...]) -> None:
            low, high = ranges.get(name, (0.0, 0.0))
            ranges[name] = (min(low, float(inputs[0].min())), max(high, float(inputs[0].max())))

        return watch

    handles = [
        module.register_forward_pre_hook(watcher(f"{name}.weight"))
        for name, module in detector.named_modules()
        if isinstance(module, nn.Conv2d)
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
