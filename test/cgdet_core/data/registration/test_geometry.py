"""Two CameraInfos and an extrinsic against points in space, projected one by one."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from cgdet_core.data.bags.reader import BagReader
from cgdet_core.data.registration.geometry import CalibratedCamera, Extrinsic, camera_of, homography_between
from cgdet_core.errors import InputError

# a turn of 5 degrees about the upright axis and 2 about the optical one
_Y, _Z = np.radians(5), np.radians(2)
TURN = np.array([[np.cos(_Y), 0, np.sin(_Y)], [0, 1, 0], [-np.sin(_Y), 0, np.cos(_Y)]]) @ np.array(
    [[np.cos(_Z), -np.sin(_Z), 0], [np.sin(_Z), np.cos(_Z), 0], [0, 0, 1]]
)


def camera(focal_px: float, size: tuple[int, int], distortion: Sequence[float] = ()) -> CalibratedCamera:
    matrix = np.array([[focal_px, 0, size[1] / 2 - 3], [0, focal_px * 1.01, size[0] / 2 + 2], [0, 0, 1]])
    return CalibratedCamera(matrix, np.array(distortion, np.float64), size)


def extrinsic(**fields: object) -> Extrinsic:
    return Extrinsic.model_validate({"rotation": TURN.tolist(), **fields})


def seen(lens: CalibratedCamera, points: np.ndarray) -> np.ndarray:
    """Pixels of points [N, 3] by a pinhole, (0, 0) the outer corner."""
    x, y = points[:, 0] / points[:, 2], points[:, 1] / points[:, 2]
    k = lens.matrix
    return np.stack([k[0, 0] * x + k[0, 2], k[1, 1] * y + k[1, 2]], 1) + 0.5


def bent_pixels(lens: CalibratedCamera, rays: np.ndarray) -> np.ndarray:
    """Pixels of rays [N, 2] by the formula of plumb_bob and rational_polynomial, (0, 0) the outer corner."""
    k1, k2, p1, p2, k3, k4, k5, k6 = np.pad(lens.distortion, (0, 8 - len(lens.distortion)))
    (x, y), r2 = rays.T, (rays**2).sum(1)
    radial = (1 + k1 * r2 + k2 * r2**2 + k3 * r2**3) / (1 + k4 * r2 + k5 * r2**2 + k6 * r2**3)
    bent_x = x * radial + 2 * p1 * x * y + p2 * (r2 + 2 * x * x)
    bent_y = y * radial + p1 * (r2 + 2 * y * y) + 2 * p2 * x * y
    return seen(lens, np.stack([bent_x, bent_y, np.ones_like(x)], 1))


def mapped(homography: np.ndarray, points_px: np.ndarray) -> np.ndarray:
    values = np.concatenate([points_px, np.ones((len(points_px), 1))], 1) @ homography.T
    return values[:, :2] / values[:, 2:]


SIZE = (720, 1280)
THERMAL, RGB = camera(500, (512, 640)), camera(900, (720, 1280))
POINTS = np.random.default_rng(2).uniform((-3, -2, 10), (3, 2, 10.0001), (40, 3))


def test_far_points_meet_by_rotation_alone() -> None:
    homography, left_px = homography_between(THERMAL, RGB, extrinsic(translation_m=(0.3, 0.1, 0.0)))
    far = POINTS * 1e6
    np.testing.assert_allclose(mapped(homography, seen(RGB, far)), seen(THERMAL, far @ TURN.T), atol=1e-3)
    assert left_px == 0


def test_points_of_the_plane_meet_with_the_baseline() -> None:
    plane = np.concatenate([POINTS[:, :2], np.full((len(POINTS), 1), 8.0)], 1)
    moved = plane @ TURN.T + (0.3, 0.1, -0.05)
    mount = extrinsic(translation_m=(0.3, 0.1, -0.05), plane_distance_m=8.0)
    homography, _ = homography_between(THERMAL, RGB, mount)
    np.testing.assert_allclose(mapped(homography, seen(RGB, plane)), seen(THERMAL, moved), atol=1e-6)


@pytest.mark.parametrize(
    "distortion", [(-0.25, 0.06, 0.001, -0.001, 0.0), (-0.2, 0.05, 0, 0, 0, 0.01, 0, 0)], ids=["plumb bob", "rational"]
)
def test_lens_distortion_is_fitted_and_what_is_left_is_told(distortion: tuple[float, ...]) -> None:
    bent = camera(900, (720, 1280), distortion)
    homography, left_px = homography_between(THERMAL, bent, extrinsic())
    straight, _ = homography_between(THERMAL, RGB, extrinsic())
    assert 0.1 < left_px < 10
    rays = np.random.default_rng(4).uniform((-0.35, -0.3), (0.35, 0.3), (400, 2))
    frame_px = mapped(straight, bent_pixels(RGB, rays))
    bent_px = bent_pixels(bent, rays)
    inside = ((frame_px > 0) & (frame_px < (640, 512)) & (bent_px > 0) & (bent_px < (1280, 720))).all(1)
    assert inside.sum() > 100
    found = np.linalg.norm(mapped(homography, bent_px[inside]) - frame_px[inside], axis=1).mean()
    assert found == pytest.approx(left_px, rel=0.4)


def test_cameras_that_look_apart_are_refused() -> None:
    back = np.diag([-1.0, 1.0, -1.0])
    with pytest.raises(InputError, match="share no view"):
        homography_between(THERMAL, RGB, Extrinsic.model_validate({"rotation": back.tolist()}))


def info_bag(tmp_path: Path, ros, **fields: object) -> Path:
    """A CameraInfo of /rgb, whose fields are capitals in ROS 1."""
    region = ros.types["sensor_msgs/msg/RegionOfInterest"]
    calibration = {
        "d": np.array([-0.2, 0.1, 0, 0, 0]),
        "k": np.array([900, 0, 640, 0, 900, 360, 0, 0, 1.0]),
        "r": np.eye(3).reshape(-1),
        "p": np.array([800, 0, 630, 0, 0, 800, 350, 0, 0, 0, 1.0, 0]),
    }
    values = {
        "header": ros.header(1_000_000_000),
        "height": 720,
        "width": 1280,
        "distortion_model": "plumb_bob",
        "binning_x": 0,
        "binning_y": 0,
        "roi": region(x_offset=0, y_offset=0, height=0, width=0, do_rectify=False),
        **{name.upper() if ros.ros1 else name: value for name, value in calibration.items()},
        **fields,
    }
    message = ros.types["sensor_msgs/msg/CameraInfo"](**values)
    rows = [("/rgb/camera_info", "sensor_msgs/msg/CameraInfo", 1_000_000_000, message)]
    return ros.write(tmp_path / "info.bag", rows, "ros1" if ros.ros1 else "mcap")


@pytest.mark.parametrize("ros", ["ros1", "ros2"])
def test_the_camera_of_a_topic_stands_beside_it(tmp_path: Path, ros: str, request: pytest.FixtureRequest) -> None:
    with BagReader(info_bag(tmp_path, request.getfixturevalue(ros))) as bag:
        for topic in ("/rgb/image_raw", "/rgb/image_raw/compressed"):
            found = camera_of(bag, topic, SIZE)
            assert (found.matrix[0, 0], found.height_width_px, len(found.distortion)) == (900, (720, 1280), 5)
        rectified = camera_of(bag, "/rgb/image_rect_color", SIZE)
        assert (rectified.matrix[0, 0], rectified.matrix[0, 2], rectified.distortion.size) == (800, 630, 0)
        with pytest.raises(InputError, match="/thermal/camera_info"):
            camera_of(bag, "/thermal/image_raw", SIZE)


@pytest.mark.parametrize(
    "fields",
    [
        {"k": np.zeros(9)},
        {"distortion_model": "equidistant", "d": np.array([-0.05, 0.01, 0.0, 0.0])},
        {"d": np.ones(3)},
        {"binning_x": 2},
        {"width": 640},
    ],
    ids=["not calibrated", "lens", "coefficients", "binned", "size"],
)
def test_a_camera_info_that_will_not_do_is_named(tmp_path: Path, ros2, fields: dict[str, object]) -> None:
    with BagReader(info_bag(tmp_path, ros2, **fields)) as bag, pytest.raises(InputError, match="/rgb/camera_info"):
        camera_of(bag, "/rgb/image_raw", SIZE)
