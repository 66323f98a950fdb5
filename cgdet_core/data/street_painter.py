"""Painting the street's shapes, far ones first, into one picture of indices; temperatures, colours and boxes follow.

Each primitive gets a number; the picture holds, at twice the camera's resolution, the number that is seen. What a
pixel's temperature and colour are and which object owns it are look-ups, so that thermal picture, RGB picture and
boxes agree to the pixel.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from cgdet_core.data.street_camera import NEAR_M, Array, Camera, Paint, Shape

SUPERSAMPLING = 2
SHIFT = 4
_TURNS = 6
_HALF_CIRCLE = np.linspace(np.pi / 2, 3 * np.pi / 2, _TURNS)

Contours = list[NDArray[np.int32]]
"""Polygons [corners, 2] in fixed-point pixels of the index picture, SHIFT bits below the pixel."""


@dataclass
class Labelled:
    """One labelled object of the frame: where it was painted (contours in fixed-point sub-pixels)."""

    class_id: int
    distance_m: float
    contours: list[Contours] = field(default_factory=list)


Haze = tuple[float, float, tuple[float, float, float]]
"""Share of what is seen that is air, the air's temperature in degrees Celsius and its colour."""


class Painter:
    """index: uint16 [2H, 2W] primitive seen there, 0 nothing; labelled: the labelled objects painted so far;
    bounds_px: per painted shape x from, y from, x to, y to in pixels of the camera, as if alone and not cut."""

    def __init__(self, camera: Camera, height_width_px: tuple[int, int]) -> None:
        self.camera, self.height_width_px = camera, height_width_px
        height, width = height_width_px
        self.index: NDArray[np.uint16] = np.zeros((height * SUPERSAMPLING, width * SUPERSAMPLING), np.uint16)
        self.labelled: list[Labelled] = []
        self.bounds_px: list[tuple[float, float, float, float]] = []
        self._count = 1
        self._temperatures: list[Array] = [np.zeros(1)]
        self._colours: list[Array] = [np.zeros((1, 3))]
        self._owners: list[int] = [-1]
        self._shapes: list[NDArray[np.int32]] = [np.full(1, -1, np.int32)]

    def temperatures_c(self) -> Array:
        """Per primitive: [N]; the first is nothing."""
        return np.concatenate(self._temperatures)

    def colours(self) -> Array:
        """Per primitive: RGB [N, 3], 1 is white."""
        return np.concatenate(self._colours)

    def owners(self) -> NDArray[np.int32]:
        """Per primitive: the number in `labelled` of the object it belongs to, -1 none."""
        return np.array(self._owners, dtype=np.int32)

    def shapes(self) -> NDArray[np.int32]:
        """Per primitive: the number of its shape."""
        return np.concatenate(self._shapes)

    def paint(self, shape: Shape, light: tuple[float, float, float], haze: Haze) -> int:
        """Paints a shape and returns its number; light: factors on its colours, but on what glows."""
        number, base, size = len(self.bounds_px), self._count, len(shape.order)
        if base + size > 65536:
            raise OverflowError("more primitives in one frame than its picture of indices can hold")
        self._count += size
        temperatures, colours, glows = shape.table()
        share, air_c, air_colour = haze
        lit = np.where(glows[:, None], colours, colours * np.array(light))
        self._temperatures.append(temperatures + share * (air_c - temperatures))
        self._colours.append(lit + share * (np.array(air_colour) - lit))
        self._shapes.append(np.full(size, number, np.int32))
        first = len(self.labelled)
        self._owners += [first + paint.part if paint.part >= 0 else -1 for paint in shape.paints]
        distance = float(np.hypot(shape.x_m - self.camera.position_m[0], shape.z_m - self.camera.position_m[2]))
        self.labelled += [Labelled(class_id, distance) for class_id in shape.objects]
        pieces, depths, bounds = self._project(shape)
        self.bounds_px.append(bounds)
        height, width = self.height_width_px
        if bounds[2] < 0 or bounds[3] < 0 or bounds[0] > width or bounds[1] > height:
            return number
        for i in sorted(range(size), key=lambda i: -depths[i]) if shape.by_depth else range(size):
            piece = pieces[i]
            if piece:
                fill(self.index, piece, base + i)
                part = shape.paints[i].part
                if part >= 0:
                    self.labelled[first + part].contours.append(piece)
        return number

    def paint_ground(self, polygons: list[tuple[Array, Paint]], light: tuple[float, float, float]) -> int:
        """Large polygons [corners, 3] in street coordinates, cut at the camera's plane; all are one shape."""
        shape = Shape(0.0, 0.0, by_depth=False)
        for points, paint in polygons:
            shape.order.append((False, len(shape.polygons)))
            shape.polygons.append(points[None])
            shape.paints.append(paint)
        return self.paint(shape, light, (0.0, 0.0, (0.0, 0.0, 0.0)))

    def _project(self, shape: Shape) -> tuple[list[Contours], list[float], tuple[float, float, float, float]]:
        """Per primitive, in the order added: its contours (none where unseen) and its depth; the shape's bounds."""
        ends, radii, polygons = shape.placed()
        camera = self.camera
        outlines = pixels = np.zeros((0, 2), np.int32)
        visible: list[bool] = []
        capsule_depths: list[float] = []
        if len(ends):
            seen = camera.to_camera(ends)
            in_front = np.asarray((seen[..., 2] > NEAR_M).all(axis=1))
            visible, capsule_depths = in_front.tolist(), seen[..., 2].mean(axis=1).tolist()
            safe = np.where(in_front[:, None, None], seen, np.array([0.0, 0.0, 1e6]))
            outlines = _fixed(_capsule_outlines(camera.to_pixels(safe), radii * camera.focal_px / safe[..., 2]))
        near = np.zeros(0, np.bool_)
        if polygons:
            corners = camera.to_camera(np.concatenate([p.reshape(-1, 3) for p in polygons]))
            near = np.asarray(corners[:, 2] <= NEAR_M)
            flat = corners.copy()
            flat[near, 2] = NEAR_M
            pixels = _fixed(camera.to_pixels(flat))
        all_px = np.concatenate([outlines.reshape(-1, 2), pixels])
        low, high = all_px.min(axis=0), all_px.max(axis=0)
        unit = SUPERSAMPLING * (1 << SHIFT)
        bounds = (float(low[0]) / unit, float(low[1]) / unit, float(high[0]) / unit, float(high[1]) / unit)
        any_near = bool(near.any())
        pieces: list[Contours] = []
        depths: list[float] = []
        offset = 0
        for is_capsule, i in shape.order:
            if is_capsule:
                pieces.append([outlines[i]] if visible[i] else [])
                depths.append(capsule_depths[i])
                continue
            count, size = polygons[i].shape[:2]
            span = slice(offset, offset + count * size)
            offset += count * size
            depths.append(float(corners[span, 2].mean()) if shape.by_depth else 0.0)
            if any_near and near[span].any():
                cut = [_cut_near(corner) for corner in corners[span].reshape(count, size, 3)]
                pieces.append([_fixed(camera.to_pixels(c)) for c in cut if len(c) > 2])
            elif count == 1:
                pieces.append([pixels[span]])
            else:
                pieces.append(list(pixels[span].reshape(count, size, 2)))
        return pieces, depths, bounds


