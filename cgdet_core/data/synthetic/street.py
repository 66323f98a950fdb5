"""The synthetic street: paired RGB and thermal frames with exact boxes, from one 3-D street.

A frame is a function of (seed, settings, index), and needs no frame before it. What is on the street is drawn per slot
of a stream from (seed, stream, slot); houses and what stands are a stream too, of speed 0. So a street has no end.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np

from cgdet_core.config import SyntheticConfig
from cgdet_core.data.synthetic import scenery
from cgdet_core.data.synthetic.actors import BICYCLE, Bicycle, Person, car
from cgdet_core.data.synthetic.light import Climate, Picture, ThermalSensor, expose_rgb, noise_tile, resolve
from cgdet_core.data.synthetic.painter import Painting, paint
from cgdet_core.data.synthetic.shapes import Body, Camera, Placed
from cgdet_core.types import Frame, Sample

_BLOCK_M = 12.0
_LAMP_BLOCKS = 3  # from one street lamp to the next

Thing = Callable[[float], Placed]
"""What is on the street at a time in seconds."""


class Stream(NamedTuple):
    """Things along the road that move with one speed, in slots that move with them. make: who is in one, of its random
    numbers, the stream's x and speed and the slot's begin at time 0; chance: that a slot holds anything."""

    make: Callable[[np.random.Generator, float, float, float], Iterator[Thing]]
    x_m: float
    speed_m_s: float
    slot_m: float
    chance: float


class SyntheticStreet:
    """Street number `seed` (>= 0), seen by a thermal and an RGB camera that share lens and place."""

    def __init__(self, seed: int, config: SyntheticConfig | None = None) -> None:
        self.seed, self.config = seed, config or SyntheticConfig()
        rng = np.random.default_rng([seed, 0])
        self.climate = Climate(rng, self.config)
        self._fov_deg, self._eye_m = float(rng.uniform(30, 56)), float(rng.uniform(1.0, 2.2))
        self._angles = np.radians([rng.normal(0, 2.5), rng.uniform(-4.5, 3), rng.normal(0, 0.5)])
        self._drive = 1.0 if rng.random() < 0.6 else -1.0
        self._road_m, self._walk_m = float(rng.uniform(2.8, 7.0)), float(rng.uniform(1.6, 4.5))
        self._front_m = self._road_m + self._walk_m + float(rng.uniform(0.3, 7.0))
        self.speed_m_s = float(rng.choice([0.0, rng.uniform(1.5, 4), rng.uniform(4, 12)], p=[0.3, 0.3, 0.4]))
        self._start_m = float(rng.uniform(0, 1000))
        self._frontage = rng.dirichlet([1.4, 0.9, 0.8])  # houses, trees, open
        self._parking, self._bikes_stand = float(rng.uniform(0.0, 1.0)), float(rng.uniform(0.2, 0.9))
        self._far = scenery.skyline(rng, self.climate, float(rng.uniform(0.3, 2.2))).placed(0.0, 0.0)
        self._ground = scenery.ground(self.climate, self._road_m, self._front_m).placed(0.0, 0.0)
        self._streams = self._make_streams(rng)
        self._slot = functools.lru_cache(maxsize=512)(self._make_slot)
        self._sensor = ThermalSensor(seed, self.config, self.climate.air_c)
        self._noise = noise_tile(seed)

    def sample(self, index: int) -> Sample:
        """Frame number `index` >= 0, of that stamp: uint16 counts or uint8 [H, W]; rgb: uint8 [H, W, 3]; truth: the
        tight boxes of what is seen, regions to ignore where an object is hidden, cut or small."""
        t, night = index / self.config.frames_per_second, self.climate.night
        kelvin, light, painting = self.render(t)
        rng = np.random.default_rng([self.seed, 4, index])
        return Sample(
            name=f"street-{self.seed}/{index:06d}",
            frame=Frame(self._sensor.expose(kelvin, t, rng), round(t * 1e9), "thermal"),
            truth=painting.truth,
            rgb=expose_rgb(light, night, rng),
            light="night" if night else "day",
            scene=f"street-{self.seed}",
        )

    def render(self, t: float) -> tuple[Picture, Picture, Painting]:
        """Degrees Celsius [H, W], light [3, H, W] and the painted picture at time t."""
        camera, bodies = self.camera(t), self.bodies(t)
        z = float(camera.position_m[2])
        painting = paint(camera, [self._far.moved(z), self._ground.moved(z // _BLOCK_M * _BLOCK_M)], bodies)
        return (*resolve(painting, bodies, self.climate, self._noise), painting)

    def camera(self, t: float) -> Camera:
        """The camera at time t in seconds."""
        moves, (yaw, pitch, roll) = self.speed_m_s > 0, self._angles.tolist()
        bob = (0.0018 if moves else 0.0002) * (math.sin(9.1 * t + self.seed % 7) + 0.6 * math.sin(23.7 * t))
        x = self._drive * 0.42 * self._road_m + 0.15 * moves * math.sin(0.35 * t)
        angles = (yaw + 0.01 * moves * math.sin(0.23 * t), pitch + bob, roll)
        place = (x, self._eye_m, self._start_m + self.speed_m_s * t)
        return Camera.looking(place, angles, self._fov_deg, self.config.height_width_px)

    def bodies(self, t: float) -> list[Placed]:
        """All that stands or moves on the street in view."""
        (x, _, z), bodies = self.camera(t).position_m, []
        reach = math.tan(math.radians(self._fov_deg) / 2 + abs(float(self._angles[0])) + 0.02)
        for number, stream in enumerate(self._streams):
            begin, view_m = float(z) - stream.speed_m_s * t, 1.6 * self.config.view_distance_m
            slots = range(math.floor((begin - 6) / stream.slot_m), math.floor((begin + view_m) / stream.slot_m) + 1)
            for body in (thing(t) for slot in slots for thing in self._slot(number, slot)):
                low, high = body.points_m.min(axis=0), body.points_m.max(axis=0)
                if high[2] < z + 0.8 or (low[0] - 0.5 < x < high[0] + 0.5 and low[2] < z + 1.6):
                    continue  # behind the camera, or in its place
                aside, far = reach * (high[2] - z) + 4, self.config.view_distance_m if body.labels else view_m
                if low[2] - z < far and low[0] - x < aside and x - high[0] < aside:
                    bodies.append(body)
        return bodies

    def _make_slot(self, number: int, slot: int) -> tuple[Thing, ...]:
        """Who is in a slot of a stream."""
        stream, rng = self._streams[number], np.random.default_rng([self.seed, 1, number, slot + (1 << 40)])
        if rng.random() >= stream.chance:
            return ()
        return tuple(stream.make(rng, stream.x_m, stream.speed_m_s, slot * stream.slot_m))

    def _make_streams(self, rng: np.random.Generator) -> tuple[Stream, ...]:
        config = self.config
        streams = [Stream(self._block, 0.0, 0.0, _BLOCK_M, 1.0)]
        walkers = 0.5 * config.persons_per_100m * rng.uniform(0.6, 1.4)
        riders = config.bicycles_per_100m * (1 - self._bikes_stand) * rng.uniform(0.7, 1.5)
        cars = config.cars_per_100m * (1 - 0.75 * self._parking) * rng.uniform(0.4, 1.2)
        for side, direction in ((-1, 1), (-1, -1), (1, 1), (1, -1), (-1, 1), (1, -1)):
            x = side * (self._road_m + self._walk_m * rng.uniform(-0.1, 0.75))
            streams.append(Stream(self._walkers, x, direction * rng.uniform(0.9, 1.7), 9.0, walkers / 100))
            x = side * (self._road_m - 0.6 if rng.random() < 0.6 else self._road_m + 0.5 * self._walk_m)
            streams.append(Stream(self._rider, x, direction * rng.uniform(2.5, 6.0), 14.0, riders * 2.3 / 100))
        lane = self._drive * 0.42 * self._road_m
        streams.append(Stream(self._driver, lane, self.speed_m_s, 16.0, cars * 8 / 100))
        streams.append(Stream(self._driver, -lane, -rng.uniform(4, 13), 16.0, cars * 8 / 100))
        return tuple(streams)

    def _placed(self, body: Body, x: float, z: float, heading: float) -> Placed:
        """On the road or the pavement."""
        return body.placed(x, z, heading, scenery.PAVEMENT_M * (abs(x) > self._road_m))

    def _walkers(self, rng: np.random.Generator, x_m: float, speed: float, z_m: float) -> Iterator[Thing]:
        """One to three persons who walk along the road."""
        x_m, z_m = x_m + float(rng.uniform(-0.25, 0.25)) * self._walk_m, z_m + float(rng.uniform(2, 7))
        for k in range(int(rng.choice([1, 2, 3], p=[0.6, 0.3, 0.1]))):
            x, z = x_m + 0.6 * k + float(rng.uniform(-0.1, 0.1)), z_m + float(rng.uniform(-0.5, 0.5))
            person, phase = Person(rng, self.climate), float(rng.uniform(0, 6.28))
            yield functools.partial(self._walking, person, x, z, speed, phase)

    def _walking(self, person: Person, x: float, z: float, speed: float, phase: float, t: float) -> Placed:
        heading = math.pi * (speed < 0) + 0.03 * (phase - 3)
        return self._placed(person.walking(phase, speed, t), x, z + speed * t, heading)

    def _crossing(self, person: Person, z: float, speed: float, phase: float, t: float) -> Placed:
        """To and fro across the road."""
        edge = self._road_m + 0.5 * self._walk_m
        lap = (speed * t + phase) % (4 * edge)
        x, heading = (lap - edge, 0.5 * math.pi) if lap < 2 * edge else (3 * edge - lap, -0.5 * math.pi)
        return self._placed(person.walking(phase, speed, t), x, z, heading)

    def _rider(self, rng: np.random.Generator, x_m: float, speed: float, z_m: float) -> Iterator[Thing]:
        person, bicycle = Person(rng, self.climate), Bicycle(rng, self.climate)
        phase, x, z = (float(value) for value in rng.uniform((0, x_m - 0.3, z_m + 3), (6.28, x_m + 0.3, z_m + 11)))
        heading, cadence = math.pi * (speed < 0), 1.1 * abs(speed)
        yield lambda t: self._placed(person.riding(bicycle, phase + cadence * t), x, z + speed * t, heading)

    def _driver(self, rng: np.random.Generator, x_m: float, speed: float, z_m: float) -> Iterator[Thing]:
        if abs(z_m + 8 - self._start_m) < 12 and speed == self.speed_m_s:
            return  # none in the camera's own place
        placed = self._placed(car(rng, self.climate, driving=True), x_m, z_m + 8, math.pi * (speed < 0))
        wobble, phase = float(rng.uniform(0, 1.5)), float(rng.uniform(0, 6.28))
        yield lambda t: placed.moved(speed * t + wobble * math.sin(0.3 * t + phase))

    def _block(self, rng: np.random.Generator, x_m: float, speed: float, z0: float) -> Iterator[Thing]:
        """12 m of street: house fronts, and what stands there."""
        climate, block = self.climate, round(z0 / _BLOCK_M)
        config, share = self.config, _BLOCK_M / 100
        persons, bicycles = config.persons_per_100m * share, config.bicycles_per_100m * share * self._bikes_stand
        parked = config.cars_per_100m * share / 2 * (0.3 + 1.2 * self._parking)

        def still(body: Body, x: float, z: float, heading: float = 0.0) -> Thing:
            placed = self._placed(body, x, z, heading)
            return lambda t: placed

        def along() -> float:
            return z0 + float(rng.uniform(0, _BLOCK_M))

        def on_walk(low: float = 0.1, high: float = 0.9) -> float:
            return self._road_m + self._walk_m * float(rng.uniform(low, high))

        if block % _LAMP_BLOCKS == 0:
            side = 1.0 if block // _LAMP_BLOCKS % 2 else -1.0
            yield still(scenery.lamp(rng, climate, -side), side * (self._road_m + 0.35), z0 + 1)
        for side in (-1.0, 1.0):
            kind = int(rng.choice(3, p=self._frontage))
            if kind == 0:
                yield still(scenery.building(rng, climate, side, _BLOCK_M - 1), side * self._front_m, z0 + 1)
            for _ in range(2 if kind == 1 else 0):
                yield still(scenery.tree(rng, climate), side * (self._front_m + float(rng.uniform(1, 9))), along())
            if kind != 1 and rng.random() < 0.45:
                yield still(scenery.tree(rng, climate), side * (self._road_m + 0.6), along())
            if rng.random() < 0.4:
                yield still(scenery.furniture(rng, climate), side * on_walk(), along())

            for k in range(min(int(rng.poisson(parked)), 2)):
                x, z = side * (self._road_m + (-1.0 if self._road_m > 5 else 0.7)), z0 + (k + 0.5) * _BLOCK_M / 2
                heading = math.pi * (side != self._drive)
                if kind == 2:  # across the road, where there is room beside it
                    x, heading = side * (self._front_m + 2.6), float(rng.choice([-0.5, 0.5])) * math.pi
                yield still(car(rng, climate, driving=False), x, z, heading + float(rng.normal(0, 0.05)))

            if rng.random() < 0.3 * bicycles:
                x, z, heading = side * on_walk(0.4, 0.8), along(), float(rng.choice([-1.5, 0, 1.5]))
                for k in range(int(rng.choice([1, 2, 3, 4, 6], p=[0.4, 0.25, 0.15, 0.1, 0.1]))):
                    at = (x, z + 0.75 * k) if heading else (x + side * 0.6 * k, z)
                    bicycle = Bicycle(rng, climate).add_to(Body(BICYCLE, texture_k=0.3), float(rng.normal(0, 0.3)))
                    yield still(bicycle, *at, heading + float(rng.normal(0, 0.15)))
            for _ in range(int(rng.poisson(0.12 * persons))):
                x, z = side * on_walk(), along()
                for k in range(int(rng.choice([1, 2, 3, 5], p=[0.6, 0.25, 0.1, 0.05]))):
                    at = (x + 0.5 * k % 1.1, z + 0.4 * k)
                    yield still(Person(rng, climate).walking(0.0, 0.0, 0.0), *at, float(rng.uniform(0, 6.28)))
        if rng.random() < 0.12 * persons:
            pace, phase = float(rng.uniform(1.0, 1.7)), float(rng.uniform(0, 30))
            yield functools.partial(self._crossing, Person(rng, climate), along(), pace, phase)


def synthetic_training_sample(seed: int, index: int, config: SyntheticConfig | None = None) -> Sample:
    """A frame of street number seed + index at a random time, with bit depth and contrast drawn too."""
    rng = np.random.default_rng([seed + index, 6])
    contrast = float(rng.choice([1.0, rng.uniform(0.25, 1.0), rng.uniform(1.0, 1.4)], p=[0.5, 0.35, 0.15]))
    drawn = {"bit_depth": 8 if rng.random() < 0.5 else 16, "thermal_contrast": contrast}
    street = SyntheticStreet(seed + index, (config or SyntheticConfig()).model_copy(update=drawn))
    return street.sample(int(rng.integers(0, 100_000)))
