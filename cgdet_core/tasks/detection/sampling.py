"""Training pictures of a detector: which frames and objects they show, so that rare classes are not rarely seen, and
mosaics of four (YOLOv4, Bochkovskiy et al. 2020, section 3.3).

The parts of a mosaic are cut about native scale: shrinking frames to a quarter, as usual, would lose the half of all
boxes that is under 32 px. Each comes from its own frame and keeps its own camera's look: a seam between two cameras
shows the network more of them in one picture, and one look for all four would have to ignore which frames are grey RGB.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from cgdet_core.boxes import area_xyxy, clip_xyxy
from cgdet_core.config import AugmentConfig
from cgdet_core.tasks.detection.window import Window, draw_window
from cgdet_core.tasks.task import Part
from cgdet_core.types import BoolArray, FloatArray, GroundTruth

MIN_SIDE_PX: Final = 2.0  # a box that is left thinner than this in a crop shows nothing to learn


class DetectionSampler:
    """Frames by repeat factor, an object to lay the crop over by the frequency of its class.

    frame_weights: [F], how often each frame of the source is drawn, in relation to the others.
    """

    def __init__(self, truths: Sequence[GroundTruth], classes: int, config: AugmentConfig) -> None:
        self.frame_weights = repeat_factors(truths, classes, config.frame_class_balance)
        self._class_weights = class_weights(truths, classes, config.centre_class_balance)
        self._config = config

    def place(
        self,
        frame_height_width_px: tuple[int, int],
        truth: GroundTruth,
        size_px: tuple[int, int],
        rng: np.random.Generator,
    ) -> Window:
        return draw_window(frame_height_width_px, truth, self._config, rng, size_px, self._class_weights)


def mosaic_parts(config: AugmentConfig, rng: np.random.Generator) -> list[Part]:
    """Four quadrants of a square of config.crop_px about a random centre."""
    size = config.crop_px
    low, high = config.mosaic_centre_range
    x, y = (round(size * share) for share in rng.uniform(low, high, 2))
    return [(0, 0, x, y), (x, 0, size, y), (0, y, x, size), (x, y, size, size)]


def crop_truth(truth: GroundTruth, placement: Window, config: AugmentConfig) -> GroundTruth:
    """Labels cut to the crop; what is cut away too far becomes a region to ignore."""
    boxes = placement.boxes(truth.boxes_xyxy_px)
    cut = clip_xyxy(boxes, *placement.size_px)
    whole = area_xyxy(boxes)
    share = np.divide(area_xyxy(cut), whole, out=np.zeros_like(whole), where=whole > 0)
    sides = np.minimum(cut[:, 2] - cut[:, 0], cut[:, 3] - cut[:, 1])
    present = (sides > 0.5) & (share > 0)
    ignore = truth.ignore | (share < config.min_visible) | (sides < MIN_SIDE_PX)
    return GroundTruth(cut[present], truth.class_ids[present], ignore[present], truth.labelled)


def join_truths(parts: Sequence[Part], truths: Sequence[GroundTruth]) -> GroundTruth:
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
    for part, truth, labelled in zip(parts, truths, known, strict=True):
        missing = np.flatnonzero(anywhere & ~labelled)
        corner = np.array(part[:2] * 2, np.float32)
        boxes += [truth.boxes_xyxy_px + corner, np.tile(np.array(part, np.float32), (len(missing), 1))]
        class_ids += [truth.class_ids, missing]
        ignore += [truth.ignore, np.ones(len(missing), np.bool_)]
    return GroundTruth(
        np.concatenate(boxes), np.concatenate(class_ids), np.concatenate(ignore), None if anywhere.all() else anywhere
    )


def repeat_factors(truths: Sequence[GroundTruth], classes: int, threshold: float) -> NDArray[np.float64]:
    """float64 [F], at least 1: how much more often than another each frame of a set is drawn.

    Repeat factor sampling (LVIS, Gupta et al. 2019): with f_c the share of the frames that show class
    c, r_c = max(1, sqrt(threshold / f_c)), and a frame's factor is the largest of its classes'.
    Regions to ignore show nothing. threshold 0 gives 1 everywhere.
    """
    shown = np.zeros((len(truths), classes), np.bool_)
    for row, truth in enumerate(truths):
        shown[row, truth.class_ids[~truth.ignore]] = True
    share = shown.mean(axis=0)
    of_class = np.ones(classes)
    of_class[share > 0] = np.sqrt(threshold / share[share > 0]).clip(1)
    return np.asarray(np.where(shown, of_class, 1.0).max(axis=1))


def class_weights(truths: Sequence[GroundTruth], classes: int, balance: float) -> FloatArray:
    """float32 [C]: how likely an object of each class is the one that a crop is laid over.

    n_c^-balance, n_c the number of objects of the class in the set. With 0 every object is alike, so
    few crops are laid over a bicycle that stands among persons and cars; with 1 the classes of a
    frame would be alike if every frame held each in the set's proportions. A class without objects
    has 1.
    """
    counts = np.zeros(classes)
    for truth in truths:
        counts += np.bincount(truth.class_ids[~truth.ignore], minlength=classes)
    return np.asarray(np.maximum(counts, 1) ** -balance, np.float32)
