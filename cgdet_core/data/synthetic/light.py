"""Weather and light of a synthetic street, and its two cameras: from its picture to temperatures, counts and RGB.

A surface is lit, and heated, by the sun as it is turned towards it, and mirrors the sky as it lies level. Maps of the
street from above hold what lamps, headlights and cast shadows make of a place.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from cgdet_core.config import SyntheticConfig
from cgdet_core.data.synthetic.painter import SUPERSAMPLING, Painting
from cgdet_core.data.synthetic.shapes import Camera, Colour, Placed
from cgdet_core.types import ImageArray

Picture = NDArray[np.float32]

_TILE_CELLS, _CELL_M = 256, 0.05
_FAR_M = 500.0
# the maps from above: half their width, their length and their cells in metres
_MAP_HALF_M, _MAP_LENGTH_M, _SHADOW_CELL_M, _LIGHT_CELL_M = 24.0, 96.0, 0.125, 0.5


class Climate:
    """The weather, by chance: a night or a day of the range of air temperatures that the settings allow. Temperatures
    are in degrees Celsius as a long-wave camera sees them, of surfaces in the shade."""

    def __init__(self, rng: np.random.Generator, config: SyntheticConfig) -> None:
        self.night = bool(rng.random() < 0.5) if config.light == "mixed" else config.light == "night"
        low, high = config.air_range_celsius
        self.air_c = float(low + (high - low) * (rng.uniform(0, 0.8) if self.night else rng.uniform(0.2, 1)))
        overcast = float(rng.random())
        self.sun = 0.0 if self.night or overcast > 0.65 else float(rng.uniform(0.3, 1.0))
        azimuth, elevation = rng.uniform(-math.pi, math.pi), rng.uniform(0.35, 1.0)
        level = math.cos(elevation)
        self.to_sun = np.array([math.sin(azimuth) * level, math.sin(elevation), math.cos(azimuth) * level])
        self.heat_k = float(rng.uniform(5, 20)) * self.sun  # what it adds to a black surface
        # the sky overhead; it warms to the air's temperature towards the horizon within sky_scale radians
        drop = float((2.5 + 24 * (1 - overcast) ** 1.5) * rng.uniform(0.6, 1.1))
        self.sky_c, self.sky_scale = self.air_c - drop, float(rng.uniform(0.2, 0.7))
        self.road_c = self.air_c + float(rng.uniform(-1.0, 3.5) if self.night else rng.uniform(-1.5, 1.5))
        self.wall_c = self.air_c + float(rng.uniform(-0.5, 3.5) if self.night else rng.uniform(-2.0, 1.5))
        self.foliage_c = self.air_c + float(rng.uniform(-1.5, 0.8))
        self.bare = bool(self.air_c < rng.uniform(0, 8))  # trees
        if self.night:
            dark = rng.uniform(0.02, 0.14)
            self.ambient = dark * rng.uniform((0.8, 0.85, 0.8), (1.1, 1.2, 1.3))
            self.sky_colour, self.horizon_colour = dark * np.array([[0.2, 0.22, 0.32], [1.3, 1.1, 0.9]])
        else:
            self.ambient = rng.uniform(0.45, 0.7) * np.array([0.95, 1.0, 1.05]) * (1.0 if self.sun else 1.3)
            clear = np.array([[0.35, 0.55, 0.85], [0.75, 0.83, 0.9]])
            self.sky_colour, self.horizon_colour = clear if self.sun else np.full((2, 3), 0.83)
        self.sunlight = self.sun * np.array([0.62, 0.57, 0.46])
        self.lamp: Colour = (1.0, 0.72, 0.42) if rng.random() < 0.5 else (0.95, 0.97, 1.0)
        self.headlights = float(rng.uniform(0.25, 0.8)) if self.night and rng.random() < 0.75 else 0.0


def noise_tile(seed: int) -> Picture:
    """float32 [257, 257], mean 0, variance 1, pink down to 32 cells; its edges meet."""
    rng = np.random.default_rng([seed, 5])
    per_cell = np.fft.fftfreq(_TILE_CELLS)
    spectrum = np.fft.fft2(rng.standard_normal((_TILE_CELLS, _TILE_CELLS)))
    tile = np.fft.ifft2(spectrum / (np.hypot(per_cell[:, None], per_cell) + 1 / 32)).real
    return np.asarray(np.pad((tile - tile.mean()) / tile.std(), ((0, 1), (0, 1)), mode="wrap"), dtype=np.float32)


def resolve(painting: Painting, bodies: Sequence[Placed], climate: Climate, noise: Picture) -> tuple[Picture, Picture]:
    """Degrees Celsius [H, W] and light [3, H, W] (1 is white) of a painted picture.

    bodies: what was painted after skyline and ground (bodies 0 and 1); noise: the street's `noise_tile`.
    """
    camera, primitives = painting.camera, painting.primitives
    kelvin, colour, sky_share = _average(painting, climate)
    index = painting.index[::SUPERSAMPLING, ::SUPERSAMPLING]
    body, x, y, z = painting.body[index], *_places(painting)
    if climate.night:
        seen = _from_above(_lamplight(climate, camera, bodies), x, z, _LIGHT_CELL_M)
        seen[primitives["glows"][index]] = 1
        colour *= np.moveaxis(seen, 2, 0)
    elif climate.sun:
        shadow = _from_above(_shadows(climate, camera, bodies), x, z, _SHADOW_CELL_M) * (body == 1)
        sunlight = climate.sunlight * climate.to_sun[1]
        share = np.asarray(sunlight / (climate.ambient + sunlight), np.float32)
        colour *= 1 - shadow * share[:, None, None]
        kelvin -= shadow * np.float32(0.3 * climate.heat_k * climate.to_sun[1])

    # the grain of surfaces, which sticks to them: over any plane of the street two of its metres change (u, v)
    origins = np.array([(0.0, 0.0)] * 3 + [tuple(each.origin_m[[0, 2]]) for each in bodies])
    origins[1:, 1] -= camera.position_m[2]
    across, along = np.moveaxis(((origins / _CELL_M) % _TILE_CELLS).astype(np.float32)[body + 1], 2, 0)
    u = (x + np.float32(0.3) * y) / np.float32(_CELL_M) - across
    v = (z + y) / np.float32(_CELL_M) - along
    u, v = u % np.float32(_TILE_CELLS), v % np.float32(_TILE_CELLS)
    grain: Picture = np.asarray(cv2.remap(noise, u, v, cv2.INTER_LINEAR), np.float32)
    grain *= primitives["texture_k"].astype(np.float32)[index] / (1 + (z / np.float32(20)) ** 2)
    kelvin += grain
    haze = (1 - np.exp(z * np.float32(-1 / 700))) * (1 - sky_share)
    kelvin += haze * (np.float32(climate.air_c) - kelvin)
    colour *= (1 + np.float32(0.2) * grain) * (1 - haze)
    colour += haze * np.asarray(climate.horizon_colour, np.float32)[:, None, None]
    _add_sky(climate, noise, camera, kelvin, colour, sky_share)
    return kelvin, colour


def _average(painting: Painting, climate: Climate) -> tuple[Picture, Picture, Picture]:
    """Temperatures [H, W] and colours [3, H, W] averaged over sub-pixels, 0 where nothing is; nothing's share."""
    primitives, (height, width) = painting.primitives, painting.camera.height_width_px
    normal, colour = primitives["normal"], primitives["colour"]
    flat = np.abs(normal).sum(axis=1) > 0
    lit = np.where(flat, np.maximum(0, normal @ climate.to_sun), 0.4)
    heat = climate.heat_k * lit * (1 - 0.7 * colour.mean(axis=1))
    level = np.where(flat, np.clip(normal[:, 1], 0.15, 1), 0.4)
    degrees = primitives["temperature_c"] + heat + primitives["mirror"] * level * (climate.sky_c - climate.air_c)
    if not climate.night:
        sky = np.where(flat, 0.85 + 0.15 * normal[:, 1], 0.9)[:, None]
        bright = climate.ambient * sky + climate.sunlight * lit[:, None]
        colour = colour * np.where(primitives["glows"][:, None], 1.0, bright)
    looks = np.column_stack([degrees, colour]).astype(np.float32)
    looks[0] = 0
    mean = cv2.resize(looks[painting.index], (width, height), interpolation=cv2.INTER_AREA)
    nothing = (painting.index == 0).astype(np.float32)
    share = np.asarray(cv2.resize(nothing, (width, height), interpolation=cv2.INTER_AREA))
    temperature, *colours = np.ascontiguousarray(np.moveaxis(mean, 2, 0))
    return temperature, np.stack(colours), share


