"""Who walks, stands, rides, drives and parks in a synthetic street: functions of time and of the camera's place."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from cgdet_core.data.synthetic.camera import Array, Shape
from cgdet_core.data.synthetic.cars import car_shape, make_car
from cgdet_core.data.synthetic.climate import Climate
from cgdet_core.data.synthetic.people import (
    dog_shape,
    make_bicycle,
    make_person,
    parked_bicycle_shape,
    rider_shape,
    seen_edge_on,
    standing_shape,
)

PAVEMENT_M = 0.12

Actor = Callable[[float, Array], Shape]
"""A thing at time t in seconds as seen from a camera position [x, y, z]."""


def _steps(pace_m_s: float, height_m: float) -> float:
    """Radians of the step's phase per second, of somebody who takes strides of 0.84 body heights per turn."""
    return abs(pace_m_s) / (0.84 * height_m) * 2 * math.pi


def walker(
    rng: np.random.Generator, climate: Climate, road_m: float, x_m: float, z_m: float, speed_m_s: float
) -> Actor:
    """A person who walks along the road, at z_m at time 0."""
    person = make_person(rng, climate.air_c, climate.sun)
    heading = (0.0 if speed_m_s >= 0 else math.pi) + float(rng.normal(0, 0.12))
    phase, steps = float(rng.uniform(0, 6.28)), _steps(speed_m_s, person.height_m)
    stride = 0.34 + 0.06 * abs(speed_m_s)

    def actor(t: float, camera: Array) -> Shape:
        shape = standing_shape(person, x_m, z_m + speed_m_s * t, heading, phase + steps * t, stride)
        shape.y_m = PAVEMENT_M * (abs(x_m) > road_m)
        return shape

    return actor


def dog(rng: np.random.Generator, climate: Climate, x_m: float, z_m: float, speed_m_s: float) -> Actor:
    """A dog that walks along the road, at z_m at time 0."""
    heading, look = 0.0 if speed_m_s >= 0 else math.pi, int(rng.integers(1 << 30))

    def actor(t: float, camera: Array) -> Shape:
        own = np.random.default_rng(look)
        return dog_shape(own, x_m, z_m + speed_m_s * t, heading, 9 * t, climate.air_c)

    return actor


def rider(rng: np.random.Generator, climate: Climate, x_m: float, z_m: float, speed_m_s: float) -> Actor:
    """A person on a bicycle, at z_m at time 0."""
    person = make_person(rng, climate.air_c, climate.sun)
    bicycle = make_bicycle(rng, climate.air_c, climate.sun, 1)
    heading, phase = 0.0 if speed_m_s >= 0 else math.pi, float(rng.uniform(0, 6.28))

    def actor(t: float, camera: Array) -> Shape:
        z = z_m + speed_m_s * t
        turn = heading + 0.04 * math.sin(1.7 * t + phase)
        cranks = phase + abs(speed_m_s) * t * 1.1
        return rider_shape(person, bicycle, x_m, z, turn, cranks, seen_edge_on(turn, x_m, z, camera))

    return actor


def driver(rng: np.random.Generator, climate: Climate, x_m: float, z_m: float, speed_m_s: float) -> Actor:
    """A car that drives along the road, about z_m at time 0."""
    car = make_car(rng, climate.air_c, climate.sky_zenith_c, climate.sun, True, climate.night)
    heading = 0.0 if speed_m_s >= 0 else math.pi
    wobble, phase = float(rng.uniform(0, 1.5)), float(rng.uniform(0, 6.28))
    braking = bool(rng.random() < 0.3)

    def actor(t: float, camera: Array) -> Shape:
        z = z_m + speed_m_s * t + wobble * math.sin(0.3 * t + phase)
        return car_shape(car, x_m, z, heading, camera, braking)

    return actor


def parked_car(rng: np.random.Generator, climate: Climate, x_m: float, z_m: float, heading: float) -> Actor:
    """A car without a driver."""
    car = make_car(rng, climate.air_c, climate.sky_zenith_c, climate.sun, False, climate.night)

    def actor(t: float, camera: Array) -> Shape:
        return car_shape(car, x_m, z_m, heading, camera)

    return actor


def parked_bicycle(rng: np.random.Generator, climate: Climate, x_m: float, z_m: float, heading: float) -> Actor:
    """A bicycle without a rider."""
    bicycle = make_bicycle(rng, climate.air_c, climate.sun, 0)
    turn, steer = heading + float(rng.normal(0, 0.08)), float(rng.normal(0, 0.3))

    def actor(t: float, camera: Array) -> Shape:
        edge_on = seen_edge_on(turn, x_m, z_m, camera)
        shape = parked_bicycle_shape(bicycle, x_m, z_m, turn, edge_on, steer)
        shape.y_m = PAVEMENT_M
        return shape

    return actor


def standing_group(rng: np.random.Generator, climate: Climate, road_m: float, x_m: float, z_m: float) -> list[Actor]:
    """One to five persons who stand; several face each other."""
    count = int(rng.choice([1, 2, 3, 5], p=[0.6, 0.25, 0.1, 0.05]))
    actors: list[Actor] = []
    for i in range(count):
        turn = i * 2 * math.pi / count
        radius = 0.0 if count == 1 else 0.3 + 0.14 * count
        heading = turn + math.pi + float(rng.normal(0, 0.4)) if count > 1 else float(rng.uniform(0, 6.28))
        x, z = x_m + radius * math.sin(turn), z_m + radius * math.cos(turn)
        actors.append(_standing(rng, climate, road_m, x, z, heading))
    return actors


def _standing(
    rng: np.random.Generator, climate: Climate, road_m: float, x_m: float, z_m: float, heading: float
) -> Actor:
    person = make_person(rng, climate.air_c, climate.sun)
    phase = float(rng.uniform(0, 50))

    def actor(t: float, camera: Array) -> Shape:
        turn = heading + 0.2 * math.sin(0.4 * t + phase)
        shape = standing_shape(person, x_m, z_m, turn, phase + 6 * t, 0.0)
        shape.y_m = PAVEMENT_M * (abs(x_m) > road_m)
        return shape

    return actor


def crossing(
    rng: np.random.Generator, climate: Climate, road_m: float, edge_m: float, z_m: float, arrival_s: float | None
) -> Actor:
    """Somebody who crosses the road at z_m, from -edge_m to edge_m or back.

    arrival_s: when the camera's car comes by; the person is across before. None: the car stands, and the person walks
    to and fro.
    """
    person = make_person(rng, climate.air_c, climate.sun)
    direction, pace = float(rng.choice([-1.0, 1.0])), float(rng.uniform(1.0, 1.7))
    phase, margin = float(rng.uniform(0, 6.28)), float(rng.uniform(2.0, 5.0))
    steps = _steps(pace, person.height_m)

    def actor(t: float, camera: Array) -> Shape:
        heading, walking = direction * math.pi / 2, True
        if arrival_s is not None:
            along = pace * (t - arrival_s + margin) + 2.5
            x, walking = direction * min(max(along, -edge_m), edge_m), abs(along) < edge_m
        else:
            lap = (pace * t + phase * edge_m) % (4 * edge_m)
            back = lap >= 2 * edge_m
            x = direction * (3 * edge_m - lap if back else lap - edge_m)
            heading = -heading if back else heading
        shape = standing_shape(person, x, z_m, heading, phase + steps * t * walking, 0.45 if walking else 0.0)
        shape.y_m = PAVEMENT_M * (abs(x) > road_m)
        return shape

    return actor
