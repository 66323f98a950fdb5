"""The three loss terms against loops over cells, written from the papers' formulas; their gradient by differences."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from scene import ciou_parts
from torch import Tensor

from cgdet_core.config import AssignerConfig, LossConfig
from cgdet_core.tasks.detection.head import HeadOutput
from cgdet_core.tasks.detection.loss import detection_loss
from cgdet_core.tasks.detection.targets import DetectionTargets

CLASSES, BINS, SIZE = 3, 5, 64
CENTRES = [
    [(x + 0.5) * stride, (y + 0.5) * stride]
    for stride in (8, 16, 32)
    for y in range(SIZE // stride)
    for x in range(SIZE // stride)
]
STRIDES = [8.0] * 64 + [16.0] * 16 + [32.0] * 4
CELLS = len(CENTRES)


def random_case(seed: int, images: int = 2, most: int = 5) -> tuple[HeadOutput, DetectionTargets]:
    generator = torch.Generator().manual_seed(seed)

    def rand(*shape: int) -> Tensor:
        return torch.rand(*shape, generator=generator)

    sizes = torch.where(rand(images, most, 1) < 0.25, 2 + 4 * rand(images, most, 2), 10 + 40 * rand(images, most, 2))
    corners = rand(images, most, 2) * (SIZE - sizes)
    kind = rand(images, most)
    if seed % 3 == 0:
        kind[0] = 0.9  # an image of padding alone
    targets = DetectionTargets(
        boxes_xyxy_px=torch.cat([corners, corners + sizes], dim=-1),
        class_ids=torch.randint(0, CLASSES, (images, most), generator=generator),
        objects=kind < 0.55,
        ignored=(kind >= 0.55) & (kind < 0.8),
        labelled=rand(images, CLASSES) < 0.8,
    )
    output = HeadOutput(
        class_logits=(5 * rand(images, CELLS, CLASSES) - 4).requires_grad_(),
        box_logits=(5 * rand(images, CELLS, 4, BINS) - 2.5).requires_grad_(),
        centres_xy_px=torch.tensor(CENTRES),
        strides_px=torch.tensor(STRIDES),
    )
    return output, targets


def total(output: HeadOutput, targets: DetectionTargets, config: LossConfig) -> Tensor:
    return torch.stack([*detection_loss(output, targets, config).values()]).sum()


def softmax(logits: list[float]) -> list[float]:
    weights = [math.exp(value - max(logits)) for value in logits]
    return [weight / sum(weights) for weight in weights]


def box_of(box_logits: list[list[float]], cell: int) -> list[float]:
    left, top, right, bottom = (
        STRIDES[cell] * sum(k * share for k, share in enumerate(softmax(side))) for side in box_logits
    )
    x, y = CENTRES[cell]
    return [x - left, y - top, x + right, y + bottom]


class PlainLoss:
    """Assignment and alphas of CIoU are found once, so that the terms can be looked at as functions of the logits."""

    def __init__(
        self, output: HeadOutput, targets: DetectionTargets, assigner: AssignerConfig, plain_assign: Callable[..., Any]
    ) -> None:
        self.targets = targets
        self.class_logits = output.class_logits.detach().double().numpy().copy()
        self.box_logits = output.box_logits.detach().double().numpy().copy()
        self.assigned, self.alpha = [], {}
        for image in range(len(self.class_logits)):
            objects = {
                m: (targets.boxes_xyxy_px[image, m].tolist(), int(targets.class_ids[image, m]))
                for m in range(targets.objects.shape[1])
                if targets.objects[image, m]
            }
            scores = (1 / (1 + np.exp(-self.class_logits[image]))).tolist()
            boxes = [box_of(self.box_logits[image, cell].tolist(), cell) for cell in range(CELLS)]
            found = plain_assign(
                scores, boxes, CENTRES, objects, assigner.top_k, assigner.alpha, assigner.beta, assigner.min_side_px
            )
            self.assigned.append(found)
            for cell, owner in found.owner.items():
                overlap, _, v = ciou_parts(boxes[cell], objects[owner][0])
                self.alpha[image, cell] = v / (1 - overlap + v)
        self.without: set[tuple[int, int]] = set()
        self._divide()

    def _divide(self) -> None:
        self.normaliser = max(1.0, sum(sum(found.target.values()) for found in self.assigned))

    def leave_out(self, cells: Tensor) -> None:
        """bool [images, CELLS]: they were assigned as the others were, and take no part."""
        self.without = {(image, cell) for image, cell in cells.nonzero().tolist()}
        for image, cell in self.without:
            self.assigned[image].owner.pop(cell, None)
            self.assigned[image].target.pop(cell, None)
        self._divide()

    def counts(self, image: int, cell: int, class_id: int) -> bool:
        if not self.targets.labelled[image, class_id]:
            return False
        owner = self.assigned[image].owner.get(cell)
        if owner is not None and int(self.targets.class_ids[image, owner]) == class_id:
            return True
        x, y = CENTRES[cell]
        for m in range(self.targets.ignored.shape[1]):
            if self.targets.ignored[image, m] and self.targets.class_ids[image, m] == class_id:
                left, top, right, bottom = self.targets.boxes_xyxy_px[image, m].tolist()
                if left <= x <= right and top <= y <= bottom:
                    return False
        return True

    def class_of(self, image: int, cell: int) -> float:
        """Binary cross-entropy of one cell."""
        found, total = self.assigned[image], 0.0
        for class_id in range(CLASSES):
            if not self.counts(image, cell, class_id):
                continue
            p = 1 / (1 + math.exp(-self.class_logits[image, cell, class_id]))
            target = 0.0
            if cell in found.owner and self.targets.class_ids[image, found.owner[cell]] == class_id:
                target = found.target[cell]
            total -= target * math.log(p) + (1 - target) * math.log(1 - p)
        return total

    def box_of(self, image: int, cell: int) -> float:
        found = self.assigned[image]
        if cell not in found.owner:
            return 0.0
        truth = self.targets.boxes_xyxy_px[image, found.owner[cell]].tolist()
        overlap, distance, v = ciou_parts(box_of(self.box_logits[image, cell].tolist(), cell), truth)
        return found.target[cell] * (1 - (overlap - distance - self.alpha[image, cell] * v))

    def distribution_of(self, image: int, cell: int) -> float:
        """Li et al. 2020, eq. 6: -((y_right - y) log S_left + (y - y_left) log S_right), mean of the sides."""
        found = self.assigned[image]
        if cell not in found.owner:
            return 0.0
        left, top, right, bottom = self.targets.boxes_xyxy_px[image, found.owner[cell]].tolist()
        x, y = CENTRES[cell]
        total = 0.0
        for side, distance in enumerate((x - left, y - top, right - x, bottom - y)):
            true = min(max(distance / STRIDES[cell], 0.0), BINS - 1 - 1e-3)
            lower = int(true)
            shares = softmax(self.box_logits[image, cell, side].tolist())
            total -= (lower + 1 - true) * math.log(shares[lower]) + (true - lower) * math.log(shares[lower + 1])
        return found.target[cell] * total / 4

    def terms(self) -> tuple[float, float, float]:
        everywhere = [(image, cell) for image in range(len(self.class_logits)) for cell in range(CELLS)]
        everywhere = [place for place in everywhere if place not in self.without]
        class_sum, box_sum, distribution_sum = (
            sum(term(*place) for place in everywhere) for term in (self.class_of, self.box_of, self.distribution_of)
        )
        return class_sum / self.normaliser, box_sum / self.normaliser, distribution_sum / self.normaliser


def cases() -> Iterator[tuple[HeadOutput, DetectionTargets]]:
    return (random_case(seed) for seed in range(12))


@pytest.mark.parametrize("assigner", [AssignerConfig(), AssignerConfig(top_k=3, alpha=1.0, beta=2.0)])
def test_each_term_agrees_with_loops_over_cells(assigner: AssignerConfig, plain_assign: Callable[..., Any]) -> None:
    config = LossConfig(class_weight=0.7, box_weight=3.0, distribution_weight=1.1, assigner=assigner)
    ignored = unlabelled = empty = outside = beyond = small_sum = 0
    for output, targets in cases():
        loss = detection_loss(output, targets, config)
        plain = PlainLoss(output, targets, assigner, plain_assign)
        class_term, box_term, distribution_term = plain.terms()
        assert loss["class"].item() == pytest.approx(0.7 * class_term, rel=1e-4)
        assert loss["box"].item() == pytest.approx(3.0 * box_term, rel=1e-3, abs=1e-6)
        assert loss["distribution"].item() == pytest.approx(1.1 * distribution_term, rel=1e-3, abs=1e-6)
        unlabelled += int((~targets.labelled).sum())
        small_sum += plain.normaliser == 1.0
        for image, found in enumerate(plain.assigned):
            empty += not found.owner
            for cell in range(CELLS):
                ignored += sum(targets.labelled[image, c] and not plain.counts(image, cell, c) for c in range(CLASSES))
            for cell, owner in found.owner.items():
                x, y = CENTRES[cell]
                left, top, right, bottom = targets.boxes_xyxy_px[image, owner].tolist()
                sides = (x - left, y - top, right - x, bottom - y)
                outside += min(sides) < 0
                beyond += max(sides) / STRIDES[cell] > BINS - 1
    # the hard cases were all there
    assert min(ignored, unlabelled, empty, outside, beyond) > 0


def test_cells_that_take_no_part_have_no_term_and_no_share_of_the_divisor(plain_assign: Callable[..., Any]) -> None:
    config = LossConfig(class_weight=1, box_weight=1, distribution_weight=1)
    for output, targets in cases():
        cells = torch.rand(targets.objects.shape[0], CELLS, generator=torch.Generator().manual_seed(9)) < 0.6
        plain = PlainLoss(output, targets, AssignerConfig(), plain_assign)
        plain.leave_out(~cells)
        loss = detection_loss(output, targets, config, cells=cells)
        got = [term.item() for term in loss.values()]
        assert got == pytest.approx(plain.terms(), rel=1e-3, abs=1e-6)
        torch.stack([*loss.values()]).sum().backward()  # type: ignore[no-untyped-call]
        assert output.class_logits.grad is not None
        assert output.box_logits.grad is not None
        assert (output.class_logits.grad[~cells] == 0).all()
        assert (output.box_logits.grad[~cells] == 0).all()


def test_few_objects_are_divided_by_one_at_least(plain_assign: Callable[..., Any]) -> None:
    output, targets = random_case(1)
    targets.objects[:] = False
    targets.objects[0, 0] = True
    targets.boxes_xyxy_px[0, 0] = torch.tensor([20.0, 20, 24, 24])
    plain = PlainLoss(output, targets, AssignerConfig(), plain_assign)
    assert 0 < sum(sum(found.target.values()) for found in plain.assigned) < 1
    loss = detection_loss(output, targets, LossConfig(class_weight=1, box_weight=1, distribution_weight=1))
    got = [term.item() for term in loss.values()]
    assert got == pytest.approx(plain.terms(), rel=1e-3)


def test_the_gradient_is_that_of_finite_differences(plain_assign: Callable[..., Any]) -> None:
    config = LossConfig()
    weights = np.array([config.class_weight, config.box_weight, config.distribution_weight])
    output, targets = random_case(1)
    total(output, targets, config).backward()  # type: ignore[no-untyped-call]
    plain, rng, step = PlainLoss(output, targets, config.assigner, plain_assign), np.random.default_rng(0), 1e-5
    for logits, tensor in ((plain.class_logits, output.class_logits), (plain.box_logits, output.box_logits)):
        assert tensor.grad is not None
        for _ in range(12):
            way, values = rng.normal(size=logits.shape), []
            for sign in (1, -1):
                logits += sign * step * way
                values.append(float(weights @ plain.terms()))
                logits -= sign * step * way
            slope = (values[0] - values[1]) / (2 * step)
            assert (tensor.grad.numpy() * way).sum() == pytest.approx(slope, rel=5e-3, abs=1e-4)
            assert abs(slope) > 1e-2


def test_nothing_is_learned_of_unlabelled_classes_and_inside_regions_to_ignore() -> None:
    output, targets = random_case(2)
    targets.objects[:] = False
    targets.ignored[:] = False
    targets.labelled[:] = True
    targets.labelled[0, 1] = False
    targets.ignored[1, 0] = True
    targets.class_ids[1, 0] = 2
    targets.boxes_xyxy_px[1, 0] = torch.tensor([0.0, 0.0, 64.0, 32.0])
    total(output, targets, LossConfig()).backward()
    gradient = output.class_logits.grad
    assert gradient is not None
    upper = torch.tensor(CENTRES)[:, 1] <= 32
    assert (gradient[0, :, 1] == 0).all()
    assert (gradient[0, :, [0, 2]] != 0).all()
    assert (gradient[1, upper, 2] == 0).all()
    assert (gradient[1, ~upper, 2] != 0).all()
    assert (gradient[1, :, :2] != 0).all()


def test_half_precision_outputs_give_a_finite_single_precision_loss() -> None:
    output, targets = random_case(4)
    half = HeadOutput(
        output.class_logits.detach().bfloat16(),
        output.box_logits.detach().bfloat16(),
        output.centres_xy_px,
        output.strides_px,
    )
    loss = total(half, targets, LossConfig())
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(total(output, targets, LossConfig()).item(), rel=0.05)
