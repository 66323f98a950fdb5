"""A training crop out of a frame: zoom, place, flip, and another camera's look; all from one generator."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from cgdet_core.boxes import area_xyxy, clip_xyxy
from cgdet_core.config import AugmentConfig
from cgdet_core.data.augment_sensor import vary_camera
from cgdet_core.thermal import ToneLimits, apply_tone
from cgdet_core.types import FloatArray, GroundTruth, ImageArray

MIN_SIDE_PX = 2.0  # a box that is left thinner than this in a crop shows nothing to learn


@dataclass(frozen=True)
class Crop:
    """A training crop: image float32 [H, W] in [0, 1], and the labels in its pixels."""

    image: FloatArray
    truth: GroundTruth


def random_crop(
    grey: ImageArray,
    limits: ToneLimits,
    truth: GroundTruth,
    config: AugmentConfig,
    rng: np.random.Generator,
    polarity_free: bool = False,
    height_width_px: tuple[int, int] | None = None,
    class_weights: FloatArray | None = None,
) -> Crop:
    """A crop of a raw grey frame [H, W], normalised as the node would, then varied.

    polarity_free: the frame's polarity means nothing (grey RGB): it is inverted with
    config.grey_invert_probability in place of config.invert_probability.
    height_width_px: of the crop; None: a square of config.crop_px.
    class_weights: [C], how likely an object of a class is the one that the crop is laid over, in
    relation to other objects of the frame; None: all alike.
    """
    size = height_width_px or (config.crop_px, config.crop_px)
    zoom = float(np.exp(rng.uniform(*np.log(config.scale_range))))
    # no fewer than 32 px of the frame fill the shorter side
    zoom = min(zoom, max(1.0, min(size) / 32))
    height, width = (max(1, round(side / zoom)) for side in size)
    left, top = _place(grey.shape, (height, width), truth, class_weights, config, rng)
    picture = _cut(grey, left, top, height, width)
    inside = _cut_mask(grey.shape[0], grey.shape[1], left, top, height, width)

    image = apply_tone(picture, limits)
    if (height, width) != size:
        method = cv2.INTER_AREA if height > size[0] else cv2.INTER_LINEAR
        image = np.asarray(cv2.resize(image, size[::-1], interpolation=method), np.float32)
    corner = np.array([left, top, left, top], np.float32)
    scales = np.array([size[1] / width, size[0] / height] * 2, np.float32)
    boxes = (truth.boxes_xyxy_px - corner) * scales
    flipped = rng.random() < config.flip_probability
    if flipped:
        image = np.asarray(cv2.flip(image, 1), np.float32)
        boxes = np.stack([size[1] - boxes[:, 2], boxes[:, 1], size[1] - boxes[:, 0], boxes[:, 3]], axis=1)
    if inside is None:
        image = vary_camera(image, config, polarity_free, rng)
    else:
        # the predictor pads with 0 after normalisation, so the border takes no part in what a camera does
        rows = np.rint(np.array(inside[0]) * size[0] / height).astype(int)
        columns = np.rint(np.array(inside[1]) * size[1] / width).astype(int)
        if flipped:
            columns = size[1] - columns[::-1]
        on_frame = (slice(*rows), slice(*columns))
        framed = np.zeros_like(image)
        framed[on_frame] = vary_camera(np.ascontiguousarray(image[on_frame]), config, polarity_free, rng)
        image = framed
    return Crop(np.ascontiguousarray(image, dtype=np.float32), _visible(boxes, truth, size, config))


def _place(
    frame: tuple[int, ...],
    window: tuple[int, int],
    truth: GroundTruth,
    class_weights: FloatArray | None,
    config: AugmentConfig,
    rng: np.random.Generator,
) -> tuple[int, int]:
    """Left and top of the crop: over an object where the dice say so, up to a tenth of it off the frame."""
    room = np.array([frame[1] - window[1], frame[0] - window[0]])
    side = np.array(window[::-1])
    margin = side // 10
    objects = np.flatnonzero(~truth.ignore)
    if len(objects) and rng.random() < config.object_centre_probability:
        if class_weights is None:
            chosen = objects[rng.integers(len(objects))]
        else:
            reached = np.cumsum(class_weights[truth.class_ids[objects]], dtype=np.float64)
            chosen = objects[int(np.searchsorted(reached[:-1], rng.random() * reached[-1], side="right"))]
        box = truth.boxes_xyxy_px[chosen]
        corner = (box[:2] + box[2:]) / 2 - rng.uniform(0.2, 0.8, 2) * side
    else:
        corner = rng.uniform(-margin, np.maximum(room, 0) + margin)
    left, top = np.clip(corner, np.minimum(-margin, room), np.maximum(room + margin, 0))
    return int(left), int(top)


def _cut(grey: ImageArray, left: int, top: int, height: int, width: int) -> ImageArray:
    y0, y1, x0, x1 = max(top, 0), min(top + height, grey.shape[0]), max(left, 0), min(left + width, grey.shape[1])
    part = grey[y0:y1, x0:x1]
    if part.shape == (height, width):
        return part
    picture = np.zeros((height, width), grey.dtype)
    picture[y0 - top : y1 - top, x0 - left : x1 - left] = part
    return picture


def _cut_mask(
    frame_height: int, frame_width: int, left: int, top: int, height: int, width: int
) -> tuple[tuple[int, int], tuple[int, int]] | None:
    """Row and column span of the crop that lies on the frame; None where all of it does."""
    rows = max(0, -top), min(height, frame_height - top)
    columns = max(0, -left), min(width, frame_width - left)
    return None if (rows, columns) == ((0, height), (0, width)) else (rows, columns)


def _visible(
    boxes_xyxy_px: FloatArray, truth: GroundTruth, size: tuple[int, int], config: AugmentConfig
) -> GroundTruth:
    """Labels cut to the crop; what is cut away too far becomes a region to ignore."""
    cut = clip_xyxy(boxes_xyxy_px, *size)
    whole = area_xyxy(boxes_xyxy_px)
    share = np.divide(area_xyxy(cut), whole, out=np.zeros_like(whole), where=whole > 0)
    sides = np.minimum(cut[:, 2] - cut[:, 0], cut[:, 3] - cut[:, 1])
    present = (sides > 0.5) & (share > 0)
    ignore = truth.ignore | (share < config.min_visible) | (sides < MIN_SIDE_PX)
    return GroundTruth(cut[present], truth.class_ids[present], ignore[present], truth.labelled)
