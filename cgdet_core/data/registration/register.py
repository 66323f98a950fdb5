"""A registration out of a recorded bag: the clocks' offset, then the homography, each refused where it is a guess."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from cgdet_core.config import RegisterConfig, ThermalConfig
from cgdet_core.data.bags.pairing import Pairs, pair_stamps, stream_timing
from cgdet_core.data.bags.reader import BagReader
from cgdet_core.data.bags.topics import choose_image_topic, choose_rgb_topic
from cgdet_core.data.registration.align import Grey, align, edge_field
from cgdet_core.data.registration.clock import MotionMeter, estimate_offset
from cgdet_core.data.registration.geometry import homography_of_cameras
from cgdet_core.data.registration.homography import How, Matrix, Registration
from cgdet_core.data.registration.pairs import paired_frames
from cgdet_core.errors import InputError
from cgdet_core.subsample import subsample
from cgdet_core.thermal import normalise, to_grey
from cgdet_core.types import NANOSECONDS, ImageArray

_TOLERANCE_PERIODS = 0.55  # greatest difference of a pair, in periods of the faster stream
_PAIRS_TO_SHOW, _TRIED_PER_PAIR = 3, 3
_LEAST_TEXTURE = 0.3  # of the best pair's
_SMALL_PX = 320
_SHOWN_EDGE = 0.85  # noise stays below
# below or above the homography is refused: edges that correlate, what is lost 8 px off, halves of the pairs that differ
_LEAST_SCORE, _LEAST_CONTRAST, _GREATEST_SPREAD = 0.07, 0.15, 0.015
_WARNED_DISTORTION_PX = 1.5


@dataclass
class _Stream:
    """One camera's images in the order of record times; latencies: of the recording behind the stamps."""

    topic: str
    stamps_ns: list[int] = field(default_factory=list)
    latencies_ns: list[int] = field(default_factory=list)
    undecodable: int = 0
    meter: MotionMeter = field(default_factory=MotionMeter)


@dataclass(frozen=True)
class PicturePair:
    """thermal: uint8/uint16 [H, W] or uint8 [H, W, 3]; rgb: uint8 [H', W', 3]."""

    thermal: ImageArray
    rgb: NDArray[np.uint8]

    @property
    def sizes_px(self) -> tuple[tuple[int, int], tuple[int, int]]:
        return (self.thermal.shape[0], self.thermal.shape[1]), (self.rgb.shape[0], self.rgb.shape[1])

    def lights(self) -> tuple[Grey, Grey]:
        """Both float32 in [0, 1] for `align`: the square root of the light, so that noise is even."""
        return _light(self.thermal), np.sqrt(to_grey(self.rgb).astype(np.float32) / 255)


def _light(thermal: ImageArray) -> Grey:
    return np.sqrt(normalise(thermal, ThermalConfig()))


@dataclass(frozen=True)
class Registered:
    """warnings: what a user should look at before trusting it. chosen: the pairs of pictures that were looked at."""

    registration: Registration
    pairs: Pairs
    thermal_topic: str
    rgb_topic: str
    warnings: tuple[str, ...]
    chosen: tuple[PicturePair, ...]


def register_bag(path: Path | str, config: RegisterConfig) -> Registered:
    """Two passes over the bag: stamps and motion, then the pictures of chosen pairs; InputError where they fail."""
    quality: dict[str, float] = {}
    with BagReader(path, config.by) as bag:
        thermal_topic = choose_image_topic(bag, config.thermal_topic)
        rgb_topic = choose_rgb_topic(bag, thermal_topic, config.rgb_topic)
        if rgb_topic is None:
            raise InputError(f"{path}: give a bag with RGB beside {thermal_topic}, this one holds {bag.listing()}")
        streams = _Stream(thermal_topic), _Stream(rgb_topic)
        _read_streams(bag, streams, config.offset_s is None)
        warnings = [
            f"{stream.undecodable} images of {stream.topic} cannot be decoded and are left out"
            for stream in streams
            if stream.undecodable
        ]
        pairs = _paired(bag.path, streams, config, quality, warnings)
        count = config.pairs if config.extrinsic is None else _PAIRS_TO_SHOW
        chosen = _choose_pictures(bag.path, streams, pairs, count)
        (thermal_px, rgb_px), *others = {pair.sizes_px for pair in chosen}
        if others:
            raise InputError(f"{bag.path}: its images change their size: record each size in its own bag")
        if config.extrinsic is None:
            homography = _aligned(bag, chosen, config, quality, warnings)
        else:
            cameras = ((thermal_topic, thermal_px), (rgb_topic, rgb_px))
            homography, left_px = homography_of_cameras(bag, *cameras, config.extrinsic)
            quality["distortion_left_px"] = left_px
            if left_px > _WARNED_DISTORTION_PX:
                warnings.append(f"lenses bend pixels by {left_px:.1f} px off the homography: record rectified images")
    rounded = {name: round(float(value), 4) for name, value in quality.items()}
    how: How = "estimated" if config.extrinsic is None else "camera_info"
    registration = Registration(homography, thermal_px, rgb_px, pairs.offset_ns, pairs.tolerance_ns, how, rounded)
    return Registered(registration, pairs, thermal_topic, rgb_topic, tuple(warnings), tuple(chosen))


