"""CMG: the student's maps drawn towards those of a frozen RGB teacher, where the teacher sees something."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from cgdet_core.config import GuidanceConfig
from cgdet_core.distill.distances import distance_of
from cgdet_core.distill.lesson import Lesson, Term
from cgdet_core.distill.taps import adapters, levels, pool
from cgdet_core.tasks.task import Regions, TeacherOutput, valid_cells
from cgdet_core.world import total

if TYPE_CHECKING:
    from cgdet_core.tasks import Task

# what is compared at one stride: features [N, C, h, w] of N regions of student and teacher, what each place counts
# [N, h * w], and the number that this is divided by
_Places = tuple[Tensor, Tensor, Tensor, Tensor]


class Guidance(Term):
    """The guidance term (DESIGN section 3), with its adapters, 1x1 convolutions to the teacher's channels.

    student_channels, teacher_channels: stride -> channels of the maps of either.
    """

    def __init__(
        self,
        config: GuidanceConfig,
        student_channels: Mapping[int, int],
        teacher_channels: Mapping[int, int],
        task: Task,
    ) -> None:
        super().__init__()
        self.config: GuidanceConfig = config
        self._task = task
        self.adapters = adapters(student_channels, teacher_channels, config.strides)
        self._distance = distance_of(config)

    def forward(self, lesson: Lesson, share: float) -> dict[str, Tensor]:
        valid = lesson.batch.rgb_valid
        assert valid is not None
        value = self.value(lesson.student, lesson.teacher_output, valid, lesson.regions)
        return {"cms": self.config.weight * share * value}

    def value(
        self, student: Mapping[int, Tensor], output: TeacherOutput, rgb_valid: Tensor, regions: Regions
    ) -> Tensor:
        """float32 scalar, unweighted; 0 with zero gradients where nothing can be compared.

        student: stride -> float [B, C, H / stride, W / stride], with gradient; the teacher's maps get none.

        Over boxes: sum over objects of weight * distance, divided by the number of objects that have RGB, at least
        1. Over whole maps: of each stride the sum over cells of weight * distance, divided by the number of cells
        that could count, at least 1; of that the mean over strides. An object has RGB where any place of it has; it
        is one vote, spread evenly over those places. A cell could count where it has RGB and, with object_weight =
        seen, where a box reaches into it; its weight is the best one of those boxes, and 1 with equal.

        The divisor does not hold the teacher's scores: over the sum of weights, the one object that is faintly seen
        in a dark batch would teach as much as a street by day. Nor does it hold what has no RGB: frames without a
        partner, beside others that have one, do not weaken what those teach.

        Where processes share a batch, divisors and statistics are the whole batch's: values and gradients add up.
        """
        strides: tuple[int, ...] = self.config.strides
        with torch.autocast(rgb_valid.device.type, enabled=False):
            student = {stride: student[stride].float() for stride in strides}
            teacher = {stride: output.maps[stride].detach().float() for stride in strides}
            valid = {stride: valid_cells(rgb_valid, stride) for stride in strides}
            if self.config.object_weight == "seen":
                object_weights = self._task.seen(output.predictions, regions).detach().float()
            else:
                object_weights = regions.rois.new_ones(len(regions))
            compare = self._over_boxes if self.config.region == "boxes" else self._over_whole
            value = torch.zeros((), device=rgb_valid.device)
            # every process compares at every stride, also where it has no region: the sums of PKD wait for all
            compared = compare(student, teacher, valid, regions, object_weights)
            for stride, (ours, theirs, weights, number) in compared.items():
                adapted = self.adapters[str(stride)](ours)
                weights = weights / number.clamp(min=1)
                value = value + self._distance(adapted.flatten(2), theirs.flatten(2), weights)
            return value

    def _over_boxes(
        self,
        student: Mapping[int, Tensor],
        teacher: Mapping[int, Tensor],
        valid: Mapping[int, Tensor],
        regions: Regions,
        object_weights: Tensor,
    ) -> dict[int, _Places]:
        size = self.config.roi_px
        # pooled before they are adapted, which is less work and the same: both are linear, and pooling keeps a bias
        strides = levels(regions, self.config)
        ours, theirs, valid_share = (pool(maps, regions, strides, size) for maps in (student, teacher, valid))
        found = {}
        with_rgb = object_weights.new_zeros(())
        for stride, maps in student.items():
            if stride not in ours:
                found[stride] = maps[:0], teacher[stride][:0], maps.new_zeros(0, maps[0, 0].numel())
                continue
            rows = ours[stride][0]
            # a sample counts where each cell that it is interpolated from does
            places = (valid_share[stride][1].flatten(1) > 1 - 1e-3).float()
            count = places.sum(1, keepdim=True)
            with_rgb = with_rgb + (count > 0).sum()
            weights = object_weights[rows, None] * places / count.clamp(min=1)
            found[stride] = ours[stride][1], theirs[stride][1], weights
        number = total(with_rgb)
        return {stride: (*places, number) for stride, places in found.items()}

    def _over_whole(
        self,
        student: Mapping[int, Tensor],
        teacher: Mapping[int, Tensor],
        valid: Mapping[int, Tensor],
        regions: Regions,
        object_weights: Tensor,
    ) -> dict[int, _Places]:
        found, candidates = {}, []
        for stride, maps in student.items():
            weights = valid[stride].flatten(1)
            could_count = weights
            if self.config.object_weight == "seen":
                could_count = weights * _best_of_boxes(regions, torch.ones_like(object_weights), maps, stride)
                weights = weights * _best_of_boxes(regions, object_weights, maps, stride)
            candidates.append(could_count.sum())
            found[stride] = maps, teacher[stride], weights / len(student)
        numbers = total(torch.stack(candidates))
        return {stride: (*places, number) for (stride, places), number in zip(found.items(), numbers, strict=True)}


def _best_of_boxes(regions: Regions, object_weights: Tensor, maps: Tensor, stride: int) -> Tensor:
    """float [B, H * W]: of each cell of `maps` the greatest weight of the boxes that reach into it, 0 without any."""
    images, _, height, width = maps.shape
    left, top, right, bottom = regions.rois[:, 1:, None].unbind(1)
    column_px = torch.arange(width, device=maps.device) * stride
    row_px = torch.arange(height, device=maps.device) * stride
    columns = (column_px < right) & (column_px + stride > left)
    rows = (row_px < bottom) & (row_px + stride > top)
    weights = (rows[:, :, None] & columns[:, None]).flatten(1) * object_weights[:, None]
    image_index = regions.rois[:, :1].long().expand_as(weights)
    return weights.new_zeros(images, height * width).scatter_reduce(0, image_index, weights, "amax")
