"""What is compared: maps brought to the other network's channels, and labelled boxes as regions of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torchvision.ops import roi_align

from cgdet_core.config import TermConfig
from cgdet_core.model import STRIDES
from cgdet_core.tasks.task import Regions


def adapters(channels: Mapping[int, int], to: Mapping[int, int], strides: Sequence[int]) -> nn.ModuleDict:
    """Of each stride a 1x1 convolution from one network's channels to the other's; training only, named by strides."""
    return nn.ModuleDict({str(stride): nn.Conv2d(channels[stride], to[stride], 1) for stride in strides})


def levels(regions: Regions, config: TermConfig) -> Tensor:
    """int64 [K]: the stride of the map that each region belongs to.

    By sqrt(area) (FPN, Lin et al. 2017, eq. 1, with bounds in pixels). Where that level is not in use it is the nearest
    that is, the finer of two as near.
    """
    sides = (regions.rois[:, 3:] - regions.rois[:, 1:3]).clamp(min=0).prod(1).sqrt()
    bounds = sides.new_tensor([config.small_below_px, config.middle_below_px])
    level = torch.bucketize(sides, bounds, right=True)
    in_use = [STRIDES.index(stride) for stride in config.strides]
    nearest = [min(in_use, key=lambda use: (abs(use - wanted), use)) for wanted in range(3)]
    return torch.tensor([STRIDES[index] for index in nearest], device=sides.device)[level]


def pool(maps: Mapping[int, Tensor], regions: Regions, strides: Tensor, size: int) -> dict[int, tuple[Tensor, Tensor]]:
    """stride -> (row numbers int64 [k] of its regions, their features float32 [k, C, size, size]).

    maps: stride -> [B, C, H / stride, W / stride]; strides: int64 [K], of each region (`levels`). RoIAlign (He et al.
    2017) with aligned corners and two samples a bin, in float32 whatever the maps are in. A level without a region is
    left out.
    """
    pooled = {}
    for stride, features in maps.items():
        rows = (strides == stride).nonzero()[:, 0]
        if len(rows):
            with torch.autocast(features.device.type, enabled=False):
                values = roi_align(features.float(), regions.rois[rows], size, 1 / stride, 2, aligned=True)
            pooled[stride] = rows, values
    return pooled
