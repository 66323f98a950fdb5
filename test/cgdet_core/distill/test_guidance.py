"""Guidance against loops over objects, cells and samples: what is compared, what it counts, and what learns from it."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scene import (
    IMAGES,
    OBJECTS,
    SIZE,
    Object,
    batch,
    check_no_gradient,
    check_shares_add_up,
    check_slopes,
    maps_of,
    rows_of,
)
from torch import Tensor

from cgdet_core.config import GuidanceConfig, Recipe
from cgdet_core.distill.distances import distance_of
from cgdet_core.distill.guidance import Guidance
from cgdet_core.distill.lesson import Lesson
from cgdet_core.tasks.detection.targets import Predictions
from cgdet_core.tasks.detection.task import DetectionTask
from cgdet_core.tasks.task import Regions, TeacherOutput, TrainingBatch

Array = NDArray[np.float64]
STUDENT_CHANNELS, TEACHER_CHANNELS = {8: 3, 16: 4, 32: 5}, {8: 2, 16: 3, 32: 4}
TASK = DetectionTask(Recipe())
DISTANCES = ("cosine", "cwd", "mse", "pkd")


def settings(**values: Any) -> GuidanceConfig:
    return GuidanceConfig.model_validate({"small_below_px": 15, "middle_below_px": 30, "roi_px": 3, **values})


def stride_of(box: tuple[float, ...]) -> int:
    side = math.sqrt((box[2] - box[0]) * (box[3] - box[1]))
    return 8 if side < 15 else 16 if side < 30 else 32


def student_maps() -> dict[int, Tensor]:
    return maps_of(STUDENT_CHANNELS, 0)


def view(objects: tuple[Object, ...] = OBJECTS) -> TeacherOutput:
    """Each object is predicted exactly, with its score, among others that must not count."""
    boxes, scores = torch.zeros(IMAGES, 3 * len(objects), 4), torch.zeros(IMAGES, 3 * len(objects), 3)
    for number, (image, box, class_id, score) in enumerate(objects):
        exact = torch.tensor(box)
        far = exact + torch.tensor([20.0, 0, 20, 0])
        boxes[image, 3 * number : 3 * number + 3] = torch.stack((exact, far, exact))
        scores[image, 3 * number : 3 * number + 3, class_id] = torch.tensor([score, 0.99, score / 2])
    return TeacherOutput(maps_of(TEACHER_CHANNELS, 1), Predictions(boxes, scores))


def value(
    module: Guidance, student: dict[int, Tensor], seen: TeacherOutput | None = None, of: TrainingBatch | None = None
) -> Tensor:
    of = of or batch()
    assert of.rgb_valid is not None
    return module.value(student, seen or view(), of.rgb_valid, TASK.regions(of.targets))


def guidance(config: GuidanceConfig) -> Guidance:
    torch.manual_seed(2)
    return Guidance(config, STUDENT_CHANNELS, TEACHER_CHANNELS, TASK)


def interpolated(features: Array, x: float, y: float) -> Array:
    """features [C, H, W] at a point in cells, (0, 0) the first cell's centre; beyond the outer centres as on them."""
    height, width = features.shape[1:]
    x, y = min(max(x, 0), width - 1), min(max(y, 0), height - 1)
    left, top = min(math.floor(x), max(width - 2, 0)), min(math.floor(y), max(height - 2, 0))
    right, bottom = min(left + 1, width - 1), min(top + 1, height - 1)
    u, v = x - left, y - top
    above = features[:, top, left] * (1 - u) + features[:, top, right] * u
    below = features[:, bottom, left] * (1 - u) + features[:, bottom, right] * u
    return np.asarray(above * (1 - v) + below * v)


def pooled(features: Array, box: tuple[float, ...], stride: int, size: int) -> Array:
    """[C, size * size]: the mean of 2 x 2 points of each of the box' bins."""
    left, top, right, bottom = (value / stride - 0.5 for value in box)
    bins = []
    for row in range(size):
        for column in range(size):
            points = [
                interpolated(
                    features,
                    left + (column + a) * (right - left) / size,
                    top + (row + b) * (bottom - top) / size,
                )
                for a in (0.25, 0.75)
                for b in (0.25, 0.75)
            ]
            bins.append(np.mean(points, axis=0))
    return np.stack(bins, axis=1)


