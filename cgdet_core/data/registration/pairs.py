"""A bag's thermal frames, each with the RGB frame that belongs to it, streamed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cgdet_core.data.bags.messages import RawImage, TimeBy
from cgdet_core.data.bags.pairing import Pairs, pair_stamps
from cgdet_core.data.bags.reader import BagReader
from cgdet_core.data.bags.remote import local_file
from cgdet_core.data.bags.topics import choose_image_topic, choose_rgb_topic
from cgdet_core.data.registration.homography import Registration, identity_registration, load_registration
from cgdet_core.errors import InputError
from cgdet_core.images import encode_jpeg
from cgdet_core.types import BoolArray, Frame

REGISTERED_JPEG_QUALITY = 95


@dataclass(frozen=True)
class PairedFrame:
    """number: place in the bag's thermal topic, from 0; rgb: None for a frame without a partner."""

    number: int
    thermal: RawImage
    rgb: RawImage | None

    @property
    def stamp_ns(self) -> int:
        return self.thermal.stamp_ns


@dataclass(frozen=True)
class PairedBag:
    """A bag looked through once: its topics, its thermal frames, and which RGB frame belongs to each. every: only each
    so-many-th thermal frame is taken. registration and pairs: None where the bag is read without RGB. valid: bool
    [H, W], where registered RGB shows what the thermal frame shows; None: everywhere."""

    path: Path
    thermal_topic: str
    rgb_topic: str | None
    thermal_stamps_ns: tuple[int, ...]
    registration: Registration | None
    pairs: Pairs | None
    valid: BoolArray | None
    every: int
    by: TimeBy

    def __len__(self) -> int:
        return len(self.stamps_ns)

    @property
    def stamps_ns(self) -> tuple[int, ...]:
        """Of the thermal frames that `frames` gives."""
        return self.thermal_stamps_ns[:: self.every]

    def frames(self) -> Iterator[PairedFrame]:
        """The thermal frames that are taken, in the order in which they were recorded, nothing decoded."""
        rgb_of = dict(zip(self.pairs.thermal_index, self.pairs.rgb_index, strict=True)) if self.pairs else {}
        chosen = {each: rgb_of.get(each) for each in range(0, len(self.thermal_stamps_ns), self.every)}
        return paired_frames(self.path, self.thermal_topic, self.rgb_topic, chosen, self.by)

    def thermal_frame(self, frame: PairedFrame) -> Frame:
        """Decoded; InputError names bag, topic and stamp of a malformed one, or one of another size than registered."""
        size = None if self.registration is None else self.registration.thermal_height_width_px
        return self._decoded(frame.thermal, size)

    def rgb_pixels(self, frame: PairedFrame) -> NDArray[np.uint8]:
        """uint8 [H, W, 3] as the RGB camera gave it; InputError for a malformed, grey or otherwise sized picture."""
        assert frame.rgb is not None
        assert self.registration is not None
        pixels = self._decoded(frame.rgb, self.registration.rgb_height_width_px).image
        if pixels.ndim != 3:
            raise InputError(f"{self.path}: {self.rgb_topic} is not in colour: name the RGB camera's topic (rgb_topic)")
        return np.asarray(pixels, np.uint8)

    def _decoded(self, image: RawImage, height_width_px: tuple[int, int] | None) -> Frame:
        decoded = image.frame(self.path)
        if height_width_px is not None and decoded.height_width_px != height_width_px:
            where = f"{self.path}: {image.topic}, image of stamp {image.stamp_ns} ns"
            its, wanted = ("x".join(map(str, size[::-1])) for size in (decoded.height_width_px, height_width_px))
            raise InputError(f"{where}: is {its} pixels, the registration is of {wanted}: register again")
        return decoded

    def registered_rgb(self, frame: PairedFrame) -> tuple[str, bytes] | None:
        """Suffix (.jpg, .png) and bytes of the partner in the thermal frame, those of a compressed message itself where
        both cameras' pixels are the same already; None without a partner."""
        if frame.rgb is None or self.registration is None:
            return None
        pixels = self.rgb_pixels(frame)
        if self.registration.how != "identity":
            pixels, _ = self.registration.warp(pixels)
        elif frame.rgb.compressed_format is not None:
            data = frame.rgb.data.tobytes()
            return ".png" if data.startswith(b"\x89PNG") else ".jpg", data
        return ".jpg", encode_jpeg(pixels, REGISTERED_JPEG_QUALITY)


