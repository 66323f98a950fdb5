"""Training pictures of a detector: which frames and objects they show, so that rare classes are not rarely seen, where
their crops lie, and mosaics of four (YOLOv4, Bochkovskiy et al. 2020, section 3.3).

The parts of a mosaic are cut about native scale: shrinking frames to a quarter, as usual, would lose the half of all
boxes that is under 32 px. Each comes from its own frame and keeps its own camera's look: a seam between two cameras
shows the network more of them in one picture, and one look for all four would have to ignore which frames are grey RGB.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray

from cgdet_core.boxes import area_xyxy, clip_xyxy
from cgdet_core.config import AugmentConfig
from cgdet_core.tasks.task import Part
from cgdet_core.types import BoolArray, FloatArray, GroundTruth

MIN_SIDE_PX: Final = 2.0  # a box that is left thinner than this in a crop shows nothing to learn


@dataclass(frozen=True)
class Window:
    """left_px, top_px, height_px, width_px: in whole pixels of the frame, parts of it may lie off the frame;
    size_px: height and width of the crop that it is scaled to; flipped: left and right are exchanged."""

    left_px: int
    top_px: int
    height_px: int
    width_px: int
    size_px: tuple[int, int]
    flipped: bool

    def cut(self, picture: NDArray[Any]) -> NDArray[Any]:
        """[H, W, ...] of the frame -> [height_px, width_px, ...], 0 off the frame; a view where all lies on it."""
        left, top = max(self.left_px, 0), max(self.top_px, 0)
        part = picture[top : max(self.top_px + self.height_px, 0), left : max(self.left_px + self.width_px, 0)]
        height, width = part.shape[:2]
        if (height, width) == (self.height_px, self.width_px):
            return part
        whole = np.zeros((self.height_px, self.width_px, *picture.shape[2:]), picture.dtype)
        top, left = top - self.top_px, left - self.left_px
        whole[top : top + height, left : left + width] = part
        return whole

    def lay(self, part: NDArray[Any]) -> NDArray[Any]:
        """What `cut` gave -> the crop's [H, W, ...], of the same type; shrinking averages over areas."""
        height, width = self.size_px
        if part.shape[:2] != self.size_px:
            method = cv2.INTER_AREA if self.height_px > height else cv2.INTER_LINEAR
            part = np.asarray(cv2.resize(part, (width, height), interpolation=method))
        return np.asarray(cv2.flip(part, 1)) if self.flipped else part

    def boxes(self, boxes_xyxy_px: FloatArray) -> FloatArray:
        """Boxes float32 [N, 4] in pixels of the frame -> of the crop, not cut to it."""
        height, width = self.size_px
        corner = np.array([self.left_px, self.top_px] * 2, np.float32)
        scales = np.array([width / self.width_px, height / self.height_px] * 2, np.float32)
        boxes = (boxes_xyxy_px - corner) * scales
        if self.flipped:
            boxes = np.stack([width - boxes[:, 2], boxes[:, 1], width - boxes[:, 0], boxes[:, 3]], axis=1)
        return boxes

    def on_frame(self, frame_height_px: int, frame_width_px: int) -> tuple[slice, slice] | None:
        """Rows and columns of the crop that lie on the frame, to the nearest pixel; None where all of it does."""
        height, width = self.size_px
        rows = max(0, -self.top_px), min(self.height_px, frame_height_px - self.top_px)
        columns = max(0, -self.left_px), min(self.width_px, frame_width_px - self.left_px)
        if (rows, columns) == ((0, self.height_px), (0, self.width_px)):
            return None
        laid_rows = np.rint(np.array(rows) * height / self.height_px).astype(int)
        laid_columns = np.rint(np.array(columns) * width / self.width_px).astype(int)
        if self.flipped:
            laid_columns = width - laid_columns[::-1]
        return slice(*laid_rows), slice(*laid_columns)


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
        """Zoom, place and flip, drawn once and alike for all pictures of the frame, thermal and RGB."""
        config = self._config
        zoom = float(np.exp(rng.uniform(*np.log(config.scale_range))))
        # no fewer than 32 px of the frame fill the shorter side
        zoom = min(zoom, max(1.0, min(size_px) / 32))
        height, width = (max(1, round(side / zoom)) for side in size_px)
        # over an object where the dice say so, up to a tenth of it off the frame
        room = np.array([frame_height_width_px[1] - width, frame_height_width_px[0] - height])
        side = np.array([width, height])
        margin = side // 10
        objects = np.flatnonzero(~truth.ignore)
        if len(objects) and rng.random() < config.object_centre_probability:
            reached = np.cumsum(self._class_weights[truth.class_ids[objects]], dtype=np.float64)
            chosen = objects[int(np.searchsorted(reached[:-1], rng.random() * reached[-1], side="right"))]
            box = truth.boxes_xyxy_px[chosen]
            corner = (box[:2] + box[2:]) / 2 - rng.uniform(0.2, 0.8, 2) * side
        else:
            corner = rng.uniform(-margin, np.maximum(room, 0) + margin)
        left, top = np.clip(corner, np.minimum(-margin, room), np.maximum(room + margin, 0)).astype(int).tolist()
        return Window(left, top, height, width, size_px, rng.random() < config.flip_probability)


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
    frame would be alike if every frame held each in the set's proportions; 1 of a class without objects.
    """
    counts = np.zeros(classes)
    for truth in truths:
        counts += np.bincount(truth.class_ids[~truth.ignore], minlength=classes)
    return np.asarray(np.maximum(counts, 1) ** -balance, np.float32)
