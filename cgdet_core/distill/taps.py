"""What is compared: maps read off a network by hooks, and labelled boxes as regions of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType

import torch
from torch import Tensor, nn
from torch.nn import functional
from torchvision.ops import roi_align

from cgdet_core.config import TermConfig
from cgdet_core.data.feed.dataset import TrainingBatch
from cgdet_core.errors import InputError


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


@dataclass(frozen=True)
class Regions:
    """The K true objects of a batch, in the batch's order; regions to ignore are none.

    rois: float32 [K, 5], image index and box xyxy in pixels; class_ids: int64 [K]; strides: int64 [K],
    of the map that each belongs to.
    """

    rois: Tensor
    class_ids: Tensor
    strides: Tensor

    def __len__(self) -> int:
        return len(self.rois)


def regions_of(batch: TrainingBatch, config: TermConfig) -> Regions:
    """Level by sqrt(area) (FPN, Lin et al. 2017, eq. 1, with bounds in pixels).

    Where that level is not in use it is the nearest that is, the finer of two as near.
    """
    image_index, slot = batch.objects.nonzero(as_tuple=True)
    boxes = batch.boxes_xyxy_px[image_index, slot]
    rois = torch.cat((image_index[:, None].to(boxes.dtype), boxes), dim=1)
    sides = (boxes[:, 2:] - boxes[:, :2]).clamp(min=0).prod(1).sqrt()
    bounds = sides.new_tensor([config.small_below_px, config.middle_below_px])
    level = torch.bucketize(sides, bounds, right=True)
    in_use = [(8, 16, 32).index(stride) for stride in config.strides]
    nearest = [min(in_use, key=lambda use: (abs(use - wanted), use)) for wanted in range(3)]
    strides = torch.tensor([8 << index for index in nearest], device=boxes.device)[level]
    return Regions(rois, batch.class_ids[image_index, slot], strides)


def valid_cells(rgb_valid: Tensor, stride: int) -> Tensor:
    """bool [B, S, S] -> float [B, 1, S / stride, S / stride]: 1 where all pixels of a cell show valid RGB, else 0.

    All pixels, not most: the edge of the valid part is one to the teacher, and nothing that the thermal frame shows.
    """
    return -functional.max_pool2d(-rgb_valid[:, None].float(), stride)


def pool(maps: Mapping[int, Tensor], regions: Regions, size: int) -> dict[int, tuple[Tensor, Tensor]]:
    """stride -> (row numbers int64 [k] of its regions, their features float32 [k, C, size, size]).

    maps: stride -> [B, C, H / stride, W / stride]. RoIAlign (He et al. 2017) with aligned corners and
    two samples a bin, in float32 whatever the maps are in. A level without a region is left out.
    """
    pooled = {}
    for stride, features in maps.items():
        rows = (regions.strides == stride).nonzero()[:, 0]
        if len(rows):
            with torch.autocast(features.device.type, enabled=False):
                values = roi_align(features.float(), regions.rois[rows], size, 1 / stride, 2, aligned=True)
            pooled[stride] = rows, values
    return pooled
