"""A pinhole camera above the road, and shapes made of capsules and polygons in the street's coordinates.

The street: x to the right in metres, y up, z along the road; the road's surface is y = 0.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Point = tuple[float, float, float]
Colour = tuple[float, float, float]

NEAR_M = 0.4


@dataclass(frozen=True)
class Camera:
    """position_m: [x, y, z]; rotation: [3, 3], rows are the camera's right, down and forward; focal_px, centre_px."""

    position_m: Array
    rotation: Array
    focal_px: float
    centre_px: tuple[float, float]

    @classmethod
    def looking(
        cls,
        position_m: Point,
        yaw: float,
        pitch: float,
        roll: float,
        horizontal_fov_deg: float,
        height_width_px: tuple[int, int],
    ) -> Camera:
        """Angles in radians; yaw turns to the right, pitch up, roll clockwise."""
        height, width = height_width_px
        forward = np.array([math.sin(yaw) * math.cos(pitch), math.sin(pitch), math.cos(yaw) * math.cos(pitch)])
        right = np.array([math.cos(yaw), 0.0, -math.sin(yaw)])
        down = np.cross(forward, right)
        if down[1] > 0:
            down = -down
        c, s = math.cos(roll), math.sin(roll)
        rotation = np.stack([c * right + s * down, c * down - s * right, forward])
        focal = width / 2 / math.tan(math.radians(horizontal_fov_deg) / 2)
        return cls(np.array(position_m, dtype=np.float64), rotation, focal, (width / 2, height / 2))

    def to_camera(self, points_m: Array) -> Array:
        """[..., 3] street coordinates -> [..., 3] right, down, forward of the camera."""
        return np.asarray((points_m - self.position_m) @ self.rotation.T)

    def to_pixels(self, points_camera_m: Array) -> Array:
        """[..., 3] -> [..., 2] pixels; the points must lie in front of the camera."""
        scale = self.focal_px / points_camera_m[..., 2:3]
        return np.asarray(points_camera_m[..., :2] * scale + np.array(self.centre_px))

    def plane_to_pixels(self, origin_m: Array, u_m: Array, v_m: Array) -> Array:
        """[3, 3] homography from (u, v) of the plane origin + u * u_m + v * v_m to pixels."""
        k = np.array(
            [[self.focal_px, 0.0, self.centre_px[0]], [0.0, self.focal_px, self.centre_px[1]], [0.0, 0.0, 1.0]]
        )
        return np.asarray(k @ self.rotation @ np.stack([u_m, v_m, origin_m - self.position_m], axis=1))


@dataclass(frozen=True)
class Paint:
    """temperature_c: as the thermal camera sees it; colour: RGB in [0, 1], in full light; glows: seen in the dark;
    part: which of the shape's labelled objects it belongs to, -1 none."""

    temperature_c: float
    colour: Colour
    part: int = -1
    glows: bool = False

    def warmer(self, kelvin: float, shade: float = 1.0) -> Paint:
        r, g, b = self.colour
        return Paint(self.temperature_c + kelvin, (r * shade, g * shade, b * shade), self.part, self.glows)


class Placed(NamedTuple):
    """Primitives in street coordinates: capsules as ends [N, 2, 3] and radii [N, 2]; the corners [M, 3] of all
    polygons, and of each polygon how many contours of how many corners it has."""

    ends_m: Array
    radii_m: Array
    corners_m: Array
    sizes: list[tuple[int, int]]


@dataclass
class Shape:
    """Something that stands in the street, as primitives in local coordinates (right, up, forward).

    Primitives are painted in the order they were added, or far ones first where `by_depth` is set.
    objects: class ids of the labelled objects in it (a ridden bicycle has two); texture: strength in
    kelvin of a noise pattern that sticks to it: stretched over it, or, where `wall` is set, laid on that plane (origin
    and two edges of a noise cell, in street coordinates). Nothing may be added once the shape was painted.
    """

    x_m: float
    z_m: float
    heading: float = 0.0
    by_depth: bool = True
    objects: tuple[int, ...] = ()
    texture_k: float = 0.0
    texture_seed: int = 0
    shadow_height_m: float = 0.0
    y_m: float = 0.0
    capsules: list[tuple[float, ...]] = field(default_factory=list)
    polygons: list[Any] = field(default_factory=list)
    order: list[tuple[bool, int]] = field(default_factory=list)
    paints: list[Paint] = field(default_factory=list)
    wall: tuple[Point, Point, Point] | None = None
    _placed: Placed | None = None
    _footprint: tuple[float, float, float, float] | None = None
    _table: Any = None

    def capsule(self, a: Point, b: Point, radius_a: float, radius_b: float, paint: Paint) -> None:
        self.order.append((True, len(self.capsules)))
        self.capsules.append((*a, *b, radius_a, radius_b))
        self.paints.append(paint)

    def polygon(self, points: Sequence[Point], paint: Paint) -> None:
        self.contours([points], paint)

    def contours(self, contours: Sequence[Sequence[Point]] | Array, paint: Paint) -> None:
        """Several polygons of equally many corners in one colour; overlaps cancel (a ring is two circles)."""
        self.order.append((False, len(self.polygons)))
        self.polygons.append(np.array(contours, dtype=np.float64))
        self.paints.append(paint)

    def placed(self) -> Placed:
        """The primitives in street coordinates."""
        if self._placed is None:
            c, s = math.cos(self.heading), math.sin(self.heading)
            turn = np.array([[c, 0.0, -s], [0.0, 1.0, 0.0], [s, 0.0, c]])
            base = np.array([self.x_m, self.y_m, self.z_m])
            capsules = np.array(self.capsules, dtype=np.float64).reshape(-1, 8)
            flat = [polygon.reshape(-1, 3) for polygon in self.polygons]
            corners = np.concatenate(flat) if flat else np.zeros((0, 3))
            self._placed = Placed(
                capsules[:, :6].reshape(-1, 2, 3) @ turn + base,
                capsules[:, 6:],
                corners @ turn + base,
                [(int(polygon.shape[0]), int(polygon.shape[1])) for polygon in self.polygons],
            )
        return self._placed

    def footprint(self) -> tuple[float, float, float, float]:
        """x from, x to, z from, z to, in metres."""
        if self._footprint is None:
            placed = self.placed()
            ends, reach = placed.ends_m.reshape(-1, 3), placed.radii_m.reshape(-1, 1)
            all_points = np.concatenate([placed.corners_m, ends - reach, ends + reach])
            low, high = all_points.min(axis=0), all_points.max(axis=0)
            self._footprint = (float(low[0]), float(high[0]), float(low[2]), float(high[2]))
        return self._footprint

    def table(self) -> tuple[Array, Array, NDArray[np.bool_]]:
        """Per primitive, in the order added: temperature [N] in degrees Celsius, colour [N, 3], if it glows [N]."""
        if self._table is None:
            self._table = (
                np.array([paint.temperature_c for paint in self.paints], dtype=np.float64),
                np.array([paint.colour for paint in self.paints], dtype=np.float64).reshape(-1, 3),
                np.array([paint.glows for paint in self.paints], dtype=np.bool_),
            )
        table: tuple[Array, Array, NDArray[np.bool_]] = self._table
        return table
