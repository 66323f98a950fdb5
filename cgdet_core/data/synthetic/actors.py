"""Who is labelled in the synthetic street: persons, bicycles, riders and cars, of some ten primitives each.

A body is 7.5 heads high, as usual in drawing; its temperatures follow from air, skin and what clothing lets through.
"""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np

from cgdet_core.data.synthetic.light import Climate
from cgdet_core.data.synthetic.shapes import Body, Colour, Paint, Point, circle
from cgdet_core.types import CLASS_NAMES

PERSON, BICYCLE, CAR = (CLASS_NAMES.index(name) for name in ("person", "bicycle", "car"))

_CLOTHES: tuple[Colour, ...] = (
    (0.10, 0.10, 0.12), (0.16, 0.18, 0.28), (0.35, 0.35, 0.37), (0.62, 0.60, 0.56), (0.15, 0.28, 0.42),
    (0.45, 0.12, 0.12), (0.85, 0.85, 0.84), (0.22, 0.32, 0.20), (0.55, 0.45, 0.30), (0.75, 0.60, 0.20),
)  # fmt: skip
_SKINS: tuple[Colour, ...] = ((0.85, 0.65, 0.52), (0.72, 0.52, 0.40), (0.52, 0.35, 0.25), (0.35, 0.23, 0.17))
_HAIRS: tuple[Colour, ...] = ((0.08, 0.07, 0.06), (0.22, 0.15, 0.10), (0.45, 0.35, 0.22), (0.55, 0.55, 0.55))
_CAR_PAINTS: tuple[Colour, ...] = (
    (0.88, 0.88, 0.88), (0.62, 0.63, 0.65), (0.35, 0.36, 0.38), (0.08, 0.08, 0.09), (0.55, 0.08, 0.08),
    (0.12, 0.20, 0.45), (0.75, 0.72, 0.62), (0.10, 0.28, 0.20),
)  # fmt: skip
# length, width, height, belt height (metres); then, as shares of the length from the nose: where the windscreen starts,
# where the roof starts, where the roof ends, where the rear window ends
_CARS = (
    (3.9, 1.70, 1.48, 0.92, 0.24, 0.42, 0.90, 0.985),  # hatchback
    (4.6, 1.78, 1.45, 0.92, 0.28, 0.45, 0.74, 0.88),  # sedan
    (4.7, 1.80, 1.50, 0.94, 0.27, 0.43, 0.93, 0.985),  # estate
    (4.6, 1.88, 1.72, 1.05, 0.25, 0.40, 0.91, 0.985),  # SUV
    (4.7, 1.82, 1.85, 1.02, 0.14, 0.30, 0.95, 0.99),  # minivan
    (5.2, 1.95, 2.20, 1.12, 0.10, 0.24, 0.985, 0.995),  # van
)


