"""Task-aligned assignment once more, in plain Python, from section 3.2 of TOOD (Feng et al. 2021)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import pytest
import torch

torch.set_num_threads(1)

Box = list[float]


@dataclass
class PlainAssignment:
    """Of one image: cell -> object, cell -> target score; how many cells were contested."""

    owner: dict[int, int] = field(default_factory=dict)
    target: dict[int, float] = field(default_factory=dict)
    contested: int = 0


def iou(a: Box, b: Box) -> float:
    width = max(0.0, min(a[2], b[2]) - max(a[0], b[0]))
    height = max(0.0, min(a[3], b[3]) - max(a[1], b[1]))
    union = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - width * height
    return width * height / union if union > 0 else 0.0


def assign_plainly(
    scores: list[list[float]],
    boxes: list[Box],
    centres: list[list[float]],
    objects: dict[int, tuple[Box, int]],
    top_k: int,
    alpha: float,
    beta: float,
    min_side: float,
) -> PlainAssignment:
    """scores [A][C] in (0, 1), boxes [A] and centres [A] of one image; objects: index -> (box, class)."""
    wanted: dict[int, list[tuple[float, int, float]]] = {}  # cell -> (overlap, object, alignment)
    for index, (box, class_id) in objects.items():
        candidates = []
        half_width = max(box[2] - box[0], min_side) / 2
        half_height = max(box[3] - box[1], min_side) / 2
        for cell, (x, y) in enumerate(centres):
            if abs(x - (box[0] + box[2]) / 2) > half_width or abs(y - (box[1] + box[3]) / 2) > half_height:
                continue
            overlap = iou(boxes[cell], box)
            alignment = scores[cell][class_id] ** alpha * overlap**beta
            if alignment > 0:
                candidates.append((alignment, cell, overlap))
        for alignment, cell, overlap in sorted(candidates, reverse=True)[:top_k]:
            wanted.setdefault(cell, []).append((overlap, index, alignment))
    result = PlainAssignment()
    alignments = {}
    overlaps: dict[int, list[float]] = {}
    best: dict[int, float] = {}
    for cell, wishes in wanted.items():
        result.contested += len(wishes) > 1
        overlap, index, alignment = max(wishes)
        result.owner[cell] = index
        alignments[cell] = alignment
        overlaps.setdefault(index, []).append(overlap)
        best[index] = max(best.get(index, 0.0), alignment)
    for cell, index in result.owner.items():
        result.target[cell] = alignments[cell] / best[index] * max(overlaps[index])
    return result


@pytest.fixture(scope="session")
def plain_assign() -> Callable[..., PlainAssignment]:
    return assign_plainly
