"""Decoupled anchor-free head with distributional box regression (GFL, Li et al. 2020)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from cgdet_core.config import ModelConfig
from cgdet_core.model import STRIDES
from cgdet_core.model.blocks import ConvUnit, set_activation
from cgdet_core.model.network import Backbone, Neck, Network

PRIOR_PROBABILITY = 0.01  # of a class at a cell before training (RetinaNet, Lin et al. 2017, section 4.1)


@dataclass(frozen=True)
class HeadOutput:
    """Raw predictions of all cells, stride 8 first, row by row.

    class_logits: float [B, A, C]; box_logits: float [B, A, 4, bins], distances left, top, right,
    bottom in strides; centres_xy_px: float [A, 2], cell centres in pixels of the input; strides_px: float [A].
    """

    class_logits: Tensor
    box_logits: Tensor
    centres_xy_px: Tensor
    strides_px: Tensor

    def boxes_xyxy_px(self) -> Tensor:
        """Boxes float [B, A, 4] in pixels of the input: each distance is its distribution's mean."""
        return decode_boxes(self.box_logits, self.centres_xy_px, self.strides_px)


def decode_boxes(box_logits: Tensor, centres_xy_px: Tensor, strides_px: Tensor) -> Tensor:
    """box_logits [..., A, 4, bins], centres [A, 2], strides [A] -> boxes xyxy [..., A, 4] in pixels."""
    bins = torch.arange(box_logits.shape[-1], dtype=torch.float32, device=box_logits.device)
    distances_px = (box_logits.float().softmax(-1) @ bins) * strides_px[:, None]
    return torch.cat((centres_xy_px - distances_px[..., :2], centres_xy_px + distances_px[..., 2:]), dim=-1)


class Head(nn.Module):
    """Neck maps at strides 8, 16, 32 -> HeadOutput."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.classes = len(config.class_names)
        self.bins = config.bins
        width = config.head_width

        def branches(outputs: int) -> nn.ModuleList:
            return nn.ModuleList(
                nn.Sequential(ConvUnit(channels, width), ConvUnit(width, width), nn.Conv2d(width, outputs, 1))
                for channels in config.widths[2:]
            )

        self.class_branches = branches(self.classes)
        self.box_branches = branches(4 * self.bins)
        for level in range(len(STRIDES)):
            bias = self.class_branches.get_parameter(f"{level}.2.bias")
            nn.init.constant_(bias, -math.log((1 - PRIOR_PROBABILITY) / PRIOR_PROBABILITY))

    def forward(self, features: tuple[Tensor, Tensor, Tensor]) -> HeadOutput:
        class_logits, box_logits = [], []
        for level, feature in enumerate(features):
            batch, _, height, width = feature.shape
            class_logits.append(self.class_branches[level](feature).flatten(2).transpose(1, 2))
            box = self.box_branches[level](feature).flatten(2).transpose(1, 2)
            box_logits.append(box.reshape(batch, height * width, 4, self.bins))
        centres, strides = cell_grid([(feature.shape[2], feature.shape[3]) for feature in features], features[0].device)
        return HeadOutput(torch.cat(class_logits, dim=1), torch.cat(box_logits, dim=1), centres, strides)


class DetectionNetwork(Network):
    """Images float [B, 1, H, W] in [0, 1], H and W multiples of 32 -> HeadOutput."""

    config: ModelConfig
    head: Head

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        # in this order, which is that of the random numbers
        self.backbone = Backbone(config)
        self.neck = Neck(config)
        self.head = Head(config)
        set_activation(self, config.activation)

    def features(self, images: Tensor) -> tuple[Tensor, ...]:
        maps: tuple[Tensor, ...] = self.neck(self.backbone(images))
        return maps


def cell_grid(sizes: list[tuple[int, int]], device: torch.device) -> tuple[Tensor, Tensor]:
    """Centres float32 [A, 2] in pixels and strides float32 [A] of all cells of maps of `sizes`."""
    centres, strides = [], []
    for (height, width), stride in zip(sizes, STRIDES, strict=True):
        rows, columns = (torch.arange(count, device=device, dtype=torch.float32) for count in (height, width))
        y, x = torch.meshgrid(rows, columns, indexing="ij")
        centres.append((torch.stack((x, y), dim=-1).reshape(-1, 2) + 0.5) * stride)
        strides.append(torch.full((height * width,), float(stride), device=device))
    return torch.cat(centres), torch.cat(strides)