class Person:
    """A random person, dressed for the weather."""

    def __init__(self, rng: np.random.Generator, climate: Climate) -> None:
        winter, child = climate.air_c < 14, rng.random() < 0.12
        skin_c = 27.0 + 0.22 * climate.air_c + rng.uniform(-1.5, 1.5)

        def clothes(low: float, high: float, colours: tuple[Colour, ...] = _CLOTHES) -> Paint:
            """low, high: the share of the skin's excess over the air that comes through."""
            return Paint(climate.air_c + (skin_c - climate.air_c) * rng.uniform(low, high), tuple(rng.choice(colours)))

        self._height_m = float(rng.uniform(1.0, 1.45) if child else np.clip(rng.normal(1.69, 0.09), 1.48, 1.95))
        self._width = float(rng.uniform(0.9, 1.22))
        self._face = Paint(skin_c + 0.5, tuple(rng.choice(_SKINS)))
        skin = self._face.warmer(-rng.uniform(0.5, 3.5))
        self._hair, self._shoes = clothes(0.3, 0.75, _HAIRS), clothes(0.1, 0.4)
        self._torso = clothes(0.22, 0.55) if winter else clothes(0.4, 0.85)
        self._legs = clothes(0.3, 0.7) if winter else clothes(0.45, 0.85)
        self._sleeves, self._hands = self._torso.warmer(rng.uniform(-1.5, 0.5), 0.95), skin
        if not winter:
            self._sleeves, self._legs = (skin if rng.random() < 0.4 else worn for worn in (self._sleeves, self._legs))
        self._bag = clothes(0.05, 0.3) if rng.random() < 0.35 else None

    def walking(self, phase: float, speed_m_s: float, t: float) -> Body:
        """On its feet at time t, in strides of 0.84 body heights a turn; phase: of the step at time 0, in radians."""
        h, w, body = self._height_m, self._width, Body(PERSON, texture_k=1.2)
        stride = 0.34 + 0.06 * abs(speed_m_s) if speed_m_s else 0.05  # how far a leg swings, in radians
        phase += abs(speed_m_s) * t / (0.84 * h) * 2 * math.pi
        hip, shoulder = 0.515 * h, 0.815 * h
        hands: list[Point] = []
        for side, turn in ((-1.0, phase), (1.0, phase + math.pi)):
            swing, lift = stride * math.sin(turn), 0.10 * stride * max(0.0, math.cos(turn))
            foot = (side * 0.055 * h, (0.035 + lift + 0.47 * (1 - math.cos(swing))) * h, 0.48 * h * math.sin(swing))
            self._add_leg(body, (side * 0.05 * h * w, hip, 0.0), foot)
            arm = 0.15 - 0.8 * swing
            hands.append((side * 0.14 * h * w, shoulder - (0.03 + 0.31 * math.cos(arm)) * h, 0.31 * h * math.sin(arm)))
        self._add_upper_body(body, (0.0, hip, 0.0), (0.0, shoulder, 0.0), hands)
        return body

    def riding(self, bicycle: Bicycle, phase: float) -> Body:
        """On a bicycle; phase: of the cranks, in radians. The person is part 0, the bicycle part 1."""
        h, body = self._height_m, Body(PERSON, BICYCLE, texture_k=1.2)
        hips, shoulders = (0.0, 0.98, -0.24), (0.0, 0.98 + 0.29 * h, -0.24 + 0.1 * h)
        for side, turn in ((-1.0, phase), (1.0, phase + math.pi)):
            foot = (side * 0.11, 0.33 + 0.17 * math.sin(turn), -0.08 + 0.17 * math.cos(turn))
            self._add_leg(body, (side * 0.085, hips[1], hips[2]), foot)
        self._add_upper_body(body, hips, shoulders, [(-0.25, 1.05, 0.26), (0.25, 1.05, 0.26)])
        body.part = 1
        return bicycle.add_to(body)

    def _add_upper_body(self, body: Body, hips: Point, shoulders: Point, hands: list[Point]) -> None:
        """Trunk, bag, arms and head; hips, shoulders: their middles."""
        h, w = self._height_m, self._width
        (_, hu, hf), (_, su, sf) = hips, shoulders
        trunk = [(side * 0.045 * h * w, hu + 0.01 * h, hf) for side in (-1, 1)]
        trunk += [(side * 0.06 * h * w, su - 0.045 * h, sf) for side in (-1, 1)]
        body.hull(trunk, (0.06 * h * w, 0.06 * h * w, 0.055 * h, 0.055 * h), self._torso)
        if self._bag is not None:
            bag = [(0.0, 0.35 * hu + 0.65 * su + up * h, (hf + sf) / 2 - 0.1 * h) for up in (-0.06, 0.06)]
            body.hull(bag, 0.08 * h, self._bag)
        for side, hand in zip((-1.0, 1.0), hands, strict=True):
            joint = (side * 0.105 * h * w, su - 0.025 * h, sf)
            elbow = _joint(joint, hand, 0.168 * h, -1.0)
            body.hull([joint, elbow], (0.034 * h * w, 0.027 * h), self._sleeves)
            body.hull([elbow, hand], (0.027 * h, 0.021 * h), self._sleeves)
            body.hull([hand], 0.025 * h, self._hands)
        low, high, lean = su + 0.075 * h, su + 0.125 * h, sf + 0.012 * h
        body.hull([(0, low, lean), (0, high, lean)], 0.05 * h, self._hair)
        chin, brow = (0, low - 0.005 * h, lean + 0.026 * h), (0, high - 0.015 * h, lean + 0.026 * h)
        body.hull([(0, su + 0.01 * h, sf), chin, brow], (0.034 * h, 0.04 * h, 0.04 * h), self._face)

    def _add_leg(self, body: Body, hip: Point, foot: Point) -> None:
        h, toes = self._height_m, (foot[0] * 1.1, foot[1] - 0.012 * self._height_m, foot[2] + 0.075 * self._height_m)
        knee = _joint(hip, foot, 0.248 * h, 1.0)
        body.hull([hip, knee], (0.053 * h * self._width, 0.037 * h), self._legs)
        body.hull([knee, foot], (0.037 * h, 0.024 * h), self._legs)
        body.hull([foot, toes], (0.026 * h, 0.02 * h), self._shoes)


