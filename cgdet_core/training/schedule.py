"""Learning rate over a run: linear warm-up, then a half cosine (Loshchilov and Hutter 2017)."""

from __future__ import annotations

import math

from cgdet_core.config import TrainConfig


def learning_rate(images_seen: int, config: TrainConfig) -> float:
    """The rate for the batch that begins after `images_seen` training crops."""
    warmup = min(config.warmup_images, config.images // 2)
    if images_seen < warmup:
        return config.learning_rate * (images_seen + config.batch_size) / (warmup + config.batch_size)
    progress = min(1.0, (images_seen - warmup) / max(1, config.images - warmup))
    floor = config.final_learning_rate_fraction
    return config.learning_rate * (floor + (1 - floor) * (1 + math.cos(math.pi * progress)) / 2)
