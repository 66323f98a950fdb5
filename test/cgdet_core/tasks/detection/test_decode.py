"""Thresholds, decoding and suppression against plain Python."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from torchvision.ops import batched_nms

from cgdet_core.config import PostprocessConfig
from cgdet_core.tasks.detection import head
from cgdet_core.tasks.detection.decode import Cells, cells_of, decode_boxes, postprocess, suppress
from cgdet_core.types import Detections

NAMES = ("person", "bicycle", "car")
BINS = 9


@dataclass
class Output:
    """What the network says of one picture: class_logits [A, 3], box_logits [A, 4, bins]."""

    class_logits: np.ndarray
    box_logits: np.ndarray
    cells: Cells

    def found_or_none(self, config: PostprocessConfig) -> tuple[np.ndarray, np.ndarray, np.ndarray] | None:
        box_logits = self.box_logits.reshape(len(self.box_logits), -1)
        return postprocess(self.class_logits, box_logits, self.cells, config, NAMES)

    def found(self, config: PostprocessConfig) -> Detections:
        found = self.found_or_none(config)
        assert found is not None
        assert [array.dtype for array in found] == ["f4", "f4", "i8"]
        return Detections(*found)


def random_output(seed: int, cells: int = 120) -> Output:
    """Crowded boxes, many of which overlap."""
    rng = np.random.default_rng(seed)
    centres = rng.random((cells, 2), np.float32) * np.float32(60)
    return Output(
        rng.standard_normal((cells, 3), np.float32) * 2 - 1,
        rng.standard_normal((cells, 4, BINS), np.float32),
        Cells(centres, rng.choice([4.0, 8.0], cells).astype(np.float32)),
    )


def boxes_at(*boxes: tuple[list[float], int, float]) -> Output:
    """One cell for each (box, class, score); distances are whole strides of 1 px of up to 800."""
    count = len(boxes)
    class_logits = np.full((count, 3), -20.0, np.float32)
    box_logits = np.full((count, 4, 801), -1e4, np.float32)
    centres = np.zeros((count, 2), np.float32)
    for cell, (box, class_id, score) in enumerate(boxes):
        class_logits[cell, class_id] = math.log(score / (1 - score))
        centres[cell] = max(box[0], 4.0), max(box[1], 4.0)
        x, y = centres[cell].tolist()
        for side, distance in enumerate((x - box[0], y - box[1], box[2] - x, box[3] - y)):
            box_logits[cell, side, int(distance)] = 0.0
    return Output(class_logits, box_logits, Cells(centres, np.ones(count, np.float32)))


def iou(a: list[float], b: list[float]) -> float:
    width = max(0.0, min(a[2], b[2]) - max(a[0], b[0]))
    height = max(0.0, min(a[3], b[3]) - max(a[1], b[1]))
    union = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - width * height
    return width * height / union


def plainly(output: Output, config: PostprocessConfig) -> list[tuple[list[float], float, int]]:
    """Greedy suppression (best first; a box of the same class that overlaps a kept one by more goes)."""
    candidates = []
    for cell in range(len(output.class_logits)):
        x, y = output.cells.centres_xy_px[cell].tolist()
        distances = []
        for side in output.box_logits[cell].tolist():
            weights = [math.exp(value) for value in side]
            mean = sum(k * weight for k, weight in enumerate(weights)) / sum(weights)
            distances.append(mean * output.cells.strides_px[cell].item())
        box = [x - distances[0], y - distances[1], x + distances[2], y + distances[3]]
        for class_id, name in enumerate(NAMES):
            score = 1 / (1 + math.exp(-output.class_logits[cell, class_id].item()))
            if score >= config.threshold_of(name):
                candidates.append((box, score, class_id))
    candidates.sort(key=lambda candidate: -candidate[1])
    kept: list[tuple[list[float], float, int]] = []
    for candidate in candidates[: config.max_candidates]:
        if all(k[2] != candidate[2] or iou(k[0], candidate[0]) <= config.nms_iou for k in kept):
            kept.append(candidate)
    return kept[: config.max_detections]


@pytest.mark.parametrize(
    "config",
    [
        PostprocessConfig(score_threshold=0.3, nms_iou=0.5),
        PostprocessConfig(score_threshold=0.05, nms_iou=0.2),
        PostprocessConfig(score_threshold=0.3, nms_iou=0.5, class_thresholds={"car": 0.8, "bicycle": 0.0}),
        PostprocessConfig(score_threshold=0.0, nms_iou=0.4, max_candidates=40),
        PostprocessConfig(score_threshold=0.0, nms_iou=0.6, max_detections=7),
        PostprocessConfig(score_threshold=0.9, nms_iou=1.0),
    ],
)
def test_boxes_are_those_of_greedy_suppression_in_plain_python(config: PostprocessConfig) -> None:
    suppressed = 0
    for seed in range(9):
        output = random_output(seed)
        found, expected = output.found(config), plainly(output, config)
        assert found.class_ids.tolist() == [class_id for _, _, class_id in expected]
        assert found.scores.tolist() == pytest.approx([score for _, score, _ in expected], abs=1e-6)
        boxes = np.array([box for box, _, _ in expected]).reshape(-1, 4)
        np.testing.assert_allclose(found.boxes_xyxy_px, boxes, atol=1e-3, rtol=1e-5)
        everything = plainly(output, config.model_copy(update={"nms_iou": 1.0, "max_detections": 1000}))
        suppressed += len(everything) - len(expected)
    assert (suppressed > 0) == (config.nms_iou < 1)


@pytest.mark.parametrize(("boxes", "most"), [(5, 5), (128, 1000), (129, 1000), (700, 1000), (700, 60), (0, 3)])
def test_suppression_keeps_what_torchvision_keeps(boxes: int, most: int) -> None:
    rng = np.random.default_rng(boxes)
    corners = rng.random((boxes, 2)) * 200
    all_boxes = np.concatenate([corners, corners + rng.random((boxes, 2)) * 60], axis=1).astype(np.float32)
    class_ids = rng.integers(0, 4, boxes)
    descending = torch.arange(boxes, 0, -1, dtype=torch.float32)
    expected = batched_nms(torch.from_numpy(all_boxes), descending, torch.from_numpy(class_ids), 0.3)
    found = suppress(all_boxes, class_ids, 0.3, most)
    assert found.tolist() == expected.tolist()[:most]
    assert len(expected) < boxes or boxes < 10


def test_cells_and_boxes_are_those_of_the_head() -> None:
    generator = torch.Generator().manual_seed(0)
    cells = cells_of((96, 64))
    centres, strides = head.cell_grid([(12, 8), (6, 4), (3, 2)], torch.device("cpu"))
    assert (cells.centres_xy_px.tobytes(), cells.strides_px.tobytes()) == (
        centres.numpy().tobytes(),
        strides.numpy().tobytes(),
    )
    box_logits = torch.randn(len(strides), 4, BINS, generator=generator) * 30
    expected = head.decode_boxes(box_logits, centres, strides)
    found = decode_boxes(box_logits.flatten(1).numpy(), cells.centres_xy_px, cells.strides_px)
    np.testing.assert_allclose(found, expected.numpy(), rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("odd", [float("nan"), float("inf"), float("-inf")])
def test_what_is_no_number_is_told_and_nothing_is_found(odd: float) -> None:
    output = random_output(6)
    output.class_logits[7, 1] = odd
    assert output.found_or_none(PostprocessConfig(score_threshold=0.0)) is None
    output.class_logits[7, 1] = np.finfo(np.float32).max
    output.class_logits[8, 1] = np.finfo(np.float32).max  # their sum is beyond float32, they are not
    assert output.found(PostprocessConfig()).scores[:2].tolist() == [1.0, 1.0]


def test_boxes_beyond_the_frame_do_not_suppress_other_classes() -> None:
    # 641 px further, where a NMS that keeps classes apart by moving them would put the second, is the first
    corner = [541.0, 541.0, 640.0, 640.0]
    outside = [-100.0, -100.0, 4.0, 4.0]
    found = boxes_at((corner, 0, 0.9), (outside, 1, 0.8)).found(PostprocessConfig())
    assert found.boxes_xyxy_px.tolist() == [corner, outside]


def test_what_equals_a_limit_is_kept_and_classes_do_not_suppress_each_other() -> None:
    first, half = [10.0, 10.0, 30.0, 20.0], [10.0, 10.0, 20.0, 20.0]  # IoU 0.5 exactly
    output = boxes_at((first, 0, 0.9), (half, 0, 0.5), (first, 1, 0.5))
    output.class_logits[0, 2] = 1.0  # a cell may hold objects of two classes
    for nms_iou, score, expected in (
        (0.5, 0.5, [0, 2, 0, 1]),
        (0.49, 0.5, [0, 2, 1]),
        (0.5, 0.51, [0, 2]),
        (0.5, 1, []),
    ):
        found = output.found(PostprocessConfig(nms_iou=nms_iou, score_threshold=score))
        assert found.class_ids.tolist() == expected
        assert found.boxes_xyxy_px.shape == (len(expected), 4)


def test_equal_scores_keep_the_order_of_the_cells() -> None:
    boxes = [[100.0 * k, 10.0, 100.0 * k + 20, 30.0] for k in (3, 1, 4, 0, 5, 2)]
    found = boxes_at(*((box, 0, 0.5) for box in boxes)).found(PostprocessConfig())
    assert found.boxes_xyxy_px.tolist() == boxes
