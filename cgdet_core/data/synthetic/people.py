"""Persons, dogs, bicycles and riders of the synthetic street, built of capsules.

Proportions are the usual ones of drawing anatomy (a body is 7.5 heads high); temperatures follow from the air, the
skin and how much of the body's heat each piece of clothing lets through.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from cgdet_core.data.synthetic.camera import Array, Colour, Paint, Point, Shape
from cgdet_core.types import CLASS_NAMES

PERSON = CLASS_NAMES.index("person")
BICYCLE = CLASS_NAMES.index("bicycle")

CLOTHES: tuple[Colour, ...] = (
    (0.10, 0.10, 0.12), (0.16, 0.18, 0.28), (0.35, 0.35, 0.37), (0.62, 0.60, 0.56), (0.85, 0.85, 0.84),
    (0.45, 0.12, 0.12), (0.15, 0.28, 0.42), (0.22, 0.32, 0.20), (0.55, 0.45, 0.30), (0.75, 0.60, 0.20),
    (0.30, 0.20, 0.32), (0.80, 0.45, 0.45),
)  # fmt: skip
SKINS: tuple[Colour, ...] = ((0.85, 0.65, 0.52), (0.72, 0.52, 0.40), (0.52, 0.35, 0.25), (0.35, 0.23, 0.17))
HAIRS: tuple[Colour, ...] = ((0.08, 0.07, 0.06), (0.22, 0.15, 0.10), (0.45, 0.35, 0.22), (0.55, 0.55, 0.55))


@dataclass(frozen=True)
class Person:
    """What a person looks like; temperatures in degrees Celsius, `height_m` from sole to crown."""

    height_m: float
    width: float
    skin: Paint
    face: Paint
    hair: Paint
    torso: Paint
    sleeves: Paint
    legs: Paint
    shoes: Paint
    coat: bool
    bag: int
    bag_paint: Paint
    seed: int


def make_person(rng: np.random.Generator, air_c: float, sun: float) -> Person:
    """A random person in air of `air_c`; sun in [0, 1] heats the clothes."""
    skin_c = 27.0 + 0.22 * air_c + rng.uniform(-1.5, 1.5)
    heated = sun * rng.uniform(0.0, 7.0)

    def through(low: float, high: float) -> float:
        return float(air_c + (skin_c - air_c) * rng.uniform(low, high) + heated)

    def pick(colours: tuple[Colour, ...]) -> Colour:
        return colours[int(rng.integers(len(colours)))]

    winter = air_c < 14
    torso = Paint(through(0.22, 0.55) if winter else through(0.4, 0.85), pick(CLOTHES), 0)
    skin = Paint(skin_c - rng.uniform(0, 3), pick(SKINS), 0)
    short_sleeves = not winter and rng.random() < 0.5
    bare_legs = not winter and rng.random() < 0.35
    child = rng.random() < 0.12
    return Person(
        height_m=float(rng.uniform(1.0, 1.45) if child else np.clip(rng.normal(1.69, 0.09), 1.48, 1.95)),
        width=float(rng.uniform(0.9, 1.22)),
        skin=skin,
        face=Paint(skin_c + 0.5, skin.colour, 0),
        hair=Paint(through(0.3, 0.75), pick(HAIRS if rng.random() < 0.8 else CLOTHES), 0),
        torso=torso,
        sleeves=skin if short_sleeves else torso.warmer(rng.uniform(-1.0, 1.0)),
        legs=skin if bare_legs else Paint(through(0.3, 0.7) if winter else through(0.45, 0.85), pick(CLOTHES[:8]), 0),
        shoes=Paint(through(0.1, 0.4), pick(CLOTHES[:5]), 0),
        coat=bool(rng.random() < (0.35 if winter else 0.2)),
        bag=int(rng.choice([0, 0, 0, 1, 2])),
        bag_paint=Paint(through(0.05, 0.3), pick(CLOTHES), 0),
        seed=int(rng.integers(1 << 30)),
    )


def _limb(shape: Shape, a: Point, b: Point, ra: float, rb: float, paint: Paint) -> None:
    # the outline of a limb looks cooler than its middle: grazing emission and loose cloth
    shape.capsule(a, b, ra, rb, paint.warmer(-0.7, 0.85))
    shape.capsule(a, b, ra * 0.62, rb * 0.62, paint.warmer(0.5, 1.05))


def _head(shape: Shape, person: Person, neck: Point, lean: float = 0.0) -> None:
    h = person.height_m
    r, u, f = neck
    shape.capsule(neck, (r, u + 0.06 * h, f + lean * 0.5), 0.032 * h, 0.03 * h, person.skin)
    low, high = (r, u + 0.075 * h, f + lean), (r, u + 0.115 * h, f + lean - 0.004 * h)
    shape.capsule(low, high, 0.044 * h, 0.05 * h, person.hair)
    front = 0.018 * h
    shape.capsule(
        (r, low[1] - 0.008 * h, low[2] + front),
        (r, high[1] - 0.012 * h, high[2] + front),
        0.036 * h,
        0.04 * h,
        person.face,
    )


def standing_shape(person: Person, x_m: float, z_m: float, heading: float, phase: float, stride: float) -> Shape:
    """The person on its feet. heading: radians, 0 away from the camera; phase of the step in radians; stride: the
    swing of the thighs in radians, 0 for a person who stands still (who shifts a little with the phase)."""
    h, w = person.height_m, person.width
    shape = Shape(x_m, z_m, heading, objects=(PERSON,), texture_k=1.6, texture_seed=person.seed, shadow_height_m=h)
    sway = 0.012 * h * math.sin(phase * 0.13)
    hip, shoulder = 0.515 * h, 0.815 * h
    thigh, shin = 0.25 * h, 0.235 * h
    for side in (-1.0, 1.0):
        swing = stride * math.sin(phase + (0 if side > 0 else math.pi))
        bend = 0.06 + stride * 1.1 * max(0.0, math.cos(phase + (0 if side > 0 else math.pi)))
        root = (side * 0.05 * h * w + sway, hip, 0.0)
        spread = side * (0.055 + (0.012 if stride == 0 else 0)) * h
        knee = (spread, hip - thigh * math.cos(swing), thigh * math.sin(swing))
        ankle = (spread, knee[1] - shin * math.cos(swing - bend), knee[2] + shin * math.sin(swing - bend))
        _limb(shape, root, knee, 0.052 * h * w, 0.036 * h, person.legs)
        _limb(shape, knee, ankle, 0.036 * h, 0.023 * h, person.legs)
        shape.capsule(
            ankle, (spread * 1.15, ankle[1] - 0.008 * h, ankle[2] + 0.075 * h), 0.022 * h, 0.018 * h, person.shoes
        )
        arm = -0.75 * stride * math.sin(phase + (0 if side > 0 else math.pi)) + 0.05
        elbow_bend = 0.25 + 0.4 * abs(stride) + (0.9 if person.bag == 2 and side > 0 else 0.0)
        joint = (side * 0.118 * h * w + sway, shoulder - 0.015 * h, 0.0)
        elbow = (joint[0] + side * 0.015 * h, joint[1] - 0.165 * h * math.cos(arm), 0.165 * h * math.sin(arm))
        wrist = (
            elbow[0] - side * 0.01 * h,
            elbow[1] - 0.14 * h * math.cos(arm + elbow_bend),
            elbow[2] + 0.14 * h * math.sin(arm + elbow_bend),
        )
        _limb(shape, joint, elbow, 0.032 * h * w, 0.027 * h, person.sleeves)
        _limb(shape, elbow, wrist, 0.027 * h, 0.02 * h, person.sleeves)
        shape.capsule(wrist, (wrist[0], wrist[1] - 0.045 * h, wrist[2] + 0.01), 0.021 * h, 0.016 * h, person.skin)
        # the trunk is a left and a right half
        _limb(
            shape,
            (side * 0.058 * h * w + sway, shoulder - 0.04 * h, 0.0),
            (side * 0.042 * h * w + sway, hip + 0.02 * h, 0.0),
            0.068 * h,
            0.06 * h * w,
            person.torso,
        )
    if person.coat:
        for side in (-1.0, 1.0):
            top, hem = (side * 0.03 * h * w, hip + 0.05 * h, 0.0), (side * 0.045 * h * w, 0.33 * h, 0.0)
            _limb(shape, top, hem, 0.085 * h * w, 0.09 * h * w, person.torso)
    if person.bag == 1:
        shape.capsule((0.0, 0.76 * h, -0.11 * h), (0.0, 0.60 * h, -0.12 * h), 0.085 * h, 0.095 * h, person.bag_paint)
    elif person.bag == 2:
        shape.capsule((0.16 * h, 0.50 * h, 0.02), (0.16 * h, 0.40 * h, 0.02), 0.06 * h, 0.07 * h, person.bag_paint)
    _head(shape, person, (sway, shoulder + 0.005 * h, 0.0))
    return shape


@dataclass(frozen=True)
class Bicycle:
    """A bicycle; wheel_m is the radius of its wheels."""

    wheel_m: float
    tyre: Paint
    frame: Paint
    basket: bool
    mudguards: bool
    step_through: bool
    seed: int


def make_bicycle(rng: np.random.Generator, air_c: float, sun: float, part: int) -> Bicycle:
    """A random bicycle; `part` is its place among the shape's labelled objects."""
    metal_c = air_c + rng.normal(-0.3, 1.2) + sun * rng.uniform(1, 9)
    return Bicycle(
        wheel_m=float(rng.uniform(0.30, 0.36)),
        tyre=Paint(air_c + rng.normal(0.4, 1.0) + sun * rng.uniform(2, 12), (0.07, 0.07, 0.07), part),
        frame=Paint(metal_c, CLOTHES[int(rng.integers(len(CLOTHES)))], part),
        basket=bool(rng.random() < 0.45),
        mudguards=bool(rng.random() < 0.5),
        step_through=bool(rng.random() < 0.45),
        seed=int(rng.integers(1 << 30)),
    )


