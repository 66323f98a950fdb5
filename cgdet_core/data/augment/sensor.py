"""A crop as another camera would have given it: optics, detector, gain control, transmission, in that order.

Everything is drawn from the generator handed in, but for noise: a window, at random, of a tile drawn once with a seed
of its own. A crop of fresh normal numbers would cost more than all the rest.
"""

from __future__ import annotations

from functools import cache

import cv2
import numpy as np

from cgdet_core.config import LookConfig, SensorConfig
from cgdet_core.data.augment.tone import to_bytes, to_unit, uniform, vary_local_contrast, vary_tone
from cgdet_core.types import FloatArray

_TILE_SEED = 20190
_BLUR_SIGMA_RANGE_PX = (0.4, 1.2)
_NOISY = 0.5  # share of the crops that get temporal noise


def vary_camera(image: FloatArray, config: LookConfig, grey: bool, rng: np.random.Generator) -> FloatArray:
    """float32 [H, W] in [0, 1] -> the same, varied; `image` may be overwritten. grey: the frame is a grey RGB one
    (`LookConfig.grey_invert_probability`, `SensorConfig.grey_factor`)."""
    sensor = config.sensor if rng.random() < config.sensor.probability else None
    if sensor is not None:
        image = _optics(image, sensor, rng)
    if rng.random() < config.blur_probability:
        image = np.asarray(cv2.GaussianBlur(image, (0, 0), uniform(_BLUR_SIGMA_RANGE_PX, rng)), np.float32)
    touched = False
    if sensor is not None:
        touched = _detector(image, sensor, rng)
    if rng.random() < _NOISY and config.noise_sigma_max > 0:
        image += _noise(image.shape, False, rng) * np.float32(config.noise_sigma_max * rng.random())
        touched = True
    if touched:
        np.clip(image, 0, 1, out=image)
    if sensor is not None:
        _dead(image, sensor, rng)
    if rng.random() < (config.grey_invert_probability if grey else config.invert_probability):
        np.subtract(np.float32(1), image, out=image)
    if sensor is not None:
        image = vary_local_contrast(image, sensor, grey, rng)
    image = vary_tone(image, config, sensor, grey, rng)
    if sensor is not None and rng.random() < sensor.jpeg_probability:
        quality = min(round(uniform(sensor.jpeg_quality_range, rng)), 100)
        _, data = cv2.imencode(".jpg", to_bytes(image), (cv2.IMWRITE_JPEG_QUALITY, quality))
        image = to_unit(np.asarray(cv2.imdecode(data, cv2.IMREAD_GRAYSCALE), np.uint8))
    return image


def _optics(image: FloatArray, sensor: SensorConfig, rng: np.random.Generator) -> FloatArray:
    """Motion blur along a random direction; loss of resolution."""
    if rng.random() < sensor.motion_blur_probability:
        kernel = _motion_kernel(uniform(sensor.motion_blur_range_px, rng), np.pi * rng.random())
        image = np.asarray(cv2.filter2D(image, -1, kernel, borderType=cv2.BORDER_REPLICATE), np.float32)
    if rng.random() < sensor.resolution_probability:
        height, width = image.shape
        share = uniform(sensor.resolution_range, rng)
        size = max(1, round(share * width)), max(1, round(share * height))
        small = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
        method = cv2.INTER_NEAREST if rng.random() < 0.15 else cv2.INTER_LINEAR
        image = np.asarray(cv2.resize(small, (width, height), interpolation=method), np.float32)
    return image


def _motion_kernel(length_px: float, angle: float) -> FloatArray:
    """A line of `length_px` through the middle, its sum 1."""
    side = 2 * int(np.ceil(length_px / 2)) + 1
    # eight samples to a pixel, each shared among its four neighbours
    along = np.linspace(-length_px / 2, length_px / 2, int(8 * length_px) + 1)
    x, y = along * np.cos(angle) + side // 2, along * np.sin(angle) + side // 2
    cells = np.arange(side)
    share_x = np.maximum(0, 1 - np.abs(x[:, None] - cells))
    share_y = np.maximum(0, 1 - np.abs(y[:, None] - cells))
    kernel = share_y.T @ share_x
    return np.asarray(kernel / kernel.sum(), np.float32)