def fill(picture: NDArray[Any], contours: Contours, value: int) -> None:
    """Fills contours given in fixed point (SHIFT bits below the pixel); of several, overlaps cancel."""
    if len(contours) == 1:
        cv2.fillConvexPoly(picture, contours[0], value, cv2.LINE_8, SHIFT)
    else:
        cv2.fillPoly(picture, contours, value, cv2.LINE_8, SHIFT)


def _fixed(pixels: Array) -> NDArray[np.int32]:
    """Pixels of the camera -> fixed-point pixels of the index picture (whose pixel centres are whole numbers)."""
    scaled = (pixels * SUPERSAMPLING - 0.5) * (1 << SHIFT)
    return np.asarray(np.clip(np.rint(scaled), -400_000, 400_000), dtype=np.int32)


def _capsule_outlines(ends_px: Array, radii_px: Array) -> Array:
    """[N, 2, 2] ends and [N, 2] radii -> [N, 2 * _TURNS, 2] outlines: a half circle round each end."""
    along = ends_px[:, 1] - ends_px[:, 0]
    angle = np.arctan2(along[:, 1], along[:, 0])
    turns = np.stack([angle[:, None] + _HALF_CIRCLE, angle[:, None] + _HALF_CIRCLE + np.pi], axis=1)
    circle = np.stack([np.cos(turns), np.sin(turns)], axis=-1)
    outline = ends_px[:, :, None, :] + radii_px[:, :, None, None] * circle
    return np.asarray(outline.reshape(len(ends_px), 2 * _TURNS, 2))


def _cut_near(corners: Array) -> Array:
    """The part of a polygon [K, 3] in camera coordinates in front of the near plane (Sutherland and Hodgman 1974)."""
    kept = []
    for a, b in zip(corners, np.roll(corners, -1, axis=0), strict=True):
        if a[2] > NEAR_M:
            kept.append(a)
        if (a[2] > NEAR_M) != (b[2] > NEAR_M):
            kept.append(a + (b - a) * ((NEAR_M - a[2]) / (b[2] - a[2])))
    return np.array(kept).reshape(-1, 3)


def painting_order(footprints_m: Array, camera_m: Array) -> list[int]:
    """An order in which no shape is painted over one that stands before it.

    footprints_m: [N, 4] x from, x to, z from, z to. Of two footprints that a line along x or z parts, the one on the
    camera's side of the line is in front. Where such pairs form a ring, the farthest comes first.
    """
    x0, x1, z0, z1 = footprints_m.T
    eye_x, eye_z = float(camera_m[0]), float(camera_m[2])
    behind_z = (z0[:, None] >= z1[None, :]) & (eye_z <= z0[:, None])
    behind_x = ((x0[:, None] >= x1[None, :]) & (eye_x <= x0[:, None])) | (
        (x1[:, None] <= x0[None, :]) & (eye_x >= x1[:, None])
    )
    behind = behind_z | behind_x
    before = behind & ~behind.T  # [i, j]: i must be painted before j
    overlapping = ~behind & ~behind.T
    distance = np.hypot((x0 + x1) / 2 - eye_x, (z0 + z1) / 2 - eye_z)
    before |= overlapping & (distance[:, None] > distance[None, :])
    np.fill_diagonal(before, False)
    waiting = before.sum(axis=0)
    left = np.ones(len(waiting), dtype=bool)
    order: list[int] = []
    while left.any():
        ready = left & (waiting <= 0)
        candidates = np.flatnonzero(ready if ready.any() else left)
        nearest_last = candidates[np.argsort(-distance[candidates], kind="stable")]
        chosen = nearest_last if ready.any() else nearest_last[:1]
        for i in chosen:
            order.append(int(i))
            left[i] = False
            waiting -= before[i]
    return order