_CIRCLE = np.linspace(0, 2 * math.pi, 18, endpoint=False)


def _wheel(
    shape: Shape, forward: float, radius: float, tyre: Paint, spokes: Paint, edge_on: bool, steer: float
) -> None:
    def circle(r: float) -> list[Point]:
        return [
            (
                float(r * math.cos(a) * math.sin(steer)),
                radius + r * math.sin(a),
                forward + r * math.cos(a) * math.cos(steer),
            )
            for a in _CIRCLE
        ]

    shape.contours([circle(radius), circle(radius - 0.045)], tyre)
    for turn in (0.2, 0.2 + math.pi / 3, 0.2 + 2 * math.pi / 3):
        du, df = 0.9 * radius * math.sin(turn), 0.9 * radius * math.cos(turn)
        shape.capsule((0, radius - du, forward - df), (0, radius + du, forward + df), 0.004, 0.004, spokes)
    if edge_on:
        shape.capsule((0, 0.02, forward), (0, 2 * radius - 0.02, forward), 0.022, 0.022, tyre)


def add_bicycle(shape: Shape, bicycle: Bicycle, edge_on: bool, steer: float = 0.0) -> None:
    """The bicycle's parts, hubs along the shape's forward axis; edge_on: it is seen from the front or from behind."""
    w, frame = bicycle.wheel_m, bicycle.frame
    rear, front = -0.52, 0.54
    _wheel(shape, rear, w, bicycle.tyre, frame.warmer(0.3, 0.7), edge_on, 0.0)
    _wheel(shape, front, w, bicycle.tyre, frame.warmer(0.3, 0.7), edge_on, steer)
    crank, seat, head = (0.0, 0.28, -0.08), (0.0, 0.82, -0.24), (0.0, 0.82, 0.36)
    low_head = (0.0, 0.68, 0.40)
    for a, b, r in (
        (crank, seat, 0.017),
        (crank, low_head, 0.02),
        ((0.0, w, rear), crank, 0.012),
        ((0.0, w, rear), (0.0, 0.72, -0.21), 0.011),
        ((0.0, w, front), low_head, 0.015),
        (low_head, head, 0.02),
        (head, (0.0, 1.0, 0.33), 0.014),
        ((-0.27, 1.02, 0.26), (0.27, 1.02, 0.26), 0.014),
        ((-0.27, 1.02, 0.26), (-0.05, 0.98, 0.36), 0.013),
        ((0.27, 1.02, 0.26), (0.05, 0.98, 0.36), 0.013),
        ((-0.09, 0.2, 0.0), (0.09, 0.36, -0.16), 0.016),
    ):
        shape.capsule(a, b, r, r, frame)
    if bicycle.step_through:
        shape.capsule((0.0, 0.42, -0.12), (0.0, 0.72, 0.39), 0.017, 0.017, frame)
    else:
        shape.capsule((0.0, 0.77, -0.22), (0.0, 0.8, 0.36), 0.017, 0.017, frame)
    shape.capsule((0.0, 0.93, -0.38), (0.0, 0.93, -0.14), 0.06, 0.03, bicycle.tyre.warmer(0.5, 1.5))
    if bicycle.basket:
        shape.capsule((-0.09, 0.92, 0.56), (0.09, 0.92, 0.56), 0.13, 0.13, frame.warmer(-0.4, 0.8))
    if bicycle.mudguards:
        shape.capsule(
            (0.0, 2 * w + 0.03, rear + 0.02), (0.0, 1.55 * w, rear - 0.25), 0.03, 0.03, frame.warmer(0.2, 0.6)
        )
        shape.capsule((0.0, 0.74, -0.3), (0.0, 0.74, -0.66), 0.025, 0.025, frame)


