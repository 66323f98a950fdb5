"""The convolutions that YOLOX is made of, their parameters named as in an official checkpoint."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval


class Unit(nn.Module):
    """Convolution, batch norm, SiLU."""

    def __init__(self, inputs: int, outputs: int, kernel: int = 1, stride: int = 1, groups: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False)
        self.bn = nn.BatchNorm2d(outputs, eps=1e-3, momentum=0.03)
        self.act = nn.SiLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.act(self.bn(self.conv(x)))
        return out


class ChannelwiseUnit(nn.Module):
    """A 3x3 convolution per channel, then a 1x1 that mixes them."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.dconv = Unit(inputs, inputs, 3, stride, groups=inputs)
        self.pconv = Unit(inputs, outputs)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.pconv(self.dconv(x))
        return out


def unit3x3(channelwise: bool, inputs: int, outputs: int, stride: int = 1) -> nn.Module:
    return ChannelwiseUnit(inputs, outputs, stride) if channelwise else Unit(inputs, outputs, 3, stride)


class Bottleneck(nn.Module):
    """1x1, 3x3, with the input added where `shortcut`."""

    def __init__(self, channels: int, shortcut: bool, channelwise: bool) -> None:
        super().__init__()
        self.conv1 = Unit(channels, channels)
        self.conv2 = unit3x3(channelwise, channels, channels)
        self.shortcut = shortcut

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.conv2(self.conv1(x))
        return x + out if self.shortcut else out


class CrossStage(nn.Module):
    """Cross-stage partial block: one half through the bottlenecks, one past them, mixed by a 1x1."""

    def __init__(self, inputs: int, outputs: int, depth: int, shortcut: bool, channelwise: bool) -> None:
        super().__init__()
        half = outputs // 2
        self.conv1 = Unit(inputs, half)
        self.conv2 = Unit(inputs, half)
        self.m = nn.Sequential(*(Bottleneck(half, shortcut, channelwise) for _ in range(depth)))
        self.conv3 = Unit(2 * half, outputs)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.conv3(torch.cat((self.m(self.conv1(x)), self.conv2(x)), dim=1))
        return out


class PooledContext(nn.Module):
    """Maxima over 5, 9 and 13 cells: a 5x5 maximum once, twice and three times."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = Unit(channels, channels // 2)
        self.conv2 = Unit(2 * channels, channels)
        self.pool = nn.MaxPool2d(5, stride=1, padding=2)

    def forward(self, x: Tensor) -> Tensor:
        parts = [self.conv1(x)]
        for _ in range(3):
            parts.append(self.pool(parts[-1]))
        out: Tensor = self.conv2(torch.cat(parts, dim=1))
        return out


class Stem(nn.Module):
    """Every 2x2 block of pixels becomes one cell of 12 channels, then a 3x3 convolution."""

    def __init__(self, outputs: int) -> None:
        super().__init__()
        self.conv = Unit(12, outputs, 3)

    def forward(self, x: Tensor) -> Tensor:
        # the published order of the four pixels: down the left column, then down the right one
        corners = [x[..., row::2, column::2] for column in (0, 1) for row in (0, 1)]
        out: Tensor = self.conv(torch.cat(corners, dim=1))
        return out


def fuse(network: nn.Module) -> None:
    """The same function with every Unit's batch norm folded into its convolution; changes `network` in place."""
    for module in network.modules():
        if isinstance(module, Unit):
            module.conv = fuse_conv_bn_eval(module.conv, module.bn)
            module.bn = nn.Identity()  # type: ignore[assignment]
