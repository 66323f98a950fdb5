"""Tone as other cameras make it: curves composed into one table, and gain control that looks at the picture.

All of it takes and gives float32 [H, W] in [0, 1] and draws from the generator it is handed.
"""

from __future__ import annotations

from functools import cache

import cv2
import numpy as np
from numpy.typing import NDArray

from cgdet_core.config import LookConfig, SensorConfig
from cgdet_core.types import FloatArray

STEPS = 1024  # of a table over [0, 1]
_KNOTS = 6
_BINS = 256
_END = 1 + 1 / _BINS
_NEAR = 0.02  # this near to the ends a pixel counts as black or white
_MIN_SPAN = 0.25  # a flat crop is not stretched until its noise fills the range
_MIN_TILED_PX = 32  # tiles of a thinner picture would hold too few pixels to equalise


def uniform(span: tuple[float, float], rng: np.random.Generator) -> float:
    return span[0] + (span[1] - span[0]) * rng.random()


def log_uniform(span: tuple[float, float], rng: np.random.Generator) -> float:
    return float(span[0] * (span[1] / span[0]) ** rng.random())


def vary_tone(
    image: FloatArray, config: LookConfig, sensor: SensorConfig | None, grey: bool, rng: np.random.Generator
) -> FloatArray:
    """Equalisation, curve, S-curve, gamma with gain and offset, cut ends, few levels: one table, one look-up.

    sensor: None leaves gamma, gain and offset alone; grey: as of vary_camera. Curves that drive more than
    config.tone_lost_max of the pixels to black or white are halved.
    """
    # shares of the pixels, float32 [_BINS]; the last bin ends just above 1
    histogram = cv2.calcHist([image], [0], None, [_BINS], [0, _END])
    counts = np.asarray(histogram.reshape(-1) / np.float32(image.size), np.float32)
    table = _ramp()
    if sensor is not None:
        factor = sensor.grey_factor if grey else 1.0
        if rng.random() < factor * sensor.equalise_probability:
            table = _equalising(counts, log_uniform(sensor.plateau_range, rng), uniform((0.3, 1.0), rng))
        if rng.random() < factor * sensor.curve_probability:
            table = _then(table, random_curve(factor * sensor.curve_max * rng.random(), rng))
        if rng.random() < factor * sensor.sigmoid_probability:
            table = _then(table, _sigmoid(uniform(sensor.sigmoid_range, rng), uniform((0.25, 0.75), rng)))
        if rng.random() < factor * sensor.saturation_probability:
            cut = _saturating(counts, sensor.saturation_max * rng.random(2))
            table = _then(cut, table)
    if rng.random() < config.tone_probability:
        gamma, gain = log_uniform(config.gamma_range, rng), log_uniform(config.gain_range, rng)
        offset = uniform(config.offset_range, rng)
        curve = np.power(_ramp(), np.float32(gamma)) * np.float32(gain) + np.float32(offset)
        table = _then(table, curve.clip(0, 1))
    if _lost(table, counts) - _lost(_ramp(), counts) > config.tone_lost_max:
        table = (table + _ramp()) / np.float32(2)
    if sensor is not None and rng.random() < sensor.quantise_probability:
        levels = np.float32(round(log_uniform(sensor.levels_range, rng)) - 1)
        table = _then(table, np.rint(_ramp() * levels) / levels)
    if table is _ramp():
        return image
    return np.take(table, (image * np.float32(STEPS) + np.float32(0.5)).astype(np.uint16))


