"""Raw thermal frames -> network input: one path for training, evaluation and node.

Two steps, each exact and deterministic: `tone_limits` finds the counts that become 0 and 1,
`apply_tone` maps every count by a table. Training caches the limits of a whole frame and applies
them to a crop; the node applies them to the whole frame; a pixel gets the same float either way.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from cgdet_core.config import ThermalConfig
from cgdet_core.errors import InputError
from cgdet_core.types import FloatArray, ImageArray, IntArray, check_image

# encoding -> (dtype, channels); the colour ones are grey pictures in three channels or RGB cameras
ENCODINGS: dict[str, tuple[str, int]] = {
    "mono8": ("u1", 1),
    "8UC1": ("u1", 1),
    "mono16": ("u2", 1),
    "16UC1": ("u2", 1),
    "rgb8": ("u1", 3),
    "bgr8": ("u1", 3),
}

SCENE_PERCENTILES = (2.0, 98.0)  # what lies between is the scene; a hot source is above
_EXACT_IN_FLOAT32 = 1 << 24  # pixels up to which a count of them is exact in float32


@dataclass(frozen=True)
class ToneLimits:
    """The counts that become 0 and 1."""

    low: float
    high: float


def plain_encoding(image: ImageArray) -> str:
    """What a driver calls these pixels, uint8/uint16 [H, W] or uint8 RGB [H, W, 3]: mono8, mono16 or rgb8."""
    check_image(image)
    return "rgb8" if image.ndim == 3 else {1: "mono8", 2: "mono16"}[image.dtype.itemsize]


def decode_raw(
    data: bytes | bytearray | memoryview | ImageArray,
    height_px: int,
    width_px: int,
    step_bytes: int,
    encoding: str,
    is_bigendian: bool = False,
) -> ImageArray:
    """The pixels of a sensor_msgs/Image's fields: uint8/uint16 [H, W], or uint8 [H, W, 3] in RGB order.

    Rows may be padded (`step_bytes` beyond the pixels). The result is a view of `data` where no byte
    has to move. Raises InputError for an encoding not in ENCODINGS, sizes of zero, a step shorter
    than a row or just that of another encoding, and data that are fewer or more than the rows.
    """
    if encoding not in ENCODINGS:
        raise InputError(f"encoding '{encoding}' is not supported: use one of {', '.join(ENCODINGS)}")
    kind, channels = ENCODINGS[encoding]
    dtype = np.dtype(kind).newbyteorder(">" if is_bigendian else "<")
    if height_px <= 0 or width_px <= 0:
        raise InputError(f"an image of {width_px}x{height_px} pixels holds nothing")
    row_bytes = width_px * channels * dtype.itemsize
    if step_bytes < row_bytes:
        raise InputError(f"step {step_bytes} is shorter than a row of {width_px} {encoding} pixels ({row_bytes} bytes)")
    if step_bytes != row_bytes and (others := _encodings_of(step_bytes, width_px)):
        raise InputError(
            f"step {step_bytes} is that of {width_px} {others} pixels, and the encoding is {encoding} ({row_bytes})"
        )
    buffer = np.frombuffer(data, dtype=np.uint8)
    # the last row may come without its padding
    fewest, most = step_bytes * (height_px - 1) + row_bytes, step_bytes * height_px
    if not fewest <= buffer.size <= most:
        others = _encodings_of(buffer.size, width_px * height_px)
        raise InputError(
            f"{buffer.size} bytes of data, {height_px} rows of step {step_bytes} are {most}"
            f"{f': are they {others}, not {encoding}?' if others else ''}"
        )
    rows = np.lib.stride_tricks.as_strided(buffer, (height_px, row_bytes), (step_bytes, 1), writeable=False)
    pixels: ImageArray = rows
    if dtype.itemsize == 2:
        pixels = np.ascontiguousarray(rows).view(dtype).astype(np.uint16, copy=False)
    if channels == 3:
        pixels = pixels.reshape(height_px, width_px, 3)
        if encoding == "bgr8":
            pixels = pixels[:, :, ::-1]
    return pixels


def _encodings_of(size_bytes: int, pixels: int) -> str:
    """The encodings in which `pixels` have just so many bytes."""
    return " or ".join(name for name, (kind, count) in ENCODINGS.items() if size_bytes == pixels * count * int(kind[1]))


def cut_telemetry(image: ImageArray, telemetry_rows: int) -> tuple[ImageArray, int]:
    """The image without its telemetry rows, and how many rows were cut at the top.

    telemetry_rows: > 0 cuts rows at the bottom, < 0 at the top, 0 none.
    """
    if abs(telemetry_rows) >= image.shape[0]:
        raise InputError(f"telemetry_rows {telemetry_rows} leave nothing of {image.shape[0]} rows")
    top, bottom = max(0, -telemetry_rows), max(0, telemetry_rows)
    return image[top : image.shape[0] - bottom], top


def to_grey(image: ImageArray) -> ImageArray:
    """uint8/uint16 [H, W]; an RGB image becomes its luma (ITU-R BT.601)."""
    check_image(image)
    if image.ndim == 2:
        return image
    return np.asarray(cv2.cvtColor(np.ascontiguousarray(image), cv2.COLOR_RGB2GRAY))


def tone_limits(grey: ImageArray, config: ThermalConfig) -> ToneLimits:
    """Counts that become 0 and 1, from the frame's percentiles or the fixed range.

    A span below the configured minimum (a flat frame: closed shutter, fog) is widened about its
    middle, so that noise is not blown up into structure. What is far hotter than the scene is cut
    off (`hot_limit_spans`), but never so much that a frame which was not flat becomes so.
    """
    if config.raw_range is not None:
        return ToneLimits(float(config.raw_range[0]), float(config.raw_range[1]))
    percents = (config.low_percentile, config.high_percentile, *SCENE_PERCENTILES)
    low, high, coldest, hottest = count_percentiles(grey, percents)
    min_span = least_span(grey, config)
    if config.hot_limit_spans is not None:
        high = min(high, max(hottest + config.hot_limit_spans * (hottest - coldest), low + min_span))
    if high - low < min_span:
        middle = (low + high) / 2
        low, high = middle - min_span / 2, middle + min_span / 2
    return ToneLimits(low, high)


def least_span(image: ImageArray, config: ThermalConfig) -> float:
    """The counts that a frame's tones span at least, or it is flat."""
    return config.min_span_8bit if image.dtype == np.uint8 else config.min_span_16bit


