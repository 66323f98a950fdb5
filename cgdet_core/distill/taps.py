"""What is compared: maps brought to the other network's channels, and labelled boxes as regions of them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Final

import torch
from torch import Tensor, nn
from torchvision.ops import roi_align

from cgdet_core.config import TermConfig
from cgdet_core.tasks.task import Regions

_BOX_STRIDES: Final = (8, 16, 32)  # of boxes below small_below_px, below middle_below_px, and others


def adapters(channels: Mapping[int, int], to: Mapping[int, int], strides: Iterable[int]) -> nn.ModuleDict:
    """Of each stride a 1x1 convolution from one network's channels to the other's; training only, named by strides."""
    return nn.ModuleDict({str(stride): nn.Conv2d(channels[stride], to[stride], 1) for stride in strides})


def levels(regions: Regions, config: TermConfig) -> Tensor:
    """int64 [K]: the stride of the map that each region belongs to.

    By sqrt(area) (FPN, Lin et al. 2017, eq. 1, in pixels). Of a level out of use the nearest, the finer of two as near.
    """
    sides = (regions.rois[:, 3:] - regions.rois[:, 1:3]).clamp(min=0).prod(1).sqrt()
    bounds = sides.new_tensor([config.small_below_px, config.middle_below_px])
    level = torch.bucketize(sides, bounds, right=True)
    nearest = [min(config.strides, key=lambda use: (abs(math.log2(use / wanted)), use)) for wanted in _BOX_STRIDES]
    return torch.tensor(nearest, device=sides.device)[level]


def pool(maps: Mapping[int, Tensor], regions: Regions, strides: Tensor, size: int) -> dict[int, tuple[Tensor, Tensor]]:
    """stride -> (row numbers int64 [k] of its regions, their features float32 [k, C, size, size]).

    maps: stride -> [B, C, H / stride, W / stride]; strides: int64 [K], of each region (`levels`). RoIAlign (He et al.
    2017) with aligned corners and two samples a bin, in float32 whatever the maps are in, of levels that have a region.
    """
    pooled = {}
    for stride, features in maps.items():
        rows = (strides == stride).nonzero()[:, 0]
        if len(rows):
            with torch.autocast(features.device.type, enabled=False):
                values = roi_align(features.float(), regions.rois[rows], size, 1 / stride, 2, aligned=True)
            pooled[stride] = rows, values
    return pooled
