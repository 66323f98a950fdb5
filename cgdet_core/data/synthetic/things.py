"""What stands in the synthetic street without a label: buildings, trees, lamps, bollards, signs, bins, hedges."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from cgdet_core.data.synthetic.camera import Array, Colour, Paint, Point, Shape
from cgdet_core.data.synthetic.climate import Climate

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


def building(
    rng: np.random.Generator, climate: Climate, side: float, x: float, z0: float, z1: float
) -> tuple[Shape, Shape]:
    """The end wall towards the camera and the front along the road of a house at `side` * x from z0 to z1."""
    height = float(rng.uniform(3.5, 9) if rng.random() < 0.5 else rng.uniform(9, 28))
    length, out = z1 - z0, side * 0.02
    sunlit = climate.sun * max(0.0, -side * math.sin(climate.sun_azimuth))
    wall_c = climate.wall_c + rng.normal(0, 0.8) + sunlit * rng.uniform(2, 9)
    colour = WALLS[int(rng.integers(len(WALLS)))]
    shade = 0.75 + 0.5 * sunlit
    wall = Paint(wall_c, (colour[0] * shade, colour[1] * shade, colour[2] * shade))
    grain, seed, cell = float(rng.uniform(0.1, 0.5)), int(rng.integers(1 << 30)), float(rng.uniform(0.03, 0.12))
    end = Shape(side * x, z0, by_depth=False, texture_k=grain, texture_seed=seed)
    end.wall = ((side * x, 0.0, z0), (side * cell, 0.0, 0.0), (0.0, cell, 0.0))
    end_wall = wall.warmer(rng.normal(-0.3, 0.6) - 0.5 * sunlit, 0.8)
    end.polygon([(0, 0, 0), (side * 12, 0, 0), (side * 12, height, 0), (0, height, 0)], end_wall)
    front = Shape(side * x, z0, by_depth=False, texture_k=grain, texture_seed=seed)
    front.wall = ((side * x, 0.0, z0), (0.0, 0.0, cell), (0.0, cell, 0.0))

    def pane(low: float, high: float, a: float, b: float) -> list[Point]:
        return [(-out, low, a), (-out, low, b), (-out, high, b), (-out, high, a)]

    front.polygon(pane(0, height, 0, length), wall)
    storey, step = float(rng.uniform(2.7, 3.8)), float(rng.uniform(1.8, 4.0))
    wide, tall = step * float(rng.uniform(0.35, 0.85)), storey * float(rng.uniform(0.35, 0.75))
    storeys, columns = int((height - 0.6) / storey), int(length / step)
    # slabs and columns conduct: faint lines of another temperature
    if storeys and rng.random() < 0.7:
        slabs = [pane(row * storey + 0.3, row * storey + 0.55, 0, length) for row in range(1, storeys + 1)]
        front.contours(slabs, wall.warmer(rng.normal(0.2, 0.5), float(rng.uniform(0.8, 1.15))))
    if columns and rng.random() < 0.5:
        pillars = [pane(0, height, k * step - 0.12, k * step + 0.12) for k in range(columns + 1)]
        front.contours(pillars, wall.warmer(rng.normal(0.2, 0.5), float(rng.uniform(0.8, 1.15))))
    _windows(rng, climate, front, wall_c, storeys, columns, storey, step, wide, tall, pane)
    kind = rng.random()
    z = float(rng.uniform(1, length - 2))
    if kind < 0.35:
        shop = Paint(wall_c + rng.uniform(-0.5, 3), (0.85, 0.78, 0.62), glows=climate.night)
        front.polygon(pane(0.4, 2.6, 0.8, length - 1), shop)
        bars = [pane(0.4, 2.6, a, a + 0.08) for a in np.arange(0.8, length - 1, 1.6).tolist()]
        front.contours(bars, wall.warmer(0.5, 0.5))
    elif kind < 0.7:
        front.polygon(pane(0, 2.1, z, z + 1.1), Paint(wall_c + rng.uniform(-1.5, 2.5), (0.25, 0.18, 0.14)))
    if rng.random() < 0.25:
        # an outlet of warm air
        u = float(rng.uniform(0.4, height - 1))
        front.polygon(pane(u, u + 0.5, z, z + 0.6), Paint(wall_c + rng.uniform(4, 14), (0.4, 0.4, 0.4)))
    for k in range(int(rng.integers(0, 4))):
        f = float(rng.uniform(0, length))
        pipe = wall.warmer(rng.normal(0, 1.2), 0.8)
        front.capsule((-out, 0, f), (-out, height, f), 0.06 + 0.03 * k, 0.06, pipe)
    return end, front


def _windows(
    rng: np.random.Generator,
    climate: Climate,
    front: Shape,
    wall_c: float,
    storeys: int,
    columns: int,
    storey: float,
    step: float,
    wide: float,
    tall: float,
    pane: Callable[[float, float, float, float], list[Point]],
) -> None:
    """A grid of windows: glass mirrors the cold sky, some rooms are warm, some are lit."""
    chance = float(rng.uniform(0.0, 0.4)) if climate.night else 0.05
    lit: list[list[Point]] = []
    dark: list[list[Point]] = []
    warm: list[list[Point]] = []
    for row in range(storeys):
        low = 0.9 + row * storey
        for column in range(columns):
            middle = (column + 0.5) * step
            draw = rng.random()
            kind = lit if draw < chance else warm if draw < chance + 0.15 else dark
            kind.append(pane(low, low + tall, middle - wide / 2, middle - 0.03))
            kind.append(pane(low, low + tall, middle + 0.03, middle + wide / 2))
    mirrored = 0.2 * (climate.sky_zenith_c - climate.air_c) * float(rng.uniform(0.1, 1.0))
    glass = Paint(wall_c + mirrored + rng.uniform(-0.8, 0.6), (0.16, 0.18, 0.20))
    if dark:
        front.contours(dark, glass)
    if warm:
        front.contours(warm, glass.warmer(rng.uniform(0.8, 3.5), 1.2))
    if lit:
        level = float(rng.uniform(0.5, 1.0))
        glow = (level, 0.86 * level, 0.6 * level)
        front.contours(lit, Paint(wall_c + rng.uniform(-0.3, 2.5), glow, glows=climate.night))


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
    middle, rise = (fork + height) / 2 + 0.6, (height - fork) / 2.4
    for _ in range(detail):
        # one tone of leaves: many small rags round a point of the crown
        turn, out = float(rng.uniform(0, 6.28)), spread * math.sqrt(rng.random())
        centre = np.array([out * math.cos(turn), middle + rng.normal(0, 0.45) * rise, out * math.sin(turn)])
        paint = Paint(climate.foliage_c + rng.normal(0, 0.4), leaf).warmer(0, float(rng.uniform(0.55, 1.3)))
        lump = float(rng.uniform(0.3, 0.6))
        low, high = (centre[0], centre[1] - 0.3 * lump, centre[2]), (centre[0] + 0.2, centre[1] + 0.3 * lump, centre[2])
        shape.capsule(low, high, lump, lump * 0.8, paint.warmer(0.15, 0.8))
        _rags(shape, rng, centre, (0.75, 0.33 * rise, 0.75), 36, paint)
    shape.shadow_height_m = height
    return shape


def _rags(shape: Shape, rng: np.random.Generator, centre: Array, spread: Point, count: int, paint: Paint) -> None:
    """`count` small quadrilaterals, thrown about `centre` with standard deviation `spread`, in one primitive."""
    middles = centre + rng.normal(0, 1, (count, 1, 3)) * np.array(spread)
    size = rng.uniform(0.09, 0.24, (count, 1, 1))
    a, b = rng.normal(0, 1, (count, 1, 3)), rng.normal(0, 1, (count, 1, 3))
    a /= np.linalg.norm(a, axis=2, keepdims=True)
    b /= np.linalg.norm(b, axis=2, keepdims=True)
    corners = np.concatenate([middles + a * size, middles + b * size, middles - a * size, middles - b * size], axis=1)
    shape.contours(corners, paint)


def hedge(
    rng: np.random.Generator, climate: Climate, side: float, x: float, z0: float, z1: float, detail: int
) -> Shape:
    """Bushes along the road at `side` * x."""
    shape = Shape(side * x, (z0 + z1) / 2, by_depth=True, texture_k=0.8, texture_seed=int(rng.integers(1 << 30)))
    height = float(rng.uniform(0.5, 1.7))
    half = (z1 - z0) / 2
    for k in range(detail):
        centre = np.array([side * abs(rng.normal(0, 0.3)), height * 0.5, half * (2 * (k + 0.5) / detail - 1)])
        paint = Paint(climate.foliage_c + rng.normal(0.1, 0.4), (0.17, 0.28, 0.12)).warmer(
            0, float(rng.uniform(0.6, 1.3))
        )
        shape.capsule(
            (centre[0], 0.1, centre[2]), (centre[0], height * 0.75, centre[2]), 0.5, 0.35, paint.warmer(0.3, 0.8)
        )
        _rags(shape, rng, centre, (0.3, height * 0.3, 0.6 * half / detail + 0.3), 26, paint)
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
