"""Path-aggregation neck (PANet, Liu et al. 2018): top-down, then bottom-up."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from cgdet_core.config import ModelConfig
from cgdet_core.model.blocks import ConvUnit, CrossStage


class Neck(nn.Module):
    """Backbone maps at strides 8, 16, 32 -> maps of the same sizes and channels that have seen each other."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        _, _, small, middle, large = config.widths
        depth = config.neck_depth
        _, kind8, kind16, kind32 = config.blocks
        self.up = nn.Upsample(scale_factor=2, mode="nearest")
        self.down_to_16 = CrossStage(large + middle, middle, depth, False, kind16)
        self.down_to_8 = CrossStage(middle + small, small, depth, False, kind8)
        self.shrink_8 = ConvUnit(small, small, 3, 2)
        self.up_to_16 = CrossStage(small + middle, middle, depth, False, kind16)
        self.shrink_16 = ConvUnit(middle, middle, 3, 2)
        self.up_to_32 = CrossStage(middle + large, large, depth, False, kind32)

    def forward(self, features: tuple[Tensor, Tensor, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        stride8, stride16, stride32 = features
        top16 = self.down_to_16(torch.cat((self.up(stride32), stride16), dim=1))
        out8 = self.down_to_8(torch.cat((self.up(top16), stride8), dim=1))
        out16 = self.up_to_16(torch.cat((self.shrink_8(out8), top16), dim=1))
        out32 = self.up_to_32(torch.cat((self.shrink_16(out16), stride32), dim=1))
        return out8, out16, out32
