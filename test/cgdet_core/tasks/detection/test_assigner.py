"""Task-aligned assignment against plain Python."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from cgdet_core.config import AssignerConfig
from cgdet_core.tasks.detection.loss import Assignment, assign
from cgdet_core.tasks.detection.targets import DetectionTargets

SIZE = 64


def cell_centres() -> Tensor:
    return torch.tensor(
        [
            [(x + 0.5) * stride, (y + 0.5) * stride]
            for stride in (8, 16, 32)
            for y in range(SIZE // stride)
            for x in range(SIZE // stride)
        ]
    )


CENTRES = cell_centres()
CELLS = len(CENTRES)


def random_case(seed: int, images: int = 2, most: int = 5, classes: int = 3) -> dict[str, Tensor]:
    """Crowded objects, some smaller than a cell, some places empty; predictions near the objects."""
    generator = torch.Generator().manual_seed(seed)

    def rand(*shape: int) -> Tensor:
        return torch.rand(*shape, generator=generator)

    sizes = torch.where(rand(images, most, 1) < 0.3, 2 + 4 * rand(images, most, 2), 8 + 30 * rand(images, most, 2))
    corners = rand(images, most, 2) * (SIZE - sizes)
    gt = torch.cat([corners, corners + sizes], dim=-1)
    objects = rand(images, most) < 0.8
    if seed % 4 == 0:
        objects[0] = False  # an image without objects
    near = torch.randint(0, most, (images, CELLS), generator=generator)
    boxes = gt.gather(1, near[:, :, None].expand(-1, -1, 4)) + 6 * (rand(images, CELLS, 4) - 0.5)
    return {
        "class_logits": 4 * rand(images, CELLS, classes) - 3,
        "boxes_xyxy_px": boxes,
        "centres_xy_px": CENTRES,
        "gt_boxes_xyxy_px": gt,
        "gt_class_ids": torch.randint(0, classes, (images, most), generator=generator),
        "objects": objects,
    }


def assigned(case: dict[str, Tensor], config: AssignerConfig) -> Assignment:
    class_ids, objects = case["gt_class_ids"], case["objects"]
    labelled = torch.ones(len(objects), case["class_logits"].shape[2], dtype=torch.bool)
    targets = DetectionTargets(case["gt_boxes_xyxy_px"], class_ids, objects, ~objects, labelled)
    return assign(case["class_logits"], case["boxes_xyxy_px"], case["centres_xy_px"], targets, config)


def plainly(plain_assign: Callable[..., Any], case: dict[str, Tensor], config: AssignerConfig) -> list[Any]:
    scores = case["class_logits"].double().sigmoid().tolist()
    results = []
    for image in range(len(scores)):
        objects = {
            index: (case["gt_boxes_xyxy_px"][image, index].tolist(), int(case["gt_class_ids"][image, index]))
            for index in range(case["objects"].shape[1])
            if case["objects"][image, index]
        }
        results.append(
            plain_assign(
                scores[image],
                case["boxes_xyxy_px"][image].tolist(),
                CENTRES.tolist(),
                objects,
                config.top_k,
                config.alpha,
                config.beta,
                config.min_side_px,
            )
        )
    return results


def check_same(got: Assignment, expected: list[Any]) -> None:
    for image, plain in enumerate(expected):
        positive = {cell: int(got.object_index[image, cell]) for cell in got.positive[image].nonzero()[:, 0].tolist()}
        assert positive == plain.owner
        target = [plain.target.get(cell, 0.0) for cell in range(CELLS)]
        assert got.target_score[image].tolist() == pytest.approx(target, rel=1e-3, abs=1e-5)
        assert (got.object_index[image][~got.positive[image]] == 0).all()


@pytest.mark.parametrize(
    "config",
    [
        AssignerConfig(),
        AssignerConfig(top_k=3),
        AssignerConfig(top_k=1, min_side_px=0),
        AssignerConfig(top_k=200, alpha=1.0, beta=2.0, min_side_px=20),
    ],
)
def test_random_crowds_are_assigned_as_in_plain_python(
    plain_assign: Callable[..., Any], config: AssignerConfig
) -> None:
    contested = empty = 0
    for seed in range(12):
        case = random_case(seed)
        expected = plainly(plain_assign, case, config)
        check_same(assigned(case, config), expected)
        contested += sum(plain.contested for plain in expected)
        empty += sum(not plain.owner for plain in expected)
    assert empty >= 3
    assert contested > 5 or config.top_k == 1


def one_object(box: list[float], predicted: list[float], logit: float = 0.0) -> dict[str, Tensor]:
    return {
        "class_logits": torch.full((1, CELLS, 1), logit),
        "boxes_xyxy_px": torch.tensor(predicted).expand(1, CELLS, 4).clone(),
        "centres_xy_px": CENTRES,
        "gt_boxes_xyxy_px": torch.tensor([[box]]),
        "gt_class_ids": torch.zeros(1, 1, dtype=torch.int64),
        "objects": torch.ones(1, 1, dtype=torch.bool),
    }


def test_an_object_smaller_than_a_cell_has_a_cell_nevertheless() -> None:
    box = [29.0, 29.0, 31.0, 31.0]  # no centre of any stride lies in it
    case = one_object(box, [28.0, 28.0, 32.0, 32.0])
    assert not assigned(case, AssignerConfig(min_side_px=0)).positive.any()
    got = assigned(case, AssignerConfig())
    assert CENTRES[got.positive[0]].tolist() == [[28.0, 28.0]]
    assert got.target_score.max().item() == pytest.approx(4 / 16, rel=1e-4)


@pytest.mark.parametrize("shift", [0.0, 9.0, 18.0, 18.5])
def test_the_best_cells_target_is_the_best_overlap_however_small(shift: float) -> None:
    box = [20.0, 20.0, 40.0, 40.0]
    case = one_object(box, [20 + shift, 20 + shift, 40 + shift, 40 + shift], logit=-4)
    shared = (20 - shift) ** 2
    got = assigned(case, AssignerConfig())
    assert got.target_score.max().item() == pytest.approx(shared / (800 - shared), rel=1e-3)


def test_a_contested_cell_goes_to_the_one_it_overlaps_most_of_those_that_want_it() -> None:
    contested, other = (CENTRES.tolist().index(place) for place in ([28.0, 28.0], [36.0, 36.0]))
    boxes = torch.zeros(1, CELLS, 4)
    boxes[0, contested] = torch.tensor([20.0, 20, 40, 40])
    boxes[0, other] = torch.tensor([20.0, 20, 40, 42])
    gt = [[20.0, 20, 40, 42], [20.0, 20, 40, 30], [20.0, 20, 40, 34]]  # the first is content with the other cell
    case = {
        "class_logits": torch.zeros(1, CELLS, 1),
        "boxes_xyxy_px": boxes,
        "centres_xy_px": CENTRES,
        "gt_boxes_xyxy_px": torch.tensor([gt]),
        "gt_class_ids": torch.zeros(1, 3, dtype=torch.int64),
        "objects": torch.ones(1, 3, dtype=torch.bool),
    }
    got = assigned(case, AssignerConfig(top_k=1))
    assert got.positive[0].nonzero()[:, 0].tolist() == [contested, other]
    assert got.object_index[0, [contested, other]].tolist() == [2, 0]
    assert got.target_score[0, [contested, other]].tolist() == pytest.approx([14 / 20, 1.0], rel=1e-4)
