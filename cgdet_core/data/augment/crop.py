"""A training crop out of a frame: zoom, place, flip, and another camera's look; all from one generator."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from cgdet_core.config import AugmentConfig
from cgdet_core.data.augment.sensor import vary_camera
from cgdet_core.data.sets.rgb_partner import RgbArray, RgbPartner
from cgdet_core.data.sets.window import Window, draw_window
from cgdet_core.thermal import ToneLimits, apply_tone
from cgdet_core.types import BoolArray, FloatArray, GroundTruth, ImageArray


@dataclass(frozen=True)
class Crop:
    """A training crop: image float32 [H, W] in [0, 1], and the labels in its pixels.

    rgb: uint8 [H, W, 3], the same place in RGB as it was taken, and rgb_valid: bool [H, W], where there is any; both
    None where there is none at all.
    """

    image: FloatArray
    truth: GroundTruth
    rgb: RgbArray | None = None
    rgb_valid: BoolArray | None = None


def random_crop(
    grey: ImageArray,
    limits: ToneLimits,
    truth: GroundTruth,
    config: AugmentConfig,
    rng: np.random.Generator,
    crop_truth: Callable[[GroundTruth, Window, AugmentConfig], GroundTruth],
    polarity_free: bool = False,
    height_width_px: tuple[int, int] | None = None,
    class_weights: FloatArray | None = None,
    partner: RgbPartner | None = None,
) -> Crop:
    """A crop of a raw grey frame [H, W], normalised as the node would, then varied.

    crop_truth: the task's labels of the crop (`Task.crop`).
    polarity_free: the frame's polarity means nothing (grey RGB): it is inverted with
    config.grey_invert_probability in place of config.invert_probability.
    height_width_px: of the crop; None: a square of config.crop_px.
    class_weights: [C], how likely an object of a class is the one that the crop is laid over, in
    relation to other objects of the frame; None: all alike.
    partner: the frame's RGB, cut as the frame is and not varied; it draws nothing from the generator.
    """
    size = height_width_px or (config.crop_px, config.crop_px)
    window = draw_window((grey.shape[0], grey.shape[1]), truth, config, rng, size, class_weights)
    image = np.asarray(window.lay(apply_tone(window.cut(grey), limits)), np.float32)
    # the predictor pads with 0 after normalisation, so a border off the frame takes no part in what a camera does
    on_frame = window.on_frame(grey.shape[0], grey.shape[1]) or (slice(None), slice(None))
    framed = np.zeros_like(image)
    framed[on_frame] = vary_camera(np.ascontiguousarray(image[on_frame]), config, polarity_free, rng)
    visible = crop_truth(truth, window, config)
    return Crop(framed, visible) if partner is None else Crop(framed, visible, *partner.crop(window))
