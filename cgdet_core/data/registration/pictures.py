"""The pairs of pictures that a homography is found on: spread over a bag's time, full of edges, and of one moment."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from cgdet_core.config import ThermalConfig
from cgdet_core.data.bags.images import RawImage, decode_frame, raw_image
from cgdet_core.data.bags.pairing import Pairs
from cgdet_core.data.bags.reader import BagReader
from cgdet_core.data.bags.types import NANOSECONDS
from cgdet_core.data.registration.motion import Motion
from cgdet_core.errors import InputError
from cgdet_core.evenly import evenly_spread
from cgdet_core.thermal import normalise, to_grey
from cgdet_core.types import ImageArray

Grey = NDArray[np.float32]

_TRIED_PER_PAIR = 3
_LEAST_TEXTURE = 0.3  # of the best pair's
_SMALL_PX = 320


@dataclass(frozen=True)
class TimeWindow:
    """Of a bag from start_s on, for `seconds` (None: to its end), by record time since the first image."""

    start_s: float = 0.0
    seconds: float | None = None


@dataclass(frozen=True)
class PicturePair:
    """thermal: uint8/uint16 [H, W] or uint8 [H, W, 3]; rgb: uint8 [H', W', 3]; worth: how much both show."""

    thermal: ImageArray
    rgb: NDArray[np.uint8]
    worth: float


@dataclass(frozen=True)
class PairedBag:
    """A bag's two streams and their pairs; stamps as counted by `images_of` in the same time window."""

    bag: BagReader
    thermal_topic: str
    rgb_topic: str
    thermal_stamps_ns: Sequence[int]
    rgb_stamps_ns: Sequence[int]
    pairs: Pairs
    window: TimeWindow


def images_of(bag: BagReader, topics: Sequence[str], window: TimeWindow) -> Iterator[RawImage]:
    """The images of several topics within the window, in order of record times, nothing decoded."""
    first_ns: int | None = None
    for item in bag.messages(topics):
        first_ns = item.record_time_ns if first_ns is None else first_ns
        since_s = (item.record_time_ns - first_ns) / NANOSECONDS
        if window.seconds is not None and since_s >= window.start_s + window.seconds:
            return
        if since_s >= window.start_s:
            yield raw_image(item.message, item.type, item.topic, item.record_time_ns)


def choose_pictures(paired: PairedBag, motion: Motion | None, count: int, progress: bool) -> list[PicturePair]:
    """Up to `count` pairs spread over the time.

    Of every stretch of time three pairs are tried and the best is kept: both pictures full of edges, and little
    motion between the moments of the two. Stretches that show much less than the best one, such as RGB by night, are
    left out. InputError where no pair can be decoded.
    """
    tried = evenly_spread(len(paired.pairs), _TRIED_PER_PAIR * count)
    best: dict[int, PicturePair] = {}
    for number, thermal, rgb in _decoded(paired, tried, progress):
        moved_px = 0.0 if motion is None else _moved_px(paired, tried[number], motion, thermal.shape[1])
        worth = min(_texture(thermal), _texture(rgb)) * float(np.exp(-moved_px))
        stretch = number * count // len(tried)
        if stretch not in best or worth > best[stretch].worth:
            colour = rgb if rgb.ndim == 3 else np.repeat(to_grey(rgb)[:, :, None], 3, axis=2)
            best[stretch] = PicturePair(thermal, np.asarray(colour, np.uint8), worth)
    if not best:
        raise InputError(f"{paired.bag.path}: none of the pairs tried can be decoded: record Image, or JPEG or PNG")
    most = max(pair.worth for pair in best.values())
    return [pair for _, pair in sorted(best.items()) if pair.worth >= _LEAST_TEXTURE * most]


def _decoded(paired: PairedBag, places: Sequence[int], progress: bool) -> Iterator[tuple[int, ImageArray, ImageArray]]:
    """Number, thermal frame and RGB picture of the pairs at `places`, as soon as both were read."""
    numbers: dict[tuple[str, int], int] = {}
    for number, place in enumerate(places):
        numbers[paired.thermal_topic, paired.pairs.thermal_index[place]] = number
        numbers[paired.rgb_topic, paired.pairs.rgb_index[place]] = number
    waiting: dict[int, ImageArray] = {}
    counts = {paired.thermal_topic: -1, paired.rgb_topic: -1}
    images = images_of(paired.bag, tuple(counts), paired.window)
    total = len(paired.thermal_stamps_ns) + len(paired.rgb_stamps_ns)
    for image in tqdm(images, "pictures", total, unit="frame", disable=None if progress else True):
        counts[image.topic] += 1
        number = numbers.get((image.topic, counts[image.topic]), -1)
        if number < 0:
            continue
        try:
            pixels = decode_frame(image, paired.bag.path).image
        except InputError:  # counted in the first pass
            continue
        if number not in waiting:
            waiting[number] = pixels
        elif image.topic == paired.rgb_topic:
            yield number, waiting.pop(number), pixels
        else:
            yield number, pixels, waiting.pop(number)


def _moved_px(paired: PairedBag, place: int, motion: Motion, width_px: int) -> float:
    """How far the picture moved between the moments of a pair's two frames."""
    if not len(motion.begin_s):
        return 0.0
    thermal_ns = paired.thermal_stamps_ns[paired.pairs.thermal_index[place]]
    rgb_ns = paired.rgb_stamps_ns[paired.pairs.rgb_index[place]] + paired.pairs.offset_ns
    near = int(np.abs(motion.begin_s - (thermal_ns - motion.origin_ns) / NANOSECONDS).argmin())
    speed = float(np.nan_to_num(np.hypot(motion.rates[near, 0], motion.rates[near, 1])))
    return speed * width_px * abs(thermal_ns - rgb_ns) / NANOSECONDS


def _texture(image: ImageArray) -> float:
    """Mean gradient of the small picture, in the square root of its light: a dark picture has little."""
    grey = to_grey(image)
    shrink = min(1.0, _SMALL_PX / grey.shape[1])
    small = cv2.resize(grey, None, fx=shrink, fy=shrink, interpolation=cv2.INTER_AREA)
    light = normalise(small, ThermalConfig()) if image.ndim == 2 else small.astype(np.float32) / 255
    smooth = cv2.GaussianBlur(np.sqrt(light), (0, 0), 1.5)
    return float(np.hypot(cv2.Sobel(smooth, cv2.CV_32F, 1, 0), cv2.Sobel(smooth, cv2.CV_32F, 0, 1)).mean())


def grey_pairs(pairs: Sequence[PicturePair]) -> list[tuple[Grey, Grey]]:
    """Thermal and RGB pictures float32 in [0, 1] for `align`: the square root of the light, so that noise is even."""
    return [
        (np.sqrt(normalise(pair.thermal, ThermalConfig())), np.sqrt(to_grey(pair.rgb).astype(np.float32) / 255))
        for pair in pairs
    ]
