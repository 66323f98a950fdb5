"""An official YOLOX checkpoint -> the network: its size is read off the names and shapes of its tensors."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from cgdet_core.distill.teachers.yolox_network import Yolox, YoloxShape
from cgdet_core.errors import InputError
from cgdet_core.model.weights import fitting_state, read_weights

_STEM = "backbone.backbone.stem.conv.conv.weight"
_CLASSES = "head.cls_preds.0.weight"
_BOTTLENECK = re.compile(r"backbone\.backbone\.dark2\.1\.m\.\d+\.conv1\.conv\.weight")


def load_yolox(path: Path) -> Yolox:
    """The network of a checkpoint (.safetensors; nano, tiny, s, m, l, x), in evaluation mode on the CPU in float32.

    Raises InputError, in one line that names the file, for a pickle, a file that is missing or cut,
    another network, and tensors that are missing, misshapen or not finite.
    """
    tensors = read_weights(path, "['model']")
    shape = yolox_shape(tensors, path)
    with torch.device("meta"):
        network = Yolox(shape)
    kind = f"YOLOX with {shape.width} channels in the stem and {shape.depth} bottlenecks in dark2"
    network.load_state_dict(fitting_state(path, tensors, network, kind), assign=True)
    return network.eval()


def yolox_shape(tensors: Mapping[str, Tensor], path: Path) -> YoloxShape:
    """What the tensors tell of the network; InputError where they are none of a YOLOX of the CSP kind."""
    for name in (_STEM, _CLASSES):
        if name not in tensors or tensors[name].ndim != 4 or not tensors[name].numel():
            raise InputError(
                f"{path}: has no weights {name}: give an official YOLOX checkpoint (nano, tiny, s, m, l or x), "
                "converted to .safetensors"
            )
    return YoloxShape(
        width=tensors[_STEM].shape[0],
        depth=sum(1 for name in tensors if _BOTTLENECK.fullmatch(name)),
        channelwise="backbone.backbone.dark2.0.dconv.conv.weight" in tensors,
        classes=tensors[_CLASSES].shape[0],
    )
