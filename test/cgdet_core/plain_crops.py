"""Training crops of detectors whose look is not varied, so that a test can say what each pixel is."""

from __future__ import annotations

from typing import Any

from cgdet_core.config import AugmentConfig, SensorConfig


def plain_augment(**geometry: Any) -> AugmentConfig:
    """Tone, noise, blur and other cameras off; geometry: what the test is of, by AugmentConfig's keys."""
    look = {"tone_probability": 0, "tone_lost_max": 1, "noise_sigma_max": 0, "blur_probability": 0}
    return AugmentConfig.model_validate({**look, "sensor": SensorConfig(probability=0), **geometry})
