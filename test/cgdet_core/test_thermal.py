"""Raw frames to network input, against bytes packed one by one and percentiles by sorting."""

from __future__ import annotations

import math
import struct
from pathlib import Path

import numpy as np
import pytest

from cgdet_core import thermal
from cgdet_core.config import ThermalConfig
from cgdet_core.errors import InputError

HEIGHT, WIDTH = 3, 5


def raw_message(encoding: str, big: bool, padding: int, cut_last_padding: bool = False) -> tuple[bytes, int, list]:
    """(data, step, expected pixels) of a picture whose every value is another."""
    sixteen, channels = "16" in encoding, 3 if encoding.endswith("gb8") or encoding == "bgr8" else 1
    rows, expected, value = [], [], 0
    for _ in range(HEIGHT):
        row, pixels = b"", []
        for _ in range(WIDTH):
            values = []
            for _ in range(channels):
                value += 1
                values.append(value * 1001 if sixteen else value)
            row += struct.pack((">" if big else "<") + ("H" if sixteen else "B") * channels, *values)
            if channels == 1:
                pixels.append(values[0])
            else:
                pixels.append(values[::-1] if encoding == "bgr8" else values)
        rows.append(row + b"\xee" * padding)
        expected.append(pixels)
    data = b"".join(rows)
    step = len(rows[0])
    return data[:-padding] if cut_last_padding and padding else data, step, expected


@pytest.mark.parametrize("encoding", ["mono8", "8UC1", "mono16", "16UC1", "rgb8", "bgr8"])
@pytest.mark.parametrize(("big", "padding", "cut_last_padding"), [(False, 0, False), (True, 7, False), (True, 4, True)])
def test_every_encoding_gives_its_pixels(encoding: str, big: bool, padding: int, cut_last_padding: bool) -> None:
    data, step, expected = raw_message(encoding, big, padding, cut_last_padding)
    for buffer in (data, bytearray(data), memoryview(data), np.frombuffer(data, np.uint8)):
        image = thermal.decode_raw(buffer, HEIGHT, WIDTH, step, encoding, big)
        assert image.tolist() == expected
        assert image.dtype == (np.uint16 if "16" in encoding else np.uint8)
        assert image.dtype.isnative


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"encoding": "bayer_rggb8"}, "bayer_rggb8"),
        ({"height_px": 0}, "5x0"),
        ({"width_px": 0}, "0x3"),
        ({"height_px": -1}, "5x-1"),
        ({"step_bytes": 9}, "step 9"),
        ({"data": b"\0" * 29}, "29 bytes"),
        ({"data": b"\0" * 31}, "31 bytes of data, 3 rows of step 10 are 30"),
        ({"step_bytes": 11}, "30 bytes"),
        ({"encoding": "mono8", "step_bytes": 5}, "30 bytes of data.* 15: are they mono16 or 16UC1"),
        ({"encoding": "mono8"}, "step 10 is that of 5 mono16"),
        ({"data": b"\0" * 45, "step_bytes": 15}, "step 15 is that of 5 rgb8"),
        ({"step_bytes": 5}, "step 5"),
        ({"encoding": "rgb8", "step_bytes": 14}, "step 14"),
    ],
)
def test_a_malformed_message_is_refused_by_its_fault(changes: dict, words: str) -> None:
    good = {"data": b"\0" * 30, "height_px": HEIGHT, "width_px": WIDTH, "step_bytes": 10, "encoding": "mono16"}
    thermal.decode_raw(**good)
    with pytest.raises(InputError, match=words):
        thermal.decode_raw(**{**good, **changes})


def test_telemetry_is_cut_at_the_end_that_the_sign_names() -> None:
    image = np.arange(20, dtype=np.uint8).reshape(5, 4)
    for rows, kept, expected_above in ((2, image[:3], 0), (-2, image[2:], 2), (0, image, 0)):
        cut, above = thermal.cut_telemetry(image, rows)
        assert cut.tolist() == kept.tolist()
        assert above == expected_above
    for rows in (5, -6):
        with pytest.raises(InputError, match=str(rows)):
            thermal.cut_telemetry(image, rows)


