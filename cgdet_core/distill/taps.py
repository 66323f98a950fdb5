"""What is compared: maps read off a network by hooks, and labelled boxes as regions of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import TracebackType

import torch
from torch import Tensor, nn
from torchvision.ops import roi_align

from cgdet_core.config import TermConfig
from cgdet_core.errors import InputError
from cgdet_core.model import STRIDES
from cgdet_core.tasks.task import Regions


class Taps:
    """Keeps the latest output of each named module while the context is open.

    what: the setting that names the modules, for the InputError where the network has no such module,
    or one puts out something else than one tensor.
    """

    def __init__(self, network: nn.Module, names: Sequence[str], what: str) -> None:
        modules = dict(network.named_modules())
        for name in names:
            if name not in modules or not name:
                near = sorted(word for word in modules if word.startswith(name.split(".")[0] + "."))[:12]
                raise InputError(
                    f"{what}: the network has no module {name!r}"
                    + (f": give one such as {', '.join(near)}" if near else f": it has {', '.join(network._modules)}")
                )
        self._what = what
        self._names = tuple(dict.fromkeys(names))
        self._outputs: dict[str, Tensor] = {}
        self._handles = [modules[name].register_forward_hook(self._keeper(name)) for name in self._names]

    def _keeper(self, name: str) -> Callable[[nn.Module, object, object], None]:
        def keep(_module: nn.Module, _inputs: object, output: object) -> None:
            if not isinstance(output, Tensor):
                raise InputError(
                    f"{self._what}: module {name!r} puts out a {type(output).__name__}, not one map: name one inside it"
                )
            self._outputs[name] = output

        return keep

    def take(self) -> dict[str, Tensor]:
        """name -> output of the latest forward pass, which is then forgotten.

        InputError for a module that had no part in it, such as a list of others.
        """
        outputs, self._outputs = self._outputs, {}
        for name in self._names:
            if name not in outputs:
                raise InputError(f"{self._what}: module {name!r} was not called by the network: name another one")
        return outputs

    def remove(self) -> None:
        for handle in self._handles:
            handle.remove()
        self._outputs = {}

    def __enter__(self) -> Taps:
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self.remove()


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