def _detector(image: FloatArray, sensor: SensorConfig, rng: np.random.Generator) -> bool:
    """Adds shading, stripes (a vector along the rows, one along the columns) and grain in place; whether any."""
    height, width = image.shape
    rows, columns = np.zeros(height, np.float32), np.zeros(width, np.float32)
    striped = rng.random() < sensor.stripes_probability
    shaded = rng.random() < sensor.shading_probability
    if striped:
        kind = rng.integers(3)
        sigma = np.float32(sensor.stripes_sigma_max * rng.random())
        if kind != 1:
            columns += sigma * rng.standard_normal(width, dtype=np.float32)
        if kind != 0:
            rows += sigma * rng.standard_normal(height, dtype=np.float32)
    if shaded:
        amplitude = np.float32(sensor.shading_max * rng.random())
        # the optical axis may lie outside of a crop; a vignette darkens or, uncorrected lens warmth, brightens
        axis = rng.uniform(-1, 2, 2).astype(np.float32)
        vignette, slope_y, slope_x = rng.uniform(-1, 1, 3).astype(np.float32) * amplitude
        y, x = (np.linspace(0, 1, side, dtype=np.float32) for side in (height, width))
        rows += vignette * (y - axis[0]) ** 2 / 2 + slope_y * (y - np.float32(0.5))
        columns += vignette * (x - axis[1]) ** 2 / 2 + slope_x * (x - np.float32(0.5))
        # no more than a part of the range is lost to its mean, which gain control takes away
        rows -= (rows.mean() + columns.mean()) * np.float32(0.8)
    if striped or shaded:
        image += rows[:, None]
        image += columns
    grainy = rng.random() < sensor.grain_probability
    if grainy:
        image += _noise(image.shape, True, rng) * np.float32(sensor.grain_sigma_max * rng.random())
    return striped or shaded or grainy


def _dead(image: FloatArray, sensor: SensorConfig, rng: np.random.Generator) -> None:
    """Sets stuck pixels, rows and columns, in place: black, white or anything between."""
    height, width = image.shape
    if rng.random() < sensor.dead_pixels_probability:
        count = int(rng.integers(1, sensor.dead_pixels_max + 1))
        values = rng.choice(np.array([0, 1, rng.random()], np.float32), count)
        image[rng.integers(height, size=count), rng.integers(width, size=count)] = values
    if rng.random() < sensor.dead_lines_probability:
        for _ in range(int(rng.integers(1, sensor.dead_lines_max + 1))):
            value = rng.choice(np.array([0, 1, rng.random()], np.float32))
            if rng.random() < 0.5:
                image[rng.integers(height)] = value
            else:
                image[:, rng.integers(width)] = value


def _noise(shape: tuple[int, ...], coarse: bool, rng: np.random.Generator) -> FloatArray:
    """A window of normal noise of deviation 1, read-only; coarse: correlated over about two pixels."""
    height, width = shape
    # sides in powers of two: crops of one size and all their quadrants share one tile
    tile = _tile(2 << max(height, width, 128).bit_length(), coarse)
    side = len(tile)
    top, left = int(rng.integers(side - height + 1)), int(rng.integers(side - width + 1))
    window = tile[top : top + height, left : left + width]
    turned = int(rng.integers(4))
    return window[:: -1 if turned & 1 else 1, :: -1 if turned & 2 else 1]


@cache
def _tile(side: int, coarse: bool) -> FloatArray:
    tile = np.random.default_rng((_TILE_SEED, side, coarse)).standard_normal((side, side), dtype=np.float32)
    if coarse:
        tile = np.asarray(cv2.GaussianBlur(tile, (0, 0), 0.9, borderType=cv2.BORDER_REFLECT_101), np.float32)
        tile /= tile.std()
    tile.flags.writeable = False
    return tile
