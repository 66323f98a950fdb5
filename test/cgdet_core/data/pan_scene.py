"""Pictures that a thermal and an RGB camera might see of one scene: the same outlines, nothing else in common."""

from __future__ import annotations

import cv2
import numpy as np

from cgdet_core.data.synthetic.pan import Pan, random_homography

THERMAL_PX, RGB_PX = (128, 160), (144, 192)


def shapes(seed: int, height_px: int = 220, width_px: int = 280) -> tuple[np.ndarray, np.ndarray]:
    """Thermal uint8 [H, W] and RGB uint8 [H, W, 3]: boxes, discs, poles, each of a grey and a colour of its own."""
    rng = np.random.default_rng(seed)
    thermal = np.full((height_px, width_px), 90, np.uint8)
    rgb = np.full((height_px, width_px, 3), 110, np.uint8)
    for number in range(60):
        x, y = int(rng.integers(0, width_px)), int(rng.integers(0, height_px))
        grey = int(rng.integers(20, 240))
        colour = tuple(int(value) for value in rng.integers(10, 250, 3))
        wide, high = (int(side) for side in rng.integers(8, 36, 2))
        for picture, value in ((thermal, grey), (rgb, colour)):
            if number % 3 == 0:
                cv2.circle(picture, (x, y), wide // 2, value, -1)
            else:
                cv2.rectangle(picture, (x, y), (x + wide, y + (high if number % 3 == 1 else 3 * high)), value, -1)
    return thermal, rgb


def small_pan(seed: int, **changes: object) -> Pan:
    """A Pan of small pictures and a random homography; `changes`: its fields."""
    homography = random_homography(np.random.default_rng(seed), THERMAL_PX, RGB_PX, wider=(1.05, 1.2))
    fields: dict[str, object] = {
        "homography": homography,
        "thermal_height_width_px": THERMAL_PX,
        "rgb_height_width_px": RGB_PX,
        "thermal_hz": 20.0,
        "rgb_hz": 20.0,
        "seconds_per_shot": 5.0,
        "sway_px": (30.0, 22.0),
        "seed": seed,
    }
    return Pan(**{**fields, **changes})  # type: ignore[arg-type]
