"""The pictures of a bag's two cameras: stamps and motion of all, the pairs that a homography is found on, a preview."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import cv2
import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from cgdet_core.config import RegisterConfig, ThermalConfig
from cgdet_core.data.bags.images import RawImage, decode_frame, raw_image
from cgdet_core.data.bags.pairing import Pairs
from cgdet_core.data.bags.reader import BagReader
from cgdet_core.data.registration.edges import Grey, edge_field
from cgdet_core.data.registration.homography import Registration
from cgdet_core.data.registration.motion import Motion, MotionMeter
from cgdet_core.errors import InputError
from cgdet_core.subsample import subsample
from cgdet_core.thermal import normalise, to_grey
from cgdet_core.types import NANOSECONDS, ImageArray

_TRIED_PER_PAIR = 3
_LEAST_TEXTURE = 0.3  # of the best pair's
_SMALL_PX = 320
_TILES = 8  # of the preview's board, across the frame
_SHOWN_EDGE = 0.55


@dataclass
class Stream:
    """One camera's images in a bag, in the order of record times; latencies: of the recording behind the stamps."""

    topic: str
    stamps_ns: list[int] = field(default_factory=list)
    latencies_ns: list[int] = field(default_factory=list)
    undecodable: int = 0
    meter: MotionMeter = field(default_factory=MotionMeter)


@dataclass(frozen=True)
class PicturePair:
    """thermal: uint8/uint16 [H, W] or uint8 [H, W, 3]; rgb: uint8 [H', W', 3]; worth: how much both show."""

    thermal: ImageArray
    rgb: NDArray[np.uint8]
    worth: float


def read_streams(
    bag: BagReader, thermal_topic: str, rgb_topic: str, config: RegisterConfig, progress: bool
) -> tuple[Stream, Stream]:
    """Thermal and RGB: stamps, and the motion unless the clocks' offset is known. InputError for a single stamp."""
    thermal, rgb = Stream(thermal_topic), Stream(rgb_topic)
    streams = {stream.topic: stream for stream in (thermal, rgb)}
    total = sum(bag.topics[topic].count for topic in streams)
    images = _images(bag, tuple(streams), config)
    for image in tqdm(images, "motion", total, unit="frame", disable=None if progress else True):
        stream = streams[image.topic]
        stream.stamps_ns.append(image.stamp_ns)
        stream.latencies_ns.append(image.record_time_ns - image.stamp_ns)
        if config.offset_s is None:
            try:
                stream.meter.add(decode_frame(image, bag.path).image, image.stamp_ns)
            except InputError:
                stream.undecodable += 1
    for stream in (thermal, rgb):
        if len(set(stream.stamps_ns)) < 2:
            raise InputError(
                f"{bag.path}: {stream.topic} holds {len(stream.stamps_ns)} images of {len(set(stream.stamps_ns))} "
                "stamps in the time looked at: give more of the bag (--start, --seconds), with header.stamp set by the "
                "driver"
            )
    return thermal, rgb


def _images(bag: BagReader, topics: Sequence[str], config: RegisterConfig) -> Iterator[RawImage]:
    """The images of several topics within the time looked at, in order of record times, nothing decoded."""
    first_ns: int | None = None
    for item in bag.messages(topics):
        first_ns = item.record_time_ns if first_ns is None else first_ns
        since_s = (item.record_time_ns - first_ns) / NANOSECONDS
        if config.seconds is not None and since_s >= config.start_s + config.seconds:
            return
        if since_s >= config.start_s:
            yield raw_image(item.message, item.type, item.topic, item.record_time_ns)


