"""images.py: what JPEG and PNG decode to, and what is refused before a decoder sees it."""

from __future__ import annotations

import struct
import zlib

import cv2
import numpy as np
import pytest

from cgdet_core.errors import InputError
from cgdet_core.images import MAX_PIXELS, decode_compressed, encode_jpeg, encode_png

_DEPTH_HEADER = struct.pack("<iff", 0, 0.0, 0.0)


def counts() -> np.ndarray:
    return np.random.default_rng(2).normal(21000, 300, (48, 64)).astype(np.uint16)


def encoded(pixels: np.ndarray, suffix: str) -> bytes:
    return bytes(cv2.imencode(suffix, pixels)[1])


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png_of(width: int, height: int, rows: bytes) -> bytes:
    """A grey PNG of 8 bits, put together from ISO/IEC 15948."""
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def test_a_png_gives_back_every_count_of_16_and_of_8_bits() -> None:
    raw = counts()
    np.testing.assert_array_equal(decode_compressed(encoded(raw, ".png"), "mono16; png compressed"), raw)
    grey = (raw >> 8).astype(np.uint8)
    np.testing.assert_array_equal(decode_compressed(encoded(grey, ".png"), ""), grey)
    by_hand = png_of(3, 2, bytes([0, 10, 20, 30, 0, 40, 50, 60]))
    np.testing.assert_array_equal(decode_compressed(by_hand, "png"), [[10, 20, 30], [40, 50, 60]])


def test_colours_come_in_rgb_order_without_their_opacity() -> None:
    bgra = np.random.default_rng(1).integers(0, 255, (20, 30, 4), np.uint8)
    for pixels in (bgra, bgra[:, :, :3]):
        np.testing.assert_array_equal(decode_compressed(encoded(pixels, ".png"), "png"), bgra[:, :, 2::-1])


def test_a_jpeg_is_grey_or_rgb_whatever_the_publisher_called_it() -> None:
    grey = np.tile(np.arange(0, 256, 4, dtype=np.uint8), (48, 1))
    assert np.abs(decode_compressed(encoded(grey, ".jpg"), "jpeg").astype(int) - grey).max() < 8
    red = np.full((48, 64, 3), (250, 0, 0), np.uint8)
    for data in (encoded(red[:, :, ::-1], ".jpg"), encode_jpeg(red, 95)):
        for form in ("bgr8; jpeg compressed bgr8", "rgb8; jpeg compressed bgr8"):
            assert np.abs(decode_compressed(data, form).astype(int) - red).max() < 15


def test_a_few_bytes_that_promise_gigabytes_reach_no_decoder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cv2, "imdecode", lambda *arguments: pytest.fail("decoded"))
    jpeg = bytearray(encoded(counts().astype(np.uint8), ".jpg"))
    frame_header = jpeg.index(b"\xff\xc0")
    jpeg[frame_header + 5 : frame_header + 9] = b"\xff\xff\xff\xff"
    side = int(MAX_PIXELS**0.5) + 1
    for data in (png_of(65535, 65535, b"\0" * 100), png_of(side, side, b"\0"), png_of(0, 7, b""), bytes(jpeg)):
        with pytest.raises(InputError, match=r"\d+x\d+ pixels"):
            decode_compressed(data, "")


def test_what_is_no_picture_or_of_another_format_is_refused_with_the_format_that_it_claims() -> None:
    grey = counts().astype(np.uint8)
    datas = [(data, "png") for data in (b"", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"hello" * 100, bytes(1000))]
    datas += [(encoded(grey, suffix), suffix) for suffix in (".tiff", ".webp", ".bmp")]
    datas += [
        (_DEPTH_HEADER + bytes(range(80)), "16UC1; compressedDepth rvl"),
        (_DEPTH_HEADER + encode_png(counts()), "32FC1; compressedDepth png"),
        (b"abc", "16UC1; compressedDepth png"),
    ]
    for data, form in datas:
        with pytest.raises(InputError, match=form):
            decode_compressed(data, form)
    with pytest.raises(InputError, match="uint16"):
        decode_compressed(encoded(np.stack([counts()] * 3, axis=2), ".png"), "png")


def test_a_format_that_the_bytes_contradict_is_refused() -> None:
    sixteen, eight = counts(), counts().astype(np.uint8)
    datas = [
        (encoded(eight, ".jpg"), "png"),
        (encoded(eight, ".jpg"), "mono8; png compressed"),
        (encoded(eight, ".png"), "jpeg"),
        (encoded(eight, ".png"), "rgb8; jpeg compressed bgr8"),
        (encoded(eight, ".png"), "mono16; png compressed"),
        (encoded(eight, ".png"), "16UC1; png compressed "),
        (encoded(sixteen, ".png"), "mono8; png compressed"),
    ]
    for data, form in datas:
        with pytest.raises(InputError, match=f"'{form}' holds"):
            decode_compressed(data, form)
    assert decode_compressed(encoded(eight, ".jpg"), "mono16; jpeg compressed ").dtype == np.uint8  # image_transport's


def test_a_cut_picture_is_refused() -> None:
    for suffix in (".png", ".jpg"):
        data = encoded(counts().astype(np.uint8), suffix)
        for end in range(0, len(data) - 2, 97):
            with pytest.raises(InputError):
                decode_compressed(data[:end], suffix)


def test_compressed_depth_of_counts_is_read_behind_its_header() -> None:
    counts = np.arange(12 * 17, dtype=np.uint16).reshape(12, 17) * 300
    for form in ("16UC1; compressedDepth", "16UC1; compressedDepth png"):
        assert np.array_equal(decode_compressed(_DEPTH_HEADER + encode_png(counts), form), counts)