def _read_streams(bag: BagReader, streams: tuple[_Stream, _Stream], measure: bool) -> None:
    """Stamps, and with `measure` the motion. InputError for a single stamp."""
    by_topic = {stream.topic: stream for stream in streams}
    total = sum(bag.topics[topic].count for topic in by_topic)
    for item in tqdm(bag.messages(by_topic), "motion", total, unit="frame", disable=None):
        stream, image = by_topic[item.topic], item.raw_image()
        stream.stamps_ns.append(image.stamp_ns)
        stream.latencies_ns.append(image.record_time_ns - image.stamp_ns)
        if measure:
            try:
                stream.meter.add(image.frame(bag.path).image, image.stamp_ns)
            except InputError:
                stream.undecodable += 1
    for stream in streams:
        if (stamps := len(set(stream.stamps_ns))) < 2:
            held = f"{bag.path}: {stream.topic} holds {len(stream.stamps_ns)} images of {stamps} stamps"
            raise InputError(f"{held}: give a longer bag, with header.stamp set by the driver")


def _paired(
    path: Path, streams: tuple[_Stream, _Stream], config: RegisterConfig, quality: dict[str, float], warnings: list[str]
) -> Pairs:
    """The frames paired at the offset that is given or found, whose figures are added."""
    thermal, rgb = streams
    periods_ns = [stream_timing(stream.stamps_ns).period_ns for stream in streams]
    offset_ns = round((config.offset_s or 0) * NANOSECONDS)
    if config.offset_s is None:
        # both streams were recorded by one clock: what a stamp lies behind its recording is a first guess
        guess_ns = int(np.median(rgb.latencies_ns)) - int(np.median(thermal.latencies_ns))
        try:
            clock = estimate_offset(thermal.meter.motion(), rgb.meter.motion(), config.max_offset_s, guess_ns)
        except InputError as error:
            raise InputError(f"{path}: {error}") from None
        offset_ns = clock.offset_ns
        quality |= {f"offset_{name}": getattr(clock, name) for name in ("spread_ms", "correlation", "confidence")}
        if clock.spread_ms > max(periods_ns) / 5e6:
            known = f"the offset is known to {clock.spread_ms:.0f} ms only"
            warnings.append(f"{known}: the clocks may drift apart, or there is little motion")
    given_s = config.tolerance_s
    tolerance_ns = round(_TOLERANCE_PERIODS * min(periods_ns) if given_s is None else given_s * NANOSECONDS)
    pairs = pair_stamps(thermal.stamps_ns, rgb.stamps_ns, offset_ns=offset_ns, tolerance_ns=tolerance_ns)
    if not len(pairs):
        sought = f"an offset of {offset_ns / 1e6:.1f} ms within {tolerance_ns / 1e6:.1f} ms"
        raise InputError(f"{path}: no frames pair at {sought}: give --offset, or a wider --tolerance")
    return pairs


