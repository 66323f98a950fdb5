"""A registration maps pixels and boxes into the thermal frame, says where RGB is valid, and reads back as written."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml

from cgdet_core.data.registration.homography import (
    Registration,
    identity_registration,
    load_registration,
    save_registration,
)
from cgdet_core.errors import InputError

TILTED = np.array([[1.1, 0.05, -8.0], [-0.04, 1.05, 5.0], [2e-4, -1e-4, 1.0]])


def registration(
    homography: np.ndarray, thermal_px: tuple[int, int] = (48, 64), rgb_px: tuple[int, int] = (48, 64)
) -> Registration:
    return Registration(np.asarray(homography, np.float64), thermal_px, rgb_px)


def picture(height_px: int = 48, width_px: int = 64, seed: int = 0) -> np.ndarray:
    noise = np.random.default_rng(seed).integers(1, 256, (height_px, width_px, 3), dtype=np.uint8)
    return np.asarray(cv2.GaussianBlur(noise, (0, 0), 2.0)).clip(1)


def test_the_identity_gives_the_picture_back_valid_everywhere() -> None:
    rgb = picture()
    warped, valid = identity_registration((48, 64)).warp(rgb)
    assert np.array_equal(warped, rgb)
    assert valid.all()


def test_a_whole_shift_moves_pixels_and_marks_what_has_no_rgb() -> None:
    rgb = picture()
    warped, valid = registration([[1, 0, 10], [0, 1, -4], [0, 0, 1]]).warp(rgb)
    assert np.array_equal(warped[:44, 10:], rgb[4:, :54])
    assert valid[:44, 10:].all()
    assert not valid[44:].any()
    assert not valid[:, :10].any()
    assert not warped[~valid].any()


def test_twice_the_size_counts_from_the_outer_corner() -> None:
    # centres: RGB pixel 0 (0.5) lies at 1.0, the edge between thermal pixels 0 and 1
    rgb = np.zeros((8, 8, 3), np.uint8)
    rgb[:, 4:] = 100
    warped, valid = registration(np.diag([2.0, 2.0, 1.0]), (16, 16), (8, 8)).warp(rgb)
    assert warped[8, 6:10, 0].tolist() == [0, 25, 75, 100]
    assert valid[1:15, 1:15].all()
    assert valid.sum() == 14 * 14  # the outermost half pixel has no neighbour to be mixed with


def test_a_finer_rgb_picture_is_averaged_not_sampled() -> None:
    rgb = np.zeros((96, 128, 3), np.uint8)
    rgb[:, ::2] = 200  # lines of one pixel: sampling would give 0 or 200
    warped, valid = registration(np.diag([0.5, 0.5, 1.0]), (48, 64), (96, 128)).warp(rgb)
    assert np.unique(warped[valid]).tolist() == [100]
    assert valid.all()


@pytest.mark.parametrize("rgb_px", [(48, 64), (96, 160), (40, 50)])
def test_pixels_and_validity_agree_with_a_mapping_of_every_pixel(rgb_px: tuple[int, int]) -> None:
    matrix = TILTED @ np.diag([64 / rgb_px[1], 48 / rgb_px[0], 1])
    ramp_x, ramp_y = np.meshgrid(np.arange(rgb_px[1]) + 0.5, np.arange(rgb_px[0]) + 0.5)
    rgb = np.stack([ramp_x, ramp_y, np.full_like(ramp_x, 9)], axis=2).astype(np.float64)
    warped, valid = registration(matrix, (48, 64), rgb_px).warp(rgb.round().astype(np.uint8))
    for row, column in np.ndindex(48, 64):
        x, y, depth = np.linalg.inv(matrix) @ (column + 0.5, row + 0.5, 1)
        x, y = x / depth, y / depth
        if 2 < x < rgb_px[1] - 2 and 2 < y < rgb_px[0] - 2:
            assert valid[row, column]
            assert abs(float(warped[row, column, 0]) - x) < 1.2
            assert abs(float(warped[row, column, 1]) - y) < 1.2
        elif not (0 <= x <= rgb_px[1] and 0 <= y <= rgb_px[0]):
            assert not valid[row, column]
    assert 0.5 < valid.mean() < 1


def test_what_lies_behind_the_camera_is_not_valid() -> None:
    # the horizon x = -80 of the RGB plane maps to infinity; beyond it points come out mirrored
    matrix = np.array([[1.0, 0, 0], [0, 1, 0], [1 / 80, 0, 1]])
    wide = registration(matrix, (48, 400), (48, 64))
    _, valid = wide.warp(picture())
    columns = np.flatnonzero(valid.any(0))
    assert columns.max() < 64 / (64 / 80 + 1) + 1


def test_boxes_map_to_the_upright_box_around_their_corners() -> None:
    mapped = registration(TILTED, (480, 640), (480, 640)).boxes_to_thermal(
        np.array([[100, 120, 150, 220], [30.5, 40, 31, 400]], np.float32)
    )
    for box, (left, top, right, bottom) in zip(mapped, [(100, 120, 150, 220), (30.5, 40, 31, 400)], strict=True):
        corners = np.array([[left, top], [right, top], [right, bottom], [left, bottom]], np.float64)
        points = cv2.perspectiveTransform(corners[None], TILTED)[0]
        np.testing.assert_allclose(box, [*points.min(0), *points.max(0)], rtol=1e-5)
    assert mapped.dtype == np.float32


def test_boxes_are_cut_to_the_frame_and_lose_their_area_outside() -> None:
    shifted = registration([[1, 0, 10], [0, 1, 0], [0, 0, 1]])
    boxes = shifted.boxes_to_thermal(np.array([[40, 10, 60, 20], [60, 0, 64, 10], [-30, 0, -20, 5]], np.float32))
    assert boxes[0].tolist() == [50, 10, 64, 20]
    assert np.all(boxes[1:, 2] - boxes[1:, 0] == 0)
    assert shifted.boxes_to_thermal(np.zeros((0, 4), np.float32)).shape == (0, 4)


def test_a_box_over_the_horizon_has_no_area() -> None:
    over = registration([[1, 0, 0], [0, 1, 0], [-1 / 50, 0, 1]])
    boxes = over.boxes_to_thermal(np.array([[40, 10, 60, 20], [10, 10, 20, 20]], np.float32))
    assert boxes[0].tolist() == [0, 0, 0, 0]
    assert boxes[1, 2] > boxes[1, 0]


@pytest.mark.parametrize(
    "matrix", [np.zeros((3, 3)), np.full((3, 3), np.nan), np.ones((3, 3)), np.diag([1.0, 0, 1]), np.eye(2)]
)
def test_a_matrix_that_is_no_homography_is_refused(matrix: np.ndarray) -> None:
    with pytest.raises(InputError, match="homography"):
        registration(matrix)


def test_scale_and_sign_of_the_matrix_do_not_matter() -> None:
    rgb = picture()
    one, other = registration(TILTED), registration(-7 * TILTED)
    np.testing.assert_allclose(one.homography, other.homography)
    assert np.array_equal(one.warp(rgb)[1], other.warp(rgb)[1])


def test_the_file_gives_the_same_numbers_back(tmp_path: Path) -> None:
    saved = Registration(TILTED / 3, (480, 640), (1080, 1920), -123_456_789, 7, "camera_info", {"corner_px": 1.5})
    save_registration(tmp_path / "new" / "registration.yaml", saved)
    read = load_registration(tmp_path / "new" / "registration.yaml")
    assert np.array_equal(read.homography, saved.homography)
    for name in ("thermal_height_width_px", "rgb_height_width_px", "offset_ns", "tolerance_ns", "how", "quality"):
        assert getattr(read, name) == getattr(saved, name)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"offset": 1}, "offset"),
        ({"offset_ns": 1.5}, "offset_ns"),
        ({"how": "guessed"}, "how"),
        ({"homography": [[1, 0, 0], [0, 1, 0]]}, "homography"),
        ({"homography": [[0, 0, 0], [0, 1, 0], [0, 0, 1]]}, "homography"),
        ({"rgb_height_width_px": [0, 64]}, "rgb_height_width_px"),
    ],
)
def test_a_file_with_an_odd_key_is_one_line_that_names_it(
    tmp_path: Path, change: dict[str, object], named: str
) -> None:
    path = tmp_path / "registration.yaml"
    save_registration(path, identity_registration((48, 64)))
    path.write_text(yaml.safe_dump({**yaml.safe_load(path.read_text()), **change}))
    with pytest.raises(InputError, match=named) as refusal:
        load_registration(path)
    assert str(path) in str(refusal.value)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("text", ["", "- 1\n", "how: [", "!!python/object:os.system {}\n"])
def test_a_file_that_is_none_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "registration.yaml"
    path.write_text(text)
    with pytest.raises(InputError, match=r"registration\.yaml"):
        load_registration(path)
    with pytest.raises(InputError, match="cgdet bag register"):
        load_registration(tmp_path / "missing.yaml")
