"""The registered RGB picture of a training frame: kept as its file's bytes, decoded where a crop shows it.

Decoded, the pairs of a few small sets would fill gigabytes; a JPEG of 640x480 takes a twentieth of that and 1 ms.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from cgdet_core.errors import InputError
from cgdet_core.images import decode_image, encode_jpeg, read_encoded
from cgdet_core.types import BoolArray

if TYPE_CHECKING:
    from cgdet_core.tasks import Placement

RgbArray = NDArray[np.uint8]

_RENDERED_JPEG_QUALITY = 95
_SHUFFLING = 1  # apart from the generators that draw the crops


@dataclass(frozen=True)
class RgbPartner:
    """encoded: uint8 [N], the bytes of the file `path`, or of a rendered picture of that name; None: read each time.
    height_width_px: of its pixels, and of its frame; valid: bool [H, W], where it shows the frame, None: everywhere."""

    encoded: NDArray[np.uint8] | None
    path: Path
    height_width_px: tuple[int, int]
    valid: BoolArray | None = None

    def pixels(self) -> RgbArray:
        """uint8 [H, W, 3], RGB."""
        encoded = read_encoded(self.path) if self.encoded is None else self.encoded
        return np.asarray(decode_image(encoded, self.path), np.uint8)

    def crop(self, placement: Placement) -> tuple[RgbArray, BoolArray]:
        """uint8 [H, W, 3] and bool [H, W] of the crop, valid where all that made a pixel is, black off the frame."""
        crop = np.asarray(placement.lay(np.ascontiguousarray(placement.cut(self.pixels()))), np.uint8)
        on_frame = placement.on_frame(*self.height_width_px)
        if on_frame is None and self.valid is None:
            return crop, np.ones(placement.size_px, np.bool_)
        valid = np.ones(self.height_width_px, np.bool_) if self.valid is None else self.valid
        # a mean of valid and other pixels lies below 255
        laid = placement.lay(placement.cut(valid).astype(np.uint8) * 255) == 255
        if on_frame is not None:
            framed = np.zeros_like(crop)
            framed[on_frame] = crop[on_frame]
            crop = framed
        return crop, laid


def read_valid(path: Path, frame_height_width_px: tuple[int, int]) -> BoolArray | None:
    """Where the mask in `path` has RGB show the frame: bool [H, W], None: everywhere; InputError for another size."""
    pixels = decode_image(read_encoded(path), path)
    height, width = frame_height_width_px
    if pixels.dtype != np.uint8 or pixels.shape != (height, width):
        wanted = f"an 8-bit grey mask of {width}x{height} pixels"
        raise InputError(f"{path}: is not {wanted}: give one, or leave out rgb_valid_file_name")
    valid = pixels > 0
    return None if valid.all() else np.asarray(valid, np.bool_)


def read_partner(
    path: Path, frame_path: Path, frame_height_width_px: tuple[int, int], valid: BoolArray | None = None
) -> RgbPartner:
    """The partner in file `path`; InputError unless it is RGB and of the frame's size."""
    encoded = read_encoded(path)
    pixels = decode_image(encoded, path)
    height, width = frame_height_width_px
    if pixels.shape != (height, width, 3):
        wanted = f"an RGB picture of {width}x{height} pixels as its frame {frame_path}"
        raise InputError(f"{path}: is not {wanted}: register it, or leave out rgb_file_name")
    return RgbPartner(encoded, path, (height, width), valid)


def rendered_partner(rgb: NDArray[np.uint8], name: str) -> RgbPartner:
    """The partner of a rendered frame from its pixels uint8 [H, W, 3], as a camera's JPEG would hold it."""
    encoded = np.frombuffer(encode_jpeg(rgb, _RENDERED_JPEG_QUALITY), np.uint8)
    return RgbPartner(encoded, Path(name), (rgb.shape[0], rgb.shape[1]))


def shuffled(
    partners: Sequence[RgbPartner | None], source_name: str, source_number: int, seed: int
) -> list[RgbPartner | None]:
    """Every partner at another frame of the same size, never at one that it shows: the control that RGB is looked at.

    The partners of a size move along one ring through their frames, in an order drawn from (seed, source_number);
    those of one picture (renderings of one face) stand together in it and all move past each other. InputError where
    more than half of a size are one picture.
    """
    rng = np.random.default_rng((seed, source_number, _SHUFFLING))
    places_of: dict[tuple[int, int], list[int]] = {}
    for place, partner in enumerate(partners):
        if partner is not None:
            places_of.setdefault(partner.height_width_px, []).append(place)
    moved = list(partners)
    for (height, width), places in sorted(places_of.items()):
        of_picture: dict[Path, list[int]] = {}
        for place in np.array(places)[rng.permutation(len(places))].tolist():
            if (partner := partners[place]) is not None:
                of_picture.setdefault(partner.path, []).append(place)
        step = max(map(len, of_picture.values()))
        if 2 * step > len(places):
            shared = f"{step} of {len(places)} frames of {width}x{height} pixels share one RGB picture"
            raise InputError(f"{source_name}: {shared}: leave guidance.shuffle_rgb out, or set rgb: false")
        ring = np.concatenate(list(of_picture.values()))
        for place, follower in zip(ring, np.roll(ring, -step), strict=True):
            moved[follower] = partners[place]
    return moved
