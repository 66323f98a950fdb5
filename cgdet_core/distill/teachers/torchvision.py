"""torchvision's detectors with a pyramid as teachers: Faster R-CNN, RetinaNet, FCOS.

Their own resizing and their NMS are passed by: pictures are looked at as they are, and every prediction
is given out. The maps are those of the pyramid at strides 8, 16 and 32.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import torch
import torchvision.models.detection as detection
from torch import Tensor, nn
from torchvision.models import get_model, get_model_weights
from torchvision.models.detection.image_list import ImageList
from torchvision.ops import clip_boxes_to_image

from cgdet_core.config import TeacherConfig
from cgdet_core.distill.teachers.base import Teacher
from cgdet_core.distill.teachers.classes import ClassTable, class_table
from cgdet_core.errors import InputError
from cgdet_core.model import STRIDES
from cgdet_core.model.weights import load_weights, read_weights
from cgdet_core.tasks.detection.targets import Predictions
from cgdet_core.tasks.task import TeacherOutput

CHANNELS: Final = 256  # of every map of the pyramid
# whose published COCO weights go with a batch norm that adds nothing to the variance (torchvision's overwrite_eps)
EPSILON_0: Final = ("fasterrcnn_resnet50_fpn", "retinanet_resnet50_fpn")


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
        features = {key: value.float() for key, value in features.items()}
        images = ImageList(values, sizes)
        if isinstance(self._net, detection.FasterRCNN):
            boxes, scores = self._by_proposals(images, features)
        else:
            boxes, scores = self._by_cells(images, list(features.values()))
        # coarse ones first: of two maps of one cell the finer is meant
        by_stride = {rgb.shape[-1] // values.shape[-1]: values for values in reversed(features.values())}
        maps = {stride: by_stride[stride] for stride in STRIDES}
        return TeacherOutput(maps, Predictions(clip_boxes_to_image(boxes, sizes[0]), scores))

    def _by_cells(self, images: ImageList, features: list[Tensor]) -> tuple[Tensor, Tensor]:
        """Of the detectors of one stage: the boxes of all anchors, and their scores."""
        used = list(self._classes.used)
        with self._fast():
            output = self._net.head(features)
        codes, logits = output["bbox_regression"].float(), output["cls_logits"][..., used].float()
        anchors = torch.stack(self._net.anchor_generator(images, features))
        if isinstance(self._net, detection.FCOS):
            boxes = self._net.box_coder.decode(codes, anchors)
            scores = (logits.sigmoid() * output["bbox_ctrness"].float().sigmoid()).sqrt()
        else:
            boxes = self._net.box_coder.decode_single(codes.flatten(0, 1), anchors.flatten(0, 1)).view_as(codes)
            scores = logits.sigmoid()
        return boxes, self._classes.students(scores)

    def _by_proposals(self, images: ImageList, features: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Of those of two stages: each proposal (what the first stage keeps, by an NMS of its own) gives a box of its
        own for each of the teacher's classes, which is a prediction of that class alone."""
        used = list(self._classes.used)
        proposals, _ = self._net.rpn(images, features)
        heads = self._net.roi_heads
        with self._fast():
            logits, codes = heads.box_predictor(
                heads.box_head(heads.box_roi_pool(features, proposals, images.image_sizes))
            )
        all_boxes = heads.box_coder.decode(codes.float(), proposals)[:, used]
        all_scores = logits.float().softmax(-1)[:, used]
        counts = [len(each) for each in proposals]
        boxes = all_boxes.new_zeros(len(counts), max(counts), len(used), 4)
        scores = all_boxes.new_zeros(len(counts), max(counts), len(used), len(used))
        for row, (own_boxes, own_scores) in enumerate(
            zip(all_boxes.split(counts), all_scores.split(counts), strict=True)
        ):
            boxes[row, : counts[row]] = own_boxes
            scores[row, : counts[row]] = torch.diag_embed(own_scores)
        return boxes.flatten(1, 2), self._classes.students(scores).flatten(1, 2)


def torchvision_teacher(config: TeacherConfig, class_names: Sequence[str], folder: Path) -> TorchvisionTeacher:
    """The detector of that name, with the weights that the settings allow; InputError where it cannot be had."""
    name = config.name
    published = get_model_weights(name).DEFAULT
    categories = ("__background__", *config.class_names) if config.class_names else published.meta["categories"]
    classes = class_table(categories, class_names, config.class_map, name)
    if not (config.path or config.download or config.random_weights):
        raise InputError(
            f"{name} has no weights: give the teacher a path (its state as .safetensors), or download=true for COCO's"
        )
    network = get_model(name, weights=None, weights_backbone=None, num_classes=len(categories))
    if not config.random_weights:
        path = folder / config.path if config.path else Path(published.url.rsplit("/", 1)[1])
        tensors = read_weights(path) if config.path else _downloaded(published, name, config)
        load_weights(network, tensors, path, f"{name} of {len(categories)} classes")
        if name in EPSILON_0 and not config.class_names:
            for module in network.modules():
                if isinstance(module, nn.BatchNorm2d):
                    module.eps = 0.0
    return TorchvisionTeacher(network, classes)


def _downloaded(published: Any, name: str, config: TeacherConfig) -> dict[str, Tensor]:
    if config.class_names:
        raise InputError(
            f"{name}: the weights to download are of COCO's classes: leave class_names out, or give a path"
        )
    try:
        # weights_only, which is not the default of every torch: nothing but tensors is read
        state: dict[str, Tensor] = published.get_state_dict(progress=True, check_hash=True, weights_only=True)
    except (OSError, RuntimeError) as error:
        raise InputError(
            f"{published.url}: cannot be downloaded ({' '.join(str(error).split())}): give the teacher a path to its "
            "state as .safetensors"
        ) from None
    return state
