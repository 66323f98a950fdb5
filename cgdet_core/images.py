"""Image files and compressed images, as bags and cameras' drivers send them -> pixels, and back.

Of the latter nothing but JPEG and PNG reaches a decoder, and none before the size that it announces has been looked
at: a message of a few kilobytes may promise gigabytes.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from cgdet_core.errors import InputError
from cgdet_core.types import ImageArray, check_image

# OpenCV prints warnings about damaged files of its own; what is wrong is said once, by the error that is raised
cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_ERROR)

MAX_PIXELS = 1 << 26  # 8192 x 8192

_PNG = b"\x89PNG\r\n\x1a\n"
_JPEG = b"\xff\xd8\xff"
_DEPTH_HEADER_BYTES = 12  # compressed_depth_image_transport's: the kind of quantisation and two floats
# of the encodings that image_transport writes before its format; a JPEG is of 8 bits whatever it was made of
_BITS = {"mono8": 8, "8UC1": 8, "rgb8": 8, "bgr8": 8, "mono16": 16, "16UC1": 16}
_OF_PAGES = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+", b"GIF8")  # TIFF, BigTIFF, GIF; animated PNG and WebP say it later
_ENDS = {_PNG: b"IEND", _JPEG: b"\xff\xd9"}
_EXIF_WITHIN_BYTES = 4096


def decode_compressed(data: bytes | bytearray | memoryview | ImageArray, compressed_format: str) -> ImageArray:
    """The pixels of a CompressedImage (JPEG; PNG of 8 or 16 bits): uint8/uint16 [H, W] or uint8 RGB [H, W, 3].

    image_transport has written "jpeg" and "rgb8; jpeg compressed bgr8" for the same, and a JPEG or PNG says
    itself in which order its colours are. Of its compressedDepth ("16UC1; compressedDepth png") the format
    must tell: there a header of 12 bytes comes before the PNG. Raises InputError for data that are neither,
    that the format contradicts (the other of the two; a PNG of other bits than its encoding), that are cut
    or damaged, or that announce more than MAX_PIXELS. Damage within a JPEG's pixels is not noticed.
    """
    buffer = np.frombuffer(data, dtype=np.uint8)
    if "compressedDepth" in compressed_format:
        buffer = buffer[_DEPTH_HEADER_BYTES:]
        if buffer[: len(_PNG)].tobytes() != _PNG or "32FC1" in compressed_format:
            raise InputError(
                f"a compressed image of format '{compressed_format}' cannot be decoded: send 16UC1 as PNG, or raw"
            )
    _check_codec(buffer, compressed_format)
    # here, since it brings urllib and ssl with it: 30 ms of a start that a node of raw images does without
    import imagesize

    encoded, width, height = buffer.tobytes(), -1, -1
    # some decoders fill what a cut picture lacks with grey
    if any(encoded.startswith(start) and encoded.rfind(end) > 0 for start, end in _ENDS.items()):
        width, height = imagesize.get(io.BytesIO(encoded), exif_rotation=False)
        if width >= 0 and not 0 < width * height <= MAX_PIXELS:
            raise InputError(f"a compressed image of {width}x{height} pixels is too large or empty")
    image = _decoded(buffer) if width > 0 else None
    if image is None:
        raise InputError(f"a compressed image of format '{compressed_format}' cannot be decoded: use JPEG or PNG")
    bits = _BITS.get(compressed_format.partition(";")[0].strip())
    if bits is not None and encoded.startswith(_PNG) and image.itemsize * 8 != bits:
        raise InputError(f"a compressed image of format '{compressed_format}' holds {image.itemsize * 8} bits a pixel")
    check_image(image)
    return image


def _decoded(data: NDArray[np.uint8]) -> ImageArray | None:
    """As stored, whatever Exif says, colours in RGB order, no opacity; None where OpenCV makes nothing of it."""
    flags = cv2.IMREAD_ANYCOLOR | cv2.IMREAD_ANYDEPTH | cv2.IMREAD_IGNORE_ORIENTATION
    try:
        image = cv2.imdecode(data, flags) if data.size else None
    except cv2.error:  # a header that promises more pixels than it takes
        return None
    return image if image is None or image.ndim == 2 else np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2RGB))


def _check_codec(buffer: NDArray[np.uint8], compressed_format: str) -> None:
    """InputError where the data are PNG and the format names JPEG alone, or the reverse."""
    words = compressed_format.lower()
    named = {"PNG": "png" in words, "JPEG": "jpeg" in words or "jpg" in words}
    for start, codec in ((_PNG, "PNG"), (_JPEG, "JPEG")):
        if buffer[: len(start)].tobytes() == start and any(named.values()) and not named[codec]:
            raise InputError(f"a compressed image of format '{compressed_format}' holds a {codec}")


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


def read_image(path: Path | str) -> ImageArray:
    """The pixels of an image file as they are stored, whatever Exif says of turning them: uint8/uint16 [H, W], or uint8
    RGB [H, W, 3]; InputError where it is none, or several."""
    path = Path(path)
    return decode_image(read_encoded(path), path)


def turned_by(path: Path) -> int:
    """How viewers turn the picture of a file, which cgdet does not: Exif's orientation, 2 to 8; 1: not at all."""
    try:
        with path.open("rb", buffering=0) as file:
            return _orientation(file.read(_EXIF_WITHIN_BYTES))
    except OSError:  # told where its pixels are read
        return 1


