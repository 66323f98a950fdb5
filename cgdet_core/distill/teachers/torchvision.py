"""torchvision's FCOS with a ResNet-50 pyramid as a teacher.

Its own resizing and its NMS are passed by: pictures are looked at as they are, and every prediction is given out. The
maps are those of the pyramid at strides 8, 16 and 32.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor, nn
from torchvision.models.detection import FCOS_ResNet50_FPN_Weights, fcos_resnet50_fpn
from torchvision.models.detection.image_list import ImageList
from torchvision.ops import clip_boxes_to_image

from cgdet_core.config import TeacherConfig
from cgdet_core.distill.teachers.base import Teacher
from cgdet_core.errors import InputError
from cgdet_core.model import STRIDES
from cgdet_core.model.weights import load_weights, read_weights
from cgdet_core.tasks.detection.classes import ClassTable, class_table
from cgdet_core.tasks.detection.targets import Predictions
from cgdet_core.tasks.task import TeacherOutput

CHANNELS: Final = 256  # of every map of the pyramid
PUBLISHED: Final[Any] = FCOS_ResNet50_FPN_Weights.COCO_V1


class TorchvisionTeacher(Teacher):
    def __init__(self, network: nn.Module, classes: ClassTable) -> None:
        super().__init__(network, dict.fromkeys(STRIDES, CHANNELS))
        self._net: Any = network
        self._classes = classes

    def to(self, device: torch.device, dtype: torch.dtype = torch.float32) -> Teacher:
        # boxes are decoded by torchvision's code, which takes its precision from the weights: those stay in float32
        self.network.to(device)
        self.device, self.dtype = device, dtype
        return self

    def _fast(self) -> torch.autocast:
        plain = self.dtype == torch.float32
        return torch.autocast(self.device.type, torch.bfloat16 if plain else self.dtype, enabled=not plain)

    def _look(self, rgb: Tensor) -> TeacherOutput:
        sizes = [(int(rgb.shape[2]), int(rgb.shape[3]))] * len(rgb)
        mean, deviation = (
            torch.tensor(values, device=self.device)[:, None, None]
            for values in (self._net.transform.image_mean, self._net.transform.image_std)
        )
        values = ((rgb / 255 - mean) / deviation).contiguous(memory_format=torch.channels_last)
        with self._fast():
            features = self._net.backbone(values)
        maps = [each.float() for each in features.values()]
        with self._fast():
            output = self._net.head(maps)
        anchors = torch.stack(self._net.anchor_generator(ImageList(values, sizes), maps))
        boxes = self._net.box_coder.decode(output["bbox_regression"].float(), anchors)
        logits = output["cls_logits"][..., list(self._classes.used)].float()
        scores = self._classes.students((logits.sigmoid() * output["bbox_ctrness"].float().sigmoid()).sqrt())
        predictions = Predictions(clip_boxes_to_image(boxes, sizes[0]), scores)
        return TeacherOutput(self.by_stride(maps[: len(STRIDES)]), predictions)


def torchvision_teacher(config: TeacherConfig, class_names: Sequence[str], folder: Path) -> TorchvisionTeacher:
    """The detector, with the weights that the settings allow; InputError where it cannot be had."""
    classes = class_table(PUBLISHED.meta["categories"], class_names, config.class_map, "torchvision's FCOS")
    if not (config.path or config.download or config.random_weights):
        raise InputError(
            "torchvision's FCOS has no weights: give the teacher a path (its state as .safetensors), or download=true "
            "for COCO's"
        )
    network = fcos_resnet50_fpn(weights=None, weights_backbone=None)
    if not config.random_weights:
        path = folder / config.path if config.path else Path(PUBLISHED.url.rsplit("/", 1)[1])
        load_weights(network, read_weights(path) if config.path else _downloaded(), path, "torchvision's FCOS")
    return TorchvisionTeacher(network, classes)


def _downloaded() -> dict[str, Tensor]:
    try:
        # weights_only, which is not the default of every torch: nothing but tensors is read
        state: dict[str, Tensor] = PUBLISHED.get_state_dict(progress=True, check_hash=True, weights_only=True)
    except (OSError, RuntimeError) as error:
        raise InputError(
            f"{PUBLISHED.url}: cannot be downloaded ({' '.join(str(error).split())}): give the teacher a path to its "
            "state as .safetensors"
        ) from None
    return state
