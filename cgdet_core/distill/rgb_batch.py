"""The crops of a batch that have RGB, as dual injection takes them: cells, objects, what the teacher sees."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from cgdet_core.config import LossConfig, TermConfig
from cgdet_core.data.feed.dataset import TrainingBatch
from cgdet_core.distill.taps import regions_of, valid_cells
from cgdet_core.distill.teachers.base import TeacherView, seen_scores
from cgdet_core.tasks.detection.cells import STRIDES
from cgdet_core.tasks.detection.head import cell_grid
from cgdet_core.tasks.detection.loss import centres_inside


@dataclass(frozen=True)
class Shown:
    """Of B crops that have RGB, of a larger batch maybe, A cells and M places for boxes.

    rows: int64 [B], their places in the whole batch; batch, view: of these crops alone; centres_xy_px: float32 [A, 2];
    cells: bool [B, A], those with valid RGB; inside: bool [B, M, A], those of them whose centre lies in an object's
    box (narrow ones widened as for the assignment); seen: float32 [B, M], how surely the teacher sees each object, 0
    of what is none.
    """

    rows: Tensor
    batch: TrainingBatch
    view: TeacherView
    centres_xy_px: Tensor
    cells: Tensor
    inside: Tensor
    seen: Tensor

    @cached_property
    def with_rgb(self) -> Tensor:
        """bool [B, M]: objects of which a cell has RGB."""
        return self.inside.any(-1)

    @cached_property
    def votes(self) -> Tensor:
        """float32 [B, A]: what each cell counts where the teacher's predictions, one for each cell, are an example.

        Each object is one vote of the weight that the teacher sees of it, spread over its cells as the teacher's scores
        of its class are.
        """
        columns = self.batch.class_ids[:, :, None].expand(-1, -1, self.cells.shape[1])
        of_class = self.view.scores.float().transpose(1, 2).gather(1, columns) * self.inside  # [B, M, A]
        tiny = torch.finfo(of_class.dtype).tiny
        return torch.einsum("bma,bm->ba", of_class, self.seen / of_class.sum(-1).clamp(min=tiny))


@torch.no_grad()
def shown_in(view: TeacherView, batch: TrainingBatch, loss: LossConfig) -> Shown:
    """view, batch: of all crops, as `look` in extra_terms.py gives them."""
    if batch.rgb_valid is None:
        raise ValueError("injection needs batches with RGB")
    rows = batch.rgb_valid.flatten(1).any(1).nonzero()[:, 0]
    maps = {stride: view.maps[stride][rows] for stride in STRIDES}
    view = TeacherView(maps, view.boxes_xyxy_px[rows], view.scores[rows])
    batch = batch.map(lambda value: value[rows])
    assert batch.rgb_valid is not None
    side = batch.rgb_valid.shape[1:]
    centres, _ = cell_grid([(side[0] // stride, side[1] // stride) for stride in STRIDES], batch.images.device)
    cells = torch.cat([valid_cells(batch.rgb_valid, stride).flatten(1) for stride in STRIDES], dim=1) > 0
    inside = centres_inside(centres, batch.boxes_xyxy_px, loss.assigner.min_side_px)
    if not len(rows):
        # nothing was looked at, and the view has no cells
        none = cells.new_zeros(0, len(centres), 1, dtype=torch.float32)
        view = TeacherView(maps, none.expand(-1, -1, 4), none.expand(-1, -1, batch.labelled.shape[1]))
    seen = torch.zeros_like(batch.boxes_xyxy_px[:, :, 0])
    seen[batch.objects] = seen_scores(view, regions_of(batch, TermConfig())).float()
    return Shown(rows, batch, view, centres, cells, inside & batch.objects[:, :, None] & cells[:, None], seen)
