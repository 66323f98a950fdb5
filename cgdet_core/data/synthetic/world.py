"""The layout of a synthetic street and who is in it at a time: blocks along the road and streams of traffic.

Everything is a function of (seed, settings, time): a block of the road is drawn from (seed, its number), a slot of a
stream of traffic from (seed, stream, its number), so that a street has no end and a frame needs no frame before it.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass

import numpy as np

from cgdet_core.config import SyntheticConfig
from cgdet_core.data.synthetic.actors import (
    PAVEMENT_M,
    Actor,
    crossing,
    dog,
    driver,
    parked_bicycle,
    parked_car,
    rider,
    standing_group,
    walker,
)
from cgdet_core.data.synthetic.camera import Array, Camera, Shape
from cgdet_core.data.synthetic.climate import Climate, make_climate
from cgdet_core.data.synthetic.things import building, furniture, hedge, lamp, tree

BLOCK_M = 12.0


@dataclass(frozen=True)
class Block:
    """12 m of street: house fronts, what stands or walks there, the lamps' places, and the manholes' places, radii
    and excess temperatures."""

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
        climate, speed = self.climate, stream.speed_m_s
        x, z = stream.x_m + float(rng.uniform(-1, 1)) * stream.spread_m, self.start_m + s
        if stream.kind == "ride":
            return [rider(rng, climate, x, z, speed)]
        if stream.kind == "car":
            return [driver(rng, climate, x, z, speed)]
        actors = [
            walker(
                rng,
                climate,
                self.road_m,
                x + 0.55 * k + float(rng.uniform(-0.1, 0.1)),
                z + float(rng.uniform(-0.5, 0.5)),
                speed,
            )
            for k in range(int(rng.choice([1, 2, 3], p=[0.6, 0.3, 0.1])))
        ]
        if rng.random() < 0.06:
            actors.append(dog(rng, climate, x - 0.6, z + 0.4, speed))
        return actors

    def _block(self, k: int) -> Block:
        rng = np.random.default_rng([self.seed, 2, k + (1 << 40)])
        climate, persons = self.climate, self.config.persons_per_100m * BLOCK_M / 100
        z0 = k * BLOCK_M
        fronts: list[Shape] = []
        things: list[Shape] = []
        actors: list[Actor] = []
        lamps: list[tuple[float, float]] = []

        def along() -> float:
            return z0 + float(rng.uniform(0, BLOCK_M))

        def on_walk(low: float = 0.1, high: float = 0.9) -> float:
            return self.road_m + self.walk_m * float(rng.uniform(low, high))

        for side in (-1.0, 1.0):
            kind = int(rng.choice(4, p=self.frontage))
            if kind == 0:
                fronts.extend(building(rng, climate, side, self.front_m, z0 + float(rng.uniform(0, 2)), z0 + BLOCK_M))
            elif kind == 1:
                for _ in range(3):
                    things.append(tree(rng, climate, side * (self.front_m + float(rng.uniform(1.0, 9))), along(), 11))
            if kind in (1, 2):
                things.append(hedge(rng, climate, side, self.front_m + 0.5, z0, z0 + BLOCK_M, 10))
            if rng.random() < self.tree_chance and kind != 1:
                things.append(tree(rng, climate, side * (self.road_m + 0.6), z0 + float(rng.uniform(3, 9)), 14))
            if (k + (side > 0)) % self.lamp_every == 0:
                x, z = side * (self.road_m + 0.35), z0 + 1.0
                things.append(lamp(rng, climate, x, z, -side))
                lamps.append((x, z))
            for _ in range(int(rng.poisson(self.thing_chance))):
                things.append(furniture(rng, climate, side, on_walk(0.05, 0.95), along()))
            actors += self._parked_cars(rng, side, z0, kind == 3)
            actors += self._bicycle_stand(rng, side, on_walk(0.4, 0.8), z0)
            for _ in range(int(rng.poisson(0.38 * persons / 2 / 1.6))):
                actors += standing_group(rng, climate, self.road_m, side * on_walk(), along())
        if rng.random() < 0.12 * persons:
            z = along()
            arrival = (z - self.start_m) / self.speed_m_s if self.speed_m_s else None
            actors.append(crossing(rng, climate, self.road_m, self.road_m + 0.5 * self.walk_m, z, arrival))
        for thing in things:
            thing.y_m = PAVEMENT_M
            actors.append(_still(thing))
        manholes = tuple(
            (
                float(rng.uniform(-0.8, 0.8)) * self.road_m,
                along(),
                float(rng.uniform(0.3, 0.5)),
                float(rng.normal(1, 2.5)),
            )
            for _ in range(int(rng.poisson(0.5)))
        )
        return Block(tuple(fronts), tuple(actors), tuple(lamps), manholes)

    def _parked_cars(self, rng: np.random.Generator, side: float, z0: float, open_front: bool) -> list[Actor]:
        """Up to two cars: across the road where there is room beside it, else along it."""
        expected = self.config.cars_per_100m * BLOCK_M / 100 / 2 * (0.3 + 1.2 * self.parking)
        actors = []
        for i in range(min(int(rng.poisson(expected)), 2)):
            z = z0 + (i + 0.5) * BLOCK_M / 2 + float(rng.uniform(-0.3, 0.3))
            if open_front or self.narrow:
                heading = float(rng.choice([math.pi / 2, -math.pi / 2])) + float(rng.normal(0, 0.1))
                x = side * (self.front_m + 2.6)
            else:
                heading = (0.0 if side == self.drive else math.pi) + float(rng.normal(0, 0.03))
                x = side * (self.road_m - 1.0) if self.road_m > 5.0 else side * (self.road_m + 0.7)
            actors.append(parked_car(rng, self.climate, x, z, heading))
        return actors

    def _bicycle_stand(self, rng: np.random.Generator, side: float, x: float, z0: float) -> list[Actor]:
        """One to six bicycles side by side, or none."""
        expected = self.config.bicycles_per_100m * self.bikes_stand * BLOCK_M / 100 / 2
        if rng.random() >= expected / 2.2 * 1.3:
            return []
        across = rng.random() < 0.55
        heading = float(rng.choice([-1.0, 1.0])) * (math.pi / 2 if across else 0.0) + float(rng.normal(0, 0.2))
        start = z0 + float(rng.uniform(0, BLOCK_M - 4))
        actors = []
        for i in range(int(rng.choice([1, 2, 3, 4, 6], p=[0.4, 0.25, 0.15, 0.1, 0.1]))):
            bx, bz = (side * x, start + 0.75 * i) if across else (side * (x + 0.6 * i), start)
            actors.append(parked_bicycle(rng, self.climate, bx, bz, heading))
        return actors


def _still(shape: Shape) -> Actor:
    return lambda t, camera: shape
