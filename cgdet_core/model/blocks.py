"""The convolutions that backbone, neck and head are made of."""

from __future__ import annotations

from itertools import pairwise
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from cgdet_core.config import Activation

_Network = TypeVar("_Network", bound=nn.Module)
_ACTIVATIONS: dict[Activation, type[nn.Module]] = {"silu": nn.SiLU, "hard_swish": nn.Hardswish, "relu": nn.ReLU}


class ConvUnit(nn.Module):
    """Convolution, batch norm, SiLU; [B, in, H, W] -> [B, out, H / stride, W / stride]."""

    def __init__(self, inputs: int, outputs: int, kernel: int = 3, stride: int = 1, groups: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False)
        self.norm = nn.BatchNorm2d(outputs, eps=1e-3, momentum=0.03)
        self.act: nn.Module = nn.SiLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.act(self.norm(self.conv(x)))
        return out


def fuse(network: _Network) -> _Network:
    """The same function with every batch norm folded into the convolution before it; changes `network` in place."""
    for module in network.modules():
        for (of_convolution, convolution), (of_norm, norm) in pairwise(list(module.named_children())):
            if isinstance(convolution, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
                setattr(module, of_convolution, fuse_conv_bn_eval(convolution, norm))
                setattr(module, of_norm, nn.Identity())
    return network


def set_activation(network: nn.Module, activation: Activation) -> None:
    """Of every ConvUnit, in place."""
    for module in network.modules():
        if isinstance(module, ConvUnit):
            module.act = _ACTIVATIONS[activation](inplace=True)


class Bottleneck(nn.Module):
    """Two 3x3 convolutions, with the input added where `shortcut`."""

    def __init__(self, channels: int, shortcut: bool) -> None:
        super().__init__()
        self.first = ConvUnit(channels, channels)
        self.second = ConvUnit(channels, channels)
        self.shortcut = shortcut

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.second(self.first(x))
        return x + out if self.shortcut else out


class CrossStage(nn.Module):
    """Cross-stage partial block (CSPNet, Wang et al. 2020), every bottleneck's output kept (ELAN, Wang et al. 2022).

    Half of the channels pass by; the other half runs through `depth` bottlenecks; all of it is
    concatenated and mixed by a 1x1 convolution.
    """

    def __init__(self, inputs: int, outputs: int, depth: int, shortcut: bool) -> None:
        super().__init__()
        self.hidden = outputs // 2
        self.enter = ConvUnit(inputs, 2 * self.hidden, 1)
        self.bottlenecks = nn.ModuleList(Bottleneck(self.hidden, shortcut) for _ in range(depth))
        self.leave = ConvUnit((2 + depth) * self.hidden, outputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        parts = list(self.enter(x).split((self.hidden, self.hidden), dim=1))
        for bottleneck in self.bottlenecks:
            parts.append(bottleneck(parts[-1]))
        out: Tensor = self.leave(torch.cat(parts, dim=1))
        return out


class PooledContext(nn.Module):
    """Spatial pyramid pooling by repeated 5x5 maxima (SPP, He et al. 2014): fields of 5, 9 and 13 cells."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        half = channels // 2
        self.enter = ConvUnit(channels, half, 1)
        self.pool = nn.MaxPool2d(5, stride=1, padding=2)
        self.leave = ConvUnit(4 * half, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        parts = [self.enter(x)]
        for _ in range(3):
            parts.append(self.pool(parts[-1]))
        out: Tensor = self.leave(torch.cat(parts, dim=1))
        return out