def _orientation(data: bytes) -> int:
    """Tag 274 of a TIFF, or of the Exif block of a JPEG or PNG (Exif 2.32, 4.6.2); 1 where it is not stated."""
    marks = [mark for mark in (b"Exif\0\0", b"eXIf") if mark in data[:_EXIF_WITHIN_BYTES]]
    tiff = data[data.index(marks[0]) + len(marks[0]) :] if marks else data
    if not tiff.startswith(_OF_PAGES[:2]):
        return 1
    order: Literal["little", "big"] = "little" if tiff[:1] == b"I" else "big"

    def number(at: int, size: int) -> int:
        return int.from_bytes(tiff[at : at + size], order)

    first = number(4, 4) + 2
    entries = range(first, first + 12 * number(first - 2, 2), 12)
    stated = next((number(at + 8, 2) for at in entries if number(at, 2) == 274), 1)
    return stated if 1 <= stated <= 8 else 1


def _further_picture(jpeg: bytes) -> tuple[int, int] | None:
    """Width and height in pixels of a picture behind the end of a JPEG, as in files (MPO) of stereo cameras."""
    import imagesize

    at = 2
    # a segment may hold a whole JPEG: Exif's thumbnail
    while jpeg[at : at + 1] == b"\xff" and jpeg[at + 1 : at + 2] != b"\xda":
        at += 2 + int.from_bytes(jpeg[at + 2 : at + 4], "big")
    begins = jpeg.find(_JPEG, max(at, jpeg.find(_ENDS[_JPEG], at)))
    return None if begins < 0 else imagesize.get(io.BytesIO(jpeg[begins:]), exif_rotation=False)


def read_encoded(path: Path) -> NDArray[np.uint8]:
    """The bytes of an image file: uint8 [N]."""
    try:
        return np.fromfile(path, dtype=np.uint8)
    except OSError as error:
        raise InputError(f"{path}: the image cannot be read ({error.strerror}): check the path") from None


def decode_image(data: NDArray[np.uint8], path: Path) -> ImageArray:
    """The image whose file `path` holds `data`, as `read_image` gives it."""
    start = data[:1024].tobytes()
    if start.startswith(_OF_PAGES) or b"acTL" in start or b"ANIM" in start:
        count = cv2.imcount(str(path))
        if count > 1:
            raise InputError(f"{path}: holds {count} pictures, of which one alone would be read: make each a file")
    if start.startswith(_OF_PAGES[:2]) and _orientation(data.tobytes()) != 1:  # OpenCV obeys it in a TIFF
        raise InputError(f"{path}: its tag Orientation turns the picture: write it anew, as it is to be seen")
    image = _decoded(data)
    if image is None:
        raise InputError(f"{path}: is not an image that can be decoded: give a JPEG, PNG or TIFF file")
    further = _further_picture(data.tobytes()) if start.startswith(_JPEG) else None
    # a smaller one is a preview, or a map of gains
    if further is not None and further[0] * further[1] >= image.shape[0] * image.shape[1]:
        raise InputError(f"{path}: holds another picture of {further[0]}x{further[1]} pixels: make each a file")
    if image.dtype not in (np.uint8, np.uint16) or (image.ndim == 3 and image.dtype != np.uint8):
        raise InputError(f"{path}: {image.dtype} is not supported: give 8 or 16 bits per pixel, or 8 bits per channel")
    return image
