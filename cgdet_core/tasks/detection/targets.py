"""Labelled boxes of a batch, and what a teacher predicts there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cgdet_core.boxes import iou_torch
from cgdet_core.drawing import Colour, class_colour
from cgdet_core.tasks.task import Regions, Rows

SEEN_IOU: Final = 0.5
IGNORED_COLOUR: Final[Colour] = (160, 160, 160)


@dataclass(frozen=True)
class DetectionTargets(Rows):
    """Padded to the batch's most boxes.

    boxes_xyxy_px: float32 [B, M, 4]; class_ids: int64 [B, M]; objects: bool [B, M], true objects; ignored: bool
    [B, M], regions to ignore (of their class); labelled: bool [B, C], the classes that a crop has labels of.
    """

    boxes_xyxy_px: Tensor
    class_ids: Tensor
    objects: Tensor
    ignored: Tensor
    labelled: Tensor

    def draw(self, row: int, picture: NDArray[np.uint8], scale: float) -> None:
        """Into `picture`, uint8 RGB [H, W, 3], the crop at `scale`: objects in their colour, regions to ignore grey."""
        present = (self.objects | self.ignored)[row]
        height, width = picture.shape[:2]
        # (0, 0) is the outer corner of the first pixel
        corners = (self.boxes_xyxy_px[row][present].nan_to_num(posinf=0, neginf=0).cpu().numpy() * scale).round()
        last = (width - 1, height - 1, width - 1, height - 1)
        corners = (corners - (0, 0, 1, 1)).clip(0, last).astype(int).tolist()
        ids, ignored = self.class_ids[row][present].tolist(), self.ignored[row][present].tolist()
        for (left, top, right, bottom), class_id, ignore in zip(corners, ids, ignored, strict=True):
            colour = IGNORED_COLOUR if ignore else class_colour(class_id)
            cv2.rectangle(picture, (left, top), (right, bottom), colour, 1)


@dataclass(frozen=True)
class Predictions(Rows):
    """Every prediction of a detector that teaches, before NMS.

    boxes_xyxy_px: float32 [B, A, 4] in pixels of the picture; scores: float32 [B, A, classes of the student] in
    [0, 1]. Rows that are no prediction have scores of 0.
    """

    boxes_xyxy_px: Tensor
    scores: Tensor


@dataclass(frozen=True)
class CellPredictions(Rows):
    """What a head makes of maps, one prediction of each cell, stride 8 first, row by row.

    boxes_xyxy_px: float32 [B, A, 4] in pixels of the picture; class_logits: float32 [B, A, classes of the student],
    of the scores that Predictions has; 0 of a class that the teacher does not know.
    """

    boxes_xyxy_px: Tensor
    class_logits: Tensor


def regions_of(targets: DetectionTargets) -> Regions:
    """The true objects; regions to ignore are none."""
    row, slot = targets.objects.nonzero(as_tuple=True)
    boxes = targets.boxes_xyxy_px[row, slot]
    return Regions(torch.cat((row[:, None].to(boxes.dtype), boxes), dim=1), targets.class_ids[row, slot])


def seen_scores(predictions: Predictions, regions: Regions) -> Tensor:
    """float32 [K]: how surely the teacher sees each region's object, in [0, 1].

    The best score for the region's class among the predictions on its picture that overlap it with an
    IoU of at least 0.5, before NMS; 0 where there is none.
    """
    if not predictions.scores.shape[1]:
        return predictions.scores.new_zeros(len(regions))
    picture = regions.rois[:, 0].long()
    overlap = iou_torch(regions.rois[:, None, 1:], predictions.boxes_xyxy_px[picture])
    scores = predictions.scores.transpose(1, 2)[picture, regions.class_ids]
    # a box that overflowed has an overlap that is no number, which reaches no bound
    return torch.where(overlap >= SEEN_IOU, scores, 0).amax(1)
