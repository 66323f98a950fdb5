"""Which of a teacher's classes speak for which class of the student."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torchvision.models.detection import FCOS_ResNet50_FPN_Weights

from cgdet_core.errors import InputError, check_known
from cgdet_core.tasks.detection.head import HeadOutput
from cgdet_core.tasks.detection.targets import CellPredictions, Predictions

# the 80 classes of COCO's detection task, in the order of their category ids
COCO_NAMES: tuple[str, ...] = tuple(
    name for name in FCOS_ResNet50_FPN_Weights.COCO_V1.meta["categories"] if name not in ("__background__", "N/A")
)


@dataclass(frozen=True)
class ClassTable:
    """used: the teacher's class numbers that matter, ascending; members: for each class of the student the
    positions in `used` of those that speak for it, none where the teacher does not know it."""

    used: tuple[int, ...]
    members: tuple[tuple[int, ...], ...]

    @property
    def knows(self) -> tuple[bool, ...]:
        """Of each class of the student, whether any speaks for it."""
        return tuple(bool(each) for each in self.members)

    def students(self, scores: Tensor) -> Tensor:
        """scores [..., len(used)] -> [..., classes of the student]: the best of each class's members, 0 without any."""
        columns = [
            scores[..., list(each)].amax(-1) if each else torch.zeros_like(scores[..., 0]) for each in self.members
        ]
        return torch.stack(columns, dim=-1)

    def predictions(self, output: HeadOutput) -> Predictions:
        """What a teacher's head puts out -> TeacherOutput.predictions."""
        scores = output.class_logits[..., list(self.used)].float().sigmoid()
        return Predictions(output.boxes_xyxy_px(), self.students(scores))

    def predictions_with_gradient(self, output: HeadOutput) -> CellPredictions:
        """The same of the student's maps in its head, as `of_teacher_head` of DetectionLosses takes it."""
        logits = output.class_logits[..., list(self.used)].float()
        return CellPredictions(output.boxes_xyxy_px(), self.students(logits))


def class_table(
    teacher_names: Sequence[str], class_names: Sequence[str], class_map: Mapping[str, str], origin: str
) -> ClassTable:
    """By equal names, and by class_map: the teacher's name -> the student's.

    A mapping of a class that is not at hand says nothing where its name is one of COCO's, so that one
    map serves teachers of all kinds; any other name is an error that names `origin`. So is a teacher
    that knows none of the student's classes.
    """
    check_known(f"{origin}: class_map: the teacher", "class", class_map, (*teacher_names, *COCO_NAMES))
    check_known(f"{origin}: class_map: the student", "class", class_map.values(), (*class_names, *COCO_NAMES))
    speaks_for = [class_map.get(name, name) for name in teacher_names]
    groups = [[number for number, name in enumerate(speaks_for) if name == student] for student in class_names]
    used = sorted(number for group in groups for number in group)
    if not used:
        raise InputError(
            f"{origin}: knows none of the classes {', '.join(class_names)}, but {', '.join(teacher_names):.80}: map "
            "them in the teacher's class_map"
        )
    return ClassTable(tuple(used), tuple(tuple(used.index(number) for number in group) for group in groups))