def valid_cells(rgb_valid: Tensor, stride: int) -> Array:
    """[B, H, W]: 1 where every pixel of a cell is valid."""
    valid = rgb_valid.numpy()
    cells = np.zeros((len(valid), SIZE // stride, SIZE // stride))
    for image, row, column in np.ndindex(*cells.shape):
        rows, columns = (slice(index * stride, (index + 1) * stride) for index in (row, column))
        cells[image, row, column] = valid[image, rows, columns].all()
    return cells


def expected_value(config: GuidanceConfig, module: Guidance, student: dict[int, Tensor]) -> float:
    """The term with adapted whole maps pooled, places and weights found one by one; distances as in distances.py."""
    whole, seen, total = batch(), view(), 0.0
    assert whole.rgb_valid is not None
    by_stride: dict[int, list[tuple[Array, Array, Array]]] = {}
    divisor = {8: 0, 16: 0, 32: 0}
    for stride in (8, 16, 32):
        adapter = module.adapters[str(stride)]
        matrix, bias = (p.detach().double().numpy() for p in (adapter.weight[:, :, 0, 0], adapter.bias))
        ours = np.einsum("oc,bchw->bohw", matrix, student[stride].detach().double().numpy()) + bias[:, None, None]
        theirs = seen.maps[stride].detach().double().numpy()
        valid = valid_cells(whole.rgb_valid, stride)
        cells = by_stride.setdefault(stride, [])
        if config.region == "boxes":
            for image, box, _, score in OBJECTS:
                if stride_of(box) != stride:
                    continue
                places = pooled(valid[image][None], box, stride, config.roi_px)[0] > 0.999
                weight = score if config.object_weight == "seen" else 1.0
                # one divisor for all strides
                divisor = {s: n + bool(places.any()) for s, n in divisor.items()}
                ours_here, theirs_here = (pooled(m[image], box, stride, config.roi_px) for m in (ours, theirs))
                cells.append((ours_here, theirs_here, weight * places / max(places.sum(), 1)))
            continue
        for image in range(IMAGES):
            weights = np.zeros(valid[image].shape)
            for row, column in np.ndindex(*weights.shape):
                best = [1.0] if config.object_weight == "equal" else []
                for of, (left, top, right, bottom), _, score in OBJECTS:
                    across = left < (column + 1) * stride and right > column * stride
                    down = top < (row + 1) * stride and bottom > row * stride
                    if of == image and across and down and config.object_weight == "seen":
                        best.append(score)
                if best and valid[image, row, column]:
                    divisor[stride] += 1
                    weights[row, column] = max(best) / 3
            cells.append((ours[image].reshape(len(bias), -1), theirs[image].reshape(len(bias), -1), weights.ravel()))
    for stride, regions in by_stride.items():
        arrays = (torch.from_numpy(np.stack(each)) for each in zip(*regions, strict=True))
        ours_all, theirs_all, weights_all = arrays
        total += distance_of(config)(ours_all, theirs_all, weights_all / max(divisor[stride], 1)).item()
    return total


BOTH = pytest.mark.parametrize("region", ["boxes", "whole"])
EVERY = pytest.mark.parametrize("distance", DISTANCES)


@EVERY
@BOTH
@pytest.mark.parametrize("object_weight", ["seen", "equal"])
def test_it_is_what_loops_over_places_give(distance: str, region: str, object_weight: str) -> None:
    config = settings(distance=distance, region=region, object_weight=object_weight, temperature=0.7)
    module, student = guidance(config), student_maps()
    found = value(module, student)
    assert (found.dtype, found.shape) == (torch.float32, ())
    assert found.item() == pytest.approx(expected_value(config, module, student), rel=1e-4)
    assert found.item() > 1e-3


def test_a_hand_case_over_boxes() -> None:
    # student 1 everywhere, teacher 3 everywhere, the adapter doubles and adds 0.5: (2.5 - 3)^2 = 0.25 for each object
    seen, ones = replace(view(), maps={8: torch.full((IMAGES, 1, 8, 8), 3.0)}), {8: torch.ones(IMAGES, 1, 8, 8)}
    # six objects have RGB: of them the teacher sees this much
    for object_weight, share in (("seen", (0.9 + 0.2 + 0.0 + 0.6 + 0.5 + 0.1) / 6), ("equal", 1.0)):
        config = settings(distance="mse", strides=[8], object_weight=object_weight)
        module = Guidance(config, {8: 1}, {8: 1}, TASK)
        torch.nn.init.constant_(module.adapters["8"].weight, 2.0)
        torch.nn.init.constant_(module.adapters["8"].bias, 0.5)
        assert value(module, ones, seen).item() == pytest.approx(0.25 * share)


@EVERY
@BOTH
def test_what_the_teacher_sees_less_of_teaches_less(distance: str, region: str) -> None:
    """Not less of one object beside others: the scores are in no divisor."""
    module, student = guidance(settings(distance=distance, region=region)), student_maps()
    dark = view(tuple((image, box, class_id, score / 10) for image, box, class_id, score in OBJECTS))
    assert value(module, student, dark).item() == pytest.approx(value(module, student).item() / 10, rel=1e-4)


@BOTH
def test_images_without_rgb_do_not_weaken_the_others(region: str) -> None:
    """Four more images without RGB, full of objects, change nothing."""
    one, student, seen = batch(), student_maps(), view()
    assert one.rgb_valid is not None
    module = guidance(settings(region=region, distance="cosine"))
    first, seen_first = (each.map(lambda values: values[:1]) for each in (one, seen))
    alone = value(module, rows_of(student, [0]), seen_first, first).item()
    without = replace(one, rgb_valid=one.rgb_valid & (torch.arange(IMAGES) == 0)[:, None, None])
    assert value(module, student, seen, without).item() == pytest.approx(alone, rel=1e-5)


@EVERY
@BOTH
def test_places_that_are_masked_or_unseen_get_no_gradient(distance: str, region: str) -> None:
    student = student_maps()
    value(guidance(settings(distance=distance, region=region)), student).backward()
    at: dict[int, Tensor] = {}
    for stride, maps in student.items():
        assert maps.grad is not None
        at[stride] = maps.grad
        assert (maps.grad[[2, 3]] == 0).all()
        # a cell from 32 px on has one valid column
        assert (maps.grad[1, :, :, 32 // stride :] == 0).all()
    assert (at[16][1, :, 1, :2] != 0).all()
    # seen objects are learned from; around the third, which is not seen, nothing is
    assert (at[8][0, :, 1, 1] != 0).all()
    assert (at[8][0, :, 6:, :3] == 0).all()
    assert (at[16][0, :, 3, 0] == 0).all()
    if region == "whole":
        assert (at[32][0, :, 0, 1] != 0).all()
    else:
        # it belongs to stride 16, where no other object of the image is
        assert (at[16][0] == 0).all()


@EVERY
@BOTH
def test_its_gradient_is_that_of_differences_and_reaches_no_teacher(distance: str, region: str) -> None:
    module, student, seen = guidance(settings(distance=distance, region=region)), student_maps(), view()
    scores = seen.predictions.scores.requires_grad_()
    value(module, student, seen).backward()
    assert all(maps.grad is None for maps in seen.maps.values())
    assert scores.grad is None
    check_slopes(
        lambda: value(module, student, seen), [*student.values(), *module.parameters()], 0.005, rel=0.01, abs=5e-5
    )


@EVERY
@BOTH
@pytest.mark.parametrize("lack", ["rgb", "boxes", "sight"])
def test_a_batch_that_teaches_nothing_is_a_zero_that_goes_backward(distance: str, region: str, lack: str) -> None:
    module, student = guidance(settings(distance=distance, region=region)), student_maps()
    seen, nothing = view(), batch()
    assert nothing.rgb_valid is not None
    emptied = {"rgb": nothing.rgb_valid, "boxes": nothing.targets.objects, "sight": seen.predictions.scores}
    emptied[lack][:] = 0
    found = value(module, student, seen, nothing)
    found.backward()
    assert found.item() == 0
    check_no_gradient((*student.values(), *module.parameters()))


@BOTH
def test_half_precision_maps_under_autocast_give_a_single_precision_value(region: str) -> None:
    module, seen = guidance(settings(region=region)), view()
    rounded = {stride: maps.detach().bfloat16() for stride, maps in student_maps().items()}
    of_rounded = value(module, {stride: maps.float() for stride, maps in rounded.items()}, seen)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = value(module, rounded, seen)
    assert found.dtype == torch.float32
    assert found.item() == of_rounded.item()


def test_strides_that_are_not_in_use_are_not_looked_at() -> None:
    module, student = guidance(settings(strides=[16], region="whole")), student_maps()
    assert list(module.adapters) == ["16"]
    value(module, {16: student[16]}, replace(view(), maps={16: view().maps[16]})).backward()
    assert student[16].grad is not None


def learn(rows: list[int]) -> dict[str, Tensor]:
    """Of each distance and region the value for `rows` of the batch and the gradients of maps and adapters."""
    found = {}
    for distance in DISTANCES:
        for region in ("boxes", "whole"):
            module = guidance(settings(distance=distance, region=region))
            student = rows_of(student_maps(), rows)
            part, seen = (each.map(lambda values: values[rows]) for each in (batch(), view()))
            found_here = value(module, student, seen, part)
            found_here.backward()
            tensors = {f"map.{stride}": maps.grad for stride, maps in student.items()}
            tensors |= {name: parameter.grad for name, parameter in module.named_parameters()}
            tensors["value"] = found_here.detach()
            found |= {f"{distance} {region} {k}": tensor for k, tensor in tensors.items() if tensor is not None}
    return found


def test_values_and_gradients_of_two_processes_add_up_to_those_of_the_whole_batch(tmp_path: Path) -> None:
    # the second has no object at stride 32; nor any at all
    check_shares_add_up(learn, (([0], [1, 2, 3, 4]), ([0, 1, 2, 4], [3])), tmp_path)


@pytest.mark.parametrize("distance", DISTANCES)
def test_whole_maps_of_a_task_without_regions_are_compared_all_the_same(distance: str) -> None:
    module = guidance(settings(region="whole", object_weight="equal", distance=distance, weight=2))
    given = batch()
    lesson = Lesson(given, Regions(torch.zeros(0, 5), torch.zeros(0, dtype=torch.int64)), student_maps(), None, None)
    lesson.__dict__["teacher_output"] = view()  # what its teacher would have seen
    term = module(lesson, share=0.5)["cms"]
    assert term.item() == pytest.approx(value(module, student_maps()).item(), rel=1e-6)
    assert term.item() > 0
