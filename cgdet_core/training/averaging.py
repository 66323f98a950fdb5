"""Exponential moving average of the weights: what is evaluated and shipped."""

from __future__ import annotations

import copy
import math

import torch

from cgdet_core.model.detector import Detector


class WeightAverage:
    """average <- d average + (1 - d) weights; d = decay (1 - exp(-updates / 200)) lets it start near the weights.

    Batch-norm statistics are averaged likewise.
    """

    def __init__(self, detector: Detector, decay: float, updates: int = 0) -> None:
        self.detector = copy.deepcopy(detector).eval().requires_grad_(False)
        self._decay = decay
        self._updates = updates

    @torch.no_grad()
    def update(self, detector: Detector) -> None:
        self._updates += 1
        decay = self._decay * (1 - math.exp(-self._updates / 200))
        current = detector.state_dict()
        for name, average in self.detector.state_dict().items():
            if average.dtype.is_floating_point:
                average.lerp_(current[name], 1 - decay)
            else:
                average.copy_(current[name])
