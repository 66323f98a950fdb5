"""Labelled boxes as regions of feature maps: which boxes, on which level, pooled to one size."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional
from torchvision.ops import roi_align

from cgdet_core.config import TermConfig
from cgdet_core.data.feed.dataset import TrainingBatch


@dataclass(frozen=True)
class Regions:
    """The K true objects of a batch, in the batch's order; regions to ignore are none.

    rois: float32 [K, 5], image index and box xyxy in pixels; class_ids: int64 [K]; strides: int64 [K],
    of the map that each belongs to.
    """

    rois: Tensor
    class_ids: Tensor
    strides: Tensor

    def __len__(self) -> int:
        return len(self.rois)


def regions_of(batch: TrainingBatch, config: TermConfig) -> Regions:
    """Level by sqrt(area) (FPN, Lin et al. 2017, eq. 1, with bounds in pixels).

    Where that level is not in use it is the nearest that is, the finer of two as near.
    """
    image_index, slot = batch.objects.nonzero(as_tuple=True)
    boxes = batch.boxes_xyxy_px[image_index, slot]
    rois = torch.cat((image_index[:, None].to(boxes.dtype), boxes), dim=1)
    sides = (boxes[:, 2:] - boxes[:, :2]).clamp(min=0).prod(1).sqrt()
    bounds = sides.new_tensor([config.small_below_px, config.middle_below_px])
    level = torch.bucketize(sides, bounds, right=True)
    in_use = [(8, 16, 32).index(stride) for stride in config.strides]
    nearest = [min(in_use, key=lambda use: (abs(use - wanted), use)) for wanted in range(3)]
    strides = torch.tensor([8 << index for index in nearest], device=boxes.device)[level]
    return Regions(rois, batch.class_ids[image_index, slot], strides)


def valid_cells(rgb_valid: Tensor, stride: int) -> Tensor:
    """bool [B, S, S] -> float [B, 1, S / stride, S / stride]: 1 where all pixels of a cell show valid RGB, else 0.

    All pixels, not most: the edge of the valid part is one to the teacher, and nothing that the thermal frame shows.
    """
    return -functional.max_pool2d(-rgb_valid[:, None].float(), stride)


def pool(maps: Mapping[int, Tensor], regions: Regions, size: int) -> dict[int, tuple[Tensor, Tensor]]:
    """stride -> (row numbers int64 [k] of its regions, their features float32 [k, C, size, size]).

    maps: stride -> [B, C, H / stride, W / stride]. RoIAlign (He et al. 2017) with aligned corners and
    two samples a bin, in float32 whatever the maps are in. A level without a region is left out.
    """
    pooled = {}
    for stride, features in maps.items():
        rows = (regions.strides == stride).nonzero()[:, 0]
        if len(rows):
            with torch.autocast(features.device.type, enabled=False):
                values = roi_align(features.float(), regions.rois[rows], size, 1 / stride, 2, aligned=True)
            pooled[stride] = rows, values
    return pooled
