"""The layout of a synthetic street and who is in it at a time: blocks along the road and streams of traffic.

Everything is a function of (seed, settings, time): a block of the road is drawn from (seed, its number), a slot of a
stream of traffic from (seed, stream, its number), so that a street has no end and a frame needs no frame before it.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from cgdet_core.config import SyntheticConfig
from cgdet_core.data.street_camera import Array, Camera, Shape
from cgdet_core.data.street_cars import car_shape, make_car
from cgdet_core.data.street_climate import Climate, make_climate
from cgdet_core.data.street_people import (
    dog_shape,
    make_bicycle,
    make_person,
    parked_bicycle_shape,
    rider_shape,
    seen_edge_on,
    standing_shape,
)
from cgdet_core.data.street_things import building, furniture, hedge, lamp, tree

BLOCK_M = 12.0
PAVEMENT_M = 0.12

Actor = Callable[[float, Array], Shape]
"""A thing at time t in seconds as seen from a camera position."""


@dataclass(frozen=True)
class Block:
    """12 m of street: house fronts, and what stands or walks there."""

    fronts: tuple[Shape, ...]
    actors: tuple[Actor, ...]
    lamps_xz_m: tuple[tuple[float, float], ...]
    manholes_xzr: tuple[tuple[float, float, float, float], ...]


@dataclass(frozen=True)
class Stream:
    """Things that move along the road with one speed, in slots that move with them."""

    kind: str
    x_m: float
    spread_m: float
    speed_m_s: float
    slot_m: float
    chance: float
    keeps_clear_m: float


class Street:
    """The street number `seed`."""

    def __init__(self, seed: int, config: SyntheticConfig) -> None:
        self.seed, self.config = seed, config
        rng = np.random.default_rng([seed, 0])
        self.climate: Climate = make_climate(rng, config)
        self.fov_deg = float(rng.uniform(*config.horizontal_fov_range_deg))
        self.eye_m = float(rng.uniform(*config.camera_height_range_m))
        self.pitch = math.radians(float(rng.uniform(-4.5, 3.0)))
        self.yaw = math.radians(float(rng.normal(0, 2.5)))
        self.roll = math.radians(float(rng.normal(0, 0.5)))
        self.drive = 1.0 if rng.random() < 0.6 else -1.0
        self.narrow = bool(rng.random() < 0.35)
        self.road_m = float(rng.uniform(2.4, 3.4) if self.narrow else rng.uniform(3.8, 7.0))
        self.walk_m = float(rng.uniform(1.6, 4.5))
        self.front_m = self.road_m + self.walk_m + float(rng.uniform(0.3, 7.0))
        self.eye_x_m = self.drive * (0.2 * self.road_m if self.narrow else 0.42 * self.road_m)
        self.speed_m_s = float(rng.choice([0.0, rng.uniform(1.5, 4), rng.uniform(4, 12)], p=[0.3, 0.3, 0.4]))
        self.shake = float(rng.uniform(0.0005, 0.003)) if self.speed_m_s else 0.0002
        self.start_m = float(rng.uniform(0, 1000))
        style = rng.dirichlet([1.4, 0.9, 0.5, 0.5])
        self.frontage = style / style.sum()
        self.tree_chance = float(rng.uniform(0.1, 0.8))
        self.lamp_every = int(rng.integers(2, 5))
        self.thing_chance = float(rng.uniform(0.2, 0.8))
        self.parking = float(rng.uniform(0.0, 1.0))
        self.backdrop = float(rng.uniform(0.3, 2.2))
        self.bikes_stand = float(rng.uniform(0.2, 0.9))
        self.streams = self._streams(rng)
        self.block = functools.lru_cache(maxsize=64)(self._block)
        self.slot = functools.lru_cache(maxsize=512)(self._slot)

    def _streams(self, rng: np.random.Generator) -> tuple[Stream, ...]:
        config = self.config
        streams = []
        walkers = 0.5 * config.persons_per_100m * rng.uniform(0.6, 1.4)
        lanes = [(s, d) for s in (-1, 1) for d in (-1, 1)] + [(-1, 1), (1, -1)]
        for side, direction in lanes:
            x = side * (self.road_m + self.walk_m * rng.uniform(0.25, 0.75))
            if self.narrow and rng.random() < 0.35:
                x = side * self.road_m * rng.uniform(0.6, 0.9)
            streams.append(Stream("walk", x, 0.25 * self.walk_m, direction * rng.uniform(0.9, 1.7), 9.0,
                                  min(0.95, walkers / len(lanes) / 1.5 * 9.0 / 100), 0.0))  # fmt: skip
        riders = config.bicycles_per_100m * (1 - self.bikes_stand) * rng.uniform(0.7, 1.5)
        for side, direction in ((-1, 1), (1, -1), (-1, -1), (1, 1)):
            x = side * (self.road_m - 0.6 if rng.random() < 0.6 else self.road_m + 0.5 * self.walk_m)
            streams.append(
                Stream("ride", x, 0.3, direction * rng.uniform(2.5, 6.0), 14.0, min(0.9, riders / 4 * 14 / 100), 0.0)
            )
        if not self.narrow:
            moving = config.cars_per_100m * (1 - 0.75 * self.parking) * rng.uniform(0.4, 1.2)
            chance = min(0.9, moving / 2 * 16 / 100)
            lane = self.drive * 0.42 * self.road_m
            streams.append(Stream("car", lane, 0.15, self.speed_m_s, 16.0, chance, 9.0))
            streams.append(Stream("car", -lane, 0.15, -rng.uniform(4, 13), 16.0, chance, 0.0))
        return tuple(streams)

    def camera(self, t: float) -> Camera:
        """The camera at time t in seconds."""
        bob = self.shake * (math.sin(9.1 * t + self.seed % 7) + 0.6 * math.sin(23.7 * t))
        x = self.eye_x_m + (0.15 * math.sin(0.35 * t) if self.speed_m_s else 0.0)
        return Camera.looking(
            (x, self.eye_m, self.start_m + self.speed_m_s * t),
            self.yaw + 0.01 * math.sin(0.23 * t) * (self.speed_m_s > 0), self.pitch + bob, self.roll,
            self.fov_deg, self.config.height_width_px,
        )  # fmt: skip

    def blocks_in_view(self, eye_z_m: float) -> list[Block]:
        """Far ones first."""
        first = math.floor((eye_z_m - 3) / BLOCK_M)
        last = math.floor((eye_z_m + self.config.view_distance_m * 1.6) / BLOCK_M)
        return [self.block(k) for k in range(last, first - 1, -1)]

    def shapes(self, t: float, camera_m: Array) -> list[Shape]:
        """All that stands or moves on the street in view, without the house fronts."""
        actors = [actor for block in self.blocks_in_view(float(camera_m[2])) for actor in block.actors]
        for number, stream in enumerate(self.streams):
            actors += self._slots(number, stream, t, float(camera_m[2]))
        shapes = [actor(t, camera_m) for actor in actors]
        eye_z, eye_x = float(camera_m[2]), float(camera_m[0])

        def in_view(shape: Shape) -> bool:
            if shape.z_m - eye_z > self.config.view_distance_m * (1.0 if shape.objects else 1.5):
                return False
            x0, x1, z0, z1 = shape.footprint()
            if z1 < eye_z + 0.8 or (x0 - 0.5 < eye_x < x1 + 0.5 and z0 < eye_z + 1.6):
                return False
            # far outside the picture
            reach = math.tan(math.radians(self.fov_deg) / 2 + abs(self.yaw) + 0.02) * (z1 - eye_z) + 4
            return x0 - eye_x < reach and eye_x - x1 < reach

        return [shape for shape in shapes if in_view(shape)]

    def _slots(self, number: int, stream: Stream, t: float, eye_z: float) -> list[Actor]:
        drift = self.start_m + stream.speed_m_s * t
        first = math.floor((eye_z - 6 - drift) / stream.slot_m)
        last = math.floor((eye_z + self.config.view_distance_m - drift) / stream.slot_m)
        actors: list[Actor] = []
        for slot in range(first, last + 1):
            actors += self.slot(number, slot)
        return actors

    def _slot(self, number: int, slot: int) -> tuple[Actor, ...]:
        """Who is in a slot of a stream."""
        stream = self.streams[number]
        rng = np.random.default_rng([self.seed, 1, number, slot + (1 << 40)])
        if rng.random() >= stream.chance:
            return ()
        s = (slot + float(rng.uniform(0.25, 0.75))) * stream.slot_m
        if abs(s) < stream.keeps_clear_m:
            return ()
        return tuple(self._mover(rng, stream, s))

    def _mover(self, rng: np.random.Generator, stream: Stream, s: float) -> list[Actor]:
        climate, start, speed = self.climate, self.start_m, stream.speed_m_s
        heading = 0.0 if speed >= 0 else math.pi
        actors: list[Actor] = []
        if stream.kind == "walk":
            x = stream.x_m + rng.uniform(-1, 1) * stream.spread_m
            for k in range(int(rng.choice([1, 2, 3], p=[0.6, 0.3, 0.1]))):
                person = make_person(rng, climate.air_c, climate.sun)
                dx, dz, phase = 0.55 * k + rng.uniform(-0.1, 0.1), rng.uniform(-0.5, 0.5), float(rng.uniform(0, 6.28))
                turn = heading + float(rng.normal(0, 0.12))
                pace = abs(speed) / (0.42 * person.height_m) * math.pi / 1.25

                def walker(t: float, camera: Array, p=person, x=x + dx, s=s + dz, h=turn, f=phase, w=pace) -> Shape:  # type: ignore[no-untyped-def]
                    shape = standing_shape(p, x, start + s + speed * t, h, f + w * t, 0.36 + 0.06 * abs(speed))
                    shape.y_m = PAVEMENT_M * (abs(x) > self.road_m)
                    return shape

                actors.append(walker)
            if rng.random() < 0.06:
                dog_seed = int(rng.integers(1 << 30))

                def dog(t: float, camera: Array, x=x - 0.6, s=s + 0.4) -> Shape:  # type: ignore[no-untyped-def]
                    own = np.random.default_rng(dog_seed)
                    return dog_shape(own, x, start + s + speed * t, heading, 9 * t, climate.air_c)

                actors.append(dog)
        elif stream.kind == "ride":
            person = make_person(rng, climate.air_c, climate.sun)
            bicycle = make_bicycle(rng, climate.air_c, climate.sun, 1)
            x, phase = stream.x_m + rng.uniform(-1, 1) * stream.spread_m, float(rng.uniform(0, 6.28))

            def rider(t: float, camera: Array) -> Shape:
                z = start + s + speed * t
                turn = heading + 0.04 * math.sin(1.7 * t + phase)
                return rider_shape(
                    person, bicycle, x, z, turn, phase + abs(speed) * t * 1.1, seen_edge_on(turn, x, z, camera)
                )

            actors.append(rider)
        else:
            car = make_car(rng, climate.air_c, climate.sky_zenith_c, climate.sun, True, climate.night)
            x = stream.x_m + rng.uniform(-1, 1) * stream.spread_m
            wobble, phase = float(rng.uniform(0, 2.0)), float(rng.uniform(0, 6.28))
            braking = bool(rng.random() < 0.3)

            def driver(t: float, camera: Array) -> Shape:
                z = start + s + speed * t + wobble * math.sin(0.3 * t + phase)
                return car_shape(car, x, z, heading, camera, braking)

            actors.append(driver)
        return actors

    def _block(self, k: int) -> Block:
        rng = np.random.default_rng([self.seed, 2, k + (1 << 40)])
        climate, config = self.climate, self.config
        z0 = k * BLOCK_M
        fronts: list[Shape] = []
        actors: list[Actor] = []
        lamps: list[tuple[float, float]] = []

        def fixed(shape: Shape, raised: bool = True) -> None:
            shape.y_m = PAVEMENT_M if raised else 0.0
            actors.append(lambda t, camera: shape)

        def on_walk(low: float = 0.1, high: float = 0.9) -> float:
            return self.road_m + self.walk_m * float(rng.uniform(low, high))

        for side in (-1.0, 1.0):
            kind = int(rng.choice(4, p=self.frontage))
            if kind == 0:
                fronts.extend(building(rng, climate, side, self.front_m, z0 + float(rng.uniform(0, 2)), z0 + BLOCK_M))
            elif kind == 1:
                for _ in range(3):
                    fixed(
                        tree(
                            rng,
                            climate,
                            side * (self.front_m + float(rng.uniform(0.5, 9))),
                            z0 + float(rng.uniform(0, BLOCK_M)),
                            11,
                        )
                    )
                fixed(hedge(rng, climate, side, self.front_m, z0, z0 + BLOCK_M, 9))
            elif kind == 2:
                fixed(hedge(rng, climate, side, self.front_m, z0, z0 + BLOCK_M, 11))
            if rng.random() < self.tree_chance and kind != 1:
                fixed(tree(rng, climate, side * (self.road_m + 0.6), z0 + float(rng.uniform(3, 9)), 15))
            if (k + (side > 0)) % self.lamp_every == 0:
                x, z = side * (self.road_m + 0.35), z0 + 1.0
                fixed(lamp(rng, climate, x, z, -side))
                lamps.append((x, z))
            for _ in range(int(rng.poisson(self.thing_chance))):
                fixed(furniture(rng, climate, side, on_walk(0.05, 0.95), z0 + float(rng.uniform(0, BLOCK_M))))
            self._parked(rng, side, z0, kind == 3, actors)
            self._bicycle_stand(rng, side, on_walk(0.7, 1.0), z0, actors)
            share = 0.38 * config.persons_per_100m * BLOCK_M / 100 / 2
            for _ in range(int(rng.poisson(share / 1.6))):
                self._standing_group(rng, side * on_walk(), z0 + float(rng.uniform(0, BLOCK_M)), actors)
        if rng.random() < 0.12 * config.persons_per_100m * BLOCK_M / 100:
            self._crossing(rng, z0 + float(rng.uniform(0, BLOCK_M)), actors)
        manholes = tuple(
            (float(rng.uniform(-0.8, 0.8)) * self.road_m, z0 + float(rng.uniform(0, BLOCK_M)), float(rng.uniform(0.3, 0.5)), float(rng.normal(1.0, 2.5)))
            for _ in range(int(rng.poisson(0.5)))
        )  # fmt: skip
        return Block(tuple(fronts), tuple(actors), tuple(lamps), manholes)

    def _parked(self, rng: np.random.Generator, side: float, z0: float, open_front: bool, actors: list[Actor]) -> None:
        climate = self.climate
        count = int(rng.poisson(self.config.cars_per_100m * BLOCK_M / 100 / 2 * (0.3 + 1.2 * self.parking)))
        for i in range(min(count, 2)):
            car = make_car(rng, climate.air_c, climate.sky_zenith_c, climate.sun, False, climate.night)
            z = z0 + (i + 0.5) * BLOCK_M / 2 + float(rng.uniform(-0.3, 0.3))
            if open_front or self.narrow:
                heading = float(rng.choice([math.pi / 2, -math.pi / 2])) + float(rng.normal(0, 0.1))
                x = side * (self.front_m + 2.6)
            else:
                heading = (0.0 if side == self.drive else math.pi) + float(rng.normal(0, 0.03))
                x = side * (self.road_m - 1.0) if self.road_m > 5.0 else side * (self.road_m + 0.7)

            def parked(t: float, camera: Array, car=car, x=x, z=z, heading=heading) -> Shape:  # type: ignore[no-untyped-def]
                return car_shape(car, x, z, heading, camera)

            actors.append(parked)

    def _bicycle_stand(self, rng: np.random.Generator, side: float, x: float, z0: float, actors: list[Actor]) -> None:
        climate = self.climate
        expected = self.config.bicycles_per_100m * self.bikes_stand * BLOCK_M / 100 / 2
        if rng.random() >= expected / 2.2 * 1.3:
            return
        across = rng.random() < 0.55
        heading = float(rng.choice([-1.0, 1.0])) * (math.pi / 2 if across else 0.0) + float(rng.normal(0, 0.2))
        count = int(rng.choice([1, 2, 3, 4, 6], p=[0.4, 0.25, 0.15, 0.1, 0.1]))
        start = z0 + float(rng.uniform(0, BLOCK_M - 4))
        for i in range(count):
            bicycle = make_bicycle(rng, climate.air_c, climate.sun, 0)
            bx = side * (x + (0.0 if across else 0.6 * i))
            bz = start + (0.75 * i if across else 0.0)
            turn, steer = heading + float(rng.normal(0, 0.08)), float(rng.normal(0, 0.3))

            def bike(t: float, camera: Array, b=bicycle, x=bx, z=bz, h=turn, steer=steer) -> Shape:  # type: ignore[no-untyped-def]
                shape = parked_bicycle_shape(b, x, z, h, seen_edge_on(h, x, z, camera), steer)
                shape.y_m = PAVEMENT_M
                return shape

            actors.append(bike)

    def _standing_group(self, rng: np.random.Generator, x: float, z: float, actors: list[Actor]) -> None:
        climate = self.climate
        count = int(rng.choice([1, 2, 3, 5], p=[0.6, 0.25, 0.1, 0.05]))
        for i in range(count):
            person = make_person(rng, climate.air_c, climate.sun)
            turn = i * 2 * math.pi / count
            radius = 0.0 if count == 1 else 0.3 + 0.14 * count
            px, pz = x + radius * math.sin(turn), z + radius * math.cos(turn)
            heading = turn + math.pi + float(rng.normal(0, 0.4)) if count > 1 else float(rng.uniform(0, 6.28))
            phase = float(rng.uniform(0, 50))

            def standing(t: float, camera: Array, p=person, x=px, z=pz, h=heading, f=phase) -> Shape:  # type: ignore[no-untyped-def]
                shape = standing_shape(p, x, z, h + 0.2 * math.sin(0.4 * t + f), f + 6 * t, 0.0)
                shape.y_m = PAVEMENT_M * (abs(x) > self.road_m)
                return shape

            actors.append(standing)

    def _crossing(self, rng: np.random.Generator, z: float, actors: list[Actor]) -> None:
        """Somebody who crosses the road, well before the camera's car comes."""
        climate = self.climate
        person = make_person(rng, climate.air_c, climate.sun)
        direction, pace = float(rng.choice([-1.0, 1.0])), float(rng.uniform(1.0, 1.7))
        edge, phase = self.road_m + 0.5 * self.walk_m, float(rng.uniform(0, 6.28))
        margin = float(rng.uniform(2.0, 5.0))

        def crossing(t: float, camera: Array) -> Shape:
            if self.speed_m_s > 0:
                arrival = (z - self.start_m) / self.speed_m_s
                along = pace * (t - arrival + margin) + 2.5
                x = direction * min(max(along, -edge), edge)
                walking = abs(along) < edge
                heading = direction * math.pi / 2
            else:
                lap = (pace * t + phase * edge) % (4 * edge)
                x = direction * (lap - edge if lap < 2 * edge else 3 * edge - lap)
                walking, heading = True, direction * math.pi / 2 * (1 if lap < 2 * edge else -1)
            step = pace / (0.42 * person.height_m) * math.pi / 1.25
            shape = standing_shape(
                person, x, z, heading, phase + (step * t if walking else 0), 0.45 if walking else 0.0
            )
            shape.y_m = PAVEMENT_M * (abs(x) > self.road_m)
            return shape

        actors.append(crossing)
