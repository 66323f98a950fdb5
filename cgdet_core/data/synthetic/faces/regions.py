"""Where on a picture is what of a face: outline, zones round the 68 points, and what each pixel is made of.

Points are float [68, 2] in iBUG order, x and y in pixels, (0, 0) the centre of the first pixel. Lengths that fit any
face are fractions of its height from brows to chin.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from cgdet_core.types import FloatArray, ImageArray

Points = NDArray[np.floating[Any]]

JAW, BROWS, EYES = np.arange(17), (np.arange(17, 22), np.arange(22, 27)), (np.arange(36, 42), np.arange(42, 48))
LIPS, INNER_LIPS = np.arange(48, 60), np.arange(60, 68)
FOREHEAD, CROWN = 0.55, 0.85  # heights of the arcs over the ears, up to the hair and over it
_SHIFT = 4  # bits after the point in OpenCV's polygons


@dataclass(frozen=True)
class FaceAxes:
    """The upright frame of a face. right, down: unit vectors in pixels; height_px: from brows to chin."""

    eyes_px: Points
    right: Points
    down: Points
    height_px: float

    @classmethod
    def of(cls, points_px: Points) -> FaceAxes:
        down = points_px[LIPS].mean(axis=0) - points_px[17:27].mean(axis=0)
        down = down / max(float(np.linalg.norm(down)), 1e-6)
        height_px = max(float(points_px[8] @ down - (points_px[17:27] @ down).min()), 4.0)
        return cls(points_px[36:48].mean(axis=0), np.array([down[1], -down[0]]), down, height_px)

    def place(self, right: float, down: float) -> Points:
        """float [2]: pixels of the place that lies so many face heights from between the eyes."""
        return np.asarray(self.eyes_px + self.height_px * (right * self.right + down * self.down))

    def coordinates(self, height_width_px: tuple[int, int], step: int = 1) -> tuple[FloatArray, FloatArray]:
        """float32 [h, w] twice: face heights right of and below the eyes, of each step x step pixels."""
        y, x = (np.arange((step - 1) / 2, size + (step - 1) / 2, step, np.float32) for size in height_width_px)
        x, y = (x - self.eyes_px[0]) / self.height_px, (y - self.eyes_px[1])[:, None] / self.height_px
        right, down = x * self.right[0] + y * self.right[1], x * self.down[0] + y * self.down[1]
        return right.astype(np.float32), down.astype(np.float32)


def outline(points_px: Points, top: float, wider: float = 1.0) -> Points:
    """float [N, 2]: the jaw, closed by an arc over the ears, `top` face heights above them."""
    axes, middle, half = FaceAxes.of(points_px), points_px[[0, 16]].mean(axis=0), (points_px[16] - points_px[0]) / 2
    angle = np.linspace(0, np.pi, 16)[:, None]
    arc = middle + wider * half * np.cos(angle) - top * axes.height_px * np.sin(angle) * axes.down
    return np.concatenate([points_px[JAW], arc])


def grown(polygon_px: Points, factor: float) -> Points:
    """The polygon, stretched about its mean."""
    middle = polygon_px.mean(axis=0)
    return np.asarray(middle + factor * (polygon_px - middle))


def zone(
    polygons_px: Sequence[Points], height_width_px: tuple[int, int], blur_px: float = 0.7, line_px: float = 0
) -> FloatArray:
    """float32 [H, W] in [0, 1]: the polygons filled, or with `line_px` their lines of that width, softened."""
    height, width = height_width_px
    step = 4 if blur_px > 4 else 2 if blur_px > 1.5 else 1  # what is soft is made on a coarser grid
    canvas = np.zeros((-(-height // step), -(-width // step)), np.uint8)
    # centres of pixels are whole numbers on both grids
    whole = [np.rint(((polygon + 0.5) / step - 0.5) * (1 << _SHIFT)).astype(np.int32) for polygon in polygons_px]
    if line_px:
        cv2.polylines(canvas, whole, False, 255, max(1, round(line_px / step)), cv2.LINE_AA, _SHIFT)
    else:
        for polygon in whole:  # one call would leave out where two overlap
            cv2.fillPoly(canvas, [polygon], 255, cv2.LINE_AA, _SHIFT)
    soft = cv2.GaussianBlur(canvas.astype(np.float32) / 255, (0, 0), blur_px / step)
    return widened(np.asarray(soft, np.float32), height_width_px)


def widened(coarse: FloatArray, height_width_px: tuple[int, int]) -> FloatArray:
    """A coarse grid, brought to the picture's pixels."""
    (height, width), step = height_width_px, -(-height_width_px[0] // coarse.shape[0])
    return np.asarray(cv2.resize(coarse, None, fx=step, fy=step)[:height, :width], np.float32)


def oval(middle_px: Points, half_right: float, half_down: float, axes: FaceAxes, exponent: float = 2.0) -> Points:
    """float [24, 2]: an ellipse, or a box with round corners for exponents above 2; in face heights."""
    angle = np.linspace(0, 2 * np.pi, 24, endpoint=False)
    x, y = (np.sign(each) * np.abs(each) ** (2 / exponent) for each in (np.cos(angle), np.sin(angle)))
    offset = half_right * np.outer(x, axes.right) + half_down * np.outer(y, axes.down)
    return np.asarray(middle_px + axes.height_px * offset)


def face_polygon(points_px: Points) -> Points:
    """Jaw and brows."""
    return np.concatenate([points_px[JAW], points_px[26:16:-1]])


@dataclass(frozen=True)
class Materials:
    """What the pixels show, each float32 [H, W]. skin, hair (also brows and beard, over skin), cloth: shares in [0, 1],
    the rest is background; detail: in [-1, 1], how much lighter a pixel is than those round it."""

    skin: FloatArray
    hair: FloatArray
    cloth: FloatArray
    detail: FloatArray

    @property
    def size(self) -> tuple[int, int]:
        return int(self.skin.shape[0]), int(self.skin.shape[1])


def detail_of(rgb: ImageArray, height_px: float) -> FloatArray:
    """Materials.detail of a face of that height."""
    light = cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY).astype(np.float32)
    return np.asarray(np.clip((light - cv2.GaussianBlur(light, (0, 0), 0.04 * height_px)) / 40, -1, 1), np.float32)


