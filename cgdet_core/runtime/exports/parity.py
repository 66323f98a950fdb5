"""Whether an export gives what PyTorch gives."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import torch

from cgdet_core.errors import InputError
from cgdet_core.runtime.backends.base import Backend, RawOutput
from cgdet_core.tasks.detection.cells import map_sizes
from cgdet_core.tasks.detection.head import cell_grid, decode_boxes
from cgdet_core.types import FloatArray

MIN_SCORE: Final = 0.05  # a box counts where the best score of its cell reaches this in PyTorch
MAX_BOX_PX: Final = 1.0
MAX_SCORE: Final = {"fp32": 0.001, "bf16": 0.05, "fp16": 0.01}
# int8 is judged by its accuracy on labelled frames; here only that it is the same network
INT8_MEDIAN_BOX_PX: Final = 1.0
INT8_MEDIAN_SCORE: Final = 0.05


@dataclass(frozen=True)
class Difference:
    """Between two backends, over the cells that count: greatest and median of boxes in pixels and of scores."""

    frames: int
    boxes: int
    box_px: float
    score: float
    median_box_px: float
    median_score: float


def difference(
    reference: Backend, other: Backend, canvases: Iterable[FloatArray], bins: int, height_width_px: tuple[int, int]
) -> Difference:
    """Both backends over the same inputs of the network, float32 [H, W]."""
    boxes_px: list[FloatArray] = []
    scores: list[FloatArray] = []
    frames = 0
    for canvas in canvases:
        frames += 1
        wanted_scores, wanted_boxes = _decoded(reference.infer(canvas), bins, height_width_px)
        found_scores, found_boxes = _decoded(other.infer(canvas), bins, height_width_px)
        counted = wanted_scores.max(1) >= MIN_SCORE
        boxes_px.append(np.abs(found_boxes - wanted_boxes)[counted].reshape(-1))
        scores.append(np.abs(found_scores - wanted_scores)[counted].reshape(-1))
    box_px, score = np.concatenate(boxes_px), np.concatenate(scores)
    if not len(score):
        return Difference(frames, 0, 0.0, 0.0, 0.0, 0.0)
    values = (box_px.max(), score.max(), np.median(box_px), np.median(score))
    return Difference(frames, len(box_px) // 4, *(float(value) for value in values))


def check(name: str | Path, precision: str, found: Difference) -> None:
    """InputError where the export `name`, executed in `precision`, is too far from PyTorch."""
    if not found.boxes:
        raise InputError(
            f"{name}: nothing is seen in the {found.frames} frames of the check: give frames with objects by --frames"
        )
    if precision == "int8":
        limits = ((found.median_box_px, INT8_MEDIAN_BOX_PX, "median px"), (found.median_score, INT8_MEDIAN_SCORE, ""))
    else:
        limits = ((found.box_px, MAX_BOX_PX, "px"), (found.score, MAX_SCORE[precision], ""))
    for (value, limit, unit), what in zip(limits, ("boxes", "scores"), strict=True):
        if not value <= limit:
            raise InputError(
                f"{name}: {what} differ from PyTorch's by {value:.3g} {unit}".rstrip()
                + f" in {precision}, at most {limit:g} may be: nothing was written"
            )


def _decoded(output: RawOutput, bins: int, height_width_px: tuple[int, int]) -> tuple[FloatArray, FloatArray]:
    centres, strides = cell_grid(map_sizes(height_width_px), torch.device("cpu"))
    box_logits = torch.as_tensor(output.box_logits).cpu().reshape(-1, 4, bins)
    scores = torch.as_tensor(output.class_logits).cpu().sigmoid()
    return scores.numpy().copy(), decode_boxes(box_logits, centres, strides).numpy().copy()
