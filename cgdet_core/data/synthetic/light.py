"""From the painted picture to temperatures and light: sky, ground, walls, shadows, lamps and the grain of surfaces."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from cgdet_core.data.synthetic.camera import Array, Camera, Shape
from cgdet_core.data.synthetic.painter import SUPERSAMPLING, Painter
from cgdet_core.data.synthetic.world import Street

Picture = NDArray[np.float32]

# temperatures are averaged over sub-pixels as 16-bit codes
_CODES_PER_K = 200.0
_CODE_ZERO_C = -150.0


TILE_CELLS = 256


def noise_tile(seed: int) -> Picture:
    """float32 [TILE_CELLS, TILE_CELLS], mean 0, variance 1, with structure from 1 to 32 cells; its edges meet."""
    rng = np.random.default_rng([seed, 5])
    tile = np.zeros((TILE_CELLS, TILE_CELLS), np.float32)
    for size, weight in ((256, 0.7), (128, 0.7), (64, 0.6), (32, 0.6), (8, 0.5)):
        coarse = np.tile(rng.standard_normal((size, size), dtype=np.float32), (2, 2))
        fine = cv2.resize(coarse, (2 * TILE_CELLS, 2 * TILE_CELLS), interpolation=cv2.INTER_CUBIC)
        middle = slice(TILE_CELLS // 2, TILE_CELLS // 2 + TILE_CELLS)
        tile += weight * fine[middle, middle]
    return np.asarray((tile - tile.mean()) / tile.std(), dtype=np.float32)


def night_light(street: Street, x_m: NDArray[Any], z_m: NDArray[Any], camera: Camera) -> NDArray[Any]:
    """Factors [..., 3] on colours at places of the street: skylight, street lamps and the own headlights."""
    climate = street.climate
    ahead = np.maximum(z_m - camera.position_m[2], 0.5)
    width = 1.2 + 0.22 * ahead
    beam = climate.headlights * np.exp(-(((x_m - camera.position_m[0]) / width) ** 2)) / (1 + (ahead / 14) ** 2)
    light = np.array(climate.ambient) + beam[..., None] * np.array([1.0, 0.95, 0.85])
    pool = np.zeros_like(ahead)
    for block in street.blocks_in_view(float(camera.position_m[2])):
        for lx, lz in block.lamps_xz_m:
            pool = pool + 0.45 / (1 + ((x_m - lx) ** 2 + (z_m - lz) ** 2) / 22.0) ** 1.5
    return np.asarray(light + pool[..., None] * np.array(climate.lamp))


class Lighting:
    """Turns one street's painted pictures into what its two cameras receive."""

    def __init__(self, street: Street) -> None:
        self.street = street
        # laid out several times: OpenCV's wrapping border reads beyond its source near the horizon, where coordinates
        # are huge, so the border stays constant and the source is made large enough
        self._noise = np.tile(noise_tile(street.seed), (6, 4))

    def on_shapes(self, shapes: Sequence[Shape], camera: Camera) -> Array:
        """Factors [N, 3] on the shapes' colours."""
        climate = self.street.climate
        x, z = np.array([shape.x_m for shape in shapes]), np.array([shape.z_m for shape in shapes])
        if climate.night:
            return night_light(self.street, x, z, camera)
        return np.tile(np.array(climate.ambient) + 0.7 * np.array(climate.sunlight), (len(shapes), 1))

    def resolve(
        self, painter: Painter, ground: int, textured: list[tuple[int, Shape]], shadowing: list[Shape]
    ) -> tuple[Picture, Picture]:
        """Degrees Celsius [H, W] and light [3, H, W] (1 is white) of a painted picture.

        ground: the number of the ground's shape; textured: numbers and shapes that have a grain; shadowing: the
        shapes that throw shadows on the ground.
        """
        climate, camera = self.street.climate, painter.camera
        height, width = painter.height_width_px
        temperatures, colour, sky_share = _average(painter)
        # by elevation of the row: the camera's roll is small enough to leave out
        rows = np.arange(height) + 0.5
        elevation = np.arctan((camera.centre_px[1] - rows) / camera.focal_px) + np.arcsin(camera.rotation[2, 1])
        low = np.exp(-np.maximum(elevation, 0.0) / climate.sky_scale)
        sky_c = climate.sky_zenith_c + (climate.air_c - 1.0 - climate.sky_zenith_c) * low
        clouds = cv2.resize(self._noise[:14, :20], (width, height), interpolation=cv2.INTER_CUBIC)
        temperatures += sky_share * (sky_c.astype(np.float32)[:, None] + np.float32(climate.cloud_k) * clouds)
        for channel in range(3):
            tone = climate.sky_colour[channel] * (1 - low) + climate.horizon_colour[channel] * low
            colour[channel] += sky_share * tone.astype(np.float32)[:, None]
        owner = np.take(painter.shapes(), painter.index[::SUPERSAMPLING, ::SUPERSAMPLING].astype(np.intp))
        shade = np.ones((height, width), np.float32)
        self._ground(temperatures, colour, shade, owner == ground, camera, shadowing)
        for number, shape in textured:
            self._grain(temperatures, shade, owner, number, shape, painter)
        colour *= shade
        return temperatures, colour

    def _grain(
        self,
        temperatures: Picture,
        shade: Picture,
        owner: NDArray[np.int32],
        number: int,
        shape: Shape,
        painter: Painter,
    ) -> None:
        """The noise of one shape's surface."""
        height, width = owner.shape
        left, top, right, bottom = painter.bounds_px[number]
        x0, x1 = max(0, int(left) - 1), min(width, int(right) + 2)
        y0, y1 = max(0, int(top) - 1), min(height, int(bottom) + 2)
        if x1 - x0 < 3 or y1 - y0 < 3 or right - left < 4 or bottom - top < 12:
            return
        mask = owner[y0:y1, x0:x1] == number
        strength = shape.texture_k * self.street.climate.texture
        if shape.wall is not None:
            origin, u, v = (np.array(vector) for vector in shape.wall)
            to_pixels = painter.camera.plane_to_pixels(origin, u, v)
            distance = max(1.0, shape.z_m - float(painter.camera.position_m[2]))
            strength /= 1 + (distance / 30) ** 2
        else:
            # stretched over the shape: 8 by up to 24 patches of it, so that it moves and grows with it
            cells_y = 24.0
            cells_x = float(np.clip(cells_y * (right - left) / max(1.0, bottom - top), 8, 64))
            ay, ax = shape.texture_seed % 200, (shape.texture_seed // 997) % 190
            sx, sy = (right - left) / cells_x, (bottom - top) / cells_y
            to_pixels = np.array([[sx, 0, left - ax * sx], [0, sy, top - ay * sy], [0, 0, 1.0]])
        shift = np.array([[1.0, 0, -x0], [0, 1.0, -y0], [0, 0, 1.0]])
        pattern = self._warp(shift @ to_pixels, (x1 - x0, y1 - y0)) * mask
        temperatures[y0:y1, x0:x1] += np.float32(strength) * pattern
        shade[y0:y1, x0:x1] *= 1 + np.float32(0.05 if shape.wall is None else 0.12) * pattern

    def _warp(self, to_pixels: Array, size: tuple[int, int]) -> Picture:
        return np.asarray(
            cv2.warpPerspective(self._noise, to_pixels, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT)
        )

    def _ground(
        self,
        temperatures: Picture,
        colour: Picture,
        shade: Picture,
        mask: NDArray[np.bool_],
        camera: Camera,
        shadowing: list[Shape],
    ) -> None:
        """Grain of the road that moves with it, light of lamps and headlights, and by day the shadows."""
        climate = self.street.climate
        height, width = mask.shape
        cell = 0.05
        # the tile repeats, so its place may jump by its side as the camera goes on
        side = TILE_CELLS * cell
        origin = np.array([-2 * side, 0.0, np.floor(camera.position_m[2] / side) * side])
        to_pixels = camera.plane_to_pixels(origin, np.array([cell, 0, 0]), np.array([0, 0, cell]))
        step = 8
        ys, xs = np.mgrid[step // 2 : height : step, step // 2 : width : step]
        across, down = (xs - camera.centre_px[0]) / camera.focal_px, (ys - camera.centre_px[1]) / camera.focal_px
        rays = np.stack([across, down, np.ones_like(across)], axis=-1) @ camera.rotation
        reach = np.clip(camera.position_m[1] / np.maximum(-rays[..., 1], 1e-3), 0.5, 300)
        fade = cv2.resize((1 / (1 + (reach / 16) ** 2)).astype(np.float32), (width, height))
        grain = self._warp(to_pixels, (width, height)) * fade * mask
        temperatures += grain * np.float32(0.4 * climate.texture)
        shade += grain * np.float32(0.10)
        if climate.night:
            x, z = camera.position_m[0] + rays[..., 0] * reach, camera.position_m[2] + rays[..., 2] * reach
            light = cv2.resize(night_light(self.street, x, z, camera).astype(np.float32), (width, height))
            for channel in range(3):
                np.multiply(colour[channel], light[..., channel], out=colour[channel], where=mask)
            return
        shadow: Picture | None = None
        if climate.sun:
            shadow = self._shadows(camera, shadowing, (height, width))
            temperatures -= shadow * mask * np.float32(1.8 * climate.sun)
        for channel in range(3):
            lit = np.float32(climate.ambient[channel] + climate.sunlight[channel])
            full: Any = lit if shadow is None else lit - shadow * np.float32(climate.sunlight[channel])
            np.multiply(colour[channel], full, out=colour[channel], where=mask)

    def _shadows(self, camera: Camera, shapes: list[Shape], size: tuple[int, int]) -> Picture:
        """1 where the sun does not reach the ground, else 0."""
        climate = self.street.climate
        canvas = np.zeros(size, np.uint8)
        length = 1 / np.tan(climate.sun_elevation)
        away = np.array([-np.sin(climate.sun_azimuth), 0.0, -np.cos(climate.sun_azimuth)]) * length
        for shape in shapes:
            if not shape.shadow_height_m:
                continue
            x0, x1, z0, z1 = shape.footprint()
            base = np.array([(x0, 0, z0), (x1, 0, z0), (x1, 0, z1), (x0, 0, z1)], dtype=np.float64)
            if shape.by_depth:
                base = base.mean(axis=0) + (base - base.mean(axis=0)) * 0.5
            corners = camera.to_camera(np.concatenate([base, base + away * shape.shadow_height_m]))
            if (corners[:, 2] > 0.5).all():
                hull = cv2.convexHull(camera.to_pixels(corners).clip(-4000, 4000).astype(np.int32))
                cv2.fillConvexPoly(canvas, hull, 1)
        return np.asarray(cv2.GaussianBlur(canvas.astype(np.float32), (0, 0), 1.0))


def _average(painter: Painter) -> tuple[Picture, Picture, Picture]:
    """Temperatures [H, W] and colours [3, H, W] averaged over sub-pixels, 0 where nothing is; the share of nothing."""
    height, width = painter.height_width_px
    codes = np.zeros((len(painter.temperatures_c()), 4), np.uint16)
    codes[:, 0] = np.clip((painter.temperatures_c() - _CODE_ZERO_C) * _CODES_PER_K, 1, 65535)
    codes[:, 1:] = np.clip(painter.colours() * 65535, 0, 65535)
    codes[0] = 0
    coded = np.take(codes.view(np.uint64)[:, 0], painter.index.astype(np.intp)).view(np.uint16)
    mean = cv2.resize(coded.reshape(*painter.index.shape, 4), (width, height), interpolation=cv2.INTER_AREA)
    planes = cv2.split(mean)
    nothing = cv2.resize(
        (painter.index == 0).view(np.uint8) * np.uint8(4), (width, height), interpolation=cv2.INTER_AREA
    )
    share = nothing.astype(np.float32) * np.float32(0.25)
    temperatures = planes[0].astype(np.float32) * np.float32(1 / _CODES_PER_K) + np.float32(_CODE_ZERO_C) * (1 - share)
    colour = np.stack(planes[1:]).astype(np.float32) * np.float32(1 / 65535)
    return np.asarray(temperatures), np.asarray(colour), np.asarray(share)