def estimated_materials(rgb: ImageArray, points_px: Points) -> Materials:
    """Of a colour picture, uint8 [H, W, 3] RGB, of one face. Skin is what has its skin's colour, on the forehead, the
    ears and the neck; hair what is darker at the brows, under the nose and round the jaw, where both sides of it are,
    or has another colour over the forehead."""
    size, axes = (rgb.shape[0], rgb.shape[1]), FaceAxes.of(points_px)
    lab = cv2.cvtColor(rgb, cv2.COLOR_RGB2LAB).astype(np.float32)
    tall = axes.height_px
    middle = zone([grown(points_px[[1, 3, 48, 54, 13, 15, 45, 27, 36]], 0.85)], size) > 0.5
    patch = lab[middle] if middle.any() else lab.reshape(-1, 3)
    patch = patch[:: max(1, len(patch) // 2000)]
    typical, spread = np.median(patch, axis=0), np.maximum(patch.std(axis=0), (16, 5, 5))
    unlike = (np.square((lab - typical) / spread) @ np.array([0.5, 1, 1], np.float32)).astype(np.float32)
    alike = cv2.GaussianBlur(np.exp(-0.15 * np.maximum(unlike - 4, 0)), (0, 0), 0.012 * tall)

    jaw = zone([face_polygon(points_px)], size, 0.012 * tall)
    crown = zone([outline(points_px, CROWN, 1.15)], size, 0.02 * tall)
    throat = zone([np.array([*points_px[4:13], axes.place(0.3, 1.2), axes.place(-0.3, 1.2)])], size, 0.04 * tall)
    neck_px = np.array([points_px[2], points_px[14], axes.place(0.6, 1.7), axes.place(-0.6, 1.7)])
    near = np.maximum(crown, zone([neck_px], size, 0.06 * tall))
    forehead = zone([outline(points_px, FOREHEAD)], size, 0.05 * tall)
    skin = np.maximum(jaw, alike * np.maximum(near, 0.15))
    skin = np.maximum(skin, throat * (0.5 + 0.5 * alike))  # in the chin's shadow

    dark = np.clip((typical[0] - lab[:, :, 0] - 18) / 40, 0, 1)
    brows = zone([points_px[each] for each in BROWS], size, 0.012 * tall, 0.075 * tall)
    around = zone([grown(np.concatenate([points_px[2:15], points_px[[35, 33, 31]]]), 1.04)], size, 0.03 * tall)
    around *= 1 - zone([grown(points_px[LIPS], 1.05)], size, 0.015 * tall)
    hair = np.maximum(brows * dark, around * dark * _beard(lab[:, :, 0], points_px, float(typical[0])))
    hair = np.maximum(hair, crown * (1 - throat) * (1 - np.maximum(jaw, np.minimum(1, alike * (0.4 + forehead)))))
    aside, below = axes.coordinates(size)
    shoulders = 0.95 + 0.4 * np.maximum(np.abs(aside) - 0.35, 0)
    cloth = np.clip((below - shoulders) * 12, 0, 1) * (1 - skin)
    return Materials(skin, np.asarray(hair, np.float32), np.asarray(cloth, np.float32), detail_of(rgb, tall))


def _beard(light: FloatArray, points_px: Points, skin_light: float) -> float:
    """In [0, 1]: how much darker than the skin it is at chin and jaw, on the lighter side of the face."""
    inside = np.rint(0.7 * points_px[3:14] + 0.3 * points_px[LIPS].mean(axis=0)).astype(int)
    x, y = inside.clip(0, (light.shape[1] - 1, light.shape[0] - 1)).T
    sides = light[y, x]
    lighter = max(float(np.median(sides[:5])), float(np.median(sides[6:])))
    return float(np.clip((skin_light - lighter - 15) / 30, 0, 1))
