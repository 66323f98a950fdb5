"""The picture on the `overlay` topic."""

from __future__ import annotations

from collections.abc import Sequence

from cgdet_core.config import OverlayConfig, ThermalConfig
from cgdet_core.types import Detections, ImageArray


def draw_overlay(
    image: ImageArray,
    detections: Detections,
    class_names: Sequence[str],
    thermal: ThermalConfig,
    style: OverlayConfig,
) -> ImageArray:
    """uint8 [round(H * scale), round(W * scale), 3] in RGB order: the frame as the network sees it, with its boxes."""
    from cgdet_core.drawing import draw

    return draw(image, detections.above(style.min_score), class_names, thermal=thermal, scale=style.scale)


def encode_jpeg(picture: ImageArray, quality: int) -> bytes:
    """uint8 [H, W, 3] in RGB order -> the bytes of a JPEG; quality: 1 to 100."""
    import cv2

    encoded, data = cv2.imencode(".jpg", picture[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])
    if not encoded:
        raise ValueError(f"a picture of {picture.shape[1]}x{picture.shape[0]} pixels cannot be a JPEG")
    return bytes(data)