def paired_frames(
    path: Path, thermal_topic: str, rgb_topic: str | None, rgb_of: Mapping[int, int | None], by: TimeBy = "stamp"
) -> Iterator[PairedFrame]:
    """The thermal frames at the places that `rgb_of` names, each with the RGB frame at the place it gives. Of these no
    more is held than lies between two partners."""
    wanted = set(rgb_of.values()) - {None}
    left = len(rgb_of)
    held: dict[int, RawImage] = {}
    with BagReader(path, by) as thermal_bag, BagReader(path, by) as rgb_bag:
        rgb_images = enumerate(rgb_bag.images(rgb_topic)) if rgb_topic and wanted else iter(())
        for number, thermal in enumerate(thermal_bag.images(thermal_topic)):
            if number not in rgb_of:
                continue
            partner = rgb_of[number]
            while partner is not None and partner not in held:
                place, image = next(rgb_images)
                if place in wanted:
                    held[place] = image
            yield PairedFrame(number, thermal, None if partner is None else held.pop(partner))
            left -= 1
            if not left:
                return


def open_paired(
    path: Path,
    thermal_topic: str | None = None,
    rgb_topic: str | None = None,
    registration: Registration | str | Path | None = None,
    with_rgb: bool = True,
    every: int = 1,
    by: TimeBy = "stamp",
) -> PairedBag:
    """Look through the stamps of a bag, and pair its frames; InputError for what is not there or not clear.

    Topics: named, or the most thermal-looking and the only colour one. registration: itself, or path or URL of its
    YAML; None takes the two pictures for registered and the clocks for one; a bag without an RGB topic has no RGB.
    """
    if isinstance(registration, str | Path):
        registration = load_registration(local_file(str(registration)))
    if every < 1:
        raise InputError(f"every {every} leaves no frame: give 1 or more")
    with BagReader(path, by) as bag:
        thermal = choose_image_topic(bag, thermal_topic)
        rgb = choose_rgb_topic(bag, thermal, rgb_topic) if with_rgb else None
        if with_rgb and rgb is None and registration is not None:
            raise InputError(f"{path}: has no RGB topic to register, it holds {bag.listing()}: leave it out")
        stamps: dict[str, list[int]] = {thermal: [], **({rgb: []} if rgb else {})}
        for item in bag.messages(list(stamps)):
            stamps[item.topic].append(item.stamp_ns)
        if rgb is not None and registration is None:
            size, rgb_size = (bag.first_image(topic).frame(path).height_width_px for topic in (thermal, rgb))
            if size != rgb_size:
                remedy = "give --registration (made by `cgdet bag register`)"
                raise InputError(f"{path}: {thermal} and {rgb} have pictures of different sizes: {remedy}")
            registration = identity_registration(size)
    if rgb is None or registration is None:
        return PairedBag(path, thermal, None, tuple(stamps[thermal]), None, None, None, every, by)
    offset_ns, tolerance_ns = registration.offset_ns, registration.tolerance_ns
    pairs = pair_stamps(stamps[thermal], stamps[rgb], offset_ns=offset_ns, tolerance_ns=tolerance_ns)
    _, valid = registration.warp(np.zeros((*registration.rgb_height_width_px, 3), np.uint8))
    seen = None if valid.all() else valid
    return PairedBag(path, thermal, rgb, tuple(stamps[thermal]), registration, pairs, seen, every, by)
