"""A training picture out of frames: each crop where its task places it, with another camera's look."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from cgdet_core.config import LookConfig
from cgdet_core.data.augment.sensor import vary_camera
from cgdet_core.data.sets.rgb_partner import RgbArray, RgbPartner
from cgdet_core.tasks.task import Part, Placement
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


def take_crop(
    grey: ImageArray,
    limits: ToneLimits,
    truth: GroundTruth,
    placement: Placement,
    config: LookConfig,
    rng: np.random.Generator,
    polarity_free: bool = False,
    partner: RgbPartner | None = None,
) -> Crop:
    """A crop of a raw grey frame [H, W], normalised as the node would, then varied.

    truth: of the crop.
    polarity_free: the frame's polarity means nothing (grey RGB): it is inverted with
    config.grey_invert_probability in place of config.invert_probability.
    partner: the frame's RGB, cut as the frame is and not varied; it draws nothing from the generator.
    """
    image = np.asarray(placement.lay(apply_tone(placement.cut(grey), limits)), np.float32)
    # the predictor pads with 0 after normalisation, so a border off the frame takes no part in what a camera does
    on_frame = placement.on_frame(grey.shape[0], grey.shape[1]) or (slice(None), slice(None))
    framed = np.zeros_like(image)
    framed[on_frame] = vary_camera(np.ascontiguousarray(image[on_frame]), config, polarity_free, rng)
    return Crop(framed, truth) if partner is None else Crop(framed, truth, *partner.crop(placement))


def join_crops(parts: Sequence[Part], crops: Sequence[Crop], truth: GroundTruth) -> Crop:
    """One picture of crops that cover it, with these labels.

    Where some of them have RGB, the others' places are black in it and not valid.
    """
    width, height = (max(part[side] for part in parts) for side in (2, 3))
    image = np.empty((height, width), np.float32)
    rgb, valid = np.zeros((height, width, 3), np.uint8), np.zeros((height, width), np.bool_)
    for (left, top, right, bottom), crop in zip(parts, crops, strict=True):
        image[top:bottom, left:right] = crop.image
        if crop.rgb is not None and crop.rgb_valid is not None:
            rgb[top:bottom, left:right] = crop.rgb
            valid[top:bottom, left:right] = crop.rgb_valid
    return Crop(image, truth) if all(crop.rgb is None for crop in crops) else Crop(image, truth, rgb, valid)
