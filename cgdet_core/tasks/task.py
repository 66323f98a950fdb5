"""What a task is to the trainer, the feed and the training terms: the one thing that they know of it.

A task is a folder in cgdet_core/tasks with a class that has all of `Task`. Besides it needs its kinds of settings in
config/of_task.py, a `Network` (model/network.py), a line each in `task_of` and `build_network` (tasks/__init__.py), and
a MeasuredTask (evaluation/task.py), which says how a model file of it is measured.

A training picture: the feed asks `parts` what it is made of; for each part it draws a source by weight and a frame by
`Sampler.frame_weights`, asks `Sampler.place` where in the frame the crop lies, cuts thermal and RGB picture there,
varies the look, and asks `crop` for the labels; `join` makes one of several parts, `collate` the batch's `targets`.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Protocol, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from cgdet_core.drawing import Colour
from cgdet_core.types import FloatArray, GroundTruth

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


class Targets(Rows):
    """The labels of a batch as the task's loss takes them."""

    @abstractmethod
    def draw(self, row: int, picture: NDArray[np.uint8], scale: float) -> None:
        """Draw the labels of a crop into `picture`, uint8 RGB [H, W, 3], that shows it `scale` times as large."""


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


class Placement(Protocol):
    """How a frame lies in a crop, alike for thermal and RGB picture."""

    @property
    def size_px(self) -> tuple[int, int]:
        """Height and width of the crop."""

    def cut(self, picture: NDArray[Any]) -> NDArray[Any]:
        """[H, W, ...] of the frame -> the part of it that `lay` needs, 0 off the frame."""

    def lay(self, part: NDArray[Any]) -> NDArray[Any]:
        """What `cut` gave -> the crop's [H, W, ...], of the same type, 0 off the frame."""

    def on_frame(self, frame_height_px: int, frame_width_px: int) -> tuple[slice, slice] | None:
        """Rows and columns of the crop that lie on the frame; None where all of it does or it is no rectangle."""

    def boxes(self, boxes_xyxy_px: FloatArray) -> FloatArray:
        """Boxes float32 [N, 4] in pixels of the frame -> of the crop, not cut to it."""


class Sampler(Protocol):
    """How crops of the frames of one source are drawn; made once for a run."""

    @property
    def frame_weights(self) -> NDArray[np.float64]:
        """[F], at least 0, not all 0: how often each frame of the source is drawn, in relation to the others."""

    def place(
        self,
        frame_height_width_px: tuple[int, int],
        truth: GroundTruth,
        size_px: tuple[int, int],
        rng: np.random.Generator,
    ) -> Placement:
        """Where a crop of this size lies in a frame with these labels."""


class TeacherReading(Protocol):
    """knows: bool for each class of the student, whether the teacher knows it; empty where classes say nothing."""

    @property
    def knows(self) -> tuple[bool, ...]: ...

    def predictions(self, output: Any) -> Rows:
        """What its head puts out -> TeacherOutput.predictions."""

    def predictions_with_gradient(self, output: Any) -> Rows:
        """The same of the student's maps in its head, as `TeacherLosses.of_teacher_head` takes it."""


class TeacherLosses(Protocol):
    """What a student learns from a teacher's output, of the crops that have RGB.

    teacher_share: of the value, what is against the teacher's output; the rest is against the labels. Float32 scalars;
    0 with zero gradients where nothing can be said; the values of several processes add up to that of the whole batch.
    """

    def of_student_head(self, output: Any, teacher_share: float) -> Tensor:
        """DIKD, forward. output: of the student's head for the teacher's maps."""

    def of_teacher_head(self, output: Any, teacher_share: float) -> Tensor:
        """DIKD, reverse. output: of the teacher's head (`Teacher.predict`) for the student's maps."""

    def of_student(self, output: Any, rows: Tensor) -> Tensor:
        """LD: how far the student's own output, of the whole batch, is from the teacher's in the crops that have RGB,
        int64 [R] `rows` of it."""


class Task(Protocol):
    """One for a recipe; its tensors are opaque to who calls.

    has_regions: whether `regions` and `seen` serve; legend: what the colours of `Targets.draw` mean. What a task has no
    use for (`join` without pictures of several parts, `regions` and `seen`) it leaves as it is here.
    """

    has_regions: bool = False

    @property
    def legend(self) -> Sequence[tuple[str, Colour]]: ...

    # sampling, in the processes that prepare batches; NumPy

    def sampler(self, truths: Sequence[GroundTruth]) -> Sampler:
        """Of the source whose frames have these labels."""

    def parts(self, index: int, rng: np.random.Generator) -> list[Part]:
        """What training picture `index` of train.images is made of: parts that cover it."""

    def crop(self, truth: GroundTruth, placement: Placement) -> GroundTruth:
        """The labels of a frame in a crop of it."""

    def join(self, parts: Sequence[Part], truths: Sequence[GroundTruth]) -> GroundTruth:
        """Labels of several parts, each in its own pixels -> of the picture."""
        raise ValueError("a picture of this task is one part")

    def collate(self, truths: Sequence[GroundTruth]) -> Targets:
        """Labels of pictures -> of a batch of them."""

    # counting, before the first step

    def count(self, truths: Sequence[GroundTruth]) -> dict[str, Any]:
        """What a source's labels hold, in numbers by name, as JSON."""

    def describe(self, counts: Mapping[str, Any]) -> str:
        """The same as the end of a line for a person."""

    def not_learned(self, counts: Sequence[Mapping[str, Any]]) -> list[str]:
        """Of all sources: what cannot be learned from them, a line each; InputError where that is everything."""

    # learning

    def tensors_by_class(self, names: Iterable[str]) -> list[str]:
        """Of the network's tensors, by name, those with a row for each class."""
        return []

    def loss(self, output: Any, targets: Any) -> dict[str, Tensor]:
        """Weighted terms by name, scalars, of what the network puts out. The terms of several processes add up to
        those of the whole batch (world.total)."""

    def regions(self, targets: Any) -> Regions:
        raise ValueError("this task has no regions")

    def seen(self, predictions: Any, regions: Regions) -> Tensor:
        """float32 [K] in [0, 1]: how surely the teacher sees what is in each region."""
        raise ValueError("this task has no regions")

    def read_teacher(self, class_names: Sequence[str], class_map: Mapping[str, str], origin: str) -> TeacherReading:
        """Of a teacher of this task with these classes, for a student with the recipe's; class_map: the teacher's name
        -> the student's. InputError, naming `origin`, where they do not fit."""

    def teacher_losses(
        self, batch: TrainingBatch, teacher: TeacherOutput, known: Sequence[bool], sure_score: float
    ) -> TeacherLosses:
        """batch, teacher: of crops that have RGB, perhaps none; known: TeacherReading.knows; sure_score: the
        teacher's score from which on its word counts as sure."""


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
