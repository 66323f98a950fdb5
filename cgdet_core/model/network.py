"""What every task's network is; and one of CSP backbone and path-aggregation neck (PANet, Liu et al. 2018)."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import torch
from torch import Tensor, nn

from cgdet_core.config import ModelConfig, NetworkConfig
from cgdet_core.model import STRIDES
from cgdet_core.model.blocks import ConvUnit, CrossStage, PooledContext


class Backbone(nn.Module):
    """[B, 1, H, W] -> three maps [B, widths[2..4], H / s, W / s] at s = 8, 16, 32."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        widths, depths = config.widths, config.depths
        self.stem = ConvUnit(1, widths[0], 3, 2)
        self.stages = nn.ModuleList(
            nn.Sequential(
                ConvUnit(widths[index], widths[index + 1], 3, 2),
                CrossStage(widths[index + 1], widths[index + 1], depths[index], True),
            )
            for index in range(4)
        )
        self.context = PooledContext(widths[4])

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        x = self.stages[0](self.stem(images))
        stride8 = self.stages[1](x)
        stride16 = self.stages[2](stride8)
        stride32 = self.context(self.stages[3](stride16))
        return stride8, stride16, stride32


class Neck(nn.Module):
    """Top-down, then bottom-up: maps at strides 8, 16, 32 -> of the same sizes and channels, that saw each other."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        _, _, small, middle, large = config.widths
        depth = config.neck_depth
        self.up = nn.Upsample(scale_factor=2, mode="nearest")
        self.down_to_16 = CrossStage(large + middle, middle, depth, False)
        self.down_to_8 = CrossStage(middle + small, small, depth, False)
        self.shrink_8 = ConvUnit(small, small, 3, 2)
        self.up_to_16 = CrossStage(small + middle, middle, depth, False)
        self.shrink_16 = ConvUnit(middle, middle, 3, 2)
        self.up_to_32 = CrossStage(middle + large, large, depth, False)

    def forward(self, features: tuple[Tensor, Tensor, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        stride8, stride16, stride32 = features
        top16 = self.down_to_16(torch.cat((self.up(stride32), stride16), dim=1))
        out8 = self.down_to_8(torch.cat((self.up(top16), stride8), dim=1))
        out16 = self.up_to_16(torch.cat((self.shrink_8(out8), top16), dim=1))
        out32 = self.up_to_32(torch.cat((self.shrink_16(out16), stride32), dim=1))
        return out8, out16, out32


class Network(nn.Module):
    """What every task trains: images float [B, 1, H, W] in [0, 1] -> maps -> what the head makes of them.

    A kind of network sets `config` and `head`, which takes the tuple of maps, and says which maps there are. Feature
    terms compare those maps, and injection gives the head those of another network.
    """

    config: NetworkConfig
    head: nn.Module

    @property
    def channels(self) -> dict[int, int]:
        """stride -> channels of the maps that the head takes, in the head's order, finest first."""
        return dict(zip(STRIDES, self.config.widths[2:], strict=True))

    @abstractmethod
    def features(self, images: Tensor) -> tuple[Tensor, ...]:
        """Of each stride of `channels` float [B, C, H / stride, W / stride]."""

    def forward(self, images: Tensor) -> Any:
        return self.head(self.features(images))

    def parameter_count(self) -> int:
        return sum(parameter.numel() for parameter in self.parameters())
