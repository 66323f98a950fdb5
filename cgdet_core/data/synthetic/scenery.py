"""What stands and lies in the synthetic street without a label: ground, skyline, houses, trees, lamps, furniture."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from cgdet_core.data.synthetic.light import Climate
from cgdet_core.data.synthetic.shapes import Body, Colour, Paint, circle

PAVEMENT_M = 0.12
_WALLS: tuple[Colour, ...] = (
    (0.62, 0.58, 0.52), (0.55, 0.36, 0.28), (0.70, 0.70, 0.68), (0.48, 0.47, 0.46), (0.75, 0.68, 0.55),
    (0.42, 0.30, 0.25), (0.60, 0.64, 0.66),
)  # fmt: skip


def skyline(rng: np.random.Generator, climate: Climate, height: float) -> Body:
    """Tree tops and roofs, too far to come nearer; height: 1 the usual one."""
    body, haze = Body(), 0.45 * climate.horizon_colour / (1.0 if climate.night else climate.ambient[1])
    trees, roofs = (Paint(climate.foliage_c, tuple(haze + tone)) for tone in ((0.11, 0.14, 0.09), (0.13, 0.13, 0.13)))
    for x in np.arange(-330, 330, 2.8).tolist():
        paint, half, top = (trees, 2.5, 8.0) if rng.random() < 0.9 else (roofs.warmer(rng.normal(0, 0.5)), 15.0, 18.0)
        half, top = half * rng.uniform(0.6, 1.4), height * top * rng.uniform(0.2, 1) ** 2
        body.face([(x - half, 0, 390), (x + half, 0, 390), (x + half, top, 390), (x - half, top, 390)], paint)
    return body


def ground(climate: Climate, road_m: float, front_m: float) -> Body:
    """Grass, pavements, road and its markings, from the begin of a block of the street to where the view ends."""
    body = Body(texture_k=0.35)

    def strip(x0: float, x1: float, y: float, near: float = -2.0, end: float = 400.0) -> list[Any]:
        return [(x0, y, near), (x1, y, near), (x1, y, end), (x0, y, end)]

    asphalt, walk = Paint(climate.road_c, (0.27, 0.27, 0.28)), Paint(climate.road_c - 0.3, (0.52, 0.50, 0.47))
    white = Paint(climate.road_c - 0.4, (0.8, 0.8, 0.78))
    body.face(strip(-300, 300, 0.0), Paint(climate.foliage_c - 0.5, (0.25, 0.32, 0.16)))
    for side in (-1, 1):
        body.face(strip(side * road_m, side * front_m, PAVEMENT_M), walk)
        kerb = [(side * road_m, y, z) for y, z in ((0, -2), (0, 400), (PAVEMENT_M, 400), (PAVEMENT_M, -2))]
        body.face(kerb, walk.warmer(0.5, 1.1))
    body.face(strip(-road_m, road_m, 0.0), asphalt)
    for side in (-1, 1):
        body.face(strip(side * (road_m - 0.25), side * (road_m - 0.15), 0.0), white)
    body.loops([strip(-0.07, 0.07, 0.0, z, z + 3.0) for z in range(0, 96, 6)], white)
    return body


def building(rng: np.random.Generator, climate: Climate, side: float, length: float) -> Body:
    """A house on the side -1 or 1: front and end wall, windows, or a shop; some rooms are warm, some lit."""
    body = Body(texture_k=float(rng.uniform(0.1, 0.4)))
    height = float(rng.uniform(3.5, 9) if rng.random() < 0.5 else rng.uniform(9, 28))
    wall = Paint(climate.wall_c + rng.normal(0, 0.8), tuple(rng.choice(_WALLS)))

    def pane(low: float, high: float, a: float, b: float) -> list[Any]:
        return [(0.0, low, a), (0.0, low, b), (0.0, high, b), (0.0, high, a)]

    body.face([(0, 0, 0), (side * 12, 0, 0), (side * 12, height, 0), (0, height, 0)], wall.warmer(-0.3, 0.9))
    body.face(pane(0, height, 0, length), wall)
    storey, step = float(rng.uniform(2.7, 3.8)), float(rng.uniform(1.8, 4.0))
    wide, tall = step * float(rng.uniform(0.35, 0.85)), storey * float(rng.uniform(0.35, 0.75))
    storeys, columns = int((height - 0.6) / storey), int(length / step)
    glass = Paint(wall.temperature_c + rng.uniform(-0.8, 0.4), (0.16, 0.18, 0.20), mirror=float(rng.uniform(0.1, 1.0)))
    lit = Paint(wall.temperature_c + rng.uniform(-0.3, 2.5), (0.9, 0.77, 0.54), glows=climate.night)
    windows: list[list[Any]] = [[], [], []]
    share_lit = float(rng.uniform(0.0, 0.4)) if climate.night else 0.03
    for low in (np.arange(storeys) * storey + 0.9).tolist():
        for middle in ((np.arange(columns) + 0.5) * step).tolist():
            kind = int(rng.choice(3, p=[0.85 - share_lit, 0.15, share_lit]))
            windows[kind].append(pane(low, low + tall, middle - wide / 2, middle + wide / 2))
    for panes, paint in zip(windows, (glass, glass.warmer(rng.uniform(0.8, 3.5), 1.2), lit), strict=True):
        if panes:
            body.loops(panes, paint)
    if rng.random() < 0.35:
        shop = Paint(wall.temperature_c + rng.uniform(-0.5, 3), (0.85, 0.78, 0.62), glows=climate.night)
        body.face(pane(0.4, 2.6, 0.8, length - 1), shop)
    return body


def tree(rng: np.random.Generator, climate: Climate) -> Body:
    """A forked trunk, warmer than the air at night, and a crown of leaves or bare twigs."""
    body = Body(texture_k=0.8)
    height, radius, fork = float(rng.uniform(6, 13)), float(rng.uniform(0.10, 0.30)), float(rng.uniform(2.0, 4.0))
    trunk = Paint(climate.air_c + rng.normal(1.5, 1.0), (0.34, 0.28, 0.22))
    body.hull([(0, 0, 0), (0, fork, 0)], (radius, radius * 0.72), trunk)
    leaf = Paint(climate.foliage_c, (0.20, 0.33, 0.14))
    for turn in rng.uniform(0, 6.28, 5):
        out = float(rng.uniform(0.6, 2.2))
        tip = np.array([out * math.cos(turn), rng.uniform(fork + 1, height), out * math.sin(turn)])
        body.hull([(0, fork - 0.1, 0), tip], (radius * 0.5, radius * 0.15), trunk.warmer(-0.4))
        tone = leaf.warmer(rng.normal(0, 0.4), float(rng.uniform(0.6, 1.25)))
        twigs, thick_m, paint = (4, 0.015, trunk.warmer(-0.8)) if climate.bare else (14, 0.08, tone)
        for _ in range(3):
            root = tip * rng.uniform(0.7, 1) + (0, 0.1 * fork, 0)
            body.stroke(list(root + rng.normal(0, 0.5, (twigs, 3))), thick_m, paint)
    return body


def lamp(rng: np.random.Generator, climate: Climate, towards: float) -> Body:
    """A street lamp, hot at night; towards: on which side the road is."""
    body, height, arm = Body(), float(rng.uniform(4.5, 7.0)), towards * float(rng.choice([0.0, 0.8, 1.6]))
    metal = Paint(climate.air_c + rng.uniform(-1, 1.5), (0.35, 0.36, 0.36))
    bulb = Paint(climate.air_c + (rng.uniform(8, 45) if climate.night else 2), climate.lamp, glows=climate.night)
    body.hull([(0, 0, 0), (0, height, 0)], (0.08, 0.05), metal)
    body.stroke([(0, height, 0), (arm, height + 0.2, 0)], 0.04, metal)
    head = [(arm + x, height + 0.2, -0.05) for x in (-0.2, 0.2)]
    body.hull(head, float(rng.uniform(0.07, 0.15)), bulb)
    return body


def furniture(rng: np.random.Generator, climate: Climate) -> Body:
    """A bollard or bin, or a sign: upright things that are no persons; or a dog, which is warm and none."""
    body, kind = Body(texture_k=0.25), int(rng.integers(3))
    base = Paint(climate.air_c + rng.normal(0, 1.5), tuple(rng.choice(_WALLS)))
    height = float(rng.uniform(0.8, 1.5))
    if kind == 0:
        body.hull([(0, 0.3, 0), (0, 0.75, 0)], float(rng.uniform(0.09, 0.29)), base)
    elif kind == 1:
        body.hull([(0, 0, 0), (0, 2 * height, 0)], 0.035, base)
        disc = circle((0, 2 * height, -0.05), (0.32, 0, 0), (0, 0.32, 0))
        body.face(list(disc), Paint(climate.air_c, (0.75, 0.1, 0.1), mirror=0.8))
    else:
        size = 0.4 * height
        coat = Paint(climate.air_c + (34 - climate.air_c) * rng.uniform(0.25, 0.6), base.colour)
        body.hull([(0, 0.85 * size, -0.5 * size), (0, 0.85 * size, 0.45 * size)], 0.21 * size, coat)
        body.hull([(0, size, 0.5 * size), (0, 1.2 * size, 0.8 * size)], (0.13 * size, 0.1 * size), coat.warmer(2))
        for x, f in ((-1, -0.45), (1, -0.45), (-1, 0.4), (1, 0.4)):
            leg = [(0.12 * size * x, 0.75 * size, f * size), (0.12 * size * x, 0.03, f * size)]
            body.hull(leg, (0.07 * size, 0.045 * size), coat.warmer(-1.5))
    return body
