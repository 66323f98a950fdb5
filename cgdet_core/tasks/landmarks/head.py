"""The landmark network: plain residual stages and a head that gives one map a point."""

from __future__ import annotations

from typing import Final

from torch import Tensor, nn

from cgdet_core.config import LandmarkModelConfig
from cgdet_core.model.blocks import Bottleneck, ConvUnit, set_activation
from cgdet_core.model.network import Network
from cgdet_core.tasks.landmarks.points import POINTS

_GAIN: Final = 6.0  # of the maps: they sharpen sooner: as good in half of the steps (one seed)
_LEAST_DEVIATION: Final = 0.01  # of values in [0, 1]: a flat crop's noise is not blown up into a face


class LandmarkHead(nn.Module):
    """Maps at strides 8, 16, 32 -> map_logits float [B, 68, S / 8, S / 8], whose softmax tells a point (decode.py).

    The coarser maps, which see the whole face, are added to that of stride 8, each after a 1x1 convolution.
    """

    def __init__(self, config: LandmarkModelConfig) -> None:
        super().__init__()
        width = config.head_width
        self.enter = nn.ModuleList(nn.Conv2d(channels, width, 1) for channels in config.widths[2:])
        self.mix = ConvUnit(width, width)
        self.leave = nn.Conv2d(width, POINTS, 1)

    def forward(self, features: tuple[Tensor, ...]) -> Tensor:
        fine, *coarse = (enter(feature) for enter, feature in zip(self.enter, features, strict=True))
        for feature, factor in zip(coarse, (2.0, 4.0), strict=True):
            fine = fine + nn.functional.interpolate(feature, scale_factor=factor, mode="nearest")
        out: Tensor = self.leave(self.mix(fine)) * _GAIN
        return out


class LandmarkNetwork(Network):
    """Crops of faces float [B, 1, S, S] in [0, 1], S a multiple of 32 -> LandmarkHead's map_logits.

    Each crop is standardised here, by its own mean and deviation: another camera's gain and offset change nothing. A
    teacher of RGB faces is the same network and sees their grey values (thermal.to_grey): colour tells little of where
    an eye is, and one kind of input makes teacher, student and the compressed student one family.
    """

    config: LandmarkModelConfig
    head: LandmarkHead

    def __init__(self, config: LandmarkModelConfig) -> None:
        super().__init__()
        self.config = config
        widths, depths = config.widths, config.depths
        self.stem = ConvUnit(1, widths[0], 3, 2)
        self.stages = nn.ModuleList(
            nn.Sequential(
                ConvUnit(widths[index], widths[index + 1], 3, 2),
                *(Bottleneck(widths[index + 1], True) for _ in range(depths[index])),
            )
            for index in range(4)
        )
        self.head = LandmarkHead(config)
        set_activation(self, config.activation)

    def features(self, images: Tensor) -> tuple[Tensor, ...]:
        # in float32, where the network is in half precision too: a face may span few of the frame's tones
        values = images.float()
        centred = values - values.mean((2, 3), keepdim=True)
        deviation = centred.square().mean((2, 3), keepdim=True).sqrt().clamp(min=_LEAST_DEVIATION)
        x = self.stem((centred / deviation).to(self.stem.conv.weight.dtype))
        maps = []
        for stage in self.stages:
            x = stage(x)
            maps.append(x)
        return tuple(maps[1:])
