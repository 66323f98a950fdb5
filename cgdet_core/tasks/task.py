"""What all tasks, the trainer, the feed and the training terms share: a batch, its regions, a teacher's output."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from typing_extensions import Self

Part = tuple[int, int, int, int]  # of a training picture: left, top, right, bottom in whole pixels


@dataclass(frozen=True)
class Rows:
    """Base of what is held of a batch: tensors with a row for each crop, mappings and Rows of such, or None."""

    def map(self, function: Callable[[Tensor], Tensor]) -> Self:
        """With `function` of every tensor."""

        def mapped(value: Any) -> Any:
            if isinstance(value, Tensor):
                return function(value)
            if isinstance(value, Mapping):
                return {key: mapped(each) for key, each in value.items()}
            return value.map(function) if isinstance(value, Rows) else value

        return replace(self, **{field.name: mapped(getattr(self, field.name)) for field in fields(self)})

    def to(self, device: torch.device) -> Self:
        return self.map(lambda value: value.to(device, non_blocking=True))

    def pin_memory(self) -> Self:
        """A copy in page-locked memory, from which an upload goes on by itself; a DataLoader calls it."""
        return self.map(lambda value: value.pin_memory())


@dataclass(frozen=True)
class TrainingBatch(Rows):
    """images: float32 [B, 1, S, S] in [0, 1]; targets: the task's own,
    with `draw`, for a person. Where the recipe uses RGB, else None:
    rgb: uint8 [B, 3, S, S], RGB, not varied; rgb_valid: bool [B, S, S], where it shows what the image shows.
    """

    images: Tensor
    targets: Any
    rgb: Tensor | None = None
    rgb_valid: Tensor | None = None

    def rows_with_rgb(self) -> Tensor:
        """int64 [R], the crops of which any place has RGB."""
        assert self.rgb_valid is not None
        return self.rgb_valid.flatten(1).any(1).nonzero()[:, 0]


@dataclass(frozen=True)
class TeacherOutput(Rows):
    """What a teacher makes of a batch of pictures; nothing of it needs a gradient.

    maps: stride -> float32 [B, C, H / stride, W / stride]; predictions: the task's own.
    """

    maps: Mapping[int, Tensor]
    predictions: Any


@dataclass(frozen=True)
class Regions:
    """What RCS and CMG compare of a batch, K places of its crops, in the batch's order.

    rois: float32 [K, 5], row in the batch and box xyxy in pixels; class_ids: int64 [K].
    """

    rois: Tensor
    class_ids: Tensor

    def __len__(self) -> int:
        return len(self.rois)


def mixed(against_labels: Callable[[], Tensor], against_teacher: Callable[[], Tensor], teacher_share: float) -> Tensor:
    """`teacher_share` of the one and the rest of the other, a scalar; what has no share is not computed."""
    parts = []
    if teacher_share < 1:
        parts.append((1 - teacher_share) * against_labels())
    if teacher_share:
        parts.append(teacher_share * against_teacher())
    return torch.stack(parts).sum()


def valid_cells(rgb_valid: Tensor, stride: int) -> Tensor:
    """bool [B, S, S] -> float [B, 1, S / stride, S / stride]: 1 where all pixels of a cell show valid RGB, else 0.

    All pixels, not most: the edge of the valid part is one to the teacher, and nothing that the thermal frame shows.
    """
    return -functional.max_pool2d(-rgb_valid[:, None].float(), stride)