def _add_sky(
    climate: Climate, noise: Picture, camera: Camera, kelvin: Picture, colour: Picture, share: Picture
) -> None:
    height, width = share.shape
    # by elevation of the row: the camera's roll is small enough to leave out
    above = (height / 2 - np.arange(height) - 0.5) / camera.focal_px
    elevation = np.arctan(above) + np.arcsin(camera.rotation[2, 1])
    low = np.exp(-np.maximum(elevation, 0.0) / climate.sky_scale)[:, None].astype(np.float32)
    clouds = cv2.resize(noise[:14, :20], (width, height), interpolation=cv2.INTER_CUBIC)
    sky = np.float32(climate.sky_c) + np.float32(climate.air_c - 1.0 - climate.sky_c) * low
    kelvin += share * (sky + np.float32(0.6) * clouds)
    for plane, zenith, horizon in zip(colour, climate.sky_colour, climate.horizon_colour, strict=True):
        plane += share * (np.float32(zenith) * (1 - low) + np.float32(horizon) * low)


def _lamplight(climate: Climate, camera: Camera, bodies: Sequence[Placed]) -> Picture:
    """Skylight, own headlights, street lamps and lit houses: [Z, X, 3] factors on colours by night, from above."""
    x = np.arange(-_MAP_HALF_M, _MAP_HALF_M, _LIGHT_CELL_M) + _LIGHT_CELL_M / 2
    ahead = (np.arange(0, _MAP_LENGTH_M, _LIGHT_CELL_M) + _LIGHT_CELL_M / 2)[:, None]
    width = 1.2 + 0.22 * ahead
    beam = climate.headlights * np.exp(-(((x - camera.position_m[0]) / width) ** 2)) / (1 + (ahead / 14) ** 2)
    pool = np.zeros_like(beam)
    glowing = (body for body in bodies if not body.labels and body.primitives["glows"].any())
    for lamp in (body.origin_m - camera.position_m for body in glowing):
        away2 = (x - lamp[0] - camera.position_m[0]) ** 2 + (ahead - lamp[2]) ** 2
        pool += 0.45 / (1 + away2 / 22.0) ** 1.5
    light = climate.ambient + beam[..., None] * (1.0, 0.95, 0.85) + pool[..., None] * climate.lamp
    return np.asarray(light, dtype=np.float32)


