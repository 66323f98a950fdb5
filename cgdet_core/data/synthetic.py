"""The synthetic street: paired RGB and thermal frames with exact boxes, from one 3-D street.

A frame is a function of (seed, settings, index): frames may be asked for in any order and in any process.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from cgdet_core.config import SyntheticConfig
from cgdet_core.data.street_camera import Array, Camera, Paint, Shape
from cgdet_core.data.street_painter import SHIFT, SUPERSAMPLING, Labelled, Painter, fill, painting_order
from cgdet_core.data.street_sensor import ThermalSensor, expose_rgb
from cgdet_core.data.street_world import BLOCK_M, PAVEMENT_M, Block, Street
from cgdet_core.types import Frame, GroundTruth, ImageArray, Sample

Picture = NDArray[np.float32]


class SyntheticStreet:
    """Street number `seed` (>= 0), seen by a thermal and an RGB camera that share lens and place."""

    def __init__(self, seed: int, config: SyntheticConfig = SyntheticConfig()) -> None:
        if seed < 0:
            raise ValueError(f"the seed of a street is 0 or more, not {seed}")
        self.seed, self.config = seed, config
        self.street = Street(seed, config)
        self.sensor = ThermalSensor(seed, config, self.street.climate.air_c)
        self._noise = _noise_tile(seed)

    def sample(self, index: int) -> Sample:
        """Frame number `index` >= 0, at index / frames_per_second seconds.

        frame: uint16 counts or uint8 [H, W]; rgb: uint8 [H, W, 3]; truth: the tight boxes of what is seen, with
        regions to ignore where an object is hidden or small (SyntheticConfig.min_visible, min_height_px).
        """
        if index < 0:
            raise ValueError(f"the index of a frame is 0 or more, not {index}")
        config = self.config
        t = index / config.frames_per_second
        temperatures, colour, painter = self._render(t)
        rng = np.random.default_rng([self.seed, 4, index])
        stamp = config.start_stamp_ns + round(index * 1e9 / config.frames_per_second)
        night = self.street.climate.night
        return Sample(
            name=f"street-{self.seed}/{index:06d}",
            frame=Frame(self.sensor.expose(temperatures, t, rng), stamp, "thermal"),
            truth=_truth(painter, config),
            rgb=expose_rgb(colour, night, rng),
            light="night" if night else "day",
            scene=f"street-{self.seed}",
        )

    def _render(self, t: float) -> tuple[Picture, Picture, Painter]:
        """Degrees Celsius [H, W], light [H, W, 3] and the painted picture at time t."""
        street = self.street
        camera = street.camera(t)
        painter = Painter(camera, self.config.height_width_px)
        blocks = street.blocks_in_view(float(camera.position_m[2]))
        ground = self._paint_ground(painter, blocks)
        fronts = [(painter.paint(shape, self._light(shape, camera), self._haze(shape, camera)), shape)
                  for block in blocks for shape in block.fronts]  # fmt: skip
        shapes = street.shapes(t, camera.position_m)
        numbers: list[tuple[int, Shape]] = []
        if shapes:
            footprints = np.array([shape.footprint() for shape in shapes])
            for i in painting_order(footprints, camera.position_m):
                shape = shapes[i]
                number = painter.paint(shape, self._light(shape, camera), self._haze(shape, camera))
                if shape.texture_k:
                    numbers.append((number, shape))
        return (*self._look_up(painter, camera, ground, fronts + numbers, shapes), painter)

    def _paint_ground(self, painter: Painter, blocks: list[Block]) -> int:
        street, climate = self.street, self.street.climate
        eye_z = float(painter.camera.position_m[2])
        z0, z1 = eye_z - 2.0, eye_z + 400.0
        road, front = street.road_m, street.front_m

        def strip(x0: float, x1: float, y: float, a: float, b: float) -> Array:
            return np.array([(x0, y, a), (x1, y, a), (x1, y, b), (x0, y, b)], dtype=np.float64)

        grass = Paint(climate.grass_c, (0.25, 0.32, 0.16))
        walk = Paint(climate.pavement_c, (0.52, 0.50, 0.47))
        asphalt = Paint(climate.road_c, (0.27, 0.27, 0.28))
        polygons = [(strip(-300, 300, 0.0, z0, z1), grass)]
        for side in (-1.0, 1.0):
            polygons.append((strip(side * road, side * front, PAVEMENT_M, z0, z1), walk))
            kerb = [
                (side * road, 0, z0),
                (side * road, 0, z1),
                (side * road, PAVEMENT_M, z1),
                (side * road, PAVEMENT_M, z0),
            ]
            polygons.append((np.array(kerb, dtype=np.float64), walk.warmer(0.5, 1.1)))
        polygons.append((strip(-road, road, 0.0, z0, z1), asphalt))
        if not street.narrow:
            for lane in (-0.42 * road, 0.42 * road):
                for wheel in (-0.75, 0.75):
                    x = lane + wheel
                    polygons.append((strip(x - 0.18, x + 0.18, 0.0, z0, z1), asphalt.warmer(0.35, 0.94)))
        paint_line = Paint(climate.road_c - 0.4 - 1.5 * climate.sun, (0.8, 0.8, 0.78))
        for side in (-1.0, 1.0):
            polygons.append((strip(side * (road - 0.25), side * (road - 0.15), 0.0, z0, z1), paint_line))
        first = int(np.floor(z0 / 6.0))
        for k in range(first, first + 20):
            if not street.narrow:
                polygons.append((strip(-0.07, 0.07, 0.0, 6.0 * k, 6.0 * k + 3.0), paint_line))
        for block in blocks:
            for x, z, radius, kelvin in block.manholes_xzr:
                turn = np.linspace(0, 2 * np.pi, 14, endpoint=False)
                disc = np.stack([x + radius * np.cos(turn), np.zeros(14), z + radius * np.sin(turn)], axis=1)
                polygons.append((disc, asphalt.warmer(kelvin, 0.8)))
        return painter.paint_ground(polygons, (1.0, 1.0, 1.0))

    def _light(self, shape: Shape, camera: Camera) -> tuple[float, float, float]:
        climate = self.street.climate
        if not climate.night:
            lit = [a + 0.7 * s for a, s in zip(climate.ambient, climate.sunlight, strict=True)]
        else:
            lit = list(self._night_light(np.array(shape.x_m), np.array(shape.z_m), camera).reshape(3))
        return (float(lit[0]), float(lit[1]), float(lit[2]))

    def _night_light(self, x: NDArray[Any], z: NDArray[Any], camera: Camera) -> NDArray[Any]:
        """Factors [..., 3] of ambient light, street lamps and the own headlights at places of the street."""
        climate = self.street.climate
        ahead = np.maximum(z - camera.position_m[2], 0.5)
        width = 1.2 + 0.22 * ahead
        beam = climate.headlights * np.exp(-(((x - camera.position_m[0]) / width) ** 2)) / (1 + (ahead / 14) ** 2)
        light = np.array(climate.ambient) + beam[..., None] * np.array([1.0, 0.95, 0.85])
        for block in self.street.blocks_in_view(float(camera.position_m[2])):
            for lx, lz in block.lamps_xz_m:
                pool = 0.30 / (1 + (((x - lx) ** 2 + (z - lz) ** 2) / 20.0)) ** 1.5
                light = light + pool[..., None] * np.array(climate.lamp)
        return np.asarray(light)

    def _haze(self, shape: Shape, camera: Camera) -> tuple[float, float, tuple[float, float, float]]:
        climate = self.street.climate
        distance = max(0.0, shape.z_m - float(camera.position_m[2]))
        return (1 - float(np.exp(-distance / 700.0)), climate.air_c, climate.horizon_colour)

    def _look_up(
        self, painter: Painter, camera: Camera, ground: int, textured: list[tuple[int, Shape]], shapes: list[Shape]
    ) -> tuple[Picture, Picture]:
        climate = self.street.climate
        height, width = self.config.height_width_px
        size = (width, height)
        index = painter.index
        # sky: by elevation of the row; the camera's roll is small enough to leave out
        rows = np.arange(height * SUPERSAMPLING) / SUPERSAMPLING
        elevation = np.arctan((camera.centre_px[1] - rows) / camera.focal_px) + np.arcsin(camera.rotation[2, 1])
        share = np.exp(-np.maximum(elevation, 0.0) / climate.sky_scale)
        sky_c = (climate.sky_zenith_c + (climate.air_c - 1.0 - climate.sky_zenith_c) * share).astype(np.float32)
        table = np.array(painter.temperatures_c, dtype=np.float32)
        fine = np.take(table, index)
        open_sky = index == 0
        np.copyto(fine, sky_c[:, None], where=open_sky)
        temperatures = cv2.resize(fine, size, interpolation=cv2.INTER_AREA)
        # colours, 8 bits each, packed in one look-up
        packed = np.zeros((len(painter.colours), 4), np.uint8)
        packed[:, :3] = np.clip(np.array(painter.colours) * 255, 0, 255)
        coded = np.take(packed.view(np.uint32)[:, 0], index).view(np.uint8).reshape(*index.shape, 4)
        colour = cv2.resize(coded, size, interpolation=cv2.INTER_AREA)[..., :3].astype(np.float32) / 255
        sky_share = cv2.resize(open_sky.astype(np.float32), size, interpolation=cv2.INTER_AREA)
        mix = share[::SUPERSAMPLING, None]
        sky_rgb = np.array(climate.sky_colour) * (1 - mix) + np.array(climate.horizon_colour) * mix
        colour += sky_share[..., None] * sky_rgb[:, None].astype(np.float32)
        clouds = self._tile_window((0, 0, width, height), 2.0)
        temperatures += sky_share * clouds * climate.cloud_k
        owner = np.take(np.array(painter.shapes, dtype=np.int32), index[::SUPERSAMPLING, ::SUPERSAMPLING])
        self._ground_texture(temperatures, colour, owner == ground, camera, shapes)
        bounds = _bounds(owner, [number for number, _ in textured])
        for number, shape in textured:
            if number in bounds:
                y0, y1, x0, x1 = bounds[number]
                mask = owner[y0:y1, x0:x1] == number
                pattern = self._tile_window((x0, y0, x1 - x0, y1 - y0), 0.0, shape.texture_seed) * mask
                temperatures[y0:y1, x0:x1] += shape.texture_k * climate.texture * pattern
                colour[y0:y1, x0:x1] *= (1 + 0.12 * pattern)[..., None]
        return temperatures, colour

    def _tile_window(self, window: tuple[int, int, int, int], zoom: float, seed: int = 0) -> Picture:
        """A piece of noise the size of the window (x, y, width, height), stretched over it so that it sticks to it."""
        _, _, width, height = window
        side = self._noise.shape[0]
        cells_y = 48
        cells_x = int(np.clip(cells_y * width / max(1, height), 8, 160))
        y, x = seed % (side - cells_y), (seed // 997) % (side - cells_x)
        del zoom
        piece = self._noise[y : y + cells_y, x : x + cells_x]
        return np.asarray(cv2.resize(piece, (width, height), interpolation=cv2.INTER_LINEAR))

    def _ground_texture(
        self, temperatures: Picture, colour: Picture, mask: NDArray[np.bool_], camera: Camera, shapes: list[Shape]
    ) -> None:
        """Grain of the road that moves with it, light of lamps and headlights, and by day the shadows."""
        climate = self.street.climate
        height, width = mask.shape
        cell = 0.06
        side = self._noise.shape[0] * cell
        origin = np.array([0.0, 0.0, np.floor(camera.position_m[2] / side) * side])
        to_pixels = camera.plane_to_pixels(origin, np.array([cell, 0, 0]), np.array([0, 0, cell]))
        grain = cv2.warpPerspective(
            self._noise, to_pixels, (width, height), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_WRAP
        )
        step = 8
        ys, xs = np.mgrid[step // 2 : height : step, step // 2 : width : step]
        rays = np.stack([(xs - camera.centre_px[0]) / camera.focal_px, (ys - camera.centre_px[1]) / camera.focal_px, np.ones_like(xs, dtype=float)], axis=-1) @ camera.rotation  # fmt: skip
        reach = np.clip(camera.position_m[1] / np.maximum(-rays[..., 1], 1e-3), 0.5, 300)
        fade = cv2.resize((1 / (1 + (reach / 18) ** 2)).astype(np.float32), (width, height))
        grain *= fade * mask
        temperatures += grain * np.float32(0.45 * climate.texture)
        colour *= (1 + 0.10 * grain)[..., None]
        if climate.night:
            x, z = camera.position_m[0] + rays[..., 0] * reach, camera.position_m[2] + rays[..., 2] * reach
            light = cv2.resize(self._night_light(x, z, camera).astype(np.float32), (width, height))
        else:
            light = np.empty((height, width, 3), np.float32)
            light[:] = np.array(climate.ambient) + np.array(climate.sunlight)
            if climate.sun:
                shade = self._shadows(camera, shapes, (height, width))
                light -= shade[..., None] * np.array(climate.sunlight, dtype=np.float32)
                temperatures -= np.where(mask, shade, 0) * np.float32(1.8 * climate.sun)
        np.multiply(colour, light, out=colour, where=mask[..., None])

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


def _noise_tile(seed: int) -> Picture:
    """float32 [256, 256] of zero mean and unit variance, with structure from 1 to 32 cells."""
    rng = np.random.default_rng([seed, 5])
    tile = np.zeros((256, 256), np.float32)
    for size, weight in ((256, 0.8), (128, 0.6), (64, 0.6), (24, 0.7), (8, 0.6)):
        coarse = rng.standard_normal((size, size), dtype=np.float32)
        tile += weight * cv2.resize(coarse, (256, 256), interpolation=cv2.INTER_CUBIC)
    return np.asarray((tile - tile.mean()) / tile.std(), dtype=np.float32)


def _bounds(owner: NDArray[np.int32], numbers: list[int]) -> dict[int, tuple[int, int, int, int]]:
    """Rows from, to and columns from, to of each number in the picture, to the nearest 4 pixels."""
    small = owner[::4, ::4]
    found: dict[int, tuple[int, int, int, int]] = {}
    if not numbers:
        return found
    height, width = owner.shape
    ys, xs = np.indices(small.shape)
    flat = small.reshape(-1) + 1
    count = int(flat.max()) + 1
    low_y, low_x = np.full(count, 1 << 30), np.full(count, 1 << 30)
    high_y, high_x = np.full(count, -1), np.full(count, -1)
    np.minimum.at(low_y, flat, ys.reshape(-1))
    np.maximum.at(high_y, flat, ys.reshape(-1))
    np.minimum.at(low_x, flat, xs.reshape(-1))
    np.maximum.at(high_x, flat, xs.reshape(-1))
    for number in numbers:
        if number + 1 < count and high_y[number + 1] >= 0:
            i = number + 1
            found[number] = (
                max(0, int(low_y[i]) * 4 - 3), min(height, int(high_y[i]) * 4 + 4),
                max(0, int(low_x[i]) * 4 - 3), min(width, int(high_x[i]) * 4 + 4),
            )  # fmt: skip
    return found


def _truth(painter: Painter, config: SyntheticConfig) -> GroundTruth:
    """Boxes round the visible pixels of every labelled object that shows any."""
    owners = np.array(painter.owners, dtype=np.int32)
    boxes, class_ids, ignore = [], [], []
    for number, labelled in enumerate(painter.labelled):
        found = _visible_box(painter, owners, number, labelled)
        if found is None:
            continue
        box, visible, own = found
        boxes.append(box)
        class_ids.append(labelled.class_id)
        ignore.append(visible < config.min_visible * own or box[3] - box[1] < config.min_height_px)
    if not boxes:
        return GroundTruth.empty()
    return GroundTruth(np.array(boxes, np.float32), np.array(class_ids, np.int64), np.array(ignore, np.bool_))


def _visible_box(
    painter: Painter, owners: NDArray[np.int32], number: int, labelled: Labelled
) -> tuple[tuple[float, float, float, float], int, int] | None:
    """The box in pixels, how many sub-pixels are seen, and how many the object covers by itself."""
    if not labelled.contours:
        return None
    height, width = painter.index.shape
    points = np.concatenate([contour for piece in labelled.contours for contour in piece]) / (1 << SHIFT)
    x0, y0 = np.floor(points.min(axis=0)).astype(int) - 1
    x1, y1 = np.ceil(points.max(axis=0)).astype(int) + 2
    cx0, cy0, cx1, cy1 = max(x0, 0), max(y0, 0), min(x1, width), min(y1, height)
    if cx0 >= cx1 or cy0 >= cy1:
        return None
    seen = np.take(owners, painter.index[cy0:cy1, cx0:cx1]) == number
    rows, columns = np.flatnonzero(seen.any(axis=1)), np.flatnonzero(seen.any(axis=0))
    if not len(rows):
        return None
    # the object by itself, as far as a frame's width beyond the frame's edges
    ox0, oy0, ox1, oy1 = max(x0, -width), max(y0, -height), min(x1, 2 * width), min(y1, 2 * height)
    alone = np.zeros((oy1 - oy0, ox1 - ox0), np.uint8)
    corner = np.array([ox0, oy0], np.int32) * (1 << SHIFT)
    for piece in labelled.contours:
        fill(alone, [contour - corner for contour in piece], 1)
    s = float(SUPERSAMPLING)
    box = (
        (cx0 + int(columns[0])) / s, (cy0 + int(rows[0])) / s,
        (cx0 + int(columns[-1]) + 1) / s, (cy0 + int(rows[-1]) + 1) / s,
    )  # fmt: skip
    return box, int(seen.sum()), int(alone.sum())


def synthetic_training_sample(seed: int, index: int, config: SyntheticConfig = SyntheticConfig()) -> Sample:
    """A frame of street number seed + index at a random time, with bit depth and contrast drawn too.

    Training frames are all of different streets. `config` gives everything but bit_depth and thermal_contrast.
    """
    number = seed + index
    rng = np.random.default_rng([number, 6])
    contrast = float(rng.choice([1.0, rng.uniform(0.25, 1.0), rng.uniform(1.0, 1.4)], p=[0.5, 0.35, 0.15]))
    bit_depth = 8 if rng.random() < 0.5 else 16
    drawn = config.model_copy(update={"bit_depth": bit_depth, "thermal_contrast": contrast})
    return SyntheticStreet(number, drawn).sample(int(rng.integers(0, 100_000)))