def _joint(root: Point, tip: Point, bone_m: float, bend: float) -> Point:
    """Where two equal bones from root to tip meet; bend: 1 forward (a knee), -1 backward (an elbow)."""
    (_, du, df), (x, u, f) = np.subtract(tip, root).tolist(), np.add(tip, root).tolist()
    distance = min(math.hypot(du, df), 2 * bone_m)
    out = bend * math.sqrt(bone_m**2 - distance**2 / 4) / distance
    return x / 2, u / 2 + out * df, f / 2 - out * du


class Bicycle:
    """A random bicycle, its hubs along the body's forward axis."""

    def __init__(self, rng: np.random.Generator, climate: Climate) -> None:
        self._wheel_m = float(rng.uniform(0.30, 0.36))
        self._tyre = Paint(climate.air_c + rng.normal(0.4, 1.0), (0.07, 0.07, 0.07))
        self._frame = Paint(climate.air_c + rng.normal(-0.3, 1.2), tuple(rng.choice(_CLOTHES)))
        self._step_through = rng.random() < 0.45

    def add_to(self, body: Body, steer: float = 0.0) -> Body:
        """The body, with wheels, frame, handlebar and saddle; steer: of the front wheel, in radians."""
        w, frame = self._wheel_m, self._frame
        for hub, turn in ((-0.52, 0.0), (0.54, steer)):
            across = np.array([math.sin(turn), 0, math.cos(turn)])
            rim = circle((0, w, hub), w * across, (0, w, 0), 17).tolist()
            body.stroke([*rim, rim[0]], 0.022, self._tyre)
            spokes = circle((0, w, hub), 0.95 * w * across, (0, 0.95 * w, 0), 10).tolist()
            body.stroke([spokes[i] for i in (0, 5, 6, 1, 2, 7, 8, 3, 4, 9)], 0.004, frame.warmer(0.3, 0.7))
        crank, seat, head, bar = (0.0, 0.28, -0.08), (0.0, 0.82, -0.24), (0.0, 0.68, 0.40), (0.0, 1.0, 0.33)
        body.stroke([(0.0, w, -0.52), crank, seat, (0.0, w, -0.52)], 0.013, frame)
        body.stroke([crank, head, (0.0, 0.42, -0.12) if self._step_through else seat], 0.018, frame)
        body.stroke([(0.0, w, 0.54), head, bar], 0.016, frame)
        body.stroke([(-0.26, 1.02, 0.23), (-0.24, 1.02, 0.3), bar, (0.24, 1.02, 0.3), (0.26, 1.02, 0.23)], 0.014, frame)
        body.hull([(0.0, 0.92, -0.36), (0.0, 0.93, -0.16)], (0.07, 0.035), self._tyre.warmer(0.5, 1.5))
        return body


