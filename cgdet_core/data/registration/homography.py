"""Where an RGB camera's pixels lie in the thermal frame, and by how much its clock is off: kept as a small YAML."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import cv2
import numpy as np
import yaml
from numpy.typing import NDArray
from pydantic import Field

from cgdet_core.boxes import clip_xyxy
from cgdet_core.config import Settings, read_mapping, settings_from_mapping
from cgdet_core.errors import InputError
from cgdet_core.files import write_text
from cgdet_core.types import BoolArray, FloatArray

Matrix = NDArray[np.float64]
How = Literal["estimated", "camera_info", "identity"]

_SHRINK_BELOW = 0.75  # thermal pixels per RGB pixel under which single RGB pixels would be passed over


@dataclass(frozen=True)
class Registration:
    """homography: float64 [3, 3], RGB pixel -> thermal pixel, where (0, 0) is the outer corner of the first pixel.

    It is scaled so that the third coordinate is positive in the middle of the RGB picture. offset_ns is added to an RGB
    stamp to get the thermal clock; frames pair within tolerance_ns. quality: figures by name, of how it was found.
    """

    homography: Matrix
    thermal_height_width_px: tuple[int, int]
    rgb_height_width_px: tuple[int, int]
    offset_ns: int = 0
    tolerance_ns: int = 20_000_000
    how: How = "estimated"
    quality: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        matrix = np.array(self.homography, np.float64)
        if matrix.shape != (3, 3) or not np.isfinite(matrix).all():
            raise InputError("homography: is not a matrix of 3 by 3 finite numbers: register again")
        height, width = self.rgb_height_width_px
        middle = float(matrix[2] @ (width / 2, height / 2, 1))
        # the determinant, where the middle's depth is 1 and lengths are counted in picture widths
        unit = np.diag([width, width, 1.0])
        if middle == 0 or abs(np.linalg.det(np.linalg.inv(unit) @ matrix @ unit / middle)) < 1e-6:
            raise InputError("homography: maps the RGB picture to a line or a point: register again")
        pivot = float(matrix[2, 2]) if matrix[2, 2] / middle > 1e-3 else middle
        if abs(pivot - 1) > 1e-12:  # what was scaled once is kept bit for bit
            matrix /= pivot
        matrix.setflags(write=False)
        object.__setattr__(self, "homography", matrix)

    def warp(self, rgb: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], BoolArray]:
        """uint8 [H, W, 3] of the registered size, `laid` in the thermal frame, black where it is not valid."""
        warped, valid = laid(rgb, self.homography, self.thermal_height_width_px)
        warped[~valid] = 0
        return np.asarray(warped, np.uint8), valid

    def boxes_to_thermal(self, boxes_xyxy_px: FloatArray) -> FloatArray:
        """float [N, 4] in RGB pixels -> float32 [N, 4]: the upright box around the warped corners, cut to the frame.

        A box without an area is one that the frame does not show, or that reaches over the homography's horizon.
        """
        boxes = np.asarray(boxes_xyxy_px, np.float64).reshape(-1, 4)
        corners = boxes[:, [[0, 1], [2, 1], [2, 3], [0, 3]]]
        mapped = corners @ self.homography[:, :2].T + self.homography[:, 2]
        seen = (mapped[:, :, 2] > 1e-6).all(1)
        points = mapped[seen][:, :, :2] / mapped[seen][:, :, 2:]
        upright = np.zeros((len(boxes), 4), np.float32)
        upright[seen] = np.concatenate([points.min(1), points.max(1)], axis=1)
        return clip_xyxy(upright, *self.thermal_height_width_px)


def identity_registration(height_width_px: tuple[int, int]) -> Registration:
    """Of cameras whose pictures are registered already: both of this size, of one clock."""
    return Registration(np.eye(3), height_width_px, height_width_px, how="identity")


def laid(picture: NDArray[Any], homography: Matrix, height_width_px: tuple[int, int]) -> tuple[NDArray[Any], BoolArray]:
    """uint8 or float32 [H, W(, 3)] in a frame of this size, and bool [H', W'] where it shows the picture.

    Bilinear; a finer picture is first shrunk to the frame's scale. A pixel is valid where all pixels that it is mixed
    from are of the picture, and it lies ahead of the picture's camera.
    """
    height, width = picture.shape[:2]
    middle_x, middle_y, depth = homography @ (width / 2, height / 2, 1)
    jacobian = (homography[:2, :2] - np.outer((middle_x / depth, middle_y / depth), homography[2, :2])) / depth
    scale = float(np.sqrt(abs(np.linalg.det(jacobian))))  # how many pixels long a pixel's length becomes
    if scale < _SHRINK_BELOW:
        size = (max(1, round(width * scale)), max(1, round(height * scale)))
        picture = np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA))
        homography = homography @ np.diag([width / size[0], height / size[1], 1.0])
    height, width = height_width_px
    # OpenCV counts from the first pixel's centre
    shift = np.array([[1, 0, 0.5], [0, 1, 0.5], [0, 0, 1]])
    centres = np.linalg.inv(shift) @ homography @ shift
    warped = cv2.warpPerspective(picture, centres, (width, height), flags=cv2.INTER_LINEAR)
    # what the weights of pixels that exist sum up to, and what lies ahead of the RGB camera
    weight = cv2.warpPerspective(np.ones(picture.shape[:2], np.float32), centres, (width, height))
    of_x, of_y, depth = np.linalg.inv(centres)[2]
    ahead = of_x * np.arange(width) + (of_y * np.arange(height) + depth)[:, None] > 0
    return np.asarray(warped), (weight > 0.999) & ahead


Row = tuple[float, float, float]
Size = tuple[Annotated[int, Field(ge=1)], Annotated[int, Field(ge=1)]]


class _RegistrationFile(Settings):
    """The YAML's keys."""

    how: How
    homography: tuple[Row, Row, Row]
    offset_ns: int
    tolerance_ns: int = Field(ge=0)
    thermal_height_width_px: Size
    rgb_height_width_px: Size
    quality: dict[str, float] = Field(default_factory=dict)


def load_registration(path: Path) -> Registration:
    """The registration in a YAML that `save_registration` wrote; InputError names the file and every odd key."""
    read = settings_from_mapping(_RegistrationFile, read_mapping(path, "what `cgdet bag register` wrote"), str(path))
    try:
        return Registration(**{**dict(read), "homography": np.array(read.homography, np.float64)})
    except InputError as error:
        raise InputError(f"{path}: {error}") from None


_HEAD = """\
# RGB camera -> thermal camera, by `cgdet bag register`.
# homography: RGB pixel -> thermal pixel, (0, 0) the outer corner of the first pixel.
# offset_ns: added to an RGB stamp to get the thermal clock.
"""


def save_registration(path: Path, registration: Registration) -> None:
    """Write the YAML whole or not at all; what was written reads back as the same numbers."""
    fields = {name: getattr(registration, name) for name in _RegistrationFile.model_fields}
    fields["homography"] = tuple(map(tuple, registration.homography.tolist()))
    document = _RegistrationFile(**fields).model_dump(mode="json")
    write_text(path, _HEAD + yaml.safe_dump(document, sort_keys=False, default_flow_style=None, width=120))
