"""The place of a frame that a crop shows, drawn once and alike for all pictures of that frame, thermal and RGB."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from cgdet_core.config import AugmentConfig
from cgdet_core.types import FloatArray, GroundTruth


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


def draw_window(
    frame_height_width_px: tuple[int, int],
    truth: GroundTruth,
    config: AugmentConfig,
    rng: np.random.Generator,
    size_px: tuple[int, int],
    class_weights: FloatArray,
) -> Window:
    """Zoom, place and flip.

    class_weights: [C], how likely an object of a class is the one that the crop is laid over, in relation to other
    objects of the frame.
    """
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
        reached = np.cumsum(class_weights[truth.class_ids[objects]], dtype=np.float64)
        chosen = objects[int(np.searchsorted(reached[:-1], rng.random() * reached[-1], side="right"))]
        box = truth.boxes_xyxy_px[chosen]
        corner = (box[:2] + box[2:]) / 2 - rng.uniform(0.2, 0.8, 2) * side
    else:
        corner = rng.uniform(-margin, np.maximum(room, 0) + margin)
    left, top = np.clip(corner, np.minimum(-margin, room), np.maximum(room + margin, 0)).astype(int).tolist()
    return Window(left, top, height, width, size_px, rng.random() < config.flip_probability)
