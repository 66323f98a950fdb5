"""Whole bags that were put together byte by byte: what is read is what was packed."""

from __future__ import annotations

import struct

import bag_bytes as by_hand
import cv2
import numpy as np
import pytest

from cgdet_core.data.bags.frames import read_labelled_frames, read_raw_images
from cgdet_core.data.bags.reader import BagReader
from cgdet_core.errors import InputError

START = 1_700_000_000_000_000_000
STEP = 33_000_000
THERMAL, RGB = "/thermal/image_raw", "/rgb/image_raw/compressed"
rng = np.random.default_rng(3)
COUNTS = [rng.integers(0, 65536, (12, 17), dtype=np.uint16) for _ in range(7)]


def rows(big_endian=0):
    """Thermal counts, and after each a JPEG and a 16-bit PNG of the same counts."""
    found = []
    for index, counts in enumerate(COUNTS):
        time_ns = START + index * STEP
        colour = np.full((16, 24, 3), 20 * index, np.uint8)
        jpeg = cv2.imencode(".jpg", colour)[1].tobytes()
        png = cv2.imencode(".png", counts)[1].tobytes()
        pixels = counts.astype(">u2" if big_endian else "<u2")
        found.append(by_hand.image(THERMAL, time_ns, pixels, "mono16", big_endian))
        found.append(by_hand.compressed(RGB, time_ns + 1000, jpeg, "jpeg"))
        found.append(by_hand.compressed("/png", time_ns + 2000, png, "mono16; png compressed "))
    return found


def check(path):
    """Every message of rows() is read from `path`, in order and bit for bit."""
    for topic in (THERMAL, "/png"):
        samples = list(read_labelled_frames(path, topic))
        assert [sample.frame.stamp_ns for sample in samples] == [row.stamp_ns for row in rows() if row.topic == topic]
        for sample, counts in zip(samples, COUNTS, strict=True):
            assert sample.frame.image.dtype == np.uint16
            assert np.array_equal(sample.frame.image, counts)
            assert sample.frame.frame_id == "camera"
    with BagReader(path) as bag:
        jpegs = list(bag.messages([RGB]))
        assert [bytes(item.message.data) for item in jpegs] == [row.data for row in rows() if row.topic == RGB]
        assert [item.record_time_ns for item in jpegs] == [START + index * STEP + 1000 for index in range(7)]
        assert bag.losses == []
    for index, image in enumerate(read_raw_images(path, RGB)):
        assert image.decode().shape == (16, 24, 3)
        assert abs(int(image.decode()[8, 12, 0]) - 20 * index) <= 2


@pytest.mark.parametrize("big_endian", [0, 1])
@pytest.mark.parametrize("compression", ["", "lz4", "zstd", None])
def test_an_mcap_file(tmp_path, compression, big_endian):
    (tmp_path / "a.mcap").write_bytes(by_hand.mcap(rows(big_endian), compression).data)
    check(tmp_path / "a.mcap")


@pytest.mark.parametrize("compression", ["none", "bz2", "lz4"])
def test_a_ros1_bag(tmp_path, compression):
    (tmp_path / "a.bag").write_bytes(by_hand.ros1(rows(1), compression).data)
    check(tmp_path / "a.bag")


@pytest.mark.parametrize("definitions", [True, False])
@pytest.mark.parametrize("page_bytes", [512, 4096, 65536])
def test_an_sqlite_file(tmp_path, definitions, page_bytes):
    by_hand.sqlite(tmp_path / "a.db3", rows(), definitions, page_bytes)
    check(tmp_path / "a.db3")


