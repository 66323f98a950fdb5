"""Frames as cameras would give them that nothing here has: a proxy for cameras never seen.

Gain control, polarity, optics and detectors in forms, or of strengths, that training never draws (data/augment_tone.py,
data/augment_sensor.py have others). Each in two strengths and without chance, so that models can be compared on them.
They work on the whole frame, as a camera does, and keep the labels right: nothing moves.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from zlib import crc32

import cv2
import numpy as np
from numpy.typing import NDArray

from cgdet_core.errors import InputError
from cgdet_core.thermal import to_grey
from cgdet_core.types import FloatArray, ImageArray

Bytes = NDArray[np.uint8]
Curve = Callable[[FloatArray, float], FloatArray]
_FINE_BINS = 4096
_REFERENCE_WIDTH_PX = 640.0  # that lengths in pixels are of; they grow with the frame
_PLAIN = "plain"


def scene_of(image: ImageArray) -> FloatArray:
    """float32 [H, W] in [0, 1] from the coldest to the hottest pixel: what a detector would have measured.

    image: uint8/uint16 [H, W] or uint8 RGB [H, W, 3]. Counts are blurred by half a count each way, the same in every
    frame, since a camera's own gain control sees 14 bits, not the steps of 8.
    """
    grey = to_grey(image)
    counts = grey.astype(np.float32) + _noise("dither", grey.shape, uniform=True)
    low, high = float(counts.min()), float(counts.max())
    return np.asarray((counts - low) / np.float32(max(high - low, 1.0)), np.float32)


def as_seen(image: ImageArray, name: str) -> ImageArray:
    """The frame as camera `name` of `CAMERAS` gives it, uint8 [H, W]; `plain`: as it is.

    InputError for a name that is none.
    """
    if name == _PLAIN:
        return image
    if name not in CAMERAS:
        raise InputError(f"'{name}' is no camera: choose of {', '.join([_PLAIN, *CAMERAS])}")
    curve, strength = CAMERAS[name]
    seen = np.asarray(curve(scene_of(image), strength), np.float32)
    return np.asarray((seen.clip(0, 1) * np.float32(255) + np.float32(0.5)).astype(np.uint8))


def _noise(name: str, shape: tuple[int, ...], uniform: bool = False) -> FloatArray:
    """The same for a name and a shape, always: normal of deviation 1, or uniform within half a unit."""
    rng = np.random.default_rng((crc32(name.encode()), *shape))
    if uniform:
        return rng.random(shape, dtype=np.float32) - np.float32(0.5)
    return rng.standard_normal(shape, dtype=np.float32)


def _px(length_px: float, image: FloatArray) -> float:
    return length_px * max(image.shape) / _REFERENCE_WIDTH_PX


def _blur(image: FloatArray, sigma_px: float) -> FloatArray:
    return np.asarray(cv2.GaussianBlur(image, (0, 0), sigma_px, borderType=cv2.BORDER_REFLECT_101), np.float32)


def _stretched(image: FloatArray, low_percent: float = 0.1, high_percent: float = 99.9) -> FloatArray:
    low, high = (float(value) for value in np.percentile(image, (low_percent, high_percent)))
    return np.asarray((image - np.float32(low)) / np.float32(max(high - low, 1e-3)), np.float32).clip(0, 1)


def _by_weights(image: FloatArray, weights: FloatArray | None, power: float) -> FloatArray:
    """Equalisation over `weights` of the pixels; power: of the histogram, 1 equalises wholly, 0 is linear."""
    bins = np.minimum((image * np.float32(_FINE_BINS)).astype(np.int64), _FINE_BINS - 1)
    counts = np.bincount(bins.ravel(), None if weights is None else weights.ravel(), _FINE_BINS)
    # one scene fills few of the fine bins: neighbours share what they hold
    reached = np.cumsum(np.convolve(counts, np.ones(33) / 33, mode="same") ** power)
    return np.asarray((reached / reached[-1])[bins], np.float32)


def _equalised(image: FloatArray, power: float) -> FloatArray:
    """The histogram's power equalised, over the whole frame."""
    return _by_weights(image, None, power)


def _information(image: FloatArray, power: float) -> FloatArray:
    """Equalised by where the detail is: sky and road hold many pixels and get few tones."""
    detail = np.abs(image - _blur(image, _px(3, image)))
    return _by_weights(image, detail + np.float32(1e-4), power)


def _local(image: FloatArray, share: float) -> FloatArray:
    """Each place brought to one mean and one deviation (Wallis' filter), a share of the way."""
    image = _stretched(image)
    window_px = _px(60, image)
    mean = _blur(image, window_px)
    deviation = np.sqrt(np.maximum(_blur(image * image, window_px) - mean * mean, 0)) + np.float32(0.04)
    local = np.float32(0.5) + np.float32(0.2) * (image - mean) / deviation
    return np.asarray(np.float32(1 - share) * image + np.float32(share) * local, np.float32)


def _detail(image: FloatArray, gain: float) -> FloatArray:
    """Base by an edge-keeping filter, equalised; detail amplified: digital detail enhancement."""
    image = _stretched(image)
    base = np.asarray(cv2.bilateralFilter(image, 9, 0.08, _px(4, image)), np.float32)
    compressed = _by_weights(base, None, 0.4)
    return np.asarray(np.float32(0.1) + np.float32(0.8) * compressed + np.float32(gain) * (image - base), np.float32)


def _gamma(image: FloatArray, power: float) -> FloatArray:
    return np.asarray(np.power(_stretched(image), np.float32(power)), np.float32)


