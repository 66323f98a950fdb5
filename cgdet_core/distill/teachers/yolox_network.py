"""YOLOX (Ge et al. 2021) of the CSP kind: an RGB detector that teaches. Never part of what drives.

The structure is the one published, and the parameters have the names of an official checkpoint, which is why attributes
here are called `dark3`, `C3_p4` or `reg_preds`; those within the blocks that the student has too are RENAMED.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor, nn

from cgdet_core.model import STRIDES
from cgdet_core.model.blocks import ConvUnit, PooledContext

# part of a tensor's name in a checkpoint -> here
RENAMED: Final = {".bn.": ".norm.", ".dark5.1.conv1.": ".dark5.1.enter.", ".dark5.1.conv2.": ".dark5.1.leave."}


class ChannelwiseUnit(nn.Module):
    """A 3x3 convolution per channel and a 1x1 mixing one (Howard et al. 2017, section 3.1), each a ConvUnit."""

    def __init__(self, inputs: int, outputs: int, stride: int = 1) -> None:
        super().__init__()
        self.dconv = ConvUnit(inputs, inputs, 3, stride, groups=inputs)
        self.pconv = ConvUnit(inputs, outputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.pconv(self.dconv(x))
        return out


def unit3x3(channelwise: bool, inputs: int, outputs: int, stride: int = 1) -> nn.Module:
    return (ChannelwiseUnit if channelwise else ConvUnit)(inputs, outputs, stride=stride)


class YoloxBottleneck(nn.Module):
    """1x1, 3x3, with the input added where `shortcut`."""

    def __init__(self, channels: int, shortcut: bool, channelwise: bool) -> None:
        super().__init__()
        self.conv1 = ConvUnit(channels, channels, 1)
        self.conv2 = unit3x3(channelwise, channels, channels)
        self.shortcut = shortcut

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.conv2(self.conv1(x))
        return x + out if self.shortcut else out


class YoloxCrossStage(nn.Module):
    """Cross-stage partial block: one half through the bottlenecks, one past them, mixed by a 1x1."""

    def __init__(self, inputs: int, outputs: int, depth: int, shortcut: bool, channelwise: bool) -> None:
        super().__init__()
        half = outputs // 2
        self.conv1 = ConvUnit(inputs, half, 1)
        self.conv2 = ConvUnit(inputs, half, 1)
        self.m = nn.Sequential(*(YoloxBottleneck(half, shortcut, channelwise) for _ in range(depth)))
        self.conv3 = ConvUnit(2 * half, outputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.conv3(torch.cat((self.m(self.conv1(x)), self.conv2(x)), dim=1))
        return out


class YoloxStem(nn.Module):
    """Every 2x2 block of pixels becomes one cell of 12 channels, then a 3x3 convolution."""

    def __init__(self, outputs: int) -> None:
        super().__init__()
        self.conv = ConvUnit(12, outputs)

    def forward(self, x: Tensor) -> Tensor:
        # the published order of the four pixels: down the left column, then down the right one
        corners = [x[..., row::2, column::2] for column in (0, 1) for row in (0, 1)]
        out: Tensor = self.conv(torch.cat(corners, dim=1))
        return out


@dataclass(frozen=True)
class YoloxShape:
    """What tells one YOLOX from another.

    width: channels of the stem; the stages at strides 4 to 32 have 2, 4, 8 and 16 times as many; depth:
    bottlenecks of the shortest stage; channelwise: 3x3 convolutions per channel (YOLOX-nano).
    """

    width: int
    depth: int
    channelwise: bool
    classes: int

    @property
    def neck_channels(self) -> tuple[int, int, int]:
        """Of the maps at strides 8, 16, 32."""
        return 4 * self.width, 8 * self.width, 16 * self.width


class YoloxBackbone(nn.Module):
    """[B, 3, H, W] -> maps at strides 8, 16, 32."""

    def __init__(self, shape: YoloxShape) -> None:
        super().__init__()
        width, depth, channelwise = shape.width, shape.depth, shape.channelwise

        def stage(inputs: int, bottlenecks: int) -> list[nn.Module]:
            return [
                unit3x3(channelwise, inputs, 2 * inputs, 2),
                YoloxCrossStage(2 * inputs, 2 * inputs, bottlenecks, True, channelwise),
            ]

        self.stem = YoloxStem(width)
        self.dark2 = nn.Sequential(*stage(width, depth))
        self.dark3 = nn.Sequential(*stage(2 * width, 3 * depth))
        self.dark4 = nn.Sequential(*stage(4 * width, 3 * depth))
        self.dark5 = nn.Sequential(
            unit3x3(channelwise, 8 * width, 16 * width, 2),
            PooledContext(16 * width),
            YoloxCrossStage(16 * width, 16 * width, depth, False, channelwise),
        )

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        stride8 = self.dark3(self.dark2(self.stem(images)))
        stride16 = self.dark4(stride8)
        return stride8, stride16, self.dark5(stride16)


class Pyramid(nn.Module):
    """Backbone and path-aggregation neck: [B, 3, H, W] -> maps at strides 8, 16, 32 that have seen each other."""

    def __init__(self, shape: YoloxShape) -> None:
        super().__init__()
        small, middle, large = shape.neck_channels

        def mix(inputs: int, outputs: int) -> YoloxCrossStage:
            return YoloxCrossStage(inputs, outputs, shape.depth, False, shape.channelwise)

        self.backbone = YoloxBackbone(shape)
        self.up = nn.Upsample(scale_factor=2, mode="nearest")
        self.lateral_conv0 = ConvUnit(large, middle, 1)
        self.C3_p4 = mix(2 * middle, middle)
        self.reduce_conv1 = ConvUnit(middle, small, 1)
        self.C3_p3 = mix(2 * small, small)
        self.bu_conv2 = unit3x3(shape.channelwise, small, small, 2)
        self.C3_n3 = mix(2 * small, middle)
        self.bu_conv1 = unit3x3(shape.channelwise, middle, middle, 2)
        self.C3_n4 = mix(2 * middle, large)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        stride8, stride16, stride32 = self.backbone(images)
        lateral32 = self.lateral_conv0(stride32)
        lateral16 = self.reduce_conv1(self.C3_p4(torch.cat((self.up(lateral32), stride16), dim=1)))
        out8 = self.C3_p3(torch.cat((self.up(lateral16), stride8), dim=1))
        out16 = self.C3_n3(torch.cat((self.bu_conv2(out8), lateral16), dim=1))
        out32 = self.C3_n4(torch.cat((self.bu_conv1(out16), lateral32), dim=1))
        return out8, out16, out32


class YoloxHead(nn.Module):
    """Of each level a branch for classes and one for boxes and objectness."""

    def __init__(self, shape: YoloxShape) -> None:
        super().__init__()
        width = shape.neck_channels[0]

        def branch() -> nn.Module:
            return nn.Sequential(*(unit3x3(shape.channelwise, width, width) for _ in range(2)))

        self.stems = nn.ModuleList(ConvUnit(channels, width, 1) for channels in shape.neck_channels)
        self.cls_convs = nn.ModuleList(branch() for _ in STRIDES)
        self.reg_convs = nn.ModuleList(branch() for _ in STRIDES)
        self.cls_preds = nn.ModuleList(nn.Conv2d(width, shape.classes, 1) for _ in STRIDES)
        self.reg_preds = nn.ModuleList(nn.Conv2d(width, 4, 1) for _ in STRIDES)
        self.obj_preds = nn.ModuleList(nn.Conv2d(width, 1, 1) for _ in STRIDES)

    def forward(self, maps: tuple[Tensor, Tensor, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        """Of every cell, stride 8 first, row by row: boxes xyxy float32 [B, A, 4] in pixels of the input, objectness
        logits [B, A], class logits [B, A, classes]."""
        boxes, objectness, classes = [], [], []
        for level, stride in enumerate(STRIDES):
            stem = self.stems[level](maps[level])
            of_box = self.reg_convs[level](stem)
            boxes.append(yolox_boxes(self.reg_preds[level](of_box), stride))
            objectness.append(self.obj_preds[level](of_box).flatten(1))
            classes.append(self.cls_preds[level](self.cls_convs[level](stem)).flatten(2).transpose(1, 2))
        return torch.cat(boxes, dim=1), torch.cat(objectness, dim=1), torch.cat(classes, dim=1)


def yolox_boxes(values: Tensor, stride: int) -> Tensor:
    """[B, 4, h, w], of one level -> boxes xyxy float32 [B, h * w, 4] in pixels.

    The four are the centre's offset from the cell's corner in cells, and the logarithm of width and
    height in cells (Ge et al. 2021, section 2.1).
    """
    y, x = (torch.arange(count, dtype=torch.float32, device=values.device) for count in values.shape[-2:])
    corners = torch.stack((x.expand(len(y), -1), y[:, None].expand(-1, len(x))))
    values = values.float()
    centres = (values[:, :2] + corners) * stride
    # no trained network comes near the bound, and one that was never trained does not overflow
    halves = values[:, 2:].clamp(max=20).exp() * (stride / 2)
    return torch.cat((centres - halves, centres + halves), dim=1).flatten(2).transpose(1, 2)


class Yolox(nn.Module):
    """Images float [B, 3, H, W] as the checkpoint wants them, H and W multiples of 32 -> what the head puts out."""

    def __init__(self, shape: YoloxShape) -> None:
        super().__init__()
        self.shape = shape
        self.backbone = Pyramid(shape)
        self.head = YoloxHead(shape)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        out: tuple[Tensor, Tensor, Tensor] = self.head(self.backbone(images))
        return out


def keep_classes(network: Yolox, class_ids: Sequence[int]) -> None:
    """Take the outputs of all other classes from `network`.

    class_ids: distinct; the class logits come in this order. Of COCO's 80 a few are of use, and the
    others' outputs are the largest arrays that the head handles.
    """
    for layer in network.head.cls_preds:
        assert isinstance(layer, nn.Conv2d)
        assert layer.bias is not None
        layer.weight = nn.Parameter(layer.weight.detach()[list(class_ids)])
        layer.bias = nn.Parameter(layer.bias.detach()[list(class_ids)])
