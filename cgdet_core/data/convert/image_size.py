"""The size of a picture from its first bytes: sets have thousands, and decoding each would take minutes."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import BinaryIO

from cgdet_core.data.sets.coco import read_image
from cgdet_core.errors import InputError

# JPEG markers: without a length; those of a frame header, which holds the size (ITU-T T.81, table B.1)
_BARE = {0x01, *range(0xD0, 0xD9)}
_FRAMES = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}


def image_height_width_px(path: Path, remedy: str = "copy the set again") -> tuple[int, int]:
    """Height and width of a PNG, JPEG or any other picture; InputError where it is missing or none."""
    try:
        with path.open("rb") as file:
            start = file.read(24)
            if start.startswith(b"\x89PNG\r\n\x1a\n") and len(start) == 24:
                width, height = struct.unpack(">II", start[16:24])
                return height, width
            if start.startswith(b"\xff\xd8") and (size := _jpeg_size(file)) is not None:
                return size
    except FileNotFoundError:
        raise InputError(f"{path}: is missing: {remedy}") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}): {remedy}") from None
    height, width = read_image(path).shape[:2]
    return int(height), int(width)


def _jpeg_size(file: BinaryIO) -> tuple[int, int] | None:
    """From the first frame header; None where there is none."""
    file.seek(2)
    while True:
        head = file.read(2)
        if len(head) < 2 or head[0] != 0xFF:
            return None
        marker = head[1]
        if marker == 0xFF:  # padding
            file.seek(-1, 1)
        elif marker in _FRAMES:
            body = file.read(7)
            if len(body) < 7:
                return None
            height, width = struct.unpack(">HH", body[3:7])
            return (height, width) if height and width else None
        elif marker not in _BARE:
            length = file.read(2)
            if len(length) < 2:
                return None
            file.seek(struct.unpack(">H", length)[0] - 2, 1)