def _steep(image: FloatArray, steepness: float) -> FloatArray:
    """An S about the frame's middle tone: what is neither warm nor cold is torn apart."""
    image = _stretched(image)
    middle = np.float32(np.median(image) * 0.5 + 0.25)
    curve = np.tanh(np.float32(steepness) * (image - middle))
    low, high = np.tanh(-steepness * middle), np.tanh(steepness * (1 - middle))
    return np.asarray((curve - low) / (high - low), np.float32)


def _flat_middle(image: FloatArray, steepness: float) -> FloatArray:
    """The S turned over: tones crowd in the middle, the ends are torn apart."""
    image = _stretched(image)
    middle = np.float32(0.5)
    curve = np.sinh(np.float32(steepness) * (image - middle))
    return np.asarray(np.float32(0.5) + curve / np.float32(2 * np.sinh(steepness / 2)), np.float32)


def _black_hot(image: FloatArray, power: float) -> FloatArray:
    """Inverted polarity, the cold end bright; power: of an equalisation before it."""
    return np.asarray(np.float32(1) - _by_weights(image, None, power), np.float32)


def _few_counts(image: FloatArray, counts: float) -> FloatArray:
    """A scene that fills only so many counts about the middle of 8 bits."""
    return np.asarray(np.float32(0.5) + (_stretched(image) - np.float32(0.5)) * np.float32(counts / 255), np.float32)


def _clipped_hot(image: FloatArray, percent: float) -> FloatArray:
    """So many of the pixels white, and glowing into their surroundings."""
    image = _stretched(image, 0.1, 100 - percent)
    glow = _blur((image >= 1).astype(np.float32), _px(3, image))
    return np.asarray(image + np.float32(0.5) * glow, np.float32)


def _hot_source(image: FloatArray, share: float) -> FloatArray:
    """Something very hot at the upper edge, an exhaust or the sun, takes the range: the scene has `share` of it."""
    height, width = image.shape
    image = _stretched(image) * np.float32(share)
    cv2.circle(image, (round(0.8 * width), round(0.04 * height)), round(_px(45, image)), 1.0, cv2.FILLED)
    return _blur(image, _px(1, image))


def _shaded(image: FloatArray, amplitude: float) -> FloatArray:
    """The lens' own warmth: a rise to the corners by the fourth power of the radius, and a ring."""
    image = _stretched(image)
    height, width = image.shape
    y, x = np.ogrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    radius = np.sqrt((y * y + x * x) / 2).astype(np.float32)
    ring = np.exp(-(((radius - 0.45) / 0.08) ** 2)).astype(np.float32)
    shade = radius**4 + np.float32(0.25) * ring
    return np.asarray((image + np.float32(amplitude) * shade) / np.float32(1 + amplitude), np.float32)


def _columns(image: FloatArray, sigma: float) -> FloatArray:
    """Amplifiers that differ: every eighth column shares one, odd and even ones have an offset."""
    width = image.shape[1]
    amplifiers = (
        _noise("columns", (8,))[np.arange(width) % 8] + _noise("drift", (width // 16 + 1,))[np.arange(width) // 16]
    )
    offsets = np.float32(sigma) * (amplifiers * np.float32(0.7) + (np.arange(width) % 2 - np.float32(0.5)))
    return np.asarray(_stretched(image) + offsets.astype(np.float32)[None], np.float32)


def _noisy(image: FloatArray, sigma: float) -> FloatArray:
    """A warm detector's noise, after the gain control has stretched it."""
    return np.asarray(_stretched(image) + np.float32(sigma) * _noise("grain", image.shape), np.float32)


def _coarse(image: FloatArray, share: float) -> FloatArray:
    """A detector of fewer pixels, enlarged smoothly."""
    height, width = image.shape
    size = max(1, round(share * width)), max(1, round(share * height))
    small = cv2.resize(_stretched(image), size, interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC), np.float32)


def _haloed(image: FloatArray, gain: float) -> FloatArray:
    """Sharpened until dark seams lie about what is warm."""
    image = _stretched(image)
    return np.asarray(image + np.float32(gain) * (image - _blur(image, _px(3, image))), np.float32)


def _two(name: str, curve: Curve, mild: float, strong: float) -> dict[str, tuple[Curve, float]]:
    return {name: (curve, mild), f"{name}+": (curve, strong)}


# name -> what it does and how strongly; `+` is the stronger of two
CAMERAS: Mapping[str, tuple[Curve, float]] = MappingProxyType(
    _two("equalised", _equalised, 0.5, 1.0)
    | _two("information", _information, 0.5, 1.0)
    | _two("local", _local, 0.5, 0.9)
    | _two("detail", _detail, 2.5, 5.0)
    | _two("dark", _gamma, 1.6, 2.4)
    | _two("bright", _gamma, 0.35, 0.2)
    | _two("steep", _steep, 5.0, 9.0)
    | _two("flat middle", _flat_middle, 5.0, 8.0)
    | _two("black-hot", _black_hot, 0.0, 0.6)
    | _two("few counts", _few_counts, 24.0, 12.0)
    | _two("clipped hot", _clipped_hot, 4.0, 12.0)
    | _two("hot source", _hot_source, 0.35, 0.18)
    | _two("shaded", _shaded, 0.4, 1.0)
    | _two("columns", _columns, 0.025, 0.06)
    | _two("noisy", _noisy, 0.04, 0.08)
    | _two("coarse", _coarse, 0.4, 0.25)
    | _two("halos", _haloed, 2.0, 5.0)
)
