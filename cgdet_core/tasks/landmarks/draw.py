"""Points of faces drawn into pictures, in a colour for each group of them."""

from __future__ import annotations

from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from cgdet_core.colour_maps import ColourMap
from cgdet_core.config import ThermalConfig
from cgdet_core.drawing import OUTLINE_COLOUR, Colour, box_corners, scaled_rgb
from cgdet_core.tasks.landmarks.points import GROUPS
from cgdet_core.types import BoolArray, FloatArray, ImageArray, Landmarks

GROUP_COLOURS: Final[dict[str, Colour]] = {
    "jaw": (0, 190, 255),
    "brows": (255, 170, 0),
    "nose": (80, 220, 80),
    "eyes": (255, 90, 90),
    "mouth": (230, 120, 255),
}
_BOX_COLOUR: Final = (255, 255, 255)
_FRACTION: Final = 4  # bits of a pixel's fraction that OpenCV draws circles by


def draw_landmarks(
    image: ImageArray,
    landmarks: Landmarks,
    min_confidence: float = 0.0,
    scale: float = 1.0,
    thermal: ThermalConfig | None = None,
    colour_map: ColourMap = "white_hot",
) -> NDArray[np.uint8]:
    """The frame with its faces: uint8 [round(H * scale), round(W * scale), 3], RGB.

    image: as drawing.draw takes it. Points below min_confidence are rings; a thin box is where the face was looked for.
    """
    picture = scaled_rgb(image, scale, thermal, colour_map)
    for points, sure, box in zip(landmarks.points_xy_px, landmarks.confidences, landmarks.boxes_xyxy_px, strict=True):
        left, top, right, bottom = box_corners(box * scale, picture, 1)
        cv2.rectangle(picture, (left, top), (right, bottom), _BOX_COLOUR, 1)
        draw_points(picture, (points + np.float32(0.5)) * np.float32(scale) - np.float32(0.5), sure >= min_confidence)
    return picture


def draw_points(picture: NDArray[np.uint8], points_xy_px: FloatArray, filled: BoolArray) -> None:
    """68 points float32 [68, 2] of one face into `picture`, uint8 RGB; those not in `filled` bool [68] as rings. They
    grow with the face; what is far off the picture is not drawn."""
    extent = float(np.ptp(points_xy_px, axis=0).max())
    radius = max(1.0, extent / 90)
    near: BoolArray = np.asarray((np.abs(points_xy_px) < 4 * max(picture.shape)).all(1))
    for name, places in GROUPS.items():
        for place in places:
            if near[place]:
                x, y = (round(float(value) * 2**_FRACTION) for value in points_xy_px[place])
                edge, size = round((radius + 1) * 2**_FRACTION), round(radius * 2**_FRACTION)
                thickness = -1 if filled[place] else 1
                cv2.circle(picture, (x, y), edge, OUTLINE_COLOUR, thickness, cv2.LINE_AA, _FRACTION)
                cv2.circle(picture, (x, y), size, GROUP_COLOURS[name], thickness, cv2.LINE_AA, _FRACTION)
