"""What stands in the synthetic street without a label: buildings, trees, lamps, bollards, signs, bins, hedges."""

from __future__ import annotations

import math

import numpy as np

from cgdet_core.data.street_camera import Colour, Paint, Point, Shape
from cgdet_core.data.street_climate import Climate

WALLS: tuple[Colour, ...] = (
    (0.62, 0.58, 0.52), (0.55, 0.36, 0.28), (0.70, 0.70, 0.68), (0.48, 0.47, 0.46), (0.75, 0.68, 0.55),
    (0.42, 0.30, 0.25), (0.60, 0.64, 0.66),
)  # fmt: skip


def _box(
    shape: Shape, x0: float, x1: float, y0: float, y1: float, z0: float, z1: float, paint: Paint, eye_x: float
) -> None:
    """A box: the side towards the road's middle, the end towards the camera and the top."""
    x = x0 if abs(x0 - eye_x) < abs(x1 - eye_x) else x1
    shape.polygon([(x0, y1, z0), (x1, y1, z0), (x1, y1, z1), (x0, y1, z1)], paint.warmer(-1.0, 1.1))
    shape.polygon([(x, y0, z0), (x, y0, z1), (x, y1, z1), (x, y1, z0)], paint.warmer(0.3, 0.9))
    shape.polygon([(x0, y0, z0), (x1, y0, z0), (x1, y1, z0), (x0, y1, z0)], paint)


def building(rng: np.random.Generator, climate: Climate, side: float, x: float, z0: float, z1: float) -> Shape:
    """A house front along the road at `side` * x from z0 to z1, with the end wall towards the camera."""
    height = float(rng.uniform(3.5, 9) if rng.random() < 0.5 else rng.uniform(9, 28))
    sunlit = climate.sun * max(0.0, -side * math.sin(climate.sun_azimuth))
    wall_c = climate.wall_c + rng.normal(0, 0.8) + sunlit * rng.uniform(2, 9)
    colour = WALLS[int(rng.integers(len(WALLS)))]
    shade = 0.75 + 0.5 * sunlit
    wall = Paint(wall_c, (colour[0] * shade, colour[1] * shade, colour[2] * shade))
    shape = Shape(
        0.0, 0.0, by_depth=False, texture_k=float(rng.uniform(0.2, 0.9)), texture_seed=int(rng.integers(1 << 30))
    )
    face, depth = side * x, side * (x + 12)
    shape.polygon(
        [(face, 0, z0), (depth, 0, z0), (depth, height, z0), (face, height, z0)],
        wall.warmer(rng.normal(-0.3, 0.6), 0.8),
    )
    shape.polygon([(face, 0, z0), (face, 0, z1), (face, height, z1), (face, height, z0)], wall)
    storey, step = float(rng.uniform(2.7, 3.8)), float(rng.uniform(1.8, 4.0))
    wide, tall = step * rng.uniform(0.35, 0.85), storey * rng.uniform(0.35, 0.75)
    near = face - side * 0.02
    lit: list[list[Point]] = []
    dark: list[list[Point]] = []
    warm: list[list[Point]] = []
    chance = rng.uniform(0.0, 0.4) if climate.night else 0.05
    for row in range(int((height - 0.6) / storey)):
        low = 0.9 + row * storey
        for column in range(int((z1 - z0) / step)):
            a = z0 + (column + 0.5) * step - wide / 2
            pane: list[Point] = [
                (near, low, a),
                (near, low, a + wide),
                (near, low + tall, a + wide),
                (near, low + tall, a),
            ]
            draw = rng.random()
            (lit if draw < chance else warm if draw < chance + 0.15 else dark).append(pane)
    mirrored = 0.25 * (climate.sky_zenith_c - climate.air_c) * rng.uniform(0.2, 1.0)
    glass = Paint(wall_c + mirrored + rng.uniform(-0.8, 0.6), (0.16, 0.18, 0.20))
    if dark:
        shape.contours(dark, glass)
    if warm:
        shape.contours(warm, glass.warmer(rng.uniform(0.8, 3.5), 1.2))
    if lit:
        level = rng.uniform(0.5, 1.0)
        shape.contours(
            lit, Paint(wall_c + rng.uniform(0.5, 5.0), (level, 0.86 * level, 0.6 * level), glows=climate.night)
        )
    kind = rng.random()
    z = float(rng.uniform(z0 + 1, z1 - 2))
    if kind < 0.35:
        # a shop: a wide, warm window and a door
        shape.polygon([(near, 0.4, z0 + 0.8), (near, 0.4, z1 - 1), (near, 2.6, z1 - 1), (near, 2.6, z0 + 0.8)],
                      Paint(wall_c + rng.uniform(1, 5), (0.85, 0.78, 0.62), glows=climate.night))  # fmt: skip
    elif kind < 0.7:
        shape.polygon([(near, 0, z), (near, 0, z + 1.1), (near, 2.1, z + 1.1), (near, 2.1, z)],
                      Paint(wall_c + rng.uniform(-1.5, 2.5), (0.25, 0.18, 0.14)))  # fmt: skip
    if rng.random() < 0.25:
        # an outlet of warm air
        u = float(rng.uniform(0.4, height - 1))
        shape.polygon([(near, u, z), (near, u, z + 0.6), (near, u + 0.5, z + 0.6), (near, u + 0.5, z)],
                      Paint(wall_c + rng.uniform(4, 14), (0.4, 0.4, 0.4)))  # fmt: skip
    for k in range(int(rng.integers(0, 4))):
        zp = float(rng.uniform(z0, z1))
        shape.capsule((near, 0, zp), (near, height, zp), 0.06 + 0.1 * k / 3, 0.06, wall.warmer(rng.normal(0, 1.2), 0.8))
    return shape