def _choose_pictures(path: Path, streams: tuple[_Stream, _Stream], pairs: Pairs, count: int) -> list[PicturePair]:
    """Up to `count` pairs spread over the time: of every stretch of it that one of three of which both pictures are
    fullest of edges, but none that shows much less than the best. InputError where no pair can be decoded."""
    tried = subsample(len(pairs), _TRIED_PER_PAIR * count)
    stretch_of = {pairs.thermal_index[pair]: place * count // len(tried) for place, pair in enumerate(tried)}
    rgb_of = {pairs.thermal_index[pair]: pairs.rgb_index[pair] for pair in tried}
    frames = paired_frames(path, streams[0].topic, streams[1].topic, rgb_of)
    best: dict[int, tuple[float, PicturePair]] = {}
    for frame in tqdm(frames, "pictures", len(tried), unit="pair", disable=None):
        assert frame.rgb is not None
        try:
            pixels, colour = (image.frame(path).image for image in (frame.thermal, frame.rgb))
        except InputError:  # counted in the first pass
            continue
        colour = colour if colour.ndim == 3 else np.repeat(to_grey(colour)[:, :, None], 3, axis=2)
        pair, stretch = PicturePair(pixels, np.asarray(colour, np.uint8)), stretch_of[frame.number]
        worth = min(_texture(light) for light in pair.lights())
        if stretch not in best or worth > best[stretch][0]:
            best[stretch] = worth, pair
    if not best:
        raise InputError(f"{path}: none of the pairs tried can be decoded: record Image, or JPEG or PNG")
    most = max(worth for worth, _ in best.values())
    return [pair for _, (worth, pair) in sorted(best.items()) if worth >= _LEAST_TEXTURE * most]


def _texture(light: Grey) -> float:
    """Mean gradient of the small picture: a dark picture has little."""
    shrink = min(1.0, _SMALL_PX / light.shape[1])
    smooth = cv2.GaussianBlur(cv2.resize(light, None, fx=shrink, fy=shrink, interpolation=cv2.INTER_AREA), (0, 0), 1.5)
    return float(np.hypot(cv2.Sobel(smooth, cv2.CV_32F, 1, 0), cv2.Sobel(smooth, cv2.CV_32F, 0, 1)).mean())


def _aligned(
    bag: BagReader, chosen: list[PicturePair], config: RegisterConfig, quality: dict[str, float], warnings: list[str]
) -> Matrix:
    """The homography by the pictures, whose figures are added; InputError for one that is a guess."""
    if len(chosen) < 2:
        raise InputError(f"{bag.path}: only one pair of images can be used: give a longer bag")
    found = align([pair.lights() for pair in chosen], config)
    quality |= {"score": found.score, "contrast": found.contrast, "spread_px": found.spread_px, "pairs": len(chosen)}
    said = f"score {found.score:.3f}, contrast {found.contrast:.2f}, spread {found.spread_px:.1f} px"
    most_px = _GREATEST_SPREAD * chosen[0].thermal.shape[1]
    if found.score < _LEAST_SCORE or found.contrast < _LEAST_CONTRAST or found.spread_px > most_px:
        needed = f"needed: {_LEAST_SCORE}, {_LEAST_CONTRAST}, {most_px:.1f} px or less"
        not_found = f"the homography was not found ({said}; {needed})"
        raise InputError(f"{bag.path}: {not_found}: give a bag recorded by day, or --extrinsic")
    if 2 * found.spread_px > most_px:
        warnings.append(f"the homography is uncertain ({said}): look at the preview")
    return found.homography


def preview(pairs: Sequence[PicturePair], registration: Registration) -> NDArray[np.uint8]:
    """uint8 [H, W, 3], RGB: of every pair, one below the other, left the warped RGB picture, right the thermal frame
    with the RGB picture's edges in red, to see whether they meet."""
    rows = []
    for pair in pairs:
        warped, valid = registration.warp(pair.rgb)
        outlined = np.repeat((_light(pair.thermal) * 255).astype(np.uint8)[:, :, None], 3, axis=2)
        edges = edge_field(np.sqrt(to_grey(warped).astype(np.float32) / 255))
        inner = cv2.erode(valid.astype(np.uint8), np.ones((5, 5), np.uint8), borderValue=1)
        outlined[(np.hypot(*np.moveaxis(edges, 2, 0)) > _SHOWN_EDGE) & (inner > 0)] = (255, 40, 40)
        rows.append(np.hstack([warped, outlined]))
    return np.asarray(np.vstack(rows), np.uint8)
