"""The range of values that every convolution meets, from pictures as they come: what int8 is scaled by."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from cgdet_core.model.detector import Detector
from cgdet_core.types import FloatArray

SAMPLES_PER_PICTURE = 4096  # values kept of a convolution's input, evenly spread
_CUTS = np.linspace(0.3, 1.0, 71)  # shares of the greatest value that are tried as the upper end


def calibrate(detector: Detector, canvases: Iterable[FloatArray]) -> dict[str, tuple[float, float]]:
    """Least and greatest value to be told apart of every convolution's input, by the name of its weight.

    detector: with batch norm folded, in float32; canvases: the network's inputs float32 [H, W]. The
    upper end is cut where that makes the mean squared error of 8-bit rounding least.
    """
    samples: dict[str, list[FloatArray]] = {}
    bounds: dict[str, tuple[float, float]] = {}
    with _watching(detector, samples, bounds), torch.inference_mode():
        for canvas in canvases:
            detector(torch.from_numpy(canvas)[None, None])
    return {name: _best_range(np.concatenate(samples[name]), *bounds[name]) for name in samples}


@contextmanager
def _watching(
    detector: Detector, samples: dict[str, list[FloatArray]], bounds: dict[str, tuple[float, float]]
) -> Iterator[None]:
    def watcher(name: str) -> Callable[[nn.Module, tuple[Any, ...]], None]:
        def watch(_: nn.Module, inputs: tuple[Any, ...]) -> None:
            value: Tensor = inputs[0].reshape(-1)
            low, high = bounds.get(name, (0.0, 0.0))
            bounds[name] = (min(low, float(value.min())), max(high, float(value.max())))
            step = max(1, len(value) // SAMPLES_PER_PICTURE)
            samples.setdefault(name, []).append(value[::step].numpy().copy())

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


def _best_range(values: FloatArray, low: float, high: float) -> tuple[float, float]:
    """The range within `low` to `high` in which 255 steps represent `values` best."""
    errors = []
    for cut in _CUTS:
        scale = max(high * cut - low, 1e-6) / 255
        rounded = np.rint((values - low) / scale).clip(0, 255) * scale + low
        errors.append(float(np.square(rounded - values).mean()))
    return low, float(high * _CUTS[int(np.argmin(errors))])
