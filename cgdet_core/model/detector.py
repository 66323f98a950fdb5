"""The detector: backbone, neck and head, one thermal channel in."""

from __future__ import annotations

from torch import Tensor, nn

from cgdet_core.config import ModelConfig
from cgdet_core.model.backbone import Backbone
from cgdet_core.model.blocks import set_activation
from cgdet_core.model.neck import Neck
from cgdet_core.tasks.detection.head import Head, HeadOutput


class Detector(nn.Module):
    """Images float [B, 1, H, W] in [0, 1], H and W multiples of 32 -> HeadOutput."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.backbone = Backbone(config)
        self.neck = Neck(config)
        self.head = Head(config)
        set_activation(self, config.activation)

    def forward(self, images: Tensor) -> HeadOutput:
        out: HeadOutput = self.head(self.neck(self.backbone(images)))
        return out

    def parameter_count(self) -> int:
        return sum(parameter.numel() for parameter in self.parameters())
