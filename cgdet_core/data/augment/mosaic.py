"""Four crops about a random centre in one training picture (YOLOv4, Bochkovskiy et al. 2020, section 3.3).

Each is cut at its quadrant's size and about native scale: shrinking frames to a quarter, as usual,
would lose the half of all boxes that is under 32 px. Each comes from its own frame and keeps its own
camera's look: a seam between two cameras shows the network more of them in one picture, and one look
for all four would have to ignore which frames are grey RGB.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from cgdet_core.config import AugmentConfig
from cgdet_core.data.augment.crop import Crop
from cgdet_core.types import BoolArray, FloatArray, GroundTruth

Region = tuple[int, int, int, int]  # left, top, right, bottom in whole pixels


def mosaic(draw: Callable[[tuple[int, int]], Crop], config: AugmentConfig, rng: np.random.Generator) -> Crop:
    """A square of config.crop_px from four calls of `draw` (height and width in px -> a crop of that size).

    Where some of the four have RGB, the others' places are black in it and not valid.
    """
    size = config.crop_px
    low, high = config.mosaic_centre_range
    x, y = (round(size * share) for share in rng.uniform(low, high, 2))
    regions = [(0, 0, x, y), (x, 0, size, y), (0, y, x, size), (x, y, size, size)]
    crops = [draw((bottom - top, right - left)) for left, top, right, bottom in regions]
    image = np.empty((size, size), np.float32)
    for (left, top, right, bottom), crop in zip(regions, crops, strict=True):
        image[top:bottom, left:right] = crop.image
    truth = join_truths(regions, [crop.truth for crop in crops])
    if all(crop.rgb is None for crop in crops):
        return Crop(image, truth)
    rgb, valid = np.zeros((size, size, 3), np.uint8), np.zeros((size, size), np.bool_)
    for (left, top, right, bottom), crop in zip(regions, crops, strict=True):
        if crop.rgb is not None and crop.rgb_valid is not None:
            rgb[top:bottom, left:right] = crop.rgb
            valid[top:bottom, left:right] = crop.rgb_valid
    return Crop(image, truth, rgb, valid)


def join_truths(regions: list[Region], truths: list[GroundTruth]) -> GroundTruth:
    """The labels of parts that cover a picture, in its pixels.

    A class that some parts are labelled for and others not counts as labelled, and each part without
    it becomes a region of that class to ignore: nothing found of it there is wrong. A class that
    none is labelled for stays unlabelled.
    """
    masks = [truth.labelled for truth in truths if truth.labelled is not None]
    classes = len(masks[0]) if masks else 0
    known = [np.ones(classes, np.bool_) if truth.labelled is None else truth.labelled for truth in truths]
    anywhere: BoolArray = np.any(known, axis=0)
    boxes: list[FloatArray] = []
    class_ids, ignore = [], []
    for region, truth, labelled in zip(regions, truths, known, strict=True):
        missing = np.flatnonzero(anywhere & ~labelled)
        corner = np.array([region[0], region[1]] * 2, np.float32)
        boxes += [truth.boxes_xyxy_px + corner, np.tile(np.array(region, np.float32), (len(missing), 1))]
        class_ids += [truth.class_ids, missing]
        ignore += [truth.ignore, np.ones(len(missing), np.bool_)]
    return GroundTruth(
        np.concatenate(boxes), np.concatenate(class_ids), np.concatenate(ignore), None if anywhere.all() else anywhere
    )
