"""A registration out of a recorded bag: the clocks' offset, then the homography, each refused where it is a guess."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cgdet_core.config import RegisterConfig
from cgdet_core.data.bags.pairing import Pairs, pair_stamps
from cgdet_core.data.bags.reader import BagReader
from cgdet_core.data.bags.topics import choose_image_topic, choose_rgb_topic
from cgdet_core.data.registration.align import Alignment, align
from cgdet_core.data.registration.clock import estimate_offset
from cgdet_core.data.registration.geometry import camera_of, homography_between, load_extrinsic
from cgdet_core.data.registration.homography import How, Matrix, Registration
from cgdet_core.data.registration.pictures import PicturePair, Stream, choose_pictures, grey_pairs, read_streams
from cgdet_core.errors import InputError
from cgdet_core.types import NANOSECONDS

_PAIRS_TO_SHOW = 3
_TOLERANCE_PERIODS = 0.55  # greatest difference of a pair, in periods of the faster stream
# below or above the homography is refused: edges that correlate, what is lost 8 px off, halves of the pairs that differ
_LEAST_SCORE, _LEAST_CONTRAST, _GREATEST_SPREAD = 0.07, 0.15, 0.015
_WARNED_DISTORTION_PX = 1.5


@dataclass(frozen=True)
class Registered:
    """warnings: what a user should look at before trusting it. chosen: the pairs of pictures that were looked at."""

    registration: Registration
    pairs: Pairs
    thermal_topic: str
    rgb_topic: str
    warnings: tuple[str, ...]
    chosen: tuple[PicturePair, ...]


def register_bag(path: Path | str, config: RegisterConfig, *, progress: bool = True) -> Registered:
    """Two passes over the bag: stamps and motion, then the pictures of chosen pairs. InputError where bag or topics
    will not do, and where offset or homography cannot be told."""
    with BagReader(path, config.by) as bag:
        thermal_topic = choose_image_topic(bag, config.thermal_topic)
        rgb_topic = choose_rgb_topic(bag, thermal_topic, config.rgb_topic)
        if rgb_topic is None:
            raise InputError(f"{path}: has no RGB topic beside {thermal_topic}, it holds {bag.listing()}")
        thermal, rgb = streams = read_streams(bag, thermal_topic, rgb_topic, config, progress)
        warnings = [
            f"{stream.undecodable} images of {stream.topic} cannot be decoded and are left out"
            for stream in streams
            if stream.undecodable
        ]
        offset_ns = round((config.offset_s or 0) * NANOSECONDS)
        quality: dict[str, float] = {}
        if config.offset_s is None:
            # both streams were recorded by one clock: what a stamp lies behind its recording is a first guess
            guess_ns = int(np.median(rgb.latencies_ns)) - int(np.median(thermal.latencies_ns))
            try:
                clock = estimate_offset(thermal.meter.motion(), rgb.meter.motion(), config.max_offset_s, guess_ns)
            except InputError as error:
                raise InputError(f"{bag.path}: {error}") from None
            offset_ns = clock.offset_ns
            quality |= {f"offset_{name}": getattr(clock, name) for name in ("spread_ms", "correlation", "confidence")}
        pairs = _pair(bag, streams, offset_ns, config)
        period_ms = max(pairs.thermal.period_ns, pairs.rgb.period_ns) / 1e6
        if quality and clock.spread_ms > period_ms / 5:
            warnings.append(
                f"the offset is known to {clock.spread_ms:.0f} ms only, a frame lasts {period_ms:.0f} ms: the clocks "
                "may drift apart, or there is little motion"
            )
        how: How = "identity" if config.identity else "estimated" if config.extrinsic is None else "camera_info"
        count = config.pairs if how == "estimated" else _PAIRS_TO_SHOW
        chosen = choose_pictures(bag.path, streams, pairs, count, progress)
        thermal_px, rgb_px = _sizes(bag, chosen)
        if how == "identity":
            if thermal_px != rgb_px:
                (height, width), (rgb_height, rgb_width) = thermal_px, rgb_px
                raise InputError(
                    f"{bag.path}: thermal frames are {width}x{height} pixels, RGB ones {rgb_width}x{rgb_height}: "
                    "registered pictures are of one size, so leave out --identity"
                )
            homography: Matrix = np.eye(3)
        elif config.extrinsic is not None:
            thermal_lens = camera_of(bag, thermal_topic, thermal_px)
            rgb_lens = camera_of(bag, rgb_topic, rgb_px)
            mount = load_extrinsic(config.extrinsic)
            try:
                homography, left_px = homography_between(thermal_lens, rgb_lens, mount)
            except InputError as error:
                raise InputError(f"{config.extrinsic}: {error}") from None
            quality["distortion_left_px"] = left_px
            if left_px > _WARNED_DISTORTION_PX:
                warnings.append(
                    f"lens distortion moves pixels by {left_px:.1f} px in the mean, which a homography cannot hold: "
                    "record rectified images (image_proc)"
                )
        else:
            if len(chosen) < 2:
                raise InputError(f"{bag.path}: a single pair of pictures is worth looking at: give a longer bag")
            alignment = align(grey_pairs(chosen), config)
            homography = alignment.homography
            warnings += _check_alignment(bag, alignment, thermal_px[1])
            figures = {name: getattr(alignment, name) for name in ("score", "contrast", "spread_px")}
            quality |= {**figures, "pairs": len(chosen)}
    rounded = {name: round(float(value), 4) for name, value in quality.items()}
    registration = Registration(homography, thermal_px, rgb_px, pairs.offset_ns, pairs.tolerance_ns, how, rounded)
    return Registered(registration, pairs, thermal_topic, rgb_topic, tuple(warnings), tuple(chosen))


def _pair(bag: BagReader, streams: tuple[Stream, Stream], offset_ns: int, config: RegisterConfig) -> Pairs:
    thermal_ns, rgb_ns = (stream.stamps_ns for stream in streams)
    if config.tolerance_s is None:
        timing = pair_stamps(thermal_ns, rgb_ns, tolerance_ns=0)
        tolerance_ns = round(_TOLERANCE_PERIODS * min(timing.thermal.period_ns, timing.rgb.period_ns))
    else:
        tolerance_ns = round(config.tolerance_s * NANOSECONDS)
    pairs = pair_stamps(thermal_ns, rgb_ns, offset_ns=offset_ns, tolerance_ns=tolerance_ns)
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


def _check_alignment(bag: BagReader, alignment: Alignment, width_px: int) -> list[str]:
    """Warnings; InputError for an alignment that is a guess."""
    found = f"score {alignment.score:.3f}, contrast {alignment.contrast:.2f}, spread {alignment.spread_px:.1f} px"
    most_px = _GREATEST_SPREAD * width_px
    good = alignment.score >= _LEAST_SCORE and alignment.contrast >= _LEAST_CONTRAST
    if not good or alignment.spread_px > most_px:
        raise InputError(
            f"{bag.path}: the homography cannot be told ({found}; needed: {_LEAST_SCORE}, {_LEAST_CONTRAST}, "
            f"{most_px:.1f} px or less): give a stretch by day in which RGB shows the scene (--start, --seconds), or "
            "CameraInfos with --extrinsic"
        )
    return [f"the homography is uncertain ({found}): look at the preview"] if 2 * alignment.spread_px > most_px else []
