"""Painting the street's shapes, far ones first, into one picture of indices; temperatures, colours and boxes follow.

Each primitive gets a number; the picture holds, at twice the camera's resolution, the number that is seen. What a
pixel's temperature and colour are and which object owns it are look-ups, so that thermal picture, RGB picture and
boxes agree to the pixel.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from cgdet_core.data.synthetic.camera import NEAR_M, Array, Camera, Colour, Placed, Shape

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

    def paint(self, shapes: Sequence[Shape], lights: Array, hazes: Array, air: tuple[float, Colour]) -> range:
        """Paints shapes, each over those before it, and returns their numbers.

        lights: [N, 3] factors on a shape's colours, but on what glows; hazes: [N] share of what is seen of it that is
        air; air: its temperature in degrees Celsius and its colour.
        """
        numbers = range(len(self.bounds_px), len(self.bounds_px) + len(shapes))
        if not shapes:
            return numbers
        sizes = [len(shape.order) for shape in shapes]
        base = self._count
        self._count += sum(sizes)
        if self._count > 65536:
            raise OverflowError("more primitives in one frame than its picture of indices can hold")
        tables = [shape.table() for shape in shapes]
        temperatures, colours = (np.concatenate([table[i] for table in tables]) for i in (0, 1))
        glows = np.concatenate([table[2] for table in tables])
        lit = np.where(glows[:, None], colours, colours * np.repeat(lights, sizes, axis=0))
        share = np.repeat(hazes, sizes)
        self._temperatures.append(temperatures + share * (air[0] - temperatures))
        self._colours.append(lit + share[:, None] * (np.array(air[1]) - lit))
        self._shapes.append(np.repeat(np.array(numbers, dtype=np.int32), sizes))
        for shape, projected in zip(shapes, self._project(shapes), strict=True):
            self._paint_one(shape, projected, base)
            base += len(shape.order)
        return numbers

    def _paint_one(self, shape: Shape, projected: _Projected, base: int) -> None:
        first = len(self.labelled)
        distance = float(np.hypot(shape.x_m - self.camera.position_m[0], shape.z_m - self.camera.position_m[2]))
        self.labelled += [Labelled(class_id, distance) for class_id in shape.objects]
        parts = [paint.part for paint in shape.paints]
        self._owners += [first + part if part >= 0 else -1 for part in parts]
        left, top, right, bottom = projected.bounds_px
        self.bounds_px.append(projected.bounds_px)
        height, width = self.height_width_px
        if right < 0 or bottom < 0 or left > width or top > height:
            return
        order: Sequence[int] = range(len(parts))
        if shape.by_depth:
            depths = projected.depths
            order = sorted(order, key=lambda i: -depths[i])
        for i in order:
            piece = projected.pieces[i]
            if piece:
                fill(self.index, piece, base + i)
                if parts[i] >= 0:
                    self.labelled[first + parts[i]].contours.append(piece)

    def _project(self, shapes: Sequence[Shape]) -> Iterator[_Projected]:
        """All shapes at once, and then one after the other."""
        camera = self.camera
        placed = [shape.placed() for shape in shapes]
        ends = camera.to_camera(np.concatenate([p.ends_m for p in placed]))
        visible = np.asarray((ends[..., 2] > NEAR_M).all(axis=1))
        safe = np.where(visible[:, None, None], ends, np.array([0.0, 0.0, 1e6]))
        radii = np.concatenate([p.radii_m for p in placed]) * camera.focal_px / safe[..., 2]
        outlines = _fixed(_capsule_outlines(camera.to_pixels(safe), radii))
        capsule_depths = ends[..., 2].mean(axis=1)
        corners = camera.to_camera(np.concatenate([p.corners_m for p in placed]))
        near = np.asarray(corners[:, 2] <= NEAR_M)
        pixels = _fixed(camera.to_pixels(np.where(near[:, None], np.maximum(corners, (-1e9, -1e9, NEAR_M)), corners)))
        unit = SUPERSAMPLING * (1 << SHIFT)
        capsule = corner = 0
        for shape, p in zip(shapes, placed, strict=True):
            here, there = slice(capsule, capsule + len(p.ends_m)), slice(corner, corner + len(p.corners_m))
            capsule, corner = here.stop, there.stop
            points = np.concatenate([outlines[here].reshape(-1, 2), pixels[there]])
            low, high = (points.min(axis=0) / unit).tolist(), (points.max(axis=0) / unit).tolist()
            polygons = self._polygons(p, corners[there], pixels[there], bool(near[there].any()), shape.by_depth)
            mine, seen, depth = list(outlines[here]), visible[here].tolist(), capsule_depths[here].tolist()
            pieces: list[Contours] = []
            depths: list[float] = []
            for is_capsule, i in shape.order:
                pieces.append(([mine[i]] if seen[i] else []) if is_capsule else polygons[i][0])
                depths.append(depth[i] if is_capsule else polygons[i][1])
            yield _Projected(pieces, depths, (low[0], low[1], high[0], high[1]))

    def _polygons(
        self, placed: Placed, corners: Array, pixels: NDArray[np.int32], any_near: bool, by_depth: bool
    ) -> list[tuple[Contours, float]]:
        """A shape's polygons and their depths; what reaches behind the near plane is cut there."""
        found: list[tuple[Contours, float]] = []
        offset = 0
        for count, size in placed.sizes:
            span = slice(offset, offset + count * size)
            offset = span.stop
            depth = float(corners[span, 2].mean()) if by_depth else 0.0
            if any_near and (corners[span, 2] <= NEAR_M).any():
                cut = [_cut_near(corner) for corner in corners[span].reshape(count, size, 3)]
                found.append(([_fixed(self.camera.to_pixels(c)) for c in cut if len(c) > 2], depth))
            elif count == 1:
                found.append(([pixels[span]], depth))
            else:
                found.append((list(pixels[span].reshape(count, size, 2)), depth))
        return found


class _Projected(NamedTuple):
    """Per primitive, in the order added, its contours (none where unseen) and depth; the bounds of all of them."""

    pieces: list[Contours]
    depths: list[float]
    bounds_px: tuple[float, float, float, float]


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
