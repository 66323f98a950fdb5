"""The pictures of a bag's two cameras: stamps and motion of all, the pairs that a homography is found on, a preview."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from cgdet_core.config import RegisterConfig, ThermalConfig
from cgdet_core.data.bags.images import decode_frame, raw_image
from cgdet_core.data.bags.pairing import Pairs
from cgdet_core.data.bags.reader import BagReader
from cgdet_core.data.registration.edges import Grey, edge_field
from cgdet_core.data.registration.homography import Registration
from cgdet_core.data.registration.motion import MotionMeter
from cgdet_core.data.registration.pairs import paired_frames
from cgdet_core.errors import InputError
from cgdet_core.subsample import subsample
from cgdet_core.thermal import normalise, to_grey
from cgdet_core.types import NANOSECONDS, ImageArray

_TRIED_PER_PAIR = 3
_LEAST_TEXTURE = 0.3  # of the best pair's
_SMALL_PX = 320
_SHOWN_EDGE = 0.85  # noise stays below


@dataclass
class Stream:
    """One camera's images within the time looked at, in the order of record times; passed_over: images before it;
    latencies: of the recording behind the stamps."""

    topic: str
    passed_over: int = 0
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
    first_ns: int | None = None
    messages = bag.messages(tuple(streams))
    for item in tqdm(messages, "motion", total, unit="frame", disable=None if progress else True):
        stream = streams[item.topic]
        first_ns = item.record_time_ns if first_ns is None else first_ns
        since_s = (item.record_time_ns - first_ns) / NANOSECONDS
        if since_s < config.start_s:
            stream.passed_over += 1
            continue
        if config.seconds is not None and since_s >= config.start_s + config.seconds:
            break
        image = raw_image(item)
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


def choose_pictures(
    path: Path, streams: tuple[Stream, Stream], pairs: Pairs, count: int, progress: bool
) -> list[PicturePair]:
    """Up to `count` pairs spread over the time: of every stretch of it three are tried, and the one is kept of which
    both pictures are fullest of edges. Stretches that show much less than the best one, such as RGB by night, are left
    out. InputError where no pair can be decoded.
    """
    thermal, rgb = streams
    tried = subsample(len(pairs), _TRIED_PER_PAIR * count)
    places = [thermal.passed_over + pairs.thermal_index[place] for place in tried]
    stretch_of = {place: number * count // len(tried) for number, place in enumerate(places)}
    rgb_of = {place: rgb.passed_over + pairs.rgb_index[pair] for place, pair in zip(places, tried, strict=True)}
    frames = paired_frames(path, thermal.topic, rgb.topic, rgb_of)
    best: dict[int, PicturePair] = {}
    for frame in tqdm(frames, "pictures", len(places), unit="pair", disable=None if progress else True):
        assert frame.rgb is not None
        try:
            pixels, colour = (decode_frame(image, path).image for image in (frame.thermal, frame.rgb))
        except InputError:  # counted in the first pass
            continue
        worth, stretch = min(_texture(pixels), _texture(colour)), stretch_of[frame.number]
        if stretch not in best or worth > best[stretch].worth:
            colour = colour if colour.ndim == 3 else np.repeat(to_grey(colour)[:, :, None], 3, axis=2)
            best[stretch] = PicturePair(pixels, np.asarray(colour, np.uint8), worth)
    if not best:
        raise InputError(f"{path}: none of the pairs tried can be decoded: record Image, or JPEG or PNG")
    most = max(pair.worth for pair in best.values())
    return [pair for _, pair in sorted(best.items()) if pair.worth >= _LEAST_TEXTURE * most]


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
    """uint8 [H, W, 3], RGB: of every pair, one below the other, left the warped RGB picture, right the thermal frame
    with the RGB picture's edges in red, to see whether they meet."""
    rows = []
    for pair in pairs:
        grey = normalise(pair.thermal, ThermalConfig())
        warped, valid = registration.warp(pair.rgb)
        outlined = np.repeat((np.sqrt(grey) * 255).astype(np.uint8)[:, :, None], 3, axis=2)
        luma = cv2.cvtColor(warped, cv2.COLOR_RGB2GRAY).astype(np.float32) / 255
        inner = cv2.erode(valid.astype(np.uint8), np.ones((5, 5), np.uint8), borderValue=1)
        outlined[(np.abs(edge_field(np.sqrt(luma))) > _SHOWN_EDGE) & (inner > 0)] = (255, 40, 40)
        rows.append(np.hstack([warped, outlined]))
    return np.asarray(np.vstack(rows), np.uint8)
