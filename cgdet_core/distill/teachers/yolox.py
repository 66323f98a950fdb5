"""YOLOX as a teacher: an official checkpoint, the maps of its neck, and the score that is objectness times class."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from cgdet_core.config import TeacherConfig
from cgdet_core.distill.teachers.base import Teacher, untrained
from cgdet_core.distill.teachers.yolox_network import RENAMED, Yolox, YoloxShape, keep_classes
from cgdet_core.errors import InputError
from cgdet_core.model import STRIDES
from cgdet_core.model.blocks import fuse
from cgdet_core.tasks.detection.classes import COCO_NAMES, ClassTable, class_table
from cgdet_core.tasks.detection.targets import CellPredictions, Predictions
from cgdet_core.tasks.task import TeacherOutput

_LONGEST_HEADER_BYTES: Final = 100_000_000  # that safetensors takes
# of ImageNet, in RGB order, of pictures from 0 to 255
MEAN: Final = (0.485 * 255, 0.456 * 255, 0.406 * 255)
DEVIATION: Final = (0.229 * 255, 0.224 * 255, 0.225 * 255)


class YoloxTeacher(Teacher):
    def __init__(self, network: Yolox, classes: ClassTable, bgr_raw: bool) -> None:
        channels = dict(zip(STRIDES, network.shape.neck_channels, strict=True))
        keep_classes(network, classes.used)
        fuse(network.eval())
        super().__init__(network, channels)
        self._net = network
        self._classes = classes
        self.knows = classes.knows
        self._bgr_raw = bgr_raw

    def _look(self, rgb: Tensor) -> TeacherOutput:
        maps = self._net.backbone(self._input(yolox_input(rgb, self._bgr_raw)))
        boxes, objectness, classes = self._net.head(maps)
        scores = objectness.float().sigmoid()[..., None] * classes.float().sigmoid()
        return TeacherOutput(self.by_stride(maps), Predictions(boxes, self._classes.students(scores)))

    def _predict(self, maps: Sequence[Tensor]) -> CellPredictions:
        boxes, objectness, classes = self._net.head(tuple(maps))
        classes = classes.float()
        logits = logit_of_product(objectness.float()[..., None].expand_as(classes), classes)
        return CellPredictions(boxes, self._classes.students(logits))


def logit_of_product(a: Tensor, b: Tensor) -> Tensor:
    """logit(sigmoid(a) * sigmoid(b)) of two of one shape; exact also where a sigmoid is 0 or 1 to the last bit."""
    # p / (1 - p) of p = 1 / ((1 + e^-a) (1 + e^-b))
    return -torch.logsumexp(torch.stack((-a, -b, -a - b)), 0)


def yolox_input(rgb: Tensor, bgr_raw: bool) -> Tensor:
    """Pictures uint8 [B, 3, H, W] -> float32 as the checkpoint was trained with."""
    values = rgb.float()
    if bgr_raw:
        return values.flip(1)
    mean, deviation = (values.new_tensor(of_channels)[:, None, None] for of_channels in (MEAN, DEVIATION))
    return values.sub_(mean).div_(deviation)


def yolox_teacher(config: TeacherConfig, class_names: Sequence[str], path: Path) -> YoloxTeacher:
    """The teacher in a checkpoint; InputError where it is none or its classes do not fit."""
    network = load_yolox(path)
    names, told = config.class_names or COCO_NAMES, network.shape.classes
    if len(names) != told:
        whose = "its class_names are" if config.class_names else "COCO has"
        raise InputError(f"{path}: has {told} classes, {whose} {len(names)}: list its own in class_names, in order")
    classes = class_table(names, class_names, config.class_map, str(path))
    bgr_raw = config.yolox_input == "bgr_raw"
    if config.random_weights:
        shape = network.shape
        network = untrained(lambda: Yolox(shape), lambda rgb: yolox_input(rgb, bgr_raw))
    return YoloxTeacher(network, classes, bgr_raw)


_STEM = "backbone.backbone.stem.conv.conv.weight"
_CLASSES = "head.cls_preds.0.weight"
_BOTTLENECK = re.compile(r"backbone\.backbone\.dark2\.1\.m\.\d+\.conv1\.conv\.weight")


def load_yolox(path: Path) -> Yolox:
    """The network of a checkpoint (.safetensors; nano, tiny, s, m, l, x), in evaluation mode on the CPU in float32.

    Raises InputError, in one line that names the file, for a pickle, a file that is missing or cut,
    another network, and tensors that are missing, misshapen or not finite. Batch norm's counters of batches,
    which matter to no inference, may be absent.
    """
    tensors = read_weights(path)
    for published, ours in RENAMED.items():
        tensors = {name.replace(published, ours): value for name, value in tensors.items()}
    for name, value in tensors.items():
        if not torch.isfinite(value).all():
            raise InputError(f"{path}: tensor {name} holds values that are not finite: convert or copy the file again")
        tensors[name] = value if name.endswith("num_batches_tracked") else value.float()
    shape = yolox_shape(tensors, path)
    with torch.device("meta"):
        network = Yolox(shape)
    try:
        network.load_state_dict(tensors, assign=True)
    except RuntimeError as error:
        kind = f"YOLOX with {shape.width} channels in the stem and {shape.depth} bottlenecks in dark2"
        raise InputError(f"{path}: give a checkpoint of {kind}: {' '.join(str(error).split())[:400]}") from None
    return network.eval()


def yolox_shape(tensors: Mapping[str, Tensor], path: Path) -> YoloxShape:
    """What the tensors tell of the network; InputError where they are none of a YOLOX of the CSP kind."""
    for name in (_STEM, _CLASSES):
        if name not in tensors or tensors[name].ndim != 4 or not tensors[name].numel():
            raise InputError(f"{path}: has no weights {name}: give an official YOLOX, or teacher.kind=model for ours")
    return YoloxShape(
        width=tensors[_STEM].shape[0],
        depth=sum(1 for name in tensors if _BOTTLENECK.fullmatch(name)),
        channelwise="backbone.backbone.dark2.0.dconv.conv.weight" in tensors,
        classes=tensors[_CLASSES].shape[0],
    )


def read_weights(path: Path) -> dict[str, Tensor]:
    """All tensors of a .safetensors file by name; InputError for a file that is missing, a pickle, or not whole."""
    try:
        with path.open("rb") as handle:
            start = handle.read(8)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}): give a .safetensors file") from None
    # .safetensors begin with the length of their header; torch.save writes a zip archive, long ago a bare pickle
    is_other = int.from_bytes(start, "little") > _LONGEST_HEADER_BYTES
    if is_other and (start[:2] == b"PK" or start[:1] == b"\x80" or path.suffix in (".pth", ".pt")):
        raise InputError(
            f'{path}: is a pickle, which is unsafe to load: convert it with python -c "import torch, '
            f"safetensors.torch as s; s.save_file(torch.load('{path.name}', 'cpu', weights_only=True)['model'], "
            f"'{path.stem}.safetensors')\""
        )
    try:
        with safe_open(path, framework="pt") as handle:
            return {name: handle.get_tensor(name) for name in handle.keys()}  # noqa: SIM118, it is no mapping
    except (SafetensorError, OSError, ValueError) as error:
        raise InputError(f"{path}: is not a whole safetensors file ({error}): copy or convert it again") from None
