"""A pinhole camera above the road, and bodies built of a few kinds of primitives.

The street: x to the right in metres, y up, z along the road; the road's surface is y = 0. A body is built about its
own origin (right, up, forward) and then placed.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]
Point = tuple[float, float, float]
Colour = tuple[float, float, float]

FACE, LOOPS, HULL, STROKE = range(4)
# corners: of each loop; points: so many of the body's are the primitive's
PRIMITIVE = np.dtype(
    [("kind", "i4"), ("corners", "i4"), ("points", "i4"), ("temperature_c", "f8"), ("colour", "f8", 3),
     ("mirror", "f8"), ("glows", "?"), ("texture_k", "f8"), ("part", "i4"), ("normal", "f8", 3)]
)  # fmt: skip


@dataclass(frozen=True)
class Camera:
    """position_m: [x, y, z]; rotation: [3, 3], rows are the camera's right, down and forward."""

    position_m: Array
    rotation: Array
    focal_px: float
    height_width_px: tuple[int, int]

    @classmethod
    def looking(
        cls, position_m: Point, angles: tuple[float, float, float], fov_deg: float, height_width_px: tuple[int, int]
    ) -> Camera:
        """angles: yaw to the right, pitch up, roll clockwise, in radians. fov_deg: horizontal, in degrees."""
        (cy, cp, cr), (sy, sp, sr) = np.cos(angles), np.sin(angles)
        yaw = np.array([[cy, 0, -sy], [0, -1, 0], [sy, 0, cy]])
        pitch = np.array([[1, 0, 0], [0, cp, sp], [0, -sp, cp]])
        roll = np.array([[cr, sr, 0], [-sr, cr, 0], [0, 0, 1]])
        focal_px = height_width_px[1] / 2 / math.tan(math.radians(fov_deg) / 2)
        return cls(np.array(position_m), roll @ pitch @ yaw, focal_px, height_width_px)

    @property
    def centre_px(self) -> Array:
        return np.array([self.height_width_px[1] / 2, self.height_width_px[0] / 2])


@dataclass(frozen=True)
class Paint:
    """temperature_c: in the shade, as the thermal camera sees it; colour: RGB in [0, 1], in full light; mirror: the
    sky's share in what a level surface shows the thermal camera; glows: seen in the dark."""

    temperature_c: float
    colour: Colour
    mirror: float = 0.0
    glows: bool = False

    def warmer(self, kelvin: float, shade: float = 1.0) -> Paint:
        r, g, b = self.colour
        return replace(self, temperature_c=self.temperature_c + kelvin, colour=(r * shade, g * shade, b * shade))


@dataclass(frozen=True)
class Placed:
    """A body in the street. points_m: [N, 4] x, y, z and radius; primitives: [P] of PRIMITIVE, each of the next so many
    points; labels: the class ids of its labelled objects, to which a primitive's part points."""

    points_m: Array
    primitives: NDArray[Any]
    labels: tuple[int, ...]
    origin_m: Array

    def moved(self, metres: float) -> Placed:
        """The same further along the road."""
        step = np.array([0.0, 0.0, metres, 0.0])
        return replace(self, points_m=self.points_m + step, origin_m=self.origin_m + step[:3])


class Body:
    """Primitives in local coordinates; of those at one depth the later is seen. labels: class ids of the labelled
    objects in it (a ridden bicycle has two); part: of which what is added next is, -1 none; texture_k: grain."""

    def __init__(self, *labels: int, texture_k: float = 0.0) -> None:
        self.labels, self._texture_k = labels, texture_k
        self.part = 0 if labels else -1
        self._points: list[Any] = []
        self._radii: list[float] = []
        self._primitives: list[tuple[Any, ...]] = []

    def face(self, points: Sequence[Any], paint: Paint) -> None:
        """A flat convex polygon."""
        self._add(FACE, points, 0.0, len(points), paint)

    def loops(self, loops: Any, paint: Paint) -> None:
        """Polygons [L, corners, 3] of one plane; overlaps cancel."""
        self._add(LOOPS, [point for loop in loops for point in loop], 0.0, len(loops[0]), paint)

    def hull(self, points: Sequence[Any], radii: float | Sequence[float], paint: Paint) -> None:
        """The convex hull of balls: one is a head, two a limb, four a trunk."""
        self._add(HULL, points, radii, 0, paint)

    def stroke(self, points: Sequence[Any], radius: float, paint: Paint) -> None:
        """A bent rod."""
        self._add(STROKE, points, radius, 0, paint)

    def _add(self, kind: int, points: Sequence[Any], radii: Any, corners: int, paint: Paint) -> None:
        self._points += points
        self._radii += [radii] * len(points) if isinstance(radii, float) else radii
        looks = (paint.temperature_c, paint.colour, paint.mirror, paint.glows, self._texture_k)
        self._primitives.append((kind, corners, len(points), *looks, self.part, (0.0, 0.0, 0.0)))

    def placed(self, x_m: float, z_m: float, heading: float = 0.0, y_m: float = 0.0) -> Placed:
        """With its origin there, turned to the right by `heading` radians."""
        c, s = math.cos(heading), math.sin(heading)
        turn = np.array([[c, 0.0, -s], [0.0, 1.0, 0.0], [s, 0.0, c]])
        origin = np.array([x_m, y_m, z_m])
        points = np.array(self._points, dtype=np.float64) @ turn + origin
        primitives = np.array(self._primitives, dtype=PRIMITIVE)
        flat = np.flatnonzero(primitives["kind"] <= LOOPS)
        first = (np.cumsum(primitives["points"]) - primitives["points"])[flat]
        normal = np.cross(points[first + 1] - points[first], points[first + 2] - points[first])
        primitives["normal"][flat] = normal / (np.linalg.norm(normal, axis=1, keepdims=True) + 1e-12)
        return Placed(np.column_stack([points, self._radii]), primitives, self.labels, origin)


def circle(centre: ArrayLike, across: ArrayLike, up: ArrayLike, corners: int = 14) -> Array:
    """Corners [corners, 3] round `centre`; `across` and `up`: the radii as vectors."""
    turns = np.linspace(0, 2 * math.pi, corners, endpoint=False)[:, None]
    return np.asarray(np.asarray(centre) + np.cos(turns) * np.asarray(across) + np.sin(turns) * np.asarray(up))
