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
