"""One image message out of a bag: its fields as recorded, and its pixels."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from cgdet_core.data.bags.damage import expected_fields
from cgdet_core.data.bags.reader import BagMessage, BagReader
from cgdet_core.data.bags.types import COMPRESSED_IMAGE
from cgdet_core.errors import InputError
from cgdet_core.images import decode_compressed
from cgdet_core.thermal import decode_raw
from cgdet_core.types import Frame, ImageArray, check_image


@dataclass(frozen=True)
class RawImage:
    """The fields of one image message, nothing decoded.

    data: uint8 [bytes]. A sensor_msgs/CompressedImage has its `format` in `compressed_format`, and
    0, 0, "", 0 and False for the fields that it lacks; for an Image `compressed_format` is None.
    """

    topic: str
    record_time_ns: int
    stamp_ns: int
    frame_id: str
    height_px: int
    width_px: int
    encoding: str
    step_bytes: int
    is_bigendian: bool
    data: ImageArray
    compressed_format: str | None = None

    def decode(self) -> ImageArray:
        """uint8/uint16 [H, W], or uint8 [H, W, 3] in RGB order; InputError where it is malformed."""
        if self.compressed_format is not None:
            return decode_compressed(self.data, self.compressed_format)
        return decode_raw(self.data, self.height_px, self.width_px, self.step_bytes, self.encoding, self.is_bigendian)

    def uncompressed(self) -> RawImage:
        """The same image as a sensor_msgs/Image would hold it; itself where it is one."""
        if self.compressed_format is None:
            return self
        return replace(self, **image_fields(self.decode()), compressed_format=None)


def image_fields(image: ImageArray) -> dict[str, Any]:
    """Of a RawImage with these pixels, uint8/uint16 [H, W] or uint8 RGB [H, W, 3]."""
    check_image(image)
    pixels = np.ascontiguousarray(image, dtype=image.dtype.newbyteorder("<"))
    return {
        "height_px": image.shape[0],
        "width_px": image.shape[1],
        "encoding": "rgb8" if image.ndim == 3 else {1: "mono8", 2: "mono16"}[image.dtype.itemsize],
        "step_bytes": pixels.strides[0],
        "is_bigendian": False,
        "data": pixels.reshape(-1).view(np.uint8),
    }


def raw_image(item: BagMessage) -> RawImage:
    """The fields of an Image or CompressedImage."""
    message = item.message
    with expected_fields(item.type, f"topic '{item.topic}'"):
        common = item.topic, item.record_time_ns, item.stamp_ns, str(message.header.frame_id)
        if item.type == COMPRESSED_IMAGE:
            return RawImage(*common, 0, 0, "", 0, False, message.data, str(message.format))
        height, width, step, big = message.height, message.width, message.step, bool(message.is_bigendian)
        return RawImage(*common, height, width, str(message.encoding), step, big, message.data)


def first_image(bag: BagReader, topic: str) -> RawImage:
    """The first image of `topic`; InputError where it holds none."""
    image = next(raw_images(bag, topic), None)
    if image is None:
        raise InputError(f"{bag.path}: topic '{topic}' holds no message that can be read: give another one")
    return image


def raw_images(bag: BagReader, topic: str) -> Iterator[RawImage]:
    """The images of `topic` in order of their record times, as they were recorded; they are not checked."""
    for item in bag.messages([topic]):
        yield raw_image(item)


def decode_frame(image: RawImage, path: Path) -> Frame:
    """The decoded frame; InputError names bag, topic and stamp of a malformed one."""
    try:
        return Frame(image.decode(), image.stamp_ns, image.frame_id)
    except InputError as error:
        raise InputError(f"{path}: {image.topic}, image of stamp {image.stamp_ns} ns: {error}") from None
