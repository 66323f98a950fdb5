"""What surrounds the network, as tensor operations that a GPU runs and a CUDA graph can hold.

No step waits for the host and no shape depends on a value, so the same functions run on the CPU,
where the tests compare them with thermal.py and postprocess.py.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torchvision.ops import batched_nms

from cgdet_core.config import PostprocessConfig, ThermalConfig
from cgdet_core.runtime.backends.base import RawOutput
from cgdet_core.tasks.detection.decode import FoundBoxes
from cgdet_core.tasks.detection.head import decode_boxes
from cgdet_core.thermal import SCENE_PERCENTILES
from cgdet_core.types import FloatArray, ImageArray


@dataclass(frozen=True)
class Candidates:
    """The best K pairs of cell and class, best first; scores float32 [K] are -1 where a threshold is not reached.

    boxes_xyxy_px: float32 [K, 4] in pixels of the input; class_ids: int64 [K]; finite: bool [], whether
    the network gave numbers.
    """

    boxes_xyxy_px: Tensor
    scores: Tensor
    class_ids: Tensor
    finite: Tensor


def as_bits(picture: ImageArray | FloatArray) -> ImageArray | FloatArray:
    """What PyTorch cannot do with uint16 it does with the same bits as int16."""
    return picture.view(np.int16) if picture.dtype == np.uint16 else picture


def normalise_counts(raw: Tensor, config: ThermalConfig, fixed_range: Tensor | None = None) -> Tensor:
    """Raw counts, uint8 or int16 bits of uint16 [h, w] -> float32 [h, w] in [0, 1], as thermal.normalise gives them.

    fixed_range: the counts, float64 [2], that become 0 and 1, in place of the frame's percentiles: a
    tensor, so that a captured graph takes another range for every frame; config.raw_range is not read.
    """
    eight_bit = raw.dtype == torch.uint8
    counts = raw.to(torch.int64)
    if not eight_bit:
        counts = counts & 0xFFFF
    levels = 256 if eight_bit else 65536
    low, high = _limits(counts, levels, config) if fixed_range is None else (fixed_range[0], fixed_range[1])
    span = (high - low).to(torch.float32)
    return ((counts.to(torch.float32) - low.to(torch.float32)) / span).clamp(0, 1)


def canvas_of(
    raw: Tensor, config: ThermalConfig, fixed_range: Tensor | None, height_width_px: tuple[int, int]
) -> Tensor:
    """A raw frame [h, w] normalised, at the top left of float32 [H, W]; a float32 one is a canvas already."""
    if raw.dtype == torch.float32:
        return raw
    canvas = torch.zeros(height_width_px, device=raw.device)
    canvas[: raw.shape[0], : raw.shape[1]] = normalise_counts(raw, config, fixed_range)
    return canvas


def _limits(counts: Tensor, levels: int, config: ThermalConfig) -> tuple[Tensor, Tensor]:
    """The counts, float64 [], that become 0 and 1 by the frame's percentiles; see thermal.tone_limits."""
    flat = counts.reshape(-1)
    # whole numbers are summed: the same in whatever order a GPU adds them
    histogram = torch.zeros(levels, dtype=torch.int32, device=counts.device)
    histogram = histogram.scatter_add(0, flat, torch.ones_like(flat, dtype=torch.int32))
    cumulative = histogram.cumsum(0)
    ends = []
    for percentile in (config.low_percentile, config.high_percentile, *SCENE_PERCENTILES):
        rank = max(1, math.ceil(flat.numel() * percentile / 100))
        # as many counts as lie below the percentile
        ends.append((cumulative < rank).sum().to(torch.float64))
    low, high, coldest, hottest = ends
    least = config.min_span_8bit if levels == 256 else config.min_span_16bit
    if config.hot_limit_spans is not None:
        high = high.minimum((hottest + config.hot_limit_spans * (hottest - coldest)).maximum(low + least))
    middle, is_flat = (low + high) / 2, high - low < least
    return torch.where(is_flat, middle - least / 2, low), torch.where(is_flat, middle + least / 2, high)


def best_candidates(
    output: RawOutput, thresholds: Tensor, most: int, centres_xy_px: Tensor, strides_px: Tensor, bins: int
) -> Candidates:
    """What postprocess.py takes on from the network's output, in a fixed number of rows; thresholds: float32 [C]."""
    class_logits, box_logits = output.class_logits, output.box_logits
    assert isinstance(class_logits, Tensor)
    assert isinstance(box_logits, Tensor)
    scores = class_logits.float().sigmoid()
    passed = torch.where(scores >= thresholds, scores, -1.0).reshape(-1)
    # stable: equal scores keep the order of the cells
    order = torch.sort(passed, descending=True, stable=True)
    best = order.indices[:most]
    cells = torch.div(best, scores.shape[1], rounding_mode="floor")
    boxes = decode_boxes(box_logits.reshape(-1, 4, bins)[cells], centres_xy_px[cells], strides_px[cells])
    return Candidates(boxes, order.values[:most], best % scores.shape[1], torch.isfinite(class_logits).all())


def suppressed(candidates: Candidates, config: PostprocessConfig) -> FoundBoxes:
    """NMS per class where the candidates are, and one copy of what it leaves to the host; see postprocess.suppress."""
    # batched_nms keeps classes apart by moving them, which takes coordinates from 0 on
    moved = candidates.boxes_xyxy_px - candidates.boxes_xyxy_px.amin()
    keep = batched_nms(moved, candidates.scores, candidates.class_ids, config.nms_iou)[: config.max_detections]
    columns = (candidates.boxes_xyxy_px, candidates.scores[:, None], candidates.class_ids[:, None].float())
    rows = torch.cat(columns, dim=1)[keep]
    # one row more, for whether the network gave numbers
    table = torch.cat((rows, candidates.finite.float().expand(1, 6))).cpu().numpy()
    found = table[:-1][table[:-1, 4] >= 0]
    return FoundBoxes(
        np.ascontiguousarray(found[:, :4]),
        np.ascontiguousarray(found[:, 4]),
        found[:, 5].astype(np.int64),
        bool(table[-1, 0]),
    )
