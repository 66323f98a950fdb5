"""The synthetic street: paired RGB and thermal frames with exact boxes, from one 3-D street.

A frame is a function of (seed, settings, index): frames may be asked for in any order and in any process.
"""

from __future__ import annotations

import numpy as np

from cgdet_core.config import SyntheticConfig
from cgdet_core.data.synthetic.ground import paint_ground
from cgdet_core.data.synthetic.light import Lighting, Picture
from cgdet_core.data.synthetic.painter import Painter, painting_order
from cgdet_core.data.synthetic.sensor import ThermalSensor, expose_rgb
from cgdet_core.data.synthetic.truth import visible_truth
from cgdet_core.data.synthetic.world import Street
from cgdet_core.types import Frame, Sample


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
        temperatures, colour, painter = self.render(t)
        rng = np.random.default_rng([self.seed, 4, index])
        stamp = config.start_stamp_ns + round(index * 1e9 / config.frames_per_second)
        night = self.street.climate.night
        return Sample(
            name=f"street-{self.seed}/{index:06d}",
            frame=Frame(self.sensor.expose(temperatures, t, rng), stamp, "thermal"),
            truth=visible_truth(painter, config),
            rgb=expose_rgb(colour, night, rng),
            light="night" if night else "day",
            scene=f"street-{self.seed}",
        )

    def render(self, t: float) -> tuple[Picture, Picture, Painter]:
        """Degrees Celsius [H, W], light [3, H, W] and the painted picture at time t."""
        street = self.street
        camera = street.camera(t)
        painter = Painter(camera, self.config.height_width_px)
        blocks = street.blocks_in_view(float(camera.position_m[2]))
        ground = paint_ground(painter, street, blocks)
        shapes = street.shapes(t, camera.position_m)
        fronts = [shape for block in blocks for shape in block.fronts]
        order = painting_order(np.array([shape.footprint() for shape in shapes]).reshape(-1, 4), camera.position_m)
        queue = fronts + [shapes[i] for i in order]
        away = np.array([max(0.0, shape.z_m - float(camera.position_m[2])) for shape in queue])
        air = (street.climate.air_c, street.climate.horizon_colour)
        numbers = painter.paint(queue, self.lighting.on_shapes(queue, camera), 1 - np.exp(-away / 700.0), air)
        textured = [(number, shape) for number, shape in zip(numbers, queue, strict=True) if shape.texture_k]
        return (*self.lighting.resolve(painter, ground, textured, shapes), painter)


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