def car(rng: np.random.Generator, climate: Climate, driving: bool) -> Body:
    """A random car: warm tyres, hood, grille and exhaust where it was driven; metal and glass mirror the sky."""
    size = _CARS[int(rng.choice(len(_CARS), p=[0.27, 0.22, 0.13, 0.2, 0.11, 0.07]))]
    length, width, height, belt = (value * rng.uniform(0.95, 1.06) for value in size[:4])
    nose, half, top = length / 2, width / 2, 0.40 * width
    f0, f1, f2, f3 = (nose - share * length for share in size[4:])
    warm = float(rng.uniform(0.4, 1.0) if driving else rng.choice([0.0, 0.0, 0.0, rng.uniform(0.1, 0.8)]))
    metal_c, lights = climate.air_c + rng.normal(0.0, 1.3) + warm, driving and climate.night
    colour = _CAR_PAINTS[int(rng.choice(len(_CAR_PAINTS), p=[0.25, 0.18, 0.17, 0.17, 0.08, 0.08, 0.04, 0.03]))]
    metal = Paint(metal_c, colour, mirror=float(rng.uniform(0.1, 0.35)))
    glass = Paint(climate.air_c + rng.uniform(-1.5, 0.8) + warm * rng.uniform(0, 4), (0.13, 0.14, 0.15), mirror=0.3)
    dark, hood = Paint(metal_c, (0.05, 0.05, 0.05)), metal.warmer(warm * rng.uniform(2, 12))
    tyre = dark.warmer(rng.normal(-0.5, 0.8) + warm * rng.uniform(4, 14))
    disc = Paint(metal_c + rng.normal(0, 0.7) + warm * rng.uniform(2, 14), (0.5, 0.5, 0.52))
    body, axles = Body(CAR, texture_k=0.35), (0.315 * length, -0.31 * length)

    def pair(x0: float, x1: float, low: float, high: float, f: float) -> list[list[Point]]:
        """Upright plates on both sides, in shares of half the width."""
        sides = ((x0 * half, x1 * half), (-x0 * half, -x1 * half))
        return [[(a, low, f), (b, low, f), (b, high, f), (a, high, f)] for a, b in sides]

    # what is seen between the wheels is the road in the car's shadow: not part of the labelled car
    body.part = -1
    x, f = 0.96 * half, 0.93 * nose
    body.face([(-x, 0.01, -f), (x, 0.01, -f), (x, 0.01, f), (-x, 0.01, f)], dark.warmer(warm * rng.uniform(2, 9)))
    body.part = 0
    for axle in axles:
        body.loops(pair(0.75, 0.98, 0.0, 0.5, axle), tyre)
    # from the nose's foot round to the tail's foot, the belt rising a little to the rear; then the cabin
    lower = [
        (0.9 * half, 0.2, nose - 0.10), (half, 0.40, nose), (half, 0.55 * belt + 0.1, nose - 0.03),
        (half, belt - 0.12, nose - 0.06 * length), (half, belt, f0), (half, belt + 0.03, f3),
        (half, belt - 0.06, 0.03 - nose), (0.9 * half, 0.45, -nose), (0.9 * half, 0.2, 0.10 - nose),
    ]  # fmt: skip
    cabin = [(0.94 * half, belt, f0), (top, height, f1), (top, height, f2), (0.94 * half, belt, f3)]
    for profile in (lower, cabin):
        for i, ((xa, ua, fa), (xb, ub, fb)) in enumerate(pairwise(profile)):
            paint = hood if profile is lower and i in (2, 3) else metal
            _panel(body, [(-xa, ua, fa), (xa, ua, fa), (xb, ub, fb), (-xb, ub, fb)], paint,
                   glass if profile is cabin and i != 1 else None)  # fmt: skip
        for side in (-1.0, 1.0):
            around = [*cabin[3:], *cabin[:3]] if profile is cabin else [(half, u, f) for _, u, f in lower]
            flank = [(side * x, u, f) for x, u, f in around]
            _panel(body, flank, metal.warmer(0, 0.85), glass.warmer(0.5) if profile is cabin else None)
    for side in (-1.0, 1.0):
        for radius, out, paint in ((0.35, 0.005, tyre.warmer(-0.8, 0.6)), (0.31, 0.01, tyre), (0.19, 0.015, disc)):
            body.loops([circle((side * (half + out), 0.31, f), (0, 0, radius), (0, radius, 0)) for f in axles], paint)
    front, back = nose + 0.01, -nose - 0.01
    white, red = ((1.0, 0.97, 0.88), (0.9, 0.08, 0.05)) if lights else ((0.75, 0.77, 0.8), (0.5, 0.05, 0.05))
    body.loops(pair(0, 0.55, 0.5 * belt, 0.72 * belt, front), dark.warmer(warm * rng.uniform(6, 24) - 0.8))
    body.loops(pair(0.58, 0.88, 0.62 * belt, 0.78 * belt, front), Paint(metal_c + 1 + 7 * lights, white, glows=lights))
    body.loops(pair(0.68, 0.9, 0.68 * belt, 0.9 * belt, back), Paint(metal_c + 0.3 + 2 * lights, red, glows=lights))
    body.hull([(0.55 * half, 0.22, back)], 0.06, dark.warmer(1 + warm * rng.uniform(15, 50)))
    return body


def _panel(body: Body, corners: list[Point], paint: Paint, glass: Paint | None) -> None:
    """A face, and a window in it."""
    body.face(corners, paint)
    if glass is not None:
        points = np.array(corners)
        body.face((points.mean(axis=0) + 0.82 * (points - points.mean(axis=0))).tolist(), glass)