def count_percentiles(grey: ImageArray, percents: Sequence[float]) -> tuple[float, ...]:
    """For each p the smallest count at or below which lie at least p % of the pixels, and at least one.

    grey: uint8/uint16, not empty. Exact: no pixel is left out and nothing is interpolated.
    """
    cumulative, lowest = _cumulative_histogram(grey)
    total = int(cumulative[-1])
    ranks = [max(1.0, float(np.ceil(total * percent / 100))) for percent in percents]
    return tuple(float(lowest + place) for place in np.searchsorted(cumulative, ranks))


def _cumulative_histogram(grey: ImageArray) -> tuple[IntArray, int]:
    """Pixels at or below each count from the frame's lowest to its highest, and the lowest.

    A scene fills few of the 65,536 counts: the bins between its ends stay in the fastest cache.
    """
    lowest, highest = int(grey.min()), int(grey.max())
    if grey.size < _EXACT_IN_FLOAT32:
        # bins one count wide, so that OpenCV's scaling is by 1 and exact; it answers in float32
        bins = highest - lowest + 1
        histogram = cv2.calcHist([np.ascontiguousarray(grey)], [0], None, [bins], [lowest, highest + 1])
    else:
        histogram = np.bincount(grey.reshape(-1) - grey.dtype.type(lowest))
    return np.cumsum(histogram, dtype=np.int64), lowest


def apply_tone(grey: ImageArray, limits: ToneLimits) -> FloatArray:
    """uint8/uint16 [H, W] -> float32 [H, W] in [0, 1], linear between the limits and cut beyond."""
    low, span = np.float32(limits.low), np.float32(limits.high - limits.low)
    if grey.dtype == np.uint8:
        table = ((np.arange(256, dtype=np.float32) - low) / span).clip(0, 1)
        return np.asarray(cv2.LUT(grey, table[None]), np.float32)
    # a table of 65536 counts would cost more than a crop
    image = grey.astype(np.float32)
    image -= low
    image /= span
    return image.clip(0, 1, out=image)


def normalise(image: ImageArray, config: ThermalConfig) -> FloatArray:
    """A raw frame, uint8/uint16 [H, W] or uint8 RGB [H, W, 3] -> float32 [H, W] in [0, 1]."""
    grey = to_grey(image)
    return apply_tone(grey, tone_limits(grey, config))


@dataclass(frozen=True)
class Letterbox:
    """How a frame lies in the network's input: at the top left, padded with 0.

    scales_xy: input pixels per frame pixel; the two differ by what rounding to whole pixels takes.
    """

    scales_xy: tuple[float, float]
    height_px: int
    width_px: int

    def to_frame(self, boxes_xyxy_px: FloatArray) -> FloatArray:
        """Boxes in pixels of the input -> boxes in pixels of the frame, cut to it."""
        scales = np.array(self.scales_xy * 2, np.float32)
        boxes: FloatArray = np.asarray(boxes_xyxy_px, np.float32).reshape(-1, 4) / scales
        boxes[:, 0::2] = boxes[:, 0::2].clip(0, self.width_px)
        boxes[:, 1::2] = boxes[:, 1::2].clip(0, self.height_px)
        return boxes


def letterbox(normalised: FloatArray, input_height_width_px: tuple[int, int]) -> tuple[FloatArray, Letterbox]:
    """A normalised frame float32 [h, w] -> the network's input float32 [H, W], and how it lies there.

    The frame is scaled, its aspect kept, until it fills the input's width or height; one that has
    either already, and fits, keeps its native scale. Shrinking averages over areas.
    """
    height, width = normalised.shape
    target_height, target_width = input_height_width_px
    scale = min(target_height / height, target_width / width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    placed = Letterbox((size[0] / width, size[1] / height), height, width)
    resized = normalised
    if size != (width, height):
        method = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
        resized = np.asarray(cv2.resize(normalised, size, interpolation=method), np.float32)
    if resized.shape == (target_height, target_width):
        return np.ascontiguousarray(resized, dtype=np.float32), placed
    canvas = np.zeros((target_height, target_width), np.float32)
    canvas[: resized.shape[0], : resized.shape[1]] = resized
    return canvas, placed
