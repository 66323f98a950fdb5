"""The picture on the `overlay` topic."""

from __future__ import annotations

from collections.abc import Sequence

from cgdet_core.config import ThermalConfig
from cgdet_core.types import Detections, ImageArray
from cgdet_ros.config import OverlayConfig

# letters of the least readable size are then a sixtieth of the picture's height
_READABLE_ROWS = 480
_GREATEST_SCALE = 4


def draw_overlay(
    image: ImageArray,
    detections: Detections,
    class_names: Sequence[str],
    thermal: ThermalConfig,
    style: OverlayConfig,
) -> ImageArray:
    """uint8 [round(H * scale), round(W * scale), 3] in RGB order: the frame as the network sees it, with its boxes.

    A scale of 0 is the least whole number that gives `_READABLE_ROWS`, and not more than `_GREATEST_SCALE`.
    """
    from cgdet_core.drawing import draw

    scale = style.scale or min(_GREATEST_SCALE, -(-_READABLE_ROWS // image.shape[0]))
    shown = detections.above(style.min_score)
    return draw(image, shown, class_names, thermal=thermal, scale=scale, colour_map=style.colour_map)


def encode_jpeg(picture: ImageArray, quality: int) -> bytes:
    """uint8 [H, W, 3] in RGB order -> the bytes of a JPEG; quality: 1 to 100."""
    import cv2

    encoded, data = cv2.imencode(".jpg", picture[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])
    if not encoded:
        raise ValueError(f"a picture of {picture.shape[1]}x{picture.shape[0]} pixels cannot be a JPEG")
    return bytes(data)