def tree(rng: np.random.Generator, climate: Climate, x: float, z: float, detail: int) -> Shape:
    """A tree: a forked trunk, warmer than the air at night, and a crown of leaves or bare twigs."""
    shape = Shape(
        x, z, float(rng.uniform(0, 6.28)), by_depth=True, texture_k=1.1, texture_seed=int(rng.integers(1 << 30))
    )
    height = float(rng.uniform(6, 14))
    radius = float(rng.uniform(0.10, 0.34))
    trunk = Paint(climate.trunk_c + rng.normal(0, 0.5), (0.34, 0.28, 0.22))
    fork = float(rng.uniform(2.0, 4.5))
    shape.capsule((0, 0, 0), (0, fork, 0), radius, radius * 0.72, trunk.warmer(-0.5, 0.8))
    shape.capsule((0, 0, 0), (0, fork, 0), radius * 0.65, radius * 0.5, trunk)
    tips: list[Point] = []
    for _ in range(5):
        turn, out = float(rng.uniform(0, 6.28)), float(rng.uniform(0.6, 2.2))
        tip = (out * math.cos(turn), float(rng.uniform(fork + 1, height)), out * math.sin(turn))
        shape.capsule((0, fork - 0.1, 0), tip, radius * 0.5, radius * 0.15, trunk.warmer(-0.4))
        tips.append(tip)
    if rng.random() < 0.25:
        for tip in tips:
            for _ in range(max(2, detail // 8)):
                end = (tip[0] + rng.normal(0, 1.0), tip[1] + rng.normal(0.5, 0.8), tip[2] + rng.normal(0, 1.0))
                shape.capsule(
                    (tip[0] * 0.7, (tip[1] + fork) / 2, tip[2] * 0.7), end, radius * 0.15, 0.012, trunk.warmer(-0.8)
                )
        return shape
    leaf: Colour = (0.20, 0.33, 0.14) if rng.random() < 0.8 else (0.45, 0.32, 0.12)
    spread = float(rng.uniform(1.2, 2.6))
    for _ in range(detail):
        cx, cz = rng.normal(0, spread, 2)
        cy = float(np.clip(rng.normal((fork + height) / 2 + 0.5, (height - fork) / 3), fork - 0.3, height + 1))
        dx, dy, dz = rng.normal(0, 0.28, 3)
        size = float(rng.uniform(0.22, 0.6))
        shape.capsule(
            (cx - dx, cy - dy, cz - dz), (cx + dx, cy + dy, cz + dz), size, size * 0.7,
            Paint(climate.foliage_c + rng.normal(0, 0.45), leaf).warmer(0, float(rng.uniform(0.6, 1.25))),
        )  # fmt: skip
    shape.shadow_height_m = height
    return shape


def hedge(
    rng: np.random.Generator, climate: Climate, side: float, x: float, z0: float, z1: float, detail: int
) -> Shape:
    """Bushes along the road at `side` * x."""
    shape = Shape(side * x, (z0 + z1) / 2, by_depth=True, texture_k=0.8, texture_seed=int(rng.integers(1 << 30)))
    height = float(rng.uniform(0.5, 1.7))
    half = (z1 - z0) / 2
    for _ in range(detail):
        f, u = float(rng.uniform(-half, half)), float(rng.uniform(0.1, height))
        size = float(rng.uniform(0.15, 0.35))
        shape.capsule((side * abs(rng.normal(0, 0.3)), u, f), (side * abs(rng.normal(0, 0.3)), u + 0.1, f + 0.2), size, size,
                      Paint(climate.foliage_c + rng.normal(0.1, 0.5), (0.17, 0.28, 0.12)).warmer(0, float(rng.uniform(0.6, 1.3))))  # fmt: skip
    return shape


def lamp(rng: np.random.Generator, climate: Climate, x: float, z: float, towards: float) -> Shape:
    """A street lamp, hot at night."""
    shape = Shape(x, z, by_depth=False, shadow_height_m=5.0)
    height = float(rng.uniform(3.5, 7.0))
    metal = Paint(climate.air_c + rng.uniform(-1, 1.5) + 3 * climate.sun, (0.35, 0.36, 0.36))
    shape.capsule((0, 0, 0), (0, height, 0), 0.08, 0.05, metal)
    arm = towards * float(rng.choice([0.0, 0.8, 1.6]))
    if arm:
        shape.capsule((0, height, 0), (arm, height + 0.2, 0), 0.04, 0.04, metal)
    on = climate.night
    bulb = Paint(
        climate.air_c + (rng.uniform(8, 45) if on else 2.0), climate.lamp if on else (0.7, 0.7, 0.68), glows=on
    )
    size = float(rng.uniform(0.1, 0.2))
    if rng.random() < 0.5:
        shape.capsule((arm - 0.2, height + 0.2, 0), (arm + 0.2, height + 0.2, 0), size * 0.7, size * 0.7, bulb)
    else:
        shape.capsule((arm, height + 0.2, 0), (arm, height + 0.25, 0), size * 1.3, size * 1.3, bulb)
    return shape


def furniture(rng: np.random.Generator, climate: Climate, side: float, x: float, z: float) -> Shape:
    """A bollard, cone, bin, sign, cabinet, post box or fence: upright things that are no persons."""
    kind = int(rng.integers(7))
    base = Paint(
        climate.air_c + rng.normal(0, 1.5) + climate.sun * rng.uniform(0, 9), WALLS[int(rng.integers(len(WALLS)))]
    )
    shape = Shape(
        side * x, z, by_depth=False, shadow_height_m=1.0, texture_k=0.3, texture_seed=int(rng.integers(1 << 30))
    )
    if kind == 0:
        for k in range(int(rng.integers(1, 4))):
            shape.capsule((0, 0.1, -1.5 * k), (0, float(0.7 + 0.2 * (k == 0)), -1.5 * k), 0.09, 0.09, base)
    elif kind == 1:
        shape.polygon(
            [(-0.2, 0, 0), (0.2, 0, 0), (0.03, 0.75, 0), (-0.03, 0.75, 0)], Paint(base.temperature_c, (0.85, 0.3, 0.1))
        )
    elif kind == 2:
        shape.capsule((0, 0.3, 0), (0, 0.75, 0), 0.28, 0.3, base)
    elif kind == 3:
        height = float(rng.uniform(2.0, 3.0))
        shape.capsule((0, 0, 0), (0, height, 0), 0.035, 0.035, base)
        mirror = Paint(climate.air_c + 0.4 * (climate.sky_zenith_c - climate.air_c) * rng.random(), (0.85, 0.85, 0.85))
        rim = [
            (0.32 * math.cos(a), height + 0.32 * math.sin(a), -0.05) for a in np.linspace(0, 6.28, 12, endpoint=False)
        ]
        shape.polygon(rim, Paint(mirror.temperature_c, (0.75, 0.1, 0.1)))
        shape.polygon([(p[0] * 0.7, height + (p[1] - height) * 0.7, -0.06) for p in rim], mirror)
    elif kind == 4:
        _box(
            shape,
            -0.35,
            0.35,
            0,
            float(rng.uniform(0.9, 1.6)),
            -0.4,
            0.4,
            base.warmer(float(rng.choice([0.0, 0.0, 4.0]))),
            -side * x,
        )
    elif kind == 5:
        _box(shape, -0.22, 0.22, 0.0, 1.2, -0.2, 0.2, base, -side * x)
    else:
        for k in range(8):
            shape.capsule((0, 0, 0.4 * k), (0, 0.9, 0.4 * k), 0.025, 0.025, base)
        shape.capsule((0, 0.9, 0), (0, 0.9, 2.8), 0.03, 0.03, base)
        shape.capsule((0, 0.4, 0), (0, 0.4, 2.8), 0.03, 0.03, base)
    return shape