@pytest.mark.parametrize("storage", ["mcap", "sqlite3"])
@pytest.mark.parametrize("mode", ["", "FILE", "MESSAGE"])
def test_a_split_folder_whole_or_compressed(tmp_path, storage, mode):
    suffix = {"mcap": "mcap", "sqlite3": "db3"}[storage]
    files = []
    for number, part in enumerate((rows()[:9], rows()[9:])):
        name = f"drive_{number}.{suffix}"
        if storage == "mcap":
            (tmp_path / name).write_bytes(by_hand.mcap(part, "lz4", packed=mode == "MESSAGE").data)
        else:
            by_hand.sqlite(tmp_path / name, part, packed=mode == "MESSAGE")
        if mode == "FILE":
            (tmp_path / f"{name}.zstd").write_bytes(by_hand.zstd.compress((tmp_path / name).read_bytes()))
            (tmp_path / name).unlink()
            name += ".zstd"
        files.append((name, part))
    by_hand.metadata(tmp_path, storage, files, format="zstd" if mode else "", mode=mode)
    check(tmp_path)


@pytest.mark.parametrize(
    "form", ["jpeg", "rgb8; jpeg compressed bgr8", "bgr8; jpeg compressed bgr8", "bayer_rggb8; jpeg compressed bgr8"]
)
def test_a_jpeg_is_rgb_whatever_the_publisher_called_it(tmp_path, form):
    colour = np.zeros((16, 16, 3), np.uint8)
    colour[..., 2] = 250  # red, as OpenCV has it
    row = by_hand.compressed(RGB, START, cv2.imencode(".jpg", colour)[1].tobytes(), form)
    (tmp_path / "a.mcap").write_bytes(by_hand.mcap([row]).data)
    (sample,) = read_labelled_frames(tmp_path / "a.mcap")
    assert sample.frame.image[..., 0].min() > 240
    assert sample.frame.image[..., 1:].max() < 15


@pytest.mark.parametrize("form", ["mono16; png compressed ", "16UC1; png compressed mono16", "png"])
def test_a_png_keeps_its_16_bits(tmp_path, form):
    row = by_hand.compressed("/ir", START, cv2.imencode(".png", COUNTS[0])[1].tobytes(), form)
    (tmp_path / "a.mcap").write_bytes(by_hand.mcap([row]).data)
    (sample,) = read_labelled_frames(tmp_path / "a.mcap")
    assert np.array_equal(sample.frame.image, COUNTS[0])


@pytest.mark.parametrize("form", ["16UC1; compressedDepth", "16UC1; compressedDepth png"])
def test_compressed_depth_of_counts_is_read_behind_its_header(tmp_path, form):
    data = struct.pack("<iff", 0, 0.0, 0.0) + cv2.imencode(".png", COUNTS[0])[1].tobytes()
    (tmp_path / "a.mcap").write_bytes(by_hand.mcap([by_hand.compressed("/ir", START, data, form)]).data)
    (sample,) = read_labelled_frames(tmp_path / "a.mcap")
    assert np.array_equal(sample.frame.image, COUNTS[0])


@pytest.mark.parametrize(
    ("form", "data"),
    [
        ("16UC1; compressedDepth rvl", struct.pack("<iffii", 0, 0.0, 0.0, 17, 12) + bytes(range(80))),
        ("32FC1; compressedDepth png", struct.pack("<iff", 1, 1.0, 1.0) + cv2.imencode(".png", COUNTS[0])[1].tobytes()),
        ("16UC1; compressedDepth png", b"abc"),
        ("h264", bytes(range(100))),
    ],
)
def test_formats_that_are_no_picture_of_counts_are_named(tmp_path, form, data):
    (tmp_path / "a.mcap").write_bytes(by_hand.mcap([by_hand.compressed("/ir", START, data, form)]).data)
    with pytest.raises(InputError, match="cannot be decoded") as caught:
        list(read_labelled_frames(tmp_path / "a.mcap", "/ir"))
    assert form in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kind", [".jpg", ".png"])
def test_a_picture_cut_short_is_refused_not_filled_in(tmp_path, kind):
    picture = rng.integers(0, 255, (64, 64, 3), dtype=np.uint8)
    whole = cv2.imencode(kind, picture)[1].tobytes()
    for length in (len(whole) - 2, len(whole) // 2):
        row = by_hand.compressed("/ir", START, whole[:length], kind[1:])
        (tmp_path / "a.mcap").write_bytes(by_hand.mcap([row]).data)
        with pytest.raises(InputError, match="/ir, image of stamp"):
            list(read_labelled_frames(tmp_path / "a.mcap", "/ir"))
