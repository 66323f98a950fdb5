"""What a task is to the trainer, the feed and the training terms: the one thing that they know of it."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Protocol, Self

import torch
from torch import Tensor
from torch.nn import functional

from cgdet_core.config import AugmentConfig, InjectionConfig
from cgdet_core.model.network import Network
from cgdet_core.types import FloatArray, GroundTruth


@dataclass(frozen=True)
class Rows:
    """Base of what is held of a batch: tensors with a row for each crop, by name or in others of its kind; or None."""

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


class Targets(Rows):
    """The labels of a batch as the task's loss takes them."""

    @abstractmethod
    def truth(self, row: int) -> GroundTruth:
        """The labels of a crop, in its pixels, to be drawn."""


@dataclass(frozen=True)
class TrainingBatch(Rows):
    """images: float32 [B, 1, S, S] in [0, 1]; targets: the task's own Targets. Where the recipe uses RGB, else None:
    rgb: uint8 [B, 3, S, S], RGB, not varied; rgb_valid: bool [B, S, S], where it shows what the image shows, nowhere in
    a crop without RGB.
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

    maps: stride 8, 16, 32 -> float32 [B, C, H / stride, W / stride]; predictions: the task's own.
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


class Placement(Protocol):
    """How a frame lies in a crop: scaled, moved, perhaps mirrored."""

    @property
    def size_px(self) -> tuple[int, int]:
        """Height and width of the crop."""

    def boxes(self, boxes_xyxy_px: FloatArray) -> FloatArray:
        """Boxes float32 [N, 4] in pixels of the frame -> of the crop, not cut to it."""


class InjectionLosses(Protocol):
    """What DIKD says of the crops that have RGB, against the labels and against the teacher's own output.

    teacher_share: of the value, what is against the teacher's output. Float32 scalars; 0 with zero gradients where
    nothing can be said; the values of several processes add up to that of the whole batch.
    """

    def of_student_head(self, output: Any, teacher_share: float) -> Tensor:
        """output: of the student's head for the teacher's maps."""

    def of_teacher_head(self, output: Any, teacher_share: float) -> Tensor:
        """output: of the teacher's head (`Teacher.predict`) for the student's maps."""


class Task(Protocol):
    """One for a recipe. Its tensors are as documented in its own folder and opaque to who calls."""

    @property
    def name(self) -> str: ...

    def network(self) -> Network:
        """Untrained, its weights drawn from torch's generator."""

    def tensors_by_class(self, names: Iterable[str]) -> list[str]:
        """Of the network's tensors, by name, those with a row for each class."""

    def crop(self, truth: GroundTruth, placement: Placement, config: AugmentConfig) -> GroundTruth:
        """The labels of a frame in a crop of it."""

    def collate(self, truths: Sequence[GroundTruth]) -> Targets:
        """Labels of crops, each in its pixels -> of a batch of them."""

    def loss(self, output: Any, targets: Any) -> dict[str, Tensor]:
        """Weighted terms by name, scalars, of what the network puts out. The terms of several processes add up to
        those of the whole batch."""

    def regions(self, targets: Any) -> Regions: ...

    def seen(self, predictions: Any, regions: Regions) -> Tensor:
        """float32 [K] in [0, 1]: how surely the teacher sees what is in each region."""

    def injection(
        self, batch: TrainingBatch, teacher: TeacherOutput, known: Tensor, config: InjectionConfig
    ) -> InjectionLosses:
        """batch, teacher: of crops that have RGB, perhaps none; known: bool [C], the classes that the teacher knows."""


def valid_cells(rgb_valid: Tensor, stride: int) -> Tensor:
    """bool [B, S, S] -> float [B, 1, S / stride, S / stride]: 1 where all pixels of a cell show valid RGB, else 0.

    All pixels, not most: the edge of the valid part is one to the teacher, and nothing that the thermal frame shows.
    """
    return -functional.max_pool2d(-rgb_valid[:, None].float(), stride)
