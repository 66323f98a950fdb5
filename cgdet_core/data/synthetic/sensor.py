"""From temperatures to counts, from light to an RGB picture: the two cameras' blur, noise, drift and gain control."""

from __future__ import annotations

import math
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from cgdet_core.config import SyntheticConfig
from cgdet_core.types import ImageArray


class ThermalSensor:
    """One microbolometer camera: its scale, fixed pattern and dead pixels come from the street's seed."""

    def __init__(self, seed: int, config: SyntheticConfig, air_c: float) -> None:
        self._config, self._air_c = config, air_c
        rng = np.random.default_rng([seed, 3])
        height, width = config.height_width_px
        self._kelvin_per_count, self._offset_counts = float(rng.uniform(0.01, 0.04)), float(rng.uniform(7000, 30000))
        self._blur_px, self._noise_k = float(rng.uniform(0.5, 1.0)), float(rng.uniform(0.03, 0.10))
        self._drift_k, self._drift_phase = float(rng.uniform(0.1, 0.8)), float(rng.uniform(0, 6.28))
        y, x = (np.arange(height) / height - 0.5)[:, None], np.arange(width) / width - 0.5
        pattern = rng.normal(0, 0.8, width) + rng.normal(0, 0.25, (height, 1)) + rng.normal(0, 0.5, (height, width))
        self._pattern_k = (self._noise_k * pattern + rng.uniform(-1.6, 0.6) * (x * x + y * y)).astype(np.float32)
        dead = rng.random((height, width)) < rng.uniform(0, 2e-5)
        self._pattern_k[dead] += rng.choice([-12.0, 12.0], int(dead.sum()))
        # the 8-bit output: its percentiles (many cameras cut the sky and leave the street dark), top code and curve
        self._agc_cut = (float(rng.choice([rng.uniform(0.1, 2), rng.uniform(2, 25)])), float(rng.uniform(98.5, 99.95)))
        self._agc_top, self._agc_gamma = float(rng.uniform(120, 255)), float(rng.uniform(0.8, 1.9))

    def expose(self, temperatures_c: NDArray[np.float32], t: float, rng: np.random.Generator) -> ImageArray:
        """float32 [H, W] degrees Celsius -> uint16 counts, or uint8 after gain control."""
        kelvin: Any = (temperatures_c - np.float32(self._air_c)) * np.float32(self._config.thermal_contrast)
        kelvin = cv2.GaussianBlur(kelvin, (0, 0), self._blur_px) + self._pattern_k
        kelvin += rng.standard_normal(kelvin.shape, dtype=np.float32) * np.float32(self._noise_k)
        kelvin += np.float32(self._drift_k * math.sin(0.05 * t + self._drift_phase))
        if self._config.bit_depth == 16:
            counts = kelvin * np.float32(1 / self._kelvin_per_count) + np.float32(self._offset_counts)
            return np.asarray(np.clip(np.rint(counts), 0, 65535), dtype=np.uint16)
        low, high = (float(value) for value in np.percentile(kelvin[::4, ::4], self._agc_cut))
        high = max(high, low + 12 * self._noise_k)
        shown = np.clip((kelvin - low) / (high - low), 0, 1) ** np.float32(self._agc_gamma)
        return np.asarray(np.rint(shown * np.float32(self._agc_top)), dtype=np.uint8)


def expose_rgb(light: NDArray[np.float32], night: bool, rng: np.random.Generator) -> ImageArray:
    """float32 [3, H, W] of light, 1 is white -> uint8 [H, W, 3]; at night lamps bleed and gain adds noise."""
    colour: Any = cv2.merge(list(light))
    height, width = colour.shape[:2]
    if night:
        small = cv2.resize(colour, (width // 4, height // 4), interpolation=cv2.INTER_AREA)
        small = np.maximum(small - np.float32(0.7), 0)
        glow = cv2.GaussianBlur(small, (0, 0), 2.0) * 1.5 + cv2.GaussianBlur(small, (0, 0), 7) * 1.5
        colour = cv2.add(colour, cv2.resize(glow, (width, height), interpolation=cv2.INTER_LINEAR))
    grain = rng.standard_normal((height, width), dtype=np.float32) * np.float32(255 * (0.02 if night else 0.007))
    picture = cv2.GaussianBlur(colour, (3, 3), 0.6) * np.float32(255)
    picture = cv2.add(picture, cv2.merge([grain, grain, grain]))
    return np.asarray(cv2.convertScaleAbs(np.maximum(picture, 0)))