def _shadows(climate: Climate, camera: Camera, bodies: Sequence[Placed]) -> Picture:
    """1 where the sun does not reach the ground, else 0: [Z, X], from above."""
    to_sun = climate.to_sun
    canvas = np.zeros((int(_MAP_LENGTH_M / _SHADOW_CELL_M), int(2 * _MAP_HALF_M / _SHADOW_CELL_M)), np.uint8)
    corner = np.array([-_MAP_HALF_M, camera.position_m[2]])
    for body in bodies:
        points = body.points_m
        along = points[:, [0, 2]] - np.maximum(points[:, 1:2], 0) * (to_sun[[0, 2]] / to_sun[1])
        cells = ((along - corner) / _SHADOW_CELL_M * 16).clip(-30000, 60000).astype(np.int32)
        cv2.fillConvexPoly(canvas, cv2.convexHull(cells), 1, cv2.LINE_8, 4)
    return np.asarray(cv2.GaussianBlur(canvas.astype(np.float32), (0, 0), 1.2))


def _from_above(plan: Picture, x: Picture, z: Picture, cell_m: float) -> Picture:
    """A map from above, at the places of the picture."""
    column = (x + np.float32(_MAP_HALF_M)) * np.float32(1 / cell_m) - np.float32(0.5)
    row = z * np.float32(1 / cell_m) - np.float32(0.5)
    return np.asarray(cv2.remap(plan, column, row, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE))


def _places(painting: Painting) -> tuple[Picture, Picture, Picture]:
    """x, y and how far ahead of the camera along the road, in metres, is what every pixel sees."""
    camera, sub = painting.camera, slice(None, None, SUPERSAMPLING)
    nearness, ground = painting.nearness[sub, sub], painting.body[painting.index[sub, sub]] == 1
    (height, width), (right, below, forward) = nearness.shape, camera.rotation
    across = (np.arange(width) + 0.5 / SUPERSAMPLING - camera.centre_px[0]) / camera.focal_px
    down = ((np.arange(height) + 0.5 / SUPERSAMPLING - camera.centre_px[1]) / camera.focal_px)[:, None]
    rays = [np.asarray(across * right[k] + (down * below[k] + forward[k]), np.float32) for k in range(3)]
    plane = np.where(ground, rays[1] * np.float32(-1 / camera.position_m[1]), nearness)
    depth = 1 / np.maximum(plane, np.float32(1 / _FAR_M))
    x, y = (np.float32(camera.position_m[k]) + rays[k] * depth for k in (0, 1))
    return x, y, rays[2] * depth


