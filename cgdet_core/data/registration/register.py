"""A registration out of a recorded bag: the clocks' offset, then the homography, each refused where it is a guess."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from cgdet_core.config import RegisterConfig
from cgdet_core.data.bags.images import decode_frame
from cgdet_core.data.bags.pairing import Pairs, pair_stamps
from cgdet_core.data.bags.reader import BagReader
from cgdet_core.data.bags.topics import choose_image_topic, choose_rgb_topic
from cgdet_core.data.registration.align import Alignment, align
from cgdet_core.data.registration.clock import ClockOffset, estimate_offset
from cgdet_core.data.registration.geometry import camera_of, homography_between, load_extrinsic
from cgdet_core.data.registration.homography import How, Registration
from cgdet_core.data.registration.motion import Motion, MotionMeter
from cgdet_core.data.registration.pictures import (
    PairedBag,
    PicturePair,
    TimeWindow,
    choose_pictures,
    grey_pairs,
    images_of,
)
from cgdet_core.errors import InputError

Matrix = NDArray[np.float64]
_PAIRS_TO_SHOW = 3
_WHOLE = TimeWindow()


@dataclass(frozen=True)
class RegisterWanted:
    """What `cgdet bag register` was asked for. offset_ns: known already; tolerance_ns: None by the streams' rates;
    identity: the pictures are registered already; extrinsic: with CameraInfos, in place of the estimate."""

    thermal_topic: str | None = None
    rgb_topic: str | None = None
    window: TimeWindow = _WHOLE
    offset_ns: int | None = None
    tolerance_ns: int | None = None
    identity: bool = False
    extrinsic: Path | None = None
    thermal_info_topic: str | None = None
    rgb_info_topic: str | None = None


@dataclass(frozen=True)
class Registered:
    """clock: None where the offset was given. alignment: None where the homography was not estimated. warnings: what
    a user should look at before trusting it. chosen: the pairs of pictures that were looked at."""

    registration: Registration
    pairs: Pairs
    thermal_topic: str
    rgb_topic: str
    clock: ClockOffset | None
    alignment: Alignment | None
    warnings: tuple[str, ...]
    chosen: tuple[PicturePair, ...]


@dataclass
class _Stream:
    """What the first pass keeps of a topic."""

    name: str
    topic: str
    stamps_ns: list[int] = field(default_factory=list)
    latencies_ns: list[int] = field(default_factory=list)
    undecodable: int = 0
    meter: MotionMeter = field(default_factory=MotionMeter)


def register_bag(
    path: Path | str, wanted: RegisterWanted, config: RegisterConfig, *, progress: bool = True
) -> Registered:
    """Two passes over the bag: stamps and motion, then the pictures of chosen pairs. InputError where bag or topics
    will not do, and where offset or homography cannot be told."""
    with BagReader(path) as bag:
        thermal_topic = choose_image_topic(bag, wanted.thermal_topic)
        rgb_topic = choose_rgb_topic(bag, thermal_topic, wanted.rgb_topic)
        thermal, rgb = _first_pass(bag, thermal_topic, rgb_topic, wanted, progress)
        warnings = [
            f"{stream.undecodable} {stream.name} images cannot be decoded and are left out"
            for stream in (thermal, rgb)
            if stream.undecodable
        ]
        clock, motion = (None, None) if wanted.offset_ns is not None else _clock(bag, thermal, rgb, config)
        offset_ns = clock.offset_ns if clock is not None else wanted.offset_ns or 0
        pairs = _paired(bag, thermal, rgb, offset_ns, wanted.tolerance_ns, config)
        paired = PairedBag(bag, thermal_topic, rgb_topic, thermal.stamps_ns, rgb.stamps_ns, pairs, wanted.window)
        estimated = not wanted.identity and wanted.extrinsic is None
        chosen = choose_pictures(paired, motion, config.pairs if estimated else _PAIRS_TO_SHOW, progress)
        thermal_px, rgb_px = _sizes(bag, chosen)
        quality = _clock_quality(clock, pairs, warnings)
        alignment: Alignment | None = None
        how: How
        if wanted.identity:
            how, homography = "identity", _identity(bag, thermal_px, rgb_px)
        elif wanted.extrinsic is not None:
            how = "camera_info"
            homography, left_px = _from_cameras(paired, thermal_px, rgb_px, wanted, wanted.extrinsic)
            quality["distortion_left_px"] = left_px
            if left_px > config.warn_distortion_px:
                warnings.append(
                    f"lens distortion moves pixels by {left_px:.1f} px in the mean, which a homography cannot hold: "
                    "record rectified images (image_proc)"
                )
        else:
            how = "estimated"
            if len(chosen) < 2:
                raise InputError(f"{bag.path}: a single pair of pictures is worth looking at: give a longer bag")
            alignment = align(grey_pairs(chosen), config)
            homography = alignment.homography
            warnings += _judged(bag, alignment, thermal_px[1], config)
            quality.update(
                score=alignment.score, contrast=alignment.contrast, spread_px=alignment.spread_px, pairs=len(chosen)
            )
    registration = Registration(
        homography,
        thermal_px,
        rgb_px,
        offset_ns,
        pairs.tolerance_ns,
        how,
        {name: round(float(value), 4) for name, value in quality.items()},
    )
    return Registered(registration, pairs, thermal_topic, rgb_topic, clock, alignment, tuple(warnings), tuple(chosen))


def _first_pass(
    bag: BagReader, thermal_topic: str, rgb_topic: str, wanted: RegisterWanted, progress: bool
) -> tuple[_Stream, _Stream]:
    thermal, rgb = _Stream("thermal", thermal_topic), _Stream("RGB", rgb_topic)
    streams = {stream.topic: stream for stream in (thermal, rgb)}
    with_motion = wanted.offset_ns is None
    total = sum(bag.topics[topic].count for topic in streams)
    images = images_of(bag, tuple(streams), wanted.window)
    shown = tqdm(images, "motion" if with_motion else "stamps", total, unit="frame", disable=None if progress else True)
    for image in shown:
        stream = streams[image.topic]
        stream.stamps_ns.append(image.stamp_ns)
        stream.latencies_ns.append(image.record_time_ns - image.stamp_ns)
        if with_motion:
            try:
                stream.meter.add(decode_frame(image, bag.path).image, image.stamp_ns)
            except InputError:
                stream.undecodable += 1
    for stream in (thermal, rgb):
        if not stream.stamps_ns:
            raise InputError(f"{bag.path}: {stream.topic} holds no image in the time looked at: see --start, --seconds")
        if len(set(stream.stamps_ns)) == 1:
            what = "a single image" if len(stream.stamps_ns) == 1 else f"{len(stream.stamps_ns)} images of one stamp"
            raise InputError(
                f"{bag.path}: {stream.topic} holds {what}: give a bag of many, with header.stamp set by the driver"
            )
    return thermal, rgb


def _clock(bag: BagReader, thermal: _Stream, rgb: _Stream, config: RegisterConfig) -> tuple[ClockOffset, Motion]:
    # both streams were recorded by one clock: what a stamp lies behind its recording is a first guess
    guess_ns = int(np.median(rgb.latencies_ns)) - int(np.median(thermal.latencies_ns))
    motion = thermal.meter.motion()
    try:
        return estimate_offset(motion, rgb.meter.motion(), config, guess_ns), motion
    except InputError as error:
        raise InputError(f"{bag.path}: {error}") from None


def _clock_quality(clock: ClockOffset | None, pairs: Pairs, warnings: list[str]) -> dict[str, float]:
    if clock is None:
        return {}
    period_ms = max(pairs.thermal.period_ns, pairs.rgb.period_ns) / 1e6
    if clock.spread_ms > period_ms / 5:
        warnings.append(
            f"the offset is known to {clock.spread_ms:.0f} ms only, a frame lasts {period_ms:.0f} ms: the clocks may "
            "drift apart, or there is little motion"
        )
    return {
        "offset_spread_ms": clock.spread_ms,
        "offset_correlation": clock.correlation,
        "offset_confidence": clock.confidence,
    }


def _paired(
    bag: BagReader, thermal: _Stream, rgb: _Stream, offset_ns: int, tolerance_ns: int | None, config: RegisterConfig
) -> Pairs:
    if tolerance_ns is None:
        timing = pair_stamps(thermal.stamps_ns, rgb.stamps_ns, tolerance_ns=0)
        tolerance_ns = round(config.tolerance_periods * min(timing.thermal.period_ns, timing.rgb.period_ns))
    pairs = pair_stamps(thermal.stamps_ns, rgb.stamps_ns, offset_ns=offset_ns, tolerance_ns=tolerance_ns)
    if not len(pairs):
        raise InputError(
            f"{bag.path}: no frames pair at an offset of {offset_ns / 1e6:.1f} ms within {tolerance_ns / 1e6:.1f} ms: "
            "give the clocks' offset (--offset), or a wider --tolerance"
        )
    return pairs


def _sizes(bag: BagReader, chosen: list[PicturePair]) -> tuple[tuple[int, int], tuple[int, int]]:
    sizes = {(pair.thermal.shape[:2], pair.rgb.shape[:2]) for pair in chosen}
    if len(sizes) > 1:
        raise InputError(f"{bag.path}: its pictures change their size: register each part alone (--start, --seconds)")
    ((thermal_px, rgb_px),) = sizes
    return (thermal_px[0], thermal_px[1]), (rgb_px[0], rgb_px[1])


def _identity(bag: BagReader, thermal_px: tuple[int, int], rgb_px: tuple[int, int]) -> Matrix:
    if thermal_px != rgb_px:
        raise InputError(
            f"{bag.path}: --identity: thermal frames are {_words(thermal_px)} pixels, RGB ones {_words(rgb_px)}: "
            "registered pictures are of one size"
        )
    return np.eye(3)


def _from_cameras(
    paired: PairedBag, thermal_px: tuple[int, int], rgb_px: tuple[int, int], wanted: RegisterWanted, extrinsic: Path
) -> tuple[Matrix, float]:
    cameras = []
    for topic, info_topic, size in (
        (paired.thermal_topic, wanted.thermal_info_topic, thermal_px),
        (paired.rgb_topic, wanted.rgb_info_topic, rgb_px),
    ):
        camera = camera_of(paired.bag, topic, info_topic)
        if camera.height_width_px != size:
            raise InputError(
                f"{paired.bag.path}: the CameraInfo of {topic} is of {_words(camera.height_width_px)} pixels, its "
                f"images are {_words(size)}: calibrate at the size that is recorded"
            )
        cameras.append(camera)
    mount = load_extrinsic(extrinsic)
    try:
        return homography_between(cameras[0], cameras[1], mount)
    except InputError as error:
        raise InputError(f"{extrinsic}: {error}") from None


def _judged(bag: BagReader, alignment: Alignment, width_px: int, config: RegisterConfig) -> list[str]:
    """Warnings; InputError for an alignment that is a guess."""
    found = f"score {alignment.score:.3f}, contrast {alignment.contrast:.2f}, spread {alignment.spread_px:.1f} px"
    most_px = config.max_spread * width_px
    good = alignment.score >= config.min_score and alignment.contrast >= config.min_contrast
    if not good or alignment.spread_px > most_px:
        raise InputError(
            f"{bag.path}: the homography cannot be told ({found}; needed: {config.min_score}, {config.min_contrast}, "
            f"{most_px:.1f} px or less): give a stretch by day in which RGB shows the scene (--start, --seconds), or "
            "CameraInfos with --extrinsic"
        )
    return [f"the homography is uncertain ({found}): look at the preview"] if 2 * alignment.spread_px > most_px else []


def _words(height_width_px: tuple[int, int]) -> str:
    return f"{height_width_px[1]}x{height_width_px[0]}"
