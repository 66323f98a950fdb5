"""Conversions and overlaps against plain Python, torchvision and finite differences."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest
import torch
from torchvision import ops

from cgdet_core import boxes

Box = Sequence[float]


def plain_iou(a: Box, b: Box) -> float:
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    shared = width * height if width > 0 and height > 0 else 0.0
    union = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - shared
    return shared / union if union > 0 else 0.0


def plain_alpha(a: Box, b: Box) -> float:
    difference = math.atan2(b[2] - b[0], b[3] - b[1]) - math.atan2(a[2] - a[0], a[3] - a[1])
    v = 4 * difference**2 / math.pi**2
    return v / (1 - plain_iou(a, b) + v) if v else 0.0


def plain_ciou(a: Box, b: Box, alpha: float | None = None) -> float:
    """Zheng et al. 2020, eq. 8 to 11, `a` the prediction."""
    alpha = plain_alpha(a, b) if alpha is None else alpha
    rho2 = ((a[0] + a[2]) / 2 - (b[0] + b[2]) / 2) ** 2 + ((a[1] + a[3]) / 2 - (b[1] + b[3]) / 2) ** 2
    c2 = (max(a[2], b[2]) - min(a[0], b[0])) ** 2 + (max(a[3], b[3]) - min(a[1], b[1])) ** 2
    difference = math.atan2(b[2] - b[0], b[3] - b[1]) - math.atan2(a[2] - a[0], a[3] - a[1])
    return plain_iou(a, b) - rho2 / c2 - alpha * 4 * difference**2 / math.pi**2


def random_boxes(count: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    corner = rng.uniform(0, 60, (count, 2))
    return np.concatenate([corner, corner + rng.uniform(1, 40, (count, 2))], axis=1).astype(np.float32)


def test_conversions_agree_with_torchvision_and_go_back() -> None:
    xyxy, none = random_boxes(50, 0), np.zeros((0, 4), np.float32)
    for there, back, kind in (
        (boxes.xyxy_to_xywh, boxes.xywh_to_xyxy, "xywh"),
        (boxes.xyxy_to_cxcywh, boxes.cxcywh_to_xyxy, "cxcywh"),
    ):
        expected = ops.box_convert(torch.from_numpy(xyxy), "xyxy", kind).numpy()
        np.testing.assert_allclose(there(xyxy), expected, atol=1e-5)
        np.testing.assert_allclose(back(there(xyxy)), xyxy, atol=1e-5)
        assert there(none).shape == back(none).shape == (0, 4)


def test_clipping_cuts_x_at_the_width_and_y_at_the_height_and_leaves_its_argument_alone() -> None:
    given = np.array([[-5, -6, 100, 200], [3, 4, 5, 6]], np.float32)
    before = given.copy()
    assert boxes.clip_xyxy(given, height_px=50, width_px=30).tolist() == [[0, 0, 30, 50], [3, 4, 5, 6]]
    assert (given == before).all()


def test_area_is_width_times_height_and_nothing_for_crossed_corners() -> None:
    given = np.array([[1, 2, 4, 8], [4, 2, 1, 8], [1, 8, 4, 2], [4, 8, 1, 2], [3, 3, 3, 9]], np.float32)
    assert boxes.area_xyxy(given).tolist() == [18, 0, 0, 0, 0]


def test_overlaps_of_all_pairs_agree_with_plain_python_and_torchvision() -> None:
    a, b = random_boxes(40, 1), random_boxes(30, 2)
    iou = boxes.iou_matrix(a, b)
    plain = [[plain_iou(p, q) for q in b.tolist()] for p in a.tolist()]
    np.testing.assert_allclose(iou, plain, atol=1e-6)
    np.testing.assert_allclose(iou, ops.box_iou(torch.from_numpy(a), torch.from_numpy(b)).numpy(), atol=1e-6)
    assert 0 < (iou > 0).mean() < 1  # both kinds of pairs were there
    np.testing.assert_allclose(
        boxes.iou_torch(torch.from_numpy(a)[:, None], torch.from_numpy(b)[None]).numpy(), plain, atol=1e-6
    )


def test_boxes_without_area_overlap_nothing_and_give_no_nan() -> None:
    point = np.array([[5, 5, 5, 5]], np.float32)
    assert boxes.iou_matrix(point, point).tolist() == [[0]]
    assert boxes.iou_matrix(point[:0], random_boxes(3, 0)).shape == (0, 3)
    tensor = torch.tensor([5.0, 5, 5, 5], requires_grad=True)
    ciou = boxes.ciou_torch(tensor, torch.tensor([5.0, 5, 5, 5]))
    assert torch.isfinite(ciou)
    ciou.backward()
    assert torch.isfinite(tensor.grad).all()


def test_complete_iou_agrees_with_the_papers_formula_and_torchvision() -> None:
    a, b = random_boxes(200, 4), random_boxes(200, 5)
    got = boxes.ciou_torch(torch.from_numpy(a).double(), torch.from_numpy(b).double()).numpy()
    plain = [plain_ciou(p, q) for p, q in zip(a.astype(float).tolist(), b.astype(float).tolist(), strict=True)]
    np.testing.assert_allclose(got, plain, atol=1e-6)
    vision = 1 - ops.complete_box_iou_loss(torch.from_numpy(a).double(), torch.from_numpy(b).double())
    np.testing.assert_allclose(got, vision.numpy(), atol=1e-5)
    matrix = ops.complete_box_iou(torch.from_numpy(a[:20]).double(), torch.from_numpy(b[:30]).double())
    all_pairs = boxes.ciou_torch(torch.from_numpy(a[:20]).double()[:, None], torch.from_numpy(b[:30]).double()[None])
    np.testing.assert_allclose(all_pairs.numpy(), matrix.numpy(), atol=1e-5)


def test_complete_iou_of_a_box_with_itself_is_one_and_never_leaves_its_range() -> None:
    a, b = torch.from_numpy(random_boxes(300, 6)), torch.from_numpy(random_boxes(300, 7))
    np.testing.assert_allclose(boxes.ciou_torch(a, a).numpy(), 1, atol=1e-5)
    far = torch.cat([b[:, :1] + 1e4, b[:, 1:2], b[:, :1] + 1e4 + 0.1, b[:, 3:]], dim=1)
    for other in (b, far):
        ciou = boxes.ciou_torch(a, other)
        assert (ciou >= -1.5).all()
        assert (ciou <= 1).all()


def test_the_gradient_of_complete_iou_is_that_of_finite_differences_with_alpha_held() -> None:
    step = 1e-5
    for p, q in zip(random_boxes(20, 8).tolist(), random_boxes(20, 9).tolist(), strict=True):
        prediction = torch.tensor(p, dtype=torch.float64, requires_grad=True)
        boxes.ciou_torch(prediction, torch.tensor(q, dtype=torch.float64)).backward()
        alpha = plain_alpha(p, q)
        for side in range(4):
            more = [value + step * (index == side) for index, value in enumerate(p)]
            less = [value - step * (index == side) for index, value in enumerate(p)]
            slope = (plain_ciou(more, q, alpha) - plain_ciou(less, q, alpha)) / (2 * step)
            assert prediction.grad[side].item() == pytest.approx(slope, abs=1e-6)