class ThermalSensor:
    """One microbolometer camera: its scale, fixed pattern and dead pixels come from the street's seed."""

    def __init__(self, seed: int, config: SyntheticConfig, air_c: float) -> None:
        self._config, self._air_c = config, air_c
        rng = np.random.default_rng([seed, 3])
        height, width = config.height_width_px
        self._kelvin_per_count, self._offset_counts = float(rng.uniform(0.01, 0.04)), float(rng.uniform(7000, 30000))
        self._blur_px, self._noise_k = float(rng.uniform(0.5, 1.0)), float(rng.uniform(0.03, 0.10))
        self._drift_k, self._drift_phase = float(rng.uniform(0.1, 0.8)), float(rng.uniform(0, 6.28))
        y, x = (np.arange(height) / height - 0.5)[:, None], np.arange(width) / width - 0.5
        pattern = rng.normal(0, 0.8, width) + rng.normal(0, 0.25, (height, 1)) + rng.normal(0, 0.5, (height, width))
        self._pattern_k = (self._noise_k * pattern + rng.uniform(-1.6, 0.6) * (x * x + y * y)).astype(np.float32)
        dead = rng.random((height, width)) < rng.uniform(0, 2e-5)
        self._pattern_k[dead] += rng.choice([-12.0, 12.0], int(dead.sum()))
        # the 8-bit output: its percentiles (many cameras cut the sky and leave the street dark), top code and curve
        self._agc_cut = (float(rng.choice([rng.uniform(0.1, 2), rng.uniform(2, 25)])), float(rng.uniform(98.5, 99.95)))
        self._agc_top, self._agc_gamma = float(rng.uniform(120, 255)), float(rng.uniform(0.8, 1.9))

    def expose(self, temperatures_c: Picture, t: float, rng: np.random.Generator) -> ImageArray:
        """float32 [H, W] degrees Celsius -> uint16 counts, or uint8 after gain control."""
        kelvin: Any = (temperatures_c - np.float32(self._air_c)) * np.float32(self._config.thermal_contrast)
        kelvin = cv2.GaussianBlur(kelvin, (0, 0), self._blur_px) + self._pattern_k
        kelvin += rng.standard_normal(kelvin.shape, dtype=np.float32) * np.float32(self._noise_k)
        kelvin += np.float32(self._drift_k * math.sin(0.05 * t + self._drift_phase))
        if self._config.bit_depth == 16:
            counts = kelvin * np.float32(1 / self._kelvin_per_count) + np.float32(self._offset_counts)
            return np.asarray(np.clip(np.rint(counts), 0, 65535), dtype=np.uint16)
        low, high = (float(value) for value in np.percentile(kelvin[::4, ::4], self._agc_cut))
        high = max(high, low + 12 * self._noise_k)
        shown = np.clip((kelvin - low) / (high - low), 0, 1) ** np.float32(self._agc_gamma)
        return np.asarray(np.rint(shown * np.float32(self._agc_top)), dtype=np.uint8)


def expose_rgb(light: Picture, night: bool, rng: np.random.Generator) -> ImageArray:
    """float32 [3, H, W] of light, 1 is white -> uint8 [H, W, 3]; at night lamps bleed and gain adds noise."""
    colour: Any = cv2.merge(list(light))
    height, width = colour.shape[:2]
    if night:
        small = cv2.resize(colour, (width // 4, height // 4), interpolation=cv2.INTER_AREA)
        small = np.maximum(small - np.float32(0.7), 0)
        glow = cv2.GaussianBlur(small, (0, 0), 2.0) * 1.5 + cv2.GaussianBlur(small, (0, 0), 7) * 1.5
        colour = cv2.add(colour, cv2.resize(glow, (width, height), interpolation=cv2.INTER_LINEAR))
    grain = rng.standard_normal((height, width), dtype=np.float32) * np.float32(255 * (0.02 if night else 0.007))
    picture = cv2.GaussianBlur(colour, (3, 3), 0.6) * np.float32(255)
    picture = cv2.add(picture, cv2.merge([grain, grain, grain]))
    return np.asarray(cv2.convertScaleAbs(np.maximum(picture, 0)))
