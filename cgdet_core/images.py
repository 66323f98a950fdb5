"""JPEG and PNG pictures, as bags and cameras' drivers send them -> pixels, and back.

Nothing but these two reaches a decoder, and none before the size that it announces has been looked
at: a message of a few kilobytes may promise gigabytes.
"""

from __future__ import annotations

import struct

import cv2
import numpy as np

from cgdet_core.errors import InputError
from cgdet_core.types import ImageArray, check_image

MAX_PIXELS = 1 << 26  # 8192 x 8192

_PNG = b"\x89PNG\r\n\x1a\n"
_JPEG = b"\xff\xd8\xff"
_DEPTH_HEADER_BYTES = 12  # compressed_depth_image_transport's: the kind of quantisation and two floats
_ENDS = {_PNG: b"IEND", _JPEG: b"\xff\xd9"}
_JPEG_FRAME_HEADERS = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_JPEG_WITHOUT_LENGTH = frozenset((0x01, *range(0xD0, 0xD9)))


def decode_compressed(data: bytes | bytearray | memoryview | ImageArray, compressed_format: str) -> ImageArray:
    """The pixels of a CompressedImage (JPEG; PNG of 8 or 16 bits): uint8/uint16 [H, W] or uint8 RGB [H, W, 3].

    What the bytes are is told by the bytes: image_transport has written "jpeg" and "rgb8; jpeg compressed
    bgr8" for the same, and a JPEG or PNG says itself in which order its colours are. Only of its
    compressedDepth ("16UC1; compressedDepth png") the format must tell: there a header of 12 bytes comes
    before the PNG. Raises InputError for data that are neither, that are cut or damaged, or that announce
    more than MAX_PIXELS. Damage within a JPEG's pixels leaves a picture that nothing tells from another.
    """
    buffer = np.frombuffer(data, dtype=np.uint8)
    if "compressedDepth" in compressed_format:
        buffer = buffer[_DEPTH_HEADER_BYTES:]
        if buffer[: len(_PNG)].tobytes() != _PNG or "32FC1" in compressed_format:
            raise InputError(
                f"a compressed image of format '{compressed_format}' cannot be decoded: send 16UC1 as PNG, or raw"
            )
    size = announced_height_width_px(buffer) if _has_its_end(buffer) else None
    if size is not None and not 0 < size[0] * size[1] <= MAX_PIXELS:
        raise InputError(f"a compressed image of {size[1]}x{size[0]} pixels is none that cgdet reads")
    try:
        image = cv2.imdecode(buffer, cv2.IMREAD_UNCHANGED) if size is not None else None
    except cv2.error:
        image = None
    if image is None:
        raise InputError(f"a compressed image of format '{compressed_format}' cannot be decoded: use JPEG or PNG")
    if image.ndim == 3:
        image = image[:, :, 2::-1] if image.shape[2] in (3, 4) else image[:, :, 0]
    pixels = np.ascontiguousarray(image)
    check_image(pixels)
    return pixels


def encode_jpeg(image: ImageArray, quality: int) -> bytes:
    """uint8 [H, W, 3] in RGB order, or uint8 [H, W] -> JPEG; quality 1 to 100."""
    check_image(image)
    if image.dtype != np.uint8:
        raise InputError(f"an image of type {image.dtype} cannot become a JPEG: give 8 bits per channel")
    return _encoded(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])


def encode_png(image: ImageArray) -> bytes:
    """uint8/uint16 [H, W] or uint8 RGB [H, W, 3] -> a PNG file's bytes, which decode to the same pixels."""
    return _encoded(".png", image, [])


def _encoded(suffix: str, image: ImageArray, settings: list[int]) -> bytes:
    pixels = np.ascontiguousarray(image[:, :, ::-1] if image.ndim == 3 else image)
    written, data = cv2.imencode(suffix, pixels, settings)
    if not written:
        raise InputError(f"an image of shape {list(image.shape)} cannot be encoded: sides may have 65535 pixels")
    return data.tobytes()


def _has_its_end(buffer: ImageArray) -> bool:
    """Some decoders fill what a cut picture lacks with grey."""
    data = buffer.tobytes()
    return any(data.startswith(start) and data.rfind(end) > 0 for start, end in _ENDS.items())


def announced_height_width_px(buffer: ImageArray) -> tuple[int, int] | None:
    """What the header of a PNG or JPEG, uint8 [bytes], says of its size; None for data that are neither.

    PNG: ISO/IEC 15948, 5.3 (IHDR comes first); JPEG: ITU-T T.81, B.2.2 (frame header).
    """
    head = buffer[:32].tobytes()
    if head.startswith(_PNG):
        if len(head) < 24 or head[12:16] != b"IHDR":
            return None
        width, height = struct.unpack(">II", head[16:24])
        return int(height), int(width)
    return _jpeg_height_width_px(buffer) if head.startswith(_JPEG) else None


def _jpeg_height_width_px(buffer: ImageArray) -> tuple[int, int] | None:
    place = 2
    while place + 9 <= len(buffer):
        if buffer[place] != 0xFF:
            return None
        marker = int(buffer[place + 1])
        if marker == 0xFF:  # a fill byte
            place += 1
        elif marker in _JPEG_WITHOUT_LENGTH:
            place += 2
        elif marker in _JPEG_FRAME_HEADERS:
            height, width = struct.unpack(">HH", buffer[place + 5 : place + 9].tobytes())
            return int(height), int(width)
        else:
            place += 2 + max(2, struct.unpack(">H", buffer[place + 2 : place + 4].tobytes())[0])
    return None
