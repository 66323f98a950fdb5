"""The synthetic street: paired RGB and thermal frames with exact boxes, from one 3-D street.

A frame is a function of (seed, settings, index): frames may be asked for in any order and in any process.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from cgdet_core.config import SyntheticConfig
from cgdet_core.data.street_camera import Array, Camera, Paint, Shape
from cgdet_core.data.street_light import Lighting, Picture
from cgdet_core.data.street_painter import SHIFT, SUPERSAMPLING, Haze, Labelled, Painter, fill, painting_order
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
        textured: list[tuple[int, Shape]] = []

        def paint(shape: Shape) -> None:
            number = painter.paint(shape, self.lighting.on_shape(shape, camera), self._haze(shape, camera))
            if shape.texture_k:
                textured.append((number, shape))

        for block in blocks:
            for shape in block.fronts:
                paint(shape)
        shapes = street.shapes(t, camera.position_m)
        if shapes:
            footprints = np.array([shape.footprint() for shape in shapes])
            for i in painting_order(footprints, camera.position_m):
                paint(shapes[i])
        return (*self.lighting.resolve(painter, ground, textured, shapes), painter)

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

    def _haze(self, shape: Shape, camera: Camera) -> Haze:
        climate = self.street.climate
        distance = max(0.0, shape.z_m - float(camera.position_m[2]))
        return (1 - float(np.exp(-distance / 700.0)), climate.air_c, climate.horizon_colour)


def _truth(painter: Painter, config: SyntheticConfig) -> GroundTruth:
    """Boxes round the visible pixels of every labelled object that shows any."""
    owners = painter.owners()
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
