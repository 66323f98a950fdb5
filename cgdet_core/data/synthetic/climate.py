"""The weather of a synthetic street: temperatures of air, sky and surfaces, sun and lamps."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from cgdet_core.config import SyntheticConfig
from cgdet_core.data.synthetic.camera import Colour


@dataclass(frozen=True)
class Climate:
    """Temperatures in degrees Celsius as a long-wave camera sees them (emissivity and mirrored sky included).

    sun: 0 none (night, overcast) to 1; sun_azimuth, sun_elevation in radians, azimuth 0 along the road;
    sky_zenith_c: the sky overhead, it warms to the air's temperature towards the horizon within sky_scale radians.
    """

    night: bool
    sun: float
    sun_azimuth: float
    sun_elevation: float
    air_c: float
    sky_zenith_c: float
    sky_scale: float
    cloud_k: float
    road_c: float
    pavement_c: float
    grass_c: float
    wall_c: float
    foliage_c: float
    trunk_c: float
    ambient: Colour
    sunlight: Colour
    sky_colour: Colour
    horizon_colour: Colour
    headlights: float
    lamp: Colour
    texture: float


def make_climate(rng: np.random.Generator, config: SyntheticConfig) -> Climate:
    """A night or a day of the range of air temperatures the settings allow."""
    night = bool(rng.random() < 0.5) if config.light == "mixed" else config.light == "night"
    low, high = config.air_range_celsius
    span = high - low
    air = float(rng.uniform(low, low + 0.8 * span) if night else rng.uniform(low + 0.2 * span, high))
    overcast = float(rng.random())
    sun = 0.0 if night or overcast > 0.65 else float(rng.uniform(0.3, 1.0))
    drop = (2.5 + 24 * (1 - overcast) ** 1.5) * rng.uniform(0.6, 1.1)
    stored = rng.uniform(-1.0, 3.5) if night else rng.uniform(-1.5, 1.5)
    road = air + stored + sun * rng.uniform(3, 16)
    if night:
        dark = rng.uniform(0.02, 0.14)
        ambient = (dark * rng.uniform(0.8, 1.1), dark * rng.uniform(0.85, 1.2), dark * rng.uniform(0.8, 1.3))
        sky: Colour = (0.2 * dark, 0.22 * dark, 0.32 * dark)
        horizon: Colour = (1.3 * dark, 1.1 * dark, 0.9 * dark)
        sunlight: Colour = (0.0, 0.0, 0.0)
    else:
        level = rng.uniform(0.45, 0.75) if sun else rng.uniform(0.5, 0.95)
        cool = rng.uniform(0.9, 1.15)
        ambient = (level * 0.95, level, level * cool)
        sunlight = (0.62 * sun, 0.57 * sun, 0.46 * sun)
        grey = rng.uniform(0.7, 0.95)
        sky = (0.35, 0.55, 0.85) if sun else (grey, grey, min(1.0, grey * 1.03))
        horizon = (0.75, 0.83, 0.9) if sun else (grey, grey, grey)
    lamp_kind = rng.random()
    return Climate(
        night=night,
        sun=sun,
        sun_azimuth=float(rng.uniform(-math.pi, math.pi)),
        sun_elevation=float(rng.uniform(0.3, 1.0)),
        air_c=air,
        sky_zenith_c=air - drop,
        sky_scale=float(rng.uniform(0.2, 0.7)),
        cloud_k=float(rng.uniform(0.1, 0.4) * (1 + drop / 8)),
        road_c=float(road),
        pavement_c=float(road + rng.normal(-0.2, 0.8) - 0.15 * sun * (road - air)),
        grass_c=float(air + rng.uniform(-2.0, 0.5) + sun * rng.uniform(0, 5)),
        wall_c=float(air + (rng.uniform(-0.5, 3.5) if night else rng.uniform(-2.0, 1.5))),
        foliage_c=float(air + rng.uniform(-1.0, 0.8) + sun * rng.uniform(0, 1.5)),
        trunk_c=float(air + rng.uniform(0.0, 3.0) + sun * rng.uniform(-1, 2)),
        ambient=(float(ambient[0]), float(ambient[1]), float(ambient[2])),
        sunlight=sunlight,
        sky_colour=sky,
        horizon_colour=horizon,
        headlights=float(rng.uniform(0.25, 0.8)) if night and rng.random() < 0.75 else 0.0,
        lamp=(1.0, 0.72, 0.42) if lamp_kind < 0.4 else (0.9, 1.0, 0.85) if lamp_kind < 0.7 else (0.95, 0.97, 1.0),
        texture=float(rng.uniform(0.5, 1.6)),
    )