def parked_bicycle_shape(
    bicycle: Bicycle, x_m: float, z_m: float, heading: float, edge_on: bool, steer: float
) -> Shape:
    """A bicycle without a rider."""
    shape = Shape(x_m, z_m, heading, objects=(BICYCLE,), texture_k=0.5, texture_seed=bicycle.seed, shadow_height_m=0.8)
    add_bicycle(shape, bicycle, edge_on, steer)
    return shape


def rider_shape(
    person: Person, bicycle: Bicycle, x_m: float, z_m: float, heading: float, phase: float, edge_on: bool
) -> Shape:
    """A person on a bicycle: part 0 the person, part 1 the bicycle (make it with part=1); phase of the cranks."""
    h = max(person.height_m, 1.5)
    shape = Shape(
        x_m, z_m, heading, objects=(PERSON, BICYCLE), texture_k=1.6, texture_seed=person.seed, shadow_height_m=1.7
    )
    add_bicycle(shape, bicycle, edge_on, 0.0)
    hip_u, hip_f = 0.98, -0.24
    shoulder_u, shoulder_f = hip_u + 0.29 * h, hip_f + 0.09 * h
    thigh, shin = 0.26 * h, 0.26 * h
    for side in (-1.0, 1.0):
        turn = phase + (0 if side > 0 else math.pi)
        foot = (side * 0.11, 0.33 + 0.17 * math.sin(turn), -0.08 + 0.17 * math.cos(turn))
        hip = (side * 0.08, hip_u, hip_f)
        knee = _knee(hip, foot, thigh, shin)
        _limb(shape, hip, knee, 0.052 * h, 0.036 * h, person.legs)
        _limb(shape, knee, foot, 0.036 * h, 0.024 * h, person.legs)
        shape.capsule(foot, (foot[0], foot[1] - 0.02, foot[2] + 0.1), 0.036, 0.03, person.shoes)
        joint, hand = (side * 0.12 * h, shoulder_u - 0.02, shoulder_f), (side * 0.25, 1.04, 0.28)
        elbow = (side * 0.16 * h, (joint[1] + hand[1]) / 2 - 0.07, (joint[2] + hand[2]) / 2 - 0.03)
        _limb(shape, joint, elbow, 0.032 * h, 0.027 * h, person.sleeves)
        _limb(shape, elbow, hand, 0.027 * h, 0.021 * h, person.sleeves)
        shape.capsule(hand, hand, 0.026 * h, 0.026 * h, person.skin)
        _limb(
            shape,
            (side * 0.058 * h, shoulder_u - 0.05 * h, shoulder_f),
            (side * 0.05 * h, hip_u + 0.02, hip_f),
            0.066 * h,
            0.066 * h,
            person.torso,
        )
    if person.bag == 1:
        shape.capsule(
            (0, shoulder_u - 0.08, shoulder_f - 0.2), (0, hip_u + 0.2, hip_f - 0.14), 0.13, 0.15, person.bag_paint
        )
    _head(shape, person, (0.0, shoulder_u, shoulder_f), lean=0.03)
    return shape


