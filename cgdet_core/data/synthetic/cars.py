"""Cars of the synthetic street: bodies of two convex parts with wheels, windows, lights and the heat of driving."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from cgdet_core.data.synthetic.camera import Array, Colour, Paint, Point, Shape
from cgdet_core.types import CLASS_NAMES

CAR = CLASS_NAMES.index("car")

PAINTS: tuple[Colour, ...] = (
    (0.88, 0.88, 0.88), (0.62, 0.63, 0.65), (0.35, 0.36, 0.38), (0.08, 0.08, 0.09), (0.55, 0.08, 0.08),
    (0.12, 0.20, 0.45), (0.75, 0.72, 0.62), (0.10, 0.28, 0.20), (0.80, 0.55, 0.10),
)  # fmt: skip

# kind: length, width, height, belt height (metres); then, as shares of the length from the nose: where the windscreen
# starts, where the roof starts, where the roof ends, where the rear window ends
KINDS: dict[str, tuple[float, float, float, float, float, float, float, float]] = {
    "hatchback": (3.9, 1.70, 1.48, 0.92, 0.24, 0.42, 0.90, 0.985),
    "sedan": (4.6, 1.78, 1.45, 0.92, 0.28, 0.45, 0.74, 0.88),
    "estate": (4.7, 1.80, 1.50, 0.94, 0.27, 0.43, 0.93, 0.985),
    "suv": (4.6, 1.88, 1.72, 1.05, 0.25, 0.40, 0.91, 0.985),
    "minivan": (4.7, 1.82, 1.85, 1.02, 0.14, 0.30, 0.95, 0.99),
    "van": (5.2, 1.95, 2.20, 1.12, 0.10, 0.24, 0.985, 0.995),
    "kei": (3.4, 1.48, 1.66, 0.95, 0.16, 0.30, 0.94, 0.99),
}


@dataclass(frozen=True)
class Car:
    """What a car looks like; warm: 0 cold and parked to 1 driven for long."""

    size_m: tuple[float, float, float, float, float, float, float, float]
    warm: float
    driving: bool
    body: Paint
    roof: Paint
    hood: Paint
    glass: Paint
    cabin_k: float
    tyre: Paint
    disc: Paint
    grille: Paint
    exhaust: Paint
    under: Paint
    exhaust_side: float
    lights_on: bool
    seed: int


def make_car(rng: np.random.Generator, air_c: float, sky_c: float, sun: float, driving: bool, night: bool) -> Car:
    """A random car; sky_c: what its roof and windows mirror."""
    kind = list(KINDS)[int(rng.choice(len(KINDS), p=[0.22, 0.22, 0.12, 0.18, 0.1, 0.06, 0.1]))]
    size = tuple(value * (rng.uniform(0.95, 1.06) if i < 4 else 1.0) for i, value in enumerate(KINDS[kind]))
    warm = float(rng.uniform(0.4, 1.0)) if driving else float(rng.choice([0.0, 0.0, 0.0, rng.uniform(0.1, 0.8)]))
    colour = PAINTS[int(rng.choice(len(PAINTS), p=[0.24, 0.18, 0.16, 0.16, 0.08, 0.08, 0.04, 0.03, 0.03]))]
    dark = 1.0 - sum(colour) / 3
    heated = sun * (4 + 14 * dark) * rng.uniform(0.2, 1.0)
    body_c = air_c + rng.normal(0.0, 1.3) + heated * 0.5 + 1.0 * warm
    mirrored = rng.uniform(0.05, 0.30) * (sky_c - air_c)
    roof_c = body_c + heated * 0.5 + mirrored * 0.7
    grey = (0.13, 0.14, 0.15)
    return Car(
        size_m=(size[0], size[1], size[2], size[3], size[4], size[5], size[6], size[7]),
        warm=warm,
        driving=driving,
        body=Paint(body_c, colour, 0),
        roof=Paint(roof_c, colour, 0),
        hood=Paint(roof_c + warm * rng.uniform(3, 13), colour, 0),
        glass=Paint(air_c + rng.uniform(-1.5, 0.8) + mirrored * 0.6 + warm * rng.uniform(0, 4), grey, 0),
        cabin_k=float(rng.uniform(0.3, 2.0)),
        tyre=Paint(body_c + rng.normal(-0.5, 0.8) + warm * rng.uniform(5, 16), (0.05, 0.05, 0.05), 0),
        disc=Paint(body_c + rng.normal(0, 0.7) + warm * rng.uniform(2, 14), (0.55, 0.55, 0.57), 0),
        grille=Paint(body_c - 0.8 + warm * rng.uniform(6, 24), (0.06, 0.06, 0.06), 0),
        exhaust=Paint(body_c + 1 + warm * rng.uniform(15, 50), (0.10, 0.10, 0.10), 0),
        under=Paint(air_c + 0.8 + warm * rng.uniform(4, 14) - 0.3 * sun, (0.03, 0.03, 0.03), 0),
        exhaust_side=float(rng.choice([-1.0, 1.0])),
        lights_on=driving and night,
        seed=int(rng.integers(1 << 30)),
    )


def car_shape(car: Car, x_m: float, z_m: float, heading: float, camera_m: Array, braking: bool = False) -> Shape:
    """The car with its middle at (x, z); only the sides that face the camera are added, in the order of painting."""
    length, width, height, belt, hood_end, _, _, rear_end = car.size_m
    shape = Shape(x_m, z_m, heading, by_depth=False, objects=(CAR,), texture_k=0.5, texture_seed=car.seed)
    shape.shadow_height_m = height
    nose = length / 2
    half, floor = width / 2, 0.20 + 0.06 * (height - 1.45)
    c, s = math.cos(heading), math.sin(heading)
    dx, dz = float(camera_m[0]) - x_m, float(camera_m[2]) - z_m
    eye = (c * dx - s * dz, float(camera_m[1]), s * dx + c * dz)

    def at(share: float) -> float:
        return nose - share * length

    def face(points: list[Point], centre: Point, paint: Paint) -> bool:
        """Adds the face of a convex part around `centre` where its outside is seen."""
        a, b, d = (np.array(points[i]) for i in (0, 1, 2))
        normal = np.cross(b - a, d - a)
        if np.dot(normal, a - np.array(centre)) < 0:
            normal = -normal
        seen = bool(np.dot(normal, np.array(eye) - a) > 0)
        if seen:
            shape.polygon(points, paint)
        return seen

    _ground_and_wheels(shape, car, eye)
    # lower body: its profile from the nose's foot round to the tail's foot, belt rising a little to the rear
    low, bumper = floor, 0.55 * belt
    tail = -nose
    profile = [
        (nose - 0.10, low), (nose, 0.40), (nose - 0.03, bumper + 0.1), (at(0.06), belt - 0.13), (at(hood_end), belt),
        (at(rear_end), belt + 0.03), (tail + 0.03, belt - 0.06), (tail, 0.45), (tail + 0.10, low),
    ]  # fmt: skip
    centre = (0.0, 0.55, 0.0)
    for i in range(len(profile) - 1):
        (f0, u0), (f1, u1) = profile[i], profile[i + 1]
        paint = car.hood if i in (2, 3) else car.roof if i in (4, 5) else car.body.warmer(-0.4 if i < 2 else 0.0, 0.9)
        narrow0, narrow1 = (0.9 if i < 2 or i > 5 else 1.0), (0.9 if i < 1 or i > 4 else 1.0)
        quad: list[Point] = [
            (-half * narrow0, u0, f0), (half * narrow0, u0, f0), (half * narrow1, u1, f1), (-half * narrow1, u1, f1)
        ]  # fmt: skip
        face(quad, centre, paint)
    for side in (-1.0, 1.0):
        if eye[0] * side > half:
            # wide to narrow: the outline first, then a door line and the sill
            shape.polygon([(side * half, u, f) for f, u in profile], car.body.warmer(0, 0.8))
            shape.polygon(
                [(side * half, u, f) for f, u in ((at(0.1), 0.5), (at(0.1), 0.42), (at(0.93), 0.42), (at(0.93), 0.5))],
                car.body.warmer(-0.6, 0.6),
            )
            for share in (hood_end + 0.04, (hood_end + rear_end) / 2):
                shape.polygon(
                    [
                        (side * half, u, at(share) + d)
                        for u, d in ((0.3, 0.0), (belt, 0.0), (belt, 0.025), (0.3, 0.025))
                    ],
                    car.body.warmer(0.4, 0.4),
                )
    _cabin(shape, car, eye)
    _ends(shape, car, eye, braking)
    for side in (-1.0, 1.0):
        if eye[0] * side > half:
            for f in (nose - 0.185 * length, tail + 0.19 * length):
                _disc(shape, (side * (half + 0.005), 0.32, f), 0.345, car.tyre.warmer(-0.5, 0.6))
                _disc(shape, (side * (half + 0.01), 0.31, f), 0.31, car.tyre)
                _disc(shape, (side * (half + 0.015), 0.31, f), 0.20, car.disc)
            shape.capsule(
                (side * (half + 0.04), belt + 0.05, at(hood_end + 0.1)),
                (side * (half + 0.15), belt + 0.06, at(hood_end + 0.1)),
                0.05,
                0.06,
                car.body,
            )
    return shape


def _disc(shape: Shape, centre: Point, radius: float, paint: Paint) -> None:
    turns = np.linspace(0, 2 * math.pi, 16, endpoint=False)
    shape.polygon(
        [(centre[0], centre[1] + radius * math.sin(a), centre[2] + radius * math.cos(a)) for a in turns], paint
    )


def _ground_and_wheels(shape: Shape, car: Car, eye: Point) -> None:
    length, width = car.size_m[0], car.size_m[1]
    nose, half = length / 2, width / 2
    under = car.under
    # what is seen between the wheels is the road in the car's shadow: not part of the labelled car
    shadow = Paint(under.temperature_c, under.colour, -1)
    w, f = half * 0.96, nose * 0.93
    shape.polygon([(-w, 0.01, -f), (w, 0.01, -f), (w, 0.01, f), (-w, 0.01, f)], shadow)
    shape.polygon(
        [(-w, 0.24, -f), (w, 0.24, -f), (w, 0.24, f), (-w, 0.24, f)] if eye[1] < 0.24 else
        [(-w, 0.0, 0.0), (w, 0.0, 0.0), (w, 0.22, 0.0), (-w, 0.22, 0.0)],
        Paint(under.temperature_c - 0.5, (0.02, 0.02, 0.02), -1),
    )  # fmt: skip
    for forward in sorted((nose - 0.185 * length, -nose + 0.19 * length), key=lambda g: -abs(g - eye[2])):
        for side in (-1.0, 1.0):
            x0, x1 = side * half * 0.98, side * (half * 0.98 - 0.2)
            shape.polygon([(x0, 0.0, forward), (x1, 0.0, forward), (x1, 0.5, forward), (x0, 0.5, forward)], car.tyre)


def _cabin(shape: Shape, car: Car, eye: Point) -> None:
    length, width, height, belt, hood_end, roof_start, roof_end, rear_end = car.size_m
    nose, half, top = length / 2, width / 2, 0.80 * width / 2

    def along(share: float) -> float:
        return nose - share * length

    f0, f1, f2, f3 = along(hood_end), along(roof_start), along(roof_end), along(rear_end)
    edge = 0.94 * half
    low, high = belt, height
    slope_front, slope_rear = f0 - f1, f2 - f3
    # seen faces of a convex part do not overlap, so their order is free; windows lie on their faces
    rise = high - low
    if (eye[2] - f0) * rise + (eye[1] - low) * slope_front > 0:
        _glazed(shape, car, [(-edge, low, f0), (edge, low, f0), (top, high, f1), (-top, high, f1)], 0.06, car.body)
    if (f3 - eye[2]) * rise + (eye[1] - low) * slope_rear > 0:
        inset = 0.1 if slope_rear > 0.25 else 0.14
        _glazed(shape, car, [(-edge, low, f3), (edge, low, f3), (top, high, f2), (-top, high, f2)], inset, car.body)
    for side in (-1.0, 1.0):
        if (eye[0] * side - edge) * rise + (eye[1] - low) * (edge - top) > 0:
            corners: list[Point] = [
                (side * edge, low, f0),
                (side * edge, low, f3),
                (side * top, high, f2),
                (side * top, high, f1),
            ]
            shape.polygon(corners, car.body.warmer(0, 0.85))
            lerp = [np.array(c) for c in corners]

            def on(u: float, f: float, lerp: list[Array] = lerp) -> Point:
                """u: 0 belt to 1 roof; f: 0 front edge to 1 rear edge."""
                bottom, upper = lerp[0] + (lerp[1] - lerp[0]) * f, lerp[3] + (lerp[2] - lerp[3]) * f
                x, y, z = bottom + (upper - bottom) * u
                return (float(x), float(y), float(z))

            for start, end in ((0.06, 0.48), (0.52, 0.92)):
                window = [on(0.08, start), on(0.08, end), on(0.86, end), on(0.86, start)]
                shape.polygon(window, car.glass.warmer(0.4 * car.cabin_k))
    if eye[1] > high:
        shape.polygon([(-top, high, f1), (top, high, f1), (top, high, f2), (-top, high, f2)], car.roof)


def _glazed(shape: Shape, car: Car, corners: list[Point], inset: float, body: Paint) -> None:
    """A face, its window, and inside the window the warmer lower half, where the cabin is seen."""
    shape.polygon(corners, body)
    points = np.array(corners)
    centre = points.mean(axis=0)
    window = centre + (points - centre) * (1 - 2 * inset)
    shape.polygon([(float(p[0]), float(p[1]), float(p[2])) for p in window], car.glass)
    lower = window.copy()
    lower[2:] = window[[1, 0]] + 0.45 * (window[2:] - window[[1, 0]])
    shape.polygon([(float(p[0]), float(p[1]), float(p[2])) for p in lower], car.glass.warmer(car.cabin_k))


def _ends(shape: Shape, car: Car, eye: Point, braking: bool) -> None:
    """Grille, plate, lamps, and the exhaust."""
    length, width, belt = car.size_m[0], car.size_m[1], car.size_m[3]
    nose, half = length / 2, width / 2

    def plate(x0: float, x1: float, u0: float, u1: float, f: float, paint: Paint) -> None:
        shape.polygon([(x0, u0, f), (x1, u0, f), (x1, u1, f), (x0, u1, f)], paint)

    if eye[2] > nose:
        f = nose + 0.005
        plate(-0.55 * half, 0.55 * half, 0.5 * belt, 0.72 * belt, f, car.grille)
        plate(-0.7 * half, 0.7 * half, 0.26, 0.4, f, car.grille.warmer(-2.0))
        plate(-0.2, 0.2, 0.42, 0.52, f + 0.01, car.body.warmer(-0.8, 0.9))
        lamp = Paint(
            car.body.temperature_c + 1.0 + (7.0 if car.lights_on else 0.0) + 2 * car.warm,
            (1.0, 0.97, 0.88) if car.lights_on else (0.75, 0.77, 0.8), 0, car.lights_on,
        )  # fmt: skip
        for side in (-1.0, 1.0):
            plate(side * 0.58 * half, side * 0.88 * half, 0.62 * belt, 0.78 * belt, f + 0.005, lamp)
    if eye[2] < -nose:
        f = -nose - 0.005
        plate(-0.26, 0.26, 0.55 * belt, 0.68 * belt, f, car.body.warmer(-1.0, 0.95))
        plate(
            -0.85 * half,
            0.85 * half,
            0.24,
            0.36,
            f,
            Paint((car.body.temperature_c + car.under.temperature_c) / 2, (0.08,) * 3, 0),
        )
        lit = braking or car.lights_on
        lamp = Paint(
            car.body.temperature_c + (2.5 if lit else 0.3), (0.9, 0.08, 0.05) if lit else (0.5, 0.05, 0.05), 0, lit
        )
        for side in (-1.0, 1.0):
            plate(side * 0.68 * half, side * 0.9 * half, 0.68 * belt, 0.9 * belt, f, lamp)
        x = car.exhaust_side * 0.55 * half
        plate(
            x - 0.22,
            x + 0.22,
            0.17,
            0.30,
            f - 0.004,
            Paint((car.exhaust.temperature_c + car.body.temperature_c) / 2, (0.06,) * 3, 0),
        )
        shape.capsule((x, 0.22, f - 0.02), (x, 0.22, f - 0.03), 0.05, 0.05, car.exhaust)