def choose_pictures(
    bag: BagReader,
    streams: tuple[Stream, Stream],
    pairs: Pairs,
    motion: Motion | None,
    config: RegisterConfig,
    progress: bool,
) -> list[PicturePair]:
    """Up to `config.pairs` pairs spread over the time.

    Of every stretch of time three pairs are tried and the best is kept: both pictures full of edges, and little
    motion between the moments of the two. Stretches that show much less than the best one, such as RGB by night, are
    left out. InputError where no pair can be decoded.
    """
    tried = subsample(len(pairs), _TRIED_PER_PAIR * config.pairs)
    best: dict[int, PicturePair] = {}
    for number, thermal, rgb in _decoded(bag, streams, pairs, tried, config, progress):
        moved_px = 0.0 if motion is None else _moved_px(streams, pairs, tried[number], motion, thermal.shape[1])
        worth = min(_texture(thermal), _texture(rgb)) * float(np.exp(-moved_px))
        stretch = number * config.pairs // len(tried)
        if stretch not in best or worth > best[stretch].worth:
            colour = rgb if rgb.ndim == 3 else np.repeat(to_grey(rgb)[:, :, None], 3, axis=2)
            best[stretch] = PicturePair(thermal, np.asarray(colour, np.uint8), worth)
    if not best:
        raise InputError(f"{bag.path}: none of the pairs tried can be decoded: record Image, or JPEG or PNG")
    most = max(pair.worth for pair in best.values())
    return [pair for _, pair in sorted(best.items()) if pair.worth >= _LEAST_TEXTURE * most]


def _decoded(
    bag: BagReader,
    streams: tuple[Stream, Stream],
    pairs: Pairs,
    places: Sequence[int],
    config: RegisterConfig,
    progress: bool,
) -> Iterator[tuple[int, ImageArray, ImageArray]]:
    """Number, thermal frame and RGB picture of the pairs at `places`, as soon as both were read."""
    thermal_topic, rgb_topic = (stream.topic for stream in streams)
    numbers = {(thermal_topic, pairs.thermal_index[place]): number for number, place in enumerate(places)}
    numbers |= {(rgb_topic, pairs.rgb_index[place]): number for number, place in enumerate(places)}
    waiting: dict[int, ImageArray] = {}
    counts = {thermal_topic: -1, rgb_topic: -1}
    total = sum(len(stream.stamps_ns) for stream in streams)
    images = _images(bag, tuple(counts), config)
    for image in tqdm(images, "pictures", total, unit="frame", disable=None if progress else True):
        counts[image.topic] += 1
        number = numbers.get((image.topic, counts[image.topic]), -1)
        if number < 0:
            continue
        try:
            pixels = decode_frame(image, bag.path).image
        except InputError:  # counted in the first pass
            continue
        if number not in waiting:
            waiting[number] = pixels
        else:
            first = waiting.pop(number)
            yield (number, first, pixels) if image.topic == rgb_topic else (number, pixels, first)


def _moved_px(streams: tuple[Stream, Stream], pairs: Pairs, place: int, motion: Motion, width_px: int) -> float:
    """How far the picture moved between the moments of a pair's two frames."""
    if not len(motion.begin_s):
        return 0.0
    thermal_ns = streams[0].stamps_ns[pairs.thermal_index[place]]
    rgb_ns = streams[1].stamps_ns[pairs.rgb_index[place]] + pairs.offset_ns
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


def preview(pairs: Sequence[PicturePair], registration: Registration) -> NDArray[np.uint8]:
    """uint8 [H, W, 3], RGB: of every pair a row of two pictures of the thermal frame's size, to see whether they meet.

    Left a checkerboard of the thermal frame and the warped RGB picture, right the thermal frame in grey with the RGB
    picture's edges in red; where there is no RGB, the thermal frame alone.
    """
    rows = []
    for pair in pairs:
        grey = normalise(pair.thermal, ThermalConfig())
        warped, valid = registration.warp(pair.rgb)
        picture = np.repeat((np.sqrt(grey) * 255).astype(np.uint8)[:, :, None], 3, axis=2)
        y, x = np.indices(grey.shape) // max(8, grey.shape[1] // _TILES)
        board = np.where((((x + y) % 2 == 1) & valid)[:, :, None], warped, picture)
        luma = cv2.cvtColor(warped, cv2.COLOR_RGB2GRAY).astype(np.float32) / 255
        inner = cv2.erode(valid.astype(np.uint8), np.ones((5, 5), np.uint8), borderValue=1)
        outlined = picture.copy()
        outlined[(np.abs(edge_field(np.sqrt(luma))) > _SHOWN_EDGE) & (inner > 0)] = (255, 40, 40)
        rows.append(np.hstack([board, outlined]))
    return np.asarray(np.vstack(rows), np.uint8)
