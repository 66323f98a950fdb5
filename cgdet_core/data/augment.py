"""A training crop out of a frame: zoom, place, tone, flip, blur, noise; all from one generator."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from cgdet_core.boxes import area_xyxy, clip_xyxy
from cgdet_core.config import AugmentConfig
from cgdet_core.thermal import ToneLimits, apply_tone
from cgdet_core.types import FloatArray, GroundTruth, ImageArray

MIN_SIDE_PX = 2.0  # a box that is left thinner than this in a crop shows nothing to learn


@dataclass(frozen=True)
class Crop:
    """A training crop: image float32 [S, S] in [0, 1], and the labels in its pixels."""

    image: FloatArray
    truth: GroundTruth


def random_crop(
    grey: ImageArray,
    limits: ToneLimits,
    truth: GroundTruth,
    config: AugmentConfig,
    rng: np.random.Generator,
    polarity_free: bool = False,
) -> Crop:
    """A square crop of config.crop_px from a raw grey frame [H, W], normalised as the node would, then varied.

    polarity_free: the frame's polarity means nothing (grey RGB): it is inverted with
    config.grey_invert_probability in place of config.invert_probability.
    """
    size = config.crop_px
    zoom = float(np.exp(rng.uniform(*np.log(config.scale_range))))
    side = max(32, round(size / zoom))
    left, top = _place(grey.shape[0], grey.shape[1], side, truth, config, rng)
    picture = _cut(grey, left, top, side)
    inside = _cut_mask(grey.shape[0], grey.shape[1], left, top, side)

    image = apply_tone(picture, limits)
    if side != size:
        method = cv2.INTER_AREA if side > size else cv2.INTER_LINEAR
        image = np.asarray(cv2.resize(image, (size, size), interpolation=method), np.float32)
    boxes = (truth.boxes_xyxy_px - np.array([left, top, left, top], np.float32)) * np.float32(size / side)
    flipped = rng.random() < config.flip_probability
    if flipped:
        image = image[:, ::-1]
        boxes = np.stack([size - boxes[:, 2], boxes[:, 1], size - boxes[:, 0], boxes[:, 3]], axis=1)
    invert = config.grey_invert_probability if polarity_free else config.invert_probability
    image = _vary_tone(image, invert, config, rng)
    if inside is not None:
        # the predictor pads with 0 after normalisation
        rows, columns = (np.rint(np.array(span) * size / side).astype(int) for span in inside)
        if flipped:
            columns = size - columns[::-1]
        framed = np.zeros_like(image)
        framed[rows[0] : rows[1], columns[0] : columns[1]] = image[rows[0] : rows[1], columns[0] : columns[1]]
        image = framed
    return Crop(np.ascontiguousarray(image, dtype=np.float32), _visible(boxes, truth, size, config))


def _place(
    height: int, width: int, side: int, truth: GroundTruth, config: AugmentConfig, rng: np.random.Generator
) -> tuple[int, int]:
    """Left and top of the crop: over an object where the dice say so, up to a tenth of it off the frame."""
    objects = truth.boxes_xyxy_px[~truth.ignore]
    margin = side // 10
    if len(objects) and rng.random() < config.object_centre_probability:
        box = objects[rng.integers(len(objects))]
        centre = rng.uniform(0.2, 0.8, 2) * side
        left, top = (box[:2] + box[2:]) / 2 - centre
    else:
        left = rng.uniform(-margin, max(width - side, 0) + margin)
        top = rng.uniform(-margin, max(height - side, 0) + margin)
    low_left, low_top = min(-margin, width - side), min(-margin, height - side)
    high_left, high_top = max(width - side + margin, 0), max(height - side + margin, 0)
    return int(np.clip(left, low_left, high_left)), int(np.clip(top, low_top, high_top))


def _cut(grey: ImageArray, left: int, top: int, side: int) -> ImageArray:
    height, width = grey.shape
    y0, y1, x0, x1 = max(top, 0), min(top + side, height), max(left, 0), min(left + side, width)
    part = grey[y0:y1, x0:x1]
    if part.shape == (side, side):
        return part
    picture = np.zeros((side, side), grey.dtype)
    picture[y0 - top : y1 - top, x0 - left : x1 - left] = part
    return picture


def _cut_mask(
    height: int, width: int, left: int, top: int, side: int
) -> tuple[tuple[int, int], tuple[int, int]] | None:
    """Row and column span of the crop that lies on the frame; None where all of it does."""
    rows = max(0, -top), min(side, height - top)
    columns = max(0, -left), min(side, width - left)
    return None if rows == columns == (0, side) else (rows, columns)


def _vary_tone(image: FloatArray, invert: float, config: AugmentConfig, rng: np.random.Generator) -> FloatArray:
    """Another camera's tone curve, softness and noise."""
    if rng.random() < invert:
        image = 1 - image
    if rng.random() < config.tone_probability:
        gamma = np.exp(rng.uniform(*np.log(config.gamma_range)))
        gain = np.exp(rng.uniform(*np.log(config.gain_range)))
        offset = rng.uniform(*config.offset_range)
        table = (gain * np.linspace(0, 1, 1025, dtype=np.float32) ** np.float32(gamma) + offset).clip(0, 1)
        image = table.astype(np.float32)[(image * 1024 + 0.5).astype(np.int32)]
    if rng.random() < config.blur_probability:
        image = np.asarray(cv2.GaussianBlur(image, (0, 0), float(rng.uniform(0.4, 1.2))), np.float32)
    sigma = rng.uniform(0, config.noise_sigma_max) if rng.random() < 0.5 else 0.0
    if sigma > 0:
        noise = rng.standard_normal(image.shape, dtype=np.float32)
        image = (image + np.float32(sigma) * noise).clip(0, 1)
    return image


def _visible(boxes_xyxy_px: FloatArray, truth: GroundTruth, size: int, config: AugmentConfig) -> GroundTruth:
    """Labels cut to the crop; what is cut away too far becomes a region to ignore."""
    cut = clip_xyxy(boxes_xyxy_px, size, size)
    whole = area_xyxy(boxes_xyxy_px)
    share = np.divide(area_xyxy(cut), whole, out=np.zeros_like(whole), where=whole > 0)
    sides = np.minimum(cut[:, 2] - cut[:, 0], cut[:, 3] - cut[:, 1])
    present = (sides > 0.5) & (share > 0)
    ignore = truth.ignore | (share < config.min_visible) | (sides < MIN_SIDE_PX)
    return GroundTruth(cut[present], truth.class_ids[present], ignore[present], truth.labelled)