def test_colour_becomes_luma_and_grey_stays() -> None:
    rng = np.random.default_rng(0)
    colour = rng.integers(0, 256, (6, 7, 3), dtype=np.uint8)
    grey = thermal.to_grey(colour)
    luma = 0.299 * colour[..., 0] + 0.587 * colour[..., 1] + 0.114 * colour[..., 2]
    assert grey.dtype == np.uint8
    assert np.abs(grey - luma).max() <= 0.51
    assert np.abs(thermal.to_grey(colour[:, ::-1, ::-1])[:, ::-1].astype(float) - luma).max() > 10  # BGR would differ
    raw = rng.integers(0, 65536, (6, 7), dtype=np.uint16)
    assert (thermal.to_grey(raw) == raw).all()


def sorted_percentile(grey: np.ndarray, percent: float) -> int:
    """The smallest count at or below which lie at least `percent` % of the pixels."""
    counts = sorted(grey.reshape(-1).tolist())
    return counts[max(1, math.ceil(len(counts) * percent / 100)) - 1]


def frames_of_all_kinds() -> list[tuple[str, np.ndarray]]:
    rng = np.random.default_rng(8)
    scene = (22000 + np.cumsum(rng.normal(0, 9, (96, 128)), axis=1)).astype(np.uint16)
    frames = [("scene", scene), ("every count", rng.integers(0, 65536, (300, 300)).astype(np.uint16))]
    for dtype in (np.uint8, np.uint16):
        most = np.iinfo(dtype).max
        frames += [
            (f"flat at {value}", np.full((31, 17), min(value, most), dtype)) for value in (0, 1, 254, 255, 32768, 65535)
        ]
        ends = np.zeros((20, 50), dtype)
        ends[-1] = most
        ramp = np.arange(1000).astype(dtype).reshape(20, 50)
        frames += [("only the ends", ends), ("a row", ramp[:1]), ("a column", ramp[:, :1]), ("a pixel", ramp[3:4, 4:5])]
        frames += [("not contiguous", ramp[::2, ::-3]), ("ties", (ramp // 100 * 7).astype(dtype))]
    frames.append(("read only", scene.copy()))
    frames[-1][1].flags.writeable = False
    return frames


@pytest.mark.parametrize(("low", "high"), [(0.5, 99.8), (0.0, 100.0), (10.0, 90.0), (49.9, 50.1)])
def test_normalising_is_bit_for_bit_the_plain_formula(low: float, high: float) -> None:
    """Percentiles by sorting, and subtract, divide, clip in float32, step by step."""
    config = ThermalConfig(low_percentile=low, high_percentile=high, min_span_8bit=0.5, min_span_16bit=0.5)
    for name, frame in frames_of_all_kinds():
        ends: list[float] = [sorted_percentile(frame, low), sorted_percentile(frame, high)]
        assert thermal.count_percentiles(frame, (low, high)) == tuple(ends), name
        if ends[1] - ends[0] < 0.5:
            ends = [sum(ends) / 2 - 0.25, sum(ends) / 2 + 0.25]
        plain = ((frame.astype(np.float32) - np.float32(ends[0])) / np.float32(ends[1] - ends[0])).clip(0, 1)
        before = frame.tobytes()
        toned = thermal.normalise(frame, config)
        assert toned.dtype == np.float32, name
        assert toned.tobytes() == plain.tobytes(), name
        assert frame.tobytes() == before, name


def test_a_frame_of_more_pixels_than_float32_counts_has_exact_percentiles() -> None:
    many = np.full((4097, 4097), 7, np.uint16)  # one count holds more than 2^24 pixels
    many[0, :2], many[-1, -1] = 3, 9
    assert thermal.count_percentiles(many, (0.0, 2 / many.size * 100, 50.0, 100.0)) == (3, 3, 7, 9)
    few_above = (many.size - 1) / many.size * 100
    assert thermal.count_percentiles(many, (few_above,)) == (7,)


def test_tone_is_linear_between_the_limits_and_cut_beyond() -> None:
    grey = np.array([[0, 99, 100, 101, 150, 200, 201, 65535]], np.uint16)
    toned = thermal.apply_tone(grey, thermal.ToneLimits(100, 200))
    assert toned.dtype == np.float32
    np.testing.assert_allclose(toned, [[0, 0, 0, 0.01, 0.5, 1, 1, 1]], rtol=1e-6)
    toned8 = thermal.apply_tone(np.array([[0, 10, 35, 60, 255]], np.uint8), thermal.ToneLimits(10, 60))
    np.testing.assert_allclose(toned8, [[0, 0, 0.5, 1, 1]], rtol=1e-6)


def street_with_a_hot_source(dtype: type, share: float, counts: float) -> np.ndarray:
    """A scene of 10,000 pixels whose counts are 100 to 200, and `share` of them `counts` hotter."""
    grey = np.repeat(np.arange(100, 200), 100).astype(dtype)
    grey[-int(share * grey.size) :] = 199 + counts
    return np.random.default_rng(4).permutation(grey).reshape(100, 100)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_a_hot_source_does_not_take_the_range_from_the_scene(dtype: type) -> None:
    """Of the scene 101 is the 2nd and 198 or so the 98th percentile: what becomes 1 lies at most 97 above that."""
    most = 50 if dtype == np.uint8 else 60000
    grey = street_with_a_hot_source(dtype, 0.01, most)
    unlimited = ThermalConfig(hot_limit_spans=None)
    assert thermal.tone_limits(grey, unlimited) == thermal.ToneLimits(100, 199 + most)
    for spans in (0.0, 0.25, 1.0, 2.5):
        coldest, hottest = sorted_percentile(grey, 2), sorted_percentile(grey, 98)
        expected = min(199 + most, hottest + spans * (hottest - coldest))
        assert thermal.tone_limits(grey, ThermalConfig(hot_limit_spans=spans)) == thermal.ToneLimits(100, expected)
    if dtype == np.uint16:
        scene = grey[grey < 200]
        contrast = [np.ptp(thermal.normalise(grey, config)[grey < 200]) for config in (unlimited, ThermalConfig())]
        assert len(scene) == 9900
        assert contrast[0] < 0.01
        assert contrast[1] > 0.5


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_a_hot_object_on_a_plain_ground_keeps_the_least_span(dtype: type) -> None:
    """98 % of the pixels have one count, so that the scene has no span: its noise must not be blown up."""
    grey = np.full((100, 100), 100, dtype)
    grey[:1] = 250
    least = {np.uint8: 8.0, np.uint16: 64.0}[dtype]
    assert thermal.tone_limits(grey, ThermalConfig(high_percentile=100)) == thermal.ToneLimits(100, 100 + least)


def test_a_fixed_range_is_used_as_it_is_whatever_the_frame_holds() -> None:
    config = ThermalConfig(raw_range=(20000, 30000))
    for value in (0, 21000, 65535):
        grey = np.full((4, 4), value, np.uint16)
        assert thermal.tone_limits(grey, config) == thermal.ToneLimits(20000, 30000)
    assert thermal.normalise(np.full((2, 2), 22500, np.uint16), config).tolist() == [[0.25, 0.25]] * 2


@pytest.mark.parametrize(("dtype", "span"), [(np.uint8, 8.0), (np.uint16, 64.0)])
def test_a_flat_frame_is_half_grey_and_its_noise_is_not_stretched(dtype: type, span: float) -> None:
    config = ThermalConfig()
    flat = thermal.normalise(np.full((16, 16), 100, dtype), config)
    assert (flat == 0.5).all()
    noisy = np.full((16, 16), 100, dtype)
    noisy[::2] = 102
    limits = thermal.tone_limits(noisy, config)
    assert (limits.low, limits.high) == (101 - span / 2, 101 + span / 2)
    toned = thermal.normalise(noisy, config)
    np.testing.assert_allclose([toned.min(), toned.max()], [0.5 - 1 / span, 0.5 + 1 / span], atol=1e-6)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_cropping_then_toning_is_toning_then_cropping_bit_for_bit(dtype: type) -> None:
    rng = np.random.default_rng(1)
    frame = (rng.normal(0.4, 0.1, (60, 70)).clip(0, 1) * np.iinfo(dtype).max).astype(dtype)
    limits = thermal.tone_limits(frame, ThermalConfig())
    toned_first = thermal.normalise(frame, ThermalConfig())[10:40, 20:61]
    cropped_first = thermal.apply_tone(frame[10:40, 20:61], limits)
    assert toned_first.tobytes() == cropped_first.tobytes()
    assert toned_first.std() > 0.1


@pytest.mark.parametrize("shape", [(64, 96), (60, 96), (64, 50)])
def test_a_frame_of_the_inputs_width_or_height_keeps_its_scale_and_lies_at_the_top_left(shape: tuple) -> None:
    frame = np.random.default_rng(4).random(shape, np.float32) + 0.1
    canvas, placed = thermal.letterbox(frame, (64, 96))
    assert (canvas[: shape[0], : shape[1]] == frame).all()
    assert (canvas > 0).sum() == frame.size
    assert placed == thermal.Letterbox((1.0, 1.0), *shape)


@pytest.mark.parametrize("shape", [(128, 192), (200, 100), (100, 200), (97, 131), (32, 48)])
def test_a_bright_object_in_the_input_is_where_the_frame_had_it(shape: tuple[int, int]) -> None:
    height, width = shape
    frame = np.zeros(shape, np.float32)
    top, bottom, left, right = height // 4, height // 2, width // 3, 3 * width // 4
    frame[top:bottom, left:right] = 1
    canvas, placed = thermal.letterbox(frame, (64, 96))
    assert canvas.shape == (64, 96)
    assert canvas.dtype == np.float32
    scale = min(64 / height, 96 / width)
    assert placed.scales_xy == (round(width * scale) / width, round(height * scale) / height)
    # edges at half height, to a part of a pixel: the sum along a line through the object
    row, column = canvas[canvas.sum(1).argmax()], canvas[:, canvas.sum(0).argmax()]
    x0 = (row * np.arange(96)).sum() / row.sum() + 0.5 - row.sum() / 2
    y0 = (column * np.arange(64)).sum() / column.sum() + 0.5 - column.sum() / 2
    found = np.array([[x0, y0, x0 + row.sum(), y0 + column.sum()]], np.float32)
    np.testing.assert_allclose(placed.to_frame(found), [[left, top, right, bottom]], atol=0.1 / scale + 0.05)


def test_boxes_go_into_the_input_and_back_and_are_cut_to_the_frame() -> None:
    frame_boxes = np.array([[0, 0, 150, 100], [10, 20, 30, 60]], np.float32)
    for scale in (0.5, 1.7):
        placed = thermal.Letterbox((scale, scale * 1.01), 100, 150)
        scaled = frame_boxes * np.array([scale, scale * 1.01, scale, scale * 1.01], np.float32)
        np.testing.assert_allclose(placed.to_frame(scaled), frame_boxes, rtol=1e-6)
        given = np.array([[-20, -30, 1000, 2000]], np.float32)
        assert placed.to_frame(given).tolist() == [[0, 0, 150, 100]]
        assert given.tolist() == [[-20, -30, 1000, 2000]]


def test_importing_thermal_needs_no_torch(repository: Path) -> None:
    import subprocess
    import sys

    code = "import sys, cgdet_core.thermal, cgdet_core.boxes; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=repository, check=False).returncode == 0
