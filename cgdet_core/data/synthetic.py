"""The synthetic street: paired RGB and thermal frames with exact boxes, from one 3-D street.

A frame is a function of (seed, settings, index): frames may be asked for in any order and in any process.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from cgdet_core.config import SyntheticConfig
from cgdet_core.data.street_camera import Array, Camera, Colour, Paint, Shape
from cgdet_core.data.street_light import Lighting, Picture
from cgdet_core.data.street_painter import SHIFT, SUPERSAMPLING, Labelled, Painter, fill, painting_order
from cgdet_core.data.street_sensor import ThermalSensor, expose_rgb
from cgdet_core.data.street_world import PAVEMENT_M, Block, Street
from cgdet_core.types import Frame, GroundTruth, Sample


class SyntheticStreet:
    """Street number `seed` (>= 0), seen by a thermal and an RGB camera that share lens and place."""

    def __init__(self, seed: int, config: SyntheticConfig | None = None) -> None:
        config = config or SyntheticConfig()
        if seed < 0:
            raise ValueError(f"the seed of a street is 0 or more, not {seed}")
        self.seed, self.config = seed, config
        self.street = Street(seed, config)
        self.sensor = ThermalSensor(seed, config, self.street.climate.air_c)
        self.lighting = Lighting(self.street)

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
        """Degrees Celsius [H, W], light [3, H, W] and the painted picture at time t."""
        street = self.street
        camera = street.camera(t)
        painter = Painter(camera, self.config.height_width_px)
        blocks = street.blocks_in_view(float(camera.position_m[2]))
        ground = self._paint_ground(painter, blocks)
        shapes = street.shapes(t, camera.position_m)
        fronts = [shape for block in blocks for shape in block.fronts]
        order = painting_order(np.array([shape.footprint() for shape in shapes]).reshape(-1, 4), camera.position_m)
        queue = fronts + [shapes[i] for i in order]
        away = np.array([max(0.0, shape.z_m - float(camera.position_m[2])) for shape in queue])
        air = (street.climate.air_c, street.climate.horizon_colour)
        numbers = painter.paint(queue, self.lighting.on_shapes(queue, camera), 1 - np.exp(-away / 700.0), air)
        textured = [(number, shape) for number, shape in zip(numbers, queue, strict=True) if shape.texture_k]
        return (*self.lighting.resolve(painter, ground, textured, shapes), painter)

    def _paint_ground(self, painter: Painter, blocks: list[Block]) -> int:
        street, climate = self.street, self.street.climate
        eye_z = float(painter.camera.position_m[2])
        z0, z1 = eye_z - 2.0, eye_z + 400.0
        road, front = street.road_m, street.front_m

        def strip(x0: float, x1: float, y: float, a: float, b: float) -> Array:
            return np.array([[(x0, y, a), (x1, y, a), (x1, y, b), (x0, y, b)]], dtype=np.float64)

        grass = Paint(climate.grass_c, (0.25, 0.32, 0.16))
        walk = Paint(climate.pavement_c, (0.52, 0.50, 0.47))
        asphalt = Paint(climate.road_c, (0.27, 0.27, 0.28))
        polygons = self._backdrop(painter.camera)
        polygons.append((strip(-300, 300, 0.0, z0, z1), grass))
        for side in (-1.0, 1.0):
            polygons.append((strip(side * road, side * front, PAVEMENT_M, z0, z1), walk))
            kerb = [
                (side * road, 0, z0),
                (side * road, 0, z1),
                (side * road, PAVEMENT_M, z1),
                (side * road, PAVEMENT_M, z0),
            ]
            polygons.append((np.array([kerb], dtype=np.float64), walk.warmer(0.5, 1.1)))
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
                polygons.append((disc[None], asphalt.warmer(kelvin, 0.8)))
        shape = Shape(0.0, 0.0, by_depth=False)
        for contours, paint in polygons:
            shape.contours(contours, paint)
        return painter.paint([shape], np.ones((1, 3)), np.zeros(1), (0.0, (0.0, 0.0, 0.0)))[0]

    def _backdrop(self, camera: Camera) -> list[tuple[Array, Paint]]:
        """What closes the view far away: roofs and tree tops, too far to come nearer. Contours and their paint."""
        street, climate = self.street, self.street.climate
        rng = np.random.default_rng([street.seed, 7])
        eye_x, _, eye_z = camera.position_m
        far, dim = eye_z + 390.0, 1.0 if climate.night else 1 / max(climate.ambient[1], 0.1)

        def strips(x: Array, half: Array | float, height: Array) -> Array:
            left, right, zero = x - half, x + half, np.zeros_like(x)
            corners = [(left, zero), (right, zero), (right, height), (left, height)]
            return np.stack([np.stack([eye_x + cx, cy, np.full_like(x, far)], axis=1) for cx, cy in corners], axis=1)

        def hazy(kelvin: float, colour: Colour) -> Paint:
            r, g, b = (0.55 * c + 0.45 * h * dim for c, h in zip(colour, climate.horizon_colour, strict=True))
            return Paint(kelvin, (r, g, b))

        polygons = []
        for layer in range(3):
            houses = rng.uniform(-330, 330, 9)
            tall = rng.uniform(5, 20, 9) * street.backdrop
            paint = hazy(climate.wall_c + rng.normal(0, 0.6), (0.45, 0.44, 0.42))
            polygons += [(strips(houses[i : i + 1], rng.uniform(6, 22), tall[i : i + 1]), paint) for i in range(9)]
            x = np.arange(-330.0, 330.0, 2.5)
            coarse = np.interp(x, np.linspace(-330, 330, 40), rng.uniform(0, 1, 40))
            tops = (12 - 3 * layer) * street.backdrop * coarse**1.5 + rng.uniform(0, 1.2, len(x))
            polygons.append((strips(x, 1.25, tops), hazy(climate.foliage_c + rng.normal(0, 0.3), (0.20, 0.26, 0.17))))
        return polygons


def _truth(painter: Painter, config: SyntheticConfig) -> GroundTruth:
    """Boxes round the visible pixels of every labelled object that shows any."""
    owners = painter.owners()
    boxes, class_ids, ignore = [], [], []
    for number, labelled in enumerate(painter.labelled):
        seen = _seen(painter, owners, number, labelled)
        if seen is None:
            continue
        boxes.append(seen.box_xyxy_px)
        class_ids.append(labelled.class_id)
        hidden = seen.visible < config.min_visible * seen.inside or seen.inside < config.min_inside * seen.whole
        ignore.append(hidden or seen.box_xyxy_px[3] - seen.box_xyxy_px[1] < config.min_height_px)
    if not boxes:
        return GroundTruth.empty()
    return GroundTruth(np.array(boxes, np.float32), np.array(class_ids, np.int64), np.array(ignore, np.bool_))


class _Seen(NamedTuple):
    """The box of an object's visible pixels; sub-pixels that are visible, that it covers by itself within the frame,
    and beyond (as far as a frame's width)."""

    box_xyxy_px: tuple[float, float, float, float]
    visible: int
    inside: int
    whole: int


def _seen(painter: Painter, owners: NDArray[np.int32], number: int, labelled: Labelled) -> _Seen | None:
    """What is seen of a labelled object; None where nothing is."""
    if not labelled.contours:
        return None
    height, width = painter.index.shape
    points = np.concatenate([contour for piece in labelled.contours for contour in piece])
    left, top = (points.min(axis=0) >> SHIFT).tolist()
    right, bottom = ((points.max(axis=0) >> SHIFT) + 2).tolist()
    x0, y0, x1, y1 = max(left, 0), max(top, 0), min(right, width), min(bottom, height)
    if x0 >= x1 or y0 >= y1:
        return None
    visible = np.take(owners, painter.index[y0:y1, x0:x1], mode="clip") == number
    rows, columns = np.flatnonzero(visible.any(axis=1)), np.flatnonzero(visible.any(axis=0))
    if not len(rows):
        return None
    box = (
        (x0 + int(columns[0])) / SUPERSAMPLING,
        (y0 + int(rows[0])) / SUPERSAMPLING,
        (x0 + int(columns[-1]) + 1) / SUPERSAMPLING,
        (y0 + int(rows[-1]) + 1) / SUPERSAMPLING,
    )
    left, top, right, bottom = max(left, -width), max(top, -height), min(right, 2 * width), min(bottom, 2 * height)
    alone = np.zeros((bottom - top, right - left), np.uint8)
    corner = np.array([left, top], np.int32) * (1 << SHIFT)
    for piece in labelled.contours:
        fill(alone, [contour - corner for contour in piece], 1)
    inside = alone[y0 - top : y1 - top, x0 - left : x1 - left]
    return _Seen(box, int(np.count_nonzero(visible)), int(np.count_nonzero(inside)), int(np.count_nonzero(alone)))


def synthetic_training_sample(seed: int, index: int, config: SyntheticConfig | None = None) -> Sample:
    """A frame of street number seed + index at a random time, with bit depth and contrast drawn too.

    Training frames are all of different streets. `config` gives everything but bit_depth and thermal_contrast.
    """
    number = seed + index
    rng = np.random.default_rng([number, 6])
    contrast = float(rng.choice([1.0, rng.uniform(0.25, 1.0), rng.uniform(1.0, 1.4)], p=[0.5, 0.35, 0.15]))
    bit_depth = 8 if rng.random() < 0.5 else 16
    drawn = (config or SyntheticConfig()).model_copy(update={"bit_depth": bit_depth, "thermal_contrast": contrast})
    return SyntheticStreet(number, drawn).sample(int(rng.integers(0, 100_000)))