def _knee(hip: Point, foot: Point, thigh: float, shin: float) -> Point:
    """Where two bones from hip to foot meet, bent forward."""
    du, df = foot[1] - hip[1], foot[2] - hip[2]
    distance = min(math.hypot(du, df), 0.999 * (thigh + shin))
    along = (thigh**2 - shin**2 + distance**2) / (2 * distance)
    out = math.sqrt(max(0.0, thigh**2 - along**2))
    eu, ef = du / distance, df / distance
    return ((hip[0] + foot[0]) / 2, hip[1] + along * eu + out * ef, hip[2] + along * ef - out * eu)


def dog_shape(rng: np.random.Generator, x_m: float, z_m: float, heading: float, phase: float, air_c: float) -> Shape:
    """A dog: warm, and not labelled."""
    size = rng.uniform(0.3, 0.65)
    coat = Paint(air_c + (34 - air_c) * rng.uniform(0.25, 0.6), HAIRS[int(rng.integers(len(HAIRS)))])
    shape = Shape(x_m, z_m, heading, texture_k=1.0, texture_seed=int(rng.integers(1 << 30)), shadow_height_m=size)
    back = size * 0.85
    _limb(shape, (0, back, -size * 0.5), (0, back, size * 0.45), 0.2 * size, 0.22 * size, coat)
    _limb(shape, (0, back + 0.1 * size, size * 0.5), (0, size * 1.2, size * 0.72), 0.12 * size, 0.14 * size, coat)
    shape.capsule((0, size * 1.18, size * 0.75), (0, size * 1.1, size * 0.95), 0.09 * size, 0.06 * size, coat.warmer(3))
    shape.capsule((0, back + 0.1 * size, -size * 0.6), (0, size * 1.2, -size * 0.85), 0.04 * size, 0.03 * size, coat)
    for leg, (side, f) in enumerate(((-1, -0.45), (1, -0.45), (-1, 0.4), (1, 0.4))):
        swing = 0.15 * size * math.sin(phase + leg * 2.3)
        root = (side * 0.12 * size, back - 0.1 * size, f * size)
        shape.capsule(root, (root[0], 0.04, f * size + swing), 0.07 * size, 0.045 * size, coat.warmer(-1.5))
    return shape


def seen_edge_on(heading: float, x_m: float, z_m: float, camera: Array) -> bool:
    """Whether the line of sight runs within 25 degrees of the heading's axis."""
    sight = math.atan2(x_m - float(camera[0]), z_m - float(camera[2]))
    return abs(math.sin(heading - sight)) < 0.42