def vary_local_contrast(image: FloatArray, sensor: SensorConfig, grey: bool, rng: np.random.Generator) -> FloatArray:
    """Detail enhancement with halos, then CLAHE; each by its chance."""
    factor = sensor.grey_factor if grey else 1.0
    if rng.random() < factor * sensor.detail_probability:
        window = 2 * round(log_uniform(sensor.detail_radius_range_px, rng)) + 1
        gain, base_gain = uniform(sensor.detail_gain_range, rng), uniform(sensor.base_gain_range, rng)
        base = cv2.blur(image, (window, window), borderType=cv2.BORDER_REPLICATE)
        # base_gain * (base - mean) + mean + gain * (image - base)
        mean = float(cv2.mean(base)[0])
        image = np.asarray(cv2.addWeighted(image, gain, base, base_gain - gain, (1 - base_gain) * mean), np.float32)
        np.clip(image, 0, 1, out=image)
    if rng.random() < factor * sensor.clahe_probability and min(image.shape) >= _MIN_TILED_PX:
        tile = log_uniform(sensor.clahe_tile_range_px, rng)
        tiles = (max(1, round(image.shape[1] / tile)), max(1, round(image.shape[0] / tile)))
        clahe = cv2.createCLAHE(clipLimit=log_uniform(sensor.clahe_clip_range, rng), tileGridSize=tiles)
        image = to_unit(np.asarray(clahe.apply(to_bytes(image)), np.uint8))
    return image


def random_curve(sigma: float, rng: np.random.Generator) -> FloatArray:
    """A smooth ascending curve from 0 to 1, float32 [STEPS + 1]: its log slope is normal at a few knots."""
    knots = np.exp(sigma * rng.standard_normal(_KNOTS))
    slope = np.interp(_ramp(), np.linspace(0, 1, _KNOTS), knots)
    curve = np.cumsum(slope) - slope[0]
    return np.asarray(curve / curve[-1], np.float32)


def to_bytes(image: FloatArray) -> NDArray[np.uint8]:
    """[0, 1] -> uint8, rounded."""
    return np.asarray((image * np.float32(255) + np.float32(0.5)).astype(np.uint8))


def to_unit(image: NDArray[np.uint8]) -> FloatArray:
    return np.asarray(np.multiply(image, np.float32(1 / 255), dtype=np.float32))


@cache
def _ramp() -> FloatArray:
    ramp = np.linspace(0, 1, STEPS + 1, dtype=np.float32)
    ramp.flags.writeable = False
    return ramp


def _then(first: FloatArray, second: FloatArray) -> FloatArray:
    """The table that is `first` and then `second`."""
    return np.take(second, (first * np.float32(STEPS) + np.float32(0.5)).astype(np.uint16))


def _lost(table: FloatArray, counts: FloatArray) -> float:
    """Share of the pixels that the table makes black or white."""
    values = table[:: STEPS // _BINS][:_BINS]
    return float(counts[(values < _NEAR) | (values > 1 - _NEAR)].sum())


def _equalising(counts: FloatArray, plateau: float, blend: float) -> FloatArray:
    """The cumulative histogram, no bin counted above `plateau` times the mean of the filled ones; blended with none."""
    filled = max(1, int(np.count_nonzero(counts)))
    reached = np.concatenate([[0], np.cumsum(np.minimum(counts, plateau / filled))])
    curve = np.interp(_ramp(), np.linspace(0, _END, _BINS + 1), reached / reached[-1])
    return np.asarray(blend * curve + (1 - blend) * _ramp(), np.float32)


def _saturating(counts: FloatArray, shares: NDArray[np.float64]) -> FloatArray:
    """Linear between the values beyond which lie shares[0] of the pixels below and shares[1] above."""
    reached = np.cumsum(counts)
    low = float(np.searchsorted(reached, shares[0])) / _BINS
    high = float(np.searchsorted(reached, 1 - shares[1]) + 1) / _BINS
    span = max(high - low, _MIN_SPAN)
    return np.asarray(((_ramp() - np.float32(low)) / np.float32(span)).clip(0, 1), np.float32)


def _sigmoid(steepness: float, middle: float) -> FloatArray:
    curve = 1 / (1 + np.exp(np.float32(-2 * steepness) * (_ramp() - np.float32(middle))))
    return np.asarray((curve - curve[0]) / (curve[-1] - curve[0]), np.float32)
