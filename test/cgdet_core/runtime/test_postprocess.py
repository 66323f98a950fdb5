"""Thresholds, decoding and suppression against plain Python."""

from __future__ import annotations

import math

import pytest
import torch

from cgdet_core.config import PostprocessConfig
from cgdet_core.model.head import HeadOutput
from cgdet_core.runtime.postprocess import postprocess

torch.set_num_threads(1)

NAMES = ("person", "bicycle", "car")
BINS = 9


def random_output(seed: int, images: int = 3, cells: int = 120) -> HeadOutput:
    """Crowded boxes, many of which overlap."""
    generator = torch.Generator().manual_seed(seed)
    return HeadOutput(
        class_logits=torch.randn(images, cells, 3, generator=generator) * 2 - 1,
        box_logits=torch.randn(images, cells, 4, BINS, generator=generator),
        centres_xy_px=torch.rand(cells, 2, generator=generator) * 60,
        strides_px=torch.tensor([4.0, 8.0])[torch.randint(0, 2, (cells,), generator=generator)],
    )


def boxes_at(*boxes: tuple[list[float], int, float]) -> HeadOutput:
    """One cell for each (box, class, score); distances are whole strides of 1 px of up to 800."""
    count = len(boxes)
    class_logits = torch.full((1, count, 3), -20.0)
    box_logits = torch.full((1, count, 4, 801), -1e4)
    centres = torch.zeros(count, 2)
    for cell, (box, class_id, score) in enumerate(boxes):
        class_logits[0, cell, class_id] = math.log(score / (1 - score))
        centres[cell] = torch.tensor([max(box[0], 4.0), max(box[1], 4.0)])
        x, y = centres[cell].tolist()
        for side, distance in enumerate((x - box[0], y - box[1], box[2] - x, box[3] - y)):
            box_logits[0, cell, side, int(distance)] = 0.0
    return HeadOutput(class_logits, box_logits, centres, torch.ones(count))


def iou(a: list[float], b: list[float]) -> float:
    width = max(0.0, min(a[2], b[2]) - max(a[0], b[0]))
    height = max(0.0, min(a[3], b[3]) - max(a[1], b[1]))
    union = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - width * height
    return width * height / union


def plainly(output: HeadOutput, image: int, config: PostprocessConfig) -> list[tuple[list[float], float, int]]:
    """Greedy suppression (best first; a box of the same class that overlaps a kept one by more goes)."""
    candidates = []
    for cell in range(output.class_logits.shape[1]):
        x, y = output.centres_xy_px[cell].tolist()
        distances = []
        for side in output.box_logits[image, cell].double().tolist():
            weights = [math.exp(value) for value in side]
            mean = sum(k * weight for k, weight in enumerate(weights)) / sum(weights)
            distances.append(mean * output.strides_px[cell].item())
        box = [x - distances[0], y - distances[1], x + distances[2], y + distances[3]]
        for class_id, name in enumerate(NAMES):
            score = 1 / (1 + math.exp(-output.class_logits[image, cell, class_id].item()))
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
    for seed in range(3):
        output = random_output(seed)
        for image, found in enumerate(postprocess(output, config, NAMES)):
            expected = plainly(output, image, config)
            assert found.class_ids.tolist() == [class_id for _, _, class_id in expected]
            assert found.scores.tolist() == pytest.approx([score for _, score, _ in expected], abs=1e-6)
            torch.testing.assert_close(
                found.boxes_xyxy_px.double(),
                torch.tensor([box for box, _, _ in expected], dtype=torch.float64).reshape(-1, 4),
                atol=1e-3,
                rtol=1e-5,
            )
            everything = plainly(output, image, config.model_copy(update={"nms_iou": 1.0, "max_detections": 1000}))
            suppressed += len(everything) - len(expected)
    assert (suppressed > 0) == (config.nms_iou < 1)


def test_a_batch_gives_what_single_images_give() -> None:
    output = random_output(5)
    config = PostprocessConfig(score_threshold=0.2)
    together = postprocess(output, config, NAMES)
    for image in range(3):
        one = HeadOutput(
            output.class_logits[image : image + 1],
            output.box_logits[image : image + 1],
            output.centres_xy_px,
            output.strides_px,
        )
        (alone,) = postprocess(one, config, NAMES)
        assert torch.equal(alone.boxes_xyxy_px, together[image].boxes_xyxy_px)
        assert torch.equal(alone.scores, together[image].scores)
        assert torch.equal(alone.class_ids, together[image].class_ids)


def test_nothing_over_its_threshold_is_an_empty_answer() -> None:
    output = random_output(6)
    output.class_logits[1] = -30
    _, found, _ = postprocess(output, PostprocessConfig(), NAMES)
    assert found.boxes_xyxy_px.shape == (0, 4)
    assert found.scores.shape == (0,)
    assert found.class_ids.shape == (0,)


def test_classes_do_not_suppress_each_other() -> None:
    box = [10.0, 10.0, 30.0, 40.0]
    (found,) = postprocess(boxes_at((box, 0, 0.9), (box, 1, 0.8), (box, 0, 0.7)), PostprocessConfig(), NAMES)
    assert found.class_ids.tolist() == [0, 1]
    assert found.boxes_xyxy_px.tolist() == [box, box]


def test_a_cell_may_hold_objects_of_two_classes() -> None:
    output = boxes_at(([10.0, 10.0, 30.0, 40.0], 0, 0.9))
    output.class_logits[0, 0, 2] = 1.0
    (found,) = postprocess(output, PostprocessConfig(), NAMES)
    assert found.class_ids.tolist() == [0, 2]


def test_boxes_beyond_the_frame_do_not_suppress_other_classes() -> None:
    # 641 px further, where a NMS that keeps classes apart by moving them would put the second, is the first
    corner = [541.0, 541.0, 640.0, 640.0]
    outside = [-100.0, -100.0, 4.0, 4.0]
    (found,) = postprocess(boxes_at((corner, 0, 0.9), (outside, 1, 0.8)), PostprocessConfig(), NAMES)
    assert found.boxes_xyxy_px.tolist() == [corner, outside]


def test_an_overlap_equal_to_the_limit_is_kept() -> None:
    first, second = [10.0, 10.0, 30.0, 20.0], [10.0, 10.0, 20.0, 20.0]  # half of it: IoU 0.5 exactly
    output = boxes_at((first, 0, 0.9), (second, 0, 0.8))
    (kept,) = postprocess(output, PostprocessConfig(nms_iou=0.5), NAMES)
    assert len(kept.scores) == 2
    (gone,) = postprocess(output, PostprocessConfig(nms_iou=0.49), NAMES)
    assert len(gone.scores) == 1


def test_equal_scores_keep_the_order_of_the_cells() -> None:
    boxes = [[100.0 * k, 10.0, 100.0 * k + 20, 30.0] for k in (3, 1, 4, 0, 5, 2)]
    (found,) = postprocess(boxes_at(*((box, 0, 0.5) for box in boxes)), PostprocessConfig(), NAMES)
    assert found.boxes_xyxy_px.tolist() == boxes


def test_a_score_equal_to_the_threshold_passes() -> None:
    output = boxes_at(([10.0, 10.0, 30.0, 40.0], 0, 0.5))
    (found,) = postprocess(output, PostprocessConfig(score_threshold=0.5), NAMES)
    assert found.scores.tolist() == [0.5]
