"""The synthetic street's ground, and what closes the view far away."""

from __future__ import annotations

import numpy as np

from cgdet_core.data.synthetic.actors import PAVEMENT_M
from cgdet_core.data.synthetic.camera import Array, Camera, Colour, Paint, Shape
from cgdet_core.data.synthetic.painter import Painter
from cgdet_core.data.synthetic.world import Block, Street


def paint_ground(painter: Painter, street: Street, blocks: list[Block]) -> int:
    """Paints backdrop, grass, pavements, road, its markings and manholes as one shape; its number."""
    climate = street.climate
    eye_z = float(painter.camera.position_m[2])
    z0, z1 = eye_z - 2.0, eye_z + 400.0
    road, front = street.road_m, street.front_m

    def strip(x0: float, x1: float, y: float, a: float, b: float) -> Array:
        return np.array([[(x0, y, a), (x1, y, a), (x1, y, b), (x0, y, b)]], dtype=np.float64)

    grass = Paint(climate.grass_c, (0.25, 0.32, 0.16))
    walk = Paint(climate.pavement_c, (0.52, 0.50, 0.47))
    asphalt = Paint(climate.road_c, (0.27, 0.27, 0.28))
    polygons = _backdrop(street, painter.camera)
    polygons.append((strip(-300, 300, 0.0, z0, z1), grass))
    for side in (-1.0, 1.0):
        polygons.append((strip(side * road, side * front, PAVEMENT_M, z0, z1), walk))
        kerb = [
            (side * road, 0, z0),
            (side * road, 0, z1),
            (side * road, PAVEMENT_M, z1),
            (side * road, PAVEMENT_M, z0),
        ]
        polygons.append((np.array([kerb], dtype=np.float64), walk.warmer(0.5, 1.1)))
    polygons.append((strip(-road, road, 0.0, z0, z1), asphalt))
    if not street.narrow:
        for lane in (-0.42 * road, 0.42 * road):
            for wheel in (-0.75, 0.75):
                x = lane + wheel
                polygons.append((strip(x - 0.18, x + 0.18, 0.0, z0, z1), asphalt.warmer(0.35, 0.94)))
    paint_line = Paint(climate.road_c - 0.4 - 1.5 * climate.sun, (0.8, 0.8, 0.78))
    for side in (-1.0, 1.0):
        polygons.append((strip(side * (road - 0.25), side * (road - 0.15), 0.0, z0, z1), paint_line))
    first = int(np.floor(z0 / 6.0))
    for k in range(first, first + 16):
        if not street.narrow:
            polygons.append((strip(-0.07, 0.07, 0.0, 6.0 * k, 6.0 * k + 3.0), paint_line))
    for block in blocks:
        for x, z, radius, kelvin in block.manholes_xzr:
            turn = np.linspace(0, 2 * np.pi, 14, endpoint=False)
            disc = np.stack([x + radius * np.cos(turn), np.zeros(14), z + radius * np.sin(turn)], axis=1)
            polygons.append((disc[None], asphalt.warmer(kelvin, 0.8)))
    shape = Shape(0.0, 0.0, by_depth=False)
    for contours, paint in polygons:
        shape.contours(contours, paint)
    return painter.paint([shape], np.ones((1, 3)), np.zeros(1), (0.0, (0.0, 0.0, 0.0)))[0]


def _backdrop(street: Street, camera: Camera) -> list[tuple[Array, Paint]]:
    """What closes the view far away: roofs and tree tops, too far to come nearer. Contours and their paint."""
    climate = street.climate
    rng = np.random.default_rng([street.seed, 7])
    eye_x, _, eye_z = camera.position_m
    far, dim = eye_z + 390.0, 1.0 if climate.night else 1 / max(climate.ambient[1], 0.1)

    def strips(x: Array, half: Array | float, height: Array) -> Array:
        left, right, zero = x - half, x + half, np.zeros_like(x)
        corners = [(left, zero), (right, zero), (right, height), (left, height)]
        return np.stack([np.stack([eye_x + cx, cy, np.full_like(x, far)], axis=1) for cx, cy in corners], axis=1)

    def hazy(kelvin: float, colour: Colour) -> Paint:
        r, g, b = (0.55 * c + 0.45 * h * dim for c, h in zip(colour, climate.horizon_colour, strict=True))
        return Paint(kelvin, (r, g, b))

    polygons = []
    for layer in range(3):
        houses = rng.uniform(-330, 330, 9)
        tall = rng.uniform(5, 20, 9) * street.backdrop
        paint = hazy(climate.wall_c + rng.normal(0, 0.6), (0.45, 0.44, 0.42))
        polygons += [(strips(houses[i : i + 1], rng.uniform(6, 22), tall[i : i + 1]), paint) for i in range(9)]
        x = np.asarray(np.arange(-330.0, 330.0, 2.5), dtype=np.float64)
        coarse = np.interp(x, np.linspace(-330, 330, 40), rng.uniform(0, 1, 40))
        tops = (12 - 3 * layer) * street.backdrop * coarse**1.5 + rng.uniform(0, 1.2, len(x))
        polygons.append((strips(x, 1.25, tops), hazy(climate.foliage_c + rng.normal(0, 0.3), (0.20, 0.26, 0.17))))
    return polygons
