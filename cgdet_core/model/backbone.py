"""CSP backbone: one thermal channel in, features at strides 8, 16 and 32 out."""

from __future__ import annotations

from torch import Tensor, nn

from cgdet_core.config import ModelConfig
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
                CrossStage(widths[index + 1], widths[index + 1], depths[index], True, config.blocks[index]),
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
