"""The homography from an RGB camera to a thermal one by their CameraInfos and how they are mounted."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import cv2
import numpy as np
from numpy.typing import NDArray
from pydantic import Field, field_validator

from cgdet_core.config import Settings, read_mapping, settings_from_mapping
from cgdet_core.data.bags.damage import expected_fields
from cgdet_core.data.bags.messages import CAMERA_INFO
from cgdet_core.data.bags.reader import BagReader
from cgdet_core.data.bags.topics import camera_info_topic
from cgdet_core.data.registration.homography import Matrix, Row
from cgdet_core.errors import InputError

_LENSES = {"plumb_bob": (4, 5), "rational_polynomial": (8,)}
_GRID = 24


@dataclass(frozen=True)
class CalibratedCamera:
    """matrix: float64 [3, 3], pixels counted from the centre of the first, as ROS and OpenCV do. distortion: float64
    [N] of plumb_bob or rational_polynomial, empty for a rectified picture."""

    matrix: Matrix
    distortion: NDArray[np.float64]
    height_width_px: tuple[int, int]


class Extrinsic(Settings):
    """How the cameras are mounted: a point in the RGB camera's frame (x right, y down, z ahead, metres) times
    `rotation` plus `translation_m` is the point in the thermal camera's frame."""

    rotation: tuple[Row, Row, Row] = Field(description="matrix, rows")
    translation_m: Row = (0.0, 0.0, 0.0)
    plane_distance_m: Annotated[float, Field(gt=0)] | None = Field(
        None, description="what lies at this distance ahead of the RGB camera meets exactly; without it, what is far"
    )

    @field_validator("rotation")
    @classmethod
    def _is_a_rotation(cls, rows: tuple[Row, Row, Row]) -> tuple[Row, Row, Row]:
        matrix = np.array(rows)
        if not np.allclose(matrix @ matrix.T, np.eye(3), atol=1e-3) or np.linalg.det(matrix) < 0:
            raise ValueError("the rotation is none: its rows must be of length 1 and at right angles, right-handed")
        return rows


def homography_of_cameras(
    bag: BagReader, thermal: tuple[str, tuple[int, int]], rgb: tuple[str, tuple[int, int]], extrinsic: Path
) -> tuple[Matrix, float]:
    """`homography_between` two topics' images of these sizes; extrinsic: a YAML of Extrinsic's keys."""
    mount = settings_from_mapping(Extrinsic, read_mapping(extrinsic, "rotation and translation_m"), str(extrinsic))
    cameras = camera_of(bag, *thermal), camera_of(bag, *rgb)
    try:
        return homography_between(*cameras, mount)
    except InputError as error:
        raise InputError(f"{extrinsic}: {error}") from None


def camera_of(bag: BagReader, image_topic: str, height_width_px: tuple[int, int]) -> CalibratedCamera:
    """The camera of an image topic with images of this size, from the first CameraInfo of camera_info beside it.

    Of a rectified image topic (image_rect...) the projection matrix holds and nothing is distorted. InputError where
    the topic or the camera will not do.
    """
    topic = camera_info_topic(image_topic)
    item = next(iter(bag.messages([topic])), None) if bag.topic(topic).type == CAMERA_INFO else None
    if item is None:
        raise InputError(f"{bag.path}: '{topic}' holds no {CAMERA_INFO} of {image_topic}: leave --extrinsic out")
    message: Any = item.message
    with expected_fields(CAMERA_INFO, f"topic '{topic}'"):
        # ROS 1 writes the fields' names in capitals
        fields = {name: getattr(message, name, getattr(message, name.upper(), None)) for name in ("k", "d", "p")}
        model, size = str(message.distortion_model), (int(message.height), int(message.width))
        binned = max(int(message.binning_x), int(message.binning_y)) > 1 or message.roi.width or message.roi.height
    where = f"{bag.path}: {topic}"
    if size != height_width_px:
        raise InputError(f"{where}: is of another size than the images: calibrate at the size that is recorded")
    if binned:
        raise InputError(f"{where}: binned or cropped images are not supported: record whole ones")
    rectified = "rect" in image_topic.removeprefix(topic.removesuffix("camera_info"))
    values = np.asarray(fields["p"] if rectified else fields["k"], np.float64)
    matrix = values.reshape(3, 4)[:, :3] if rectified else values.reshape(3, 3)
    if not np.isfinite(matrix).all() or min(matrix[0, 0], matrix[1, 1]) <= 0:
        raise InputError(f"{where}: the camera is not calibrated (its matrix is zero): calibrate it, or leave this out")
    distortion = np.zeros(0) if rectified else np.asarray(fields["d"], np.float64).reshape(-1)
    if distortion.any() and len(distortion) not in _LENSES.get(model, ()):
        wanted = " or ".join(_LENSES)
        raise InputError(f"{where}: lens model '{model[:40]}' is not known: give {wanted}, or rectified images")
    return CalibratedCamera(matrix, distortion, size)


def homography_between(thermal: CalibratedCamera, rgb: CalibratedCamera, extrinsic: Extrinsic) -> tuple[Matrix, float]:
    """RGB pixel -> thermal pixel, (0, 0) the outer corner; and how far lenses bend away from it, thermal pixels.

    K_t (R + t n^T / d) K_r^-1 with n along the RGB camera's axis (Hartley and Zisserman, section 13.1); without a
    distance the infinite homography K_t R K_r^-1. Where a lens distorts, the homography nearest to the true mapping is
    fitted over what both see; the second value is the mean distance that is left. InputError where no view is shared.
    """
    turned: Matrix = np.array(extrinsic.rotation)
    if extrinsic.plane_distance_m is not None:
        turned = turned + np.outer(extrinsic.translation_m, (0, 0, 1 / extrinsic.plane_distance_m))
    shift = np.array([[1, 0, 0.5], [0, 1, 0.5], [0, 0, 1]])
    exact = shift @ thermal.matrix @ turned @ np.linalg.inv(rgb.matrix) @ np.linalg.inv(shift)

    height, width = thermal.height_width_px
    grid = np.linspace(0.02, 0.98, _GRID)
    frame_px = np.stack(np.meshgrid(grid * width, grid * height), axis=2).reshape(-1, 2)
    rays = cv2.undistortPoints(frame_px[:, None] - 0.5, thermal.matrix, thermal.distortion)[:, 0]
    back = np.concatenate([rays, np.ones((len(rays), 1))], 1) @ np.linalg.inv(turned).T
    ahead = back[:, 2] > 1e-6
    frame_px = frame_px[ahead]
    rgb_px: Any = np.zeros((0, 2))
    if ahead.any():
        rgb_px = cv2.projectPoints(back[ahead], np.zeros(3), np.zeros(3), rgb.matrix, rgb.distortion)[0][:, 0] + 0.5
    seen = ((rgb_px >= 0) & (rgb_px <= rgb.height_width_px[::-1])).all(1)
    if seen.sum() < 16:
        raise InputError("the cameras share no view: check direction (RGB to thermal) and axes (right, down, ahead)")
    if not (thermal.distortion.any() or rgb.distortion.any()):
        return np.asarray(exact, np.float64), 0.0
    fitted, _ = cv2.findHomography(rgb_px[seen], frame_px[seen], 0)
    mapped = cv2.perspectiveTransform(rgb_px[seen][None], fitted)[0]
    left_px = float(np.linalg.norm(mapped - frame_px[seen], axis=1).mean())
    return np.asarray(fitted, np.float64), left_px
