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
from safetensors.torch import load_file, save_file
from torch import Tensor
from two_processes import in_two_processes

from cgdet_core.config import GuidanceConfig, Recipe
from cgdet_core.distill.distances import distance_of
from cgdet_core.distill.guidance import Guidance
from cgdet_core.distill.lesson import Lesson
from cgdet_core.errors import InputError
from cgdet_core.tasks.detection.targets import DetectionTargets, Predictions
from cgdet_core.tasks.detection.task import DetectionTask
from cgdet_core.tasks.task import TeacherOutput, TrainingBatch

Array = NDArray[np.float64]
SIZE = 64
STUDENT_CHANNELS, TEACHER_CHANNELS = {8: 3, 16: 4, 32: 5}, {8: 2, 16: 3, 32: 4}
TASK = DetectionTask(Recipe())
DISTANCES = ("cosine", "cwd", "mse", "pkd")

# image, box, class, what the teacher sees of it, and the stride that it belongs to
OBJECTS = (
    (0, (4.0, 6.0, 13.0, 20.0), 0, 0.9, 8),
    (0, (30.0, 1.0, 63.0, 40.0), 1, 0.3, 32),
    (0, (1.0, 41.0, 24.0, 62.0), 2, 0.0, 16),
    (1, (10.0, 8.0, 40.0, 29.0), 0, 0.6, 16),  # half without RGB
    (1, (40.0, 40.0, 50.0, 51.0), 0, 0.7, 8),  # all without
    (2, (8.0, 8.0, 20.0, 30.0), 1, 0.8, 16),  # in an image without RGB
    (0, (35.0, 30.0, 46.0, 45.0), 2, 0.5, 8),  # overlaps the second
)


def settings(**values: Any) -> GuidanceConfig:
    return GuidanceConfig.model_validate({"small_below_px": 15, "middle_below_px": 30, "roi_px": 3, **values})


def batch() -> TrainingBatch:
    """Four images of 64 px: RGB everywhere, left of x = 33 only, nowhere, everywhere but without an object."""
    boxes = torch.zeros(4, 6, 4)
    class_ids = torch.zeros(4, 6, dtype=torch.int64)
    objects, ignored = torch.zeros(4, 6, dtype=torch.bool), torch.zeros(4, 6, dtype=torch.bool)
    for image, box, class_id, _, _ in OBJECTS:
        slot = int(objects[image].sum())
        boxes[image, slot], class_ids[image, slot], objects[image, slot] = torch.tensor(box), class_id, True
    boxes[3, 5], ignored[3, 5] = torch.tensor([3.0, 3.0, 30.0, 30.0]), True
    rgb_valid = torch.ones(4, SIZE, SIZE, dtype=torch.bool)
    rgb_valid[1, :, 33:] = False
    rgb_valid[2] = False
    labelled = torch.ones(4, 3, dtype=torch.bool)
    rgb = torch.zeros(4, 3, SIZE, SIZE, dtype=torch.uint8)
    targets = DetectionTargets(boxes, class_ids, objects, ignored, labelled)
    return TrainingBatch(torch.zeros(4, 1, SIZE, SIZE), targets, rgb, rgb_valid)


def maps_of(channels: dict[int, int], seed: int) -> dict[int, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {s: torch.randn(4, c, SIZE // s, SIZE // s, generator=generator) for s, c in channels.items()}


def view(objects: tuple[Any, ...] = OBJECTS) -> TeacherOutput:
    """Each object is predicted exactly, with its score, among others that must not count."""
    boxes, scores = torch.zeros(4, 3 * len(objects), 4), torch.zeros(4, 3 * len(objects), 3)
    for number, (image, box, class_id, score, _) in enumerate(objects):
        exact = torch.tensor(box)
        far = exact + torch.tensor([20.0, 0, 20, 0])
        boxes[image, 3 * number : 3 * number + 3] = torch.stack((exact, far, exact))
        scores[image, 3 * number, class_id] = score
        scores[image, 3 * number + 1, class_id] = 0.99
        scores[image, 3 * number + 2, class_id] = score / 2
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


def with_gradient(maps: dict[int, Tensor]) -> dict[int, Tensor]:
    return {stride: values.clone().requires_grad_() for stride, values in maps.items()}


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


def valid_cells(rgb_valid: Tensor, stride: int, mask: bool) -> Array:
    """[B, H, W]: 1 where every pixel of a cell is valid, or, without the mask, the image has any valid pixel."""
    valid = rgb_valid.numpy()
    cells = np.zeros((len(valid), SIZE // stride, SIZE // stride))
    for image, row, column in np.ndindex(*cells.shape):
        rows, columns = (slice(index * stride, (index + 1) * stride) for index in (row, column))
        cells[image, row, column] = valid[image, rows, columns].all() if mask else valid[image].any()
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
        theirs = seen.maps[stride].double().numpy()
        valid = valid_cells(whole.rgb_valid, stride, config.mask_rgb)
        cells = by_stride.setdefault(stride, [])
        if config.region == "boxes":
            for image, box, _, score, level in OBJECTS:
                if level != stride:
                    continue
                places = pooled(valid[image][None], box, stride, config.roi_px)[0] > 0.999
                weight = score if config.object_weight == "seen" else 1.0
                # one divisor for all strides
                divisor = {s: n + bool(places.any()) for s, n in divisor.items()}
                ours_here, theirs_here = (pooled(m[image], box, stride, config.roi_px) for m in (ours, theirs))
                cells.append((ours_here, theirs_here, weight * places / max(places.sum(), 1)))
            continue
        for image in range(4):
            weights = np.zeros(valid[image].shape)
            for row, column in np.ndindex(*weights.shape):
                best = [1.0] if config.object_weight == "equal" else []
                for of, (left, top, right, bottom), _, score, _ in OBJECTS:
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


@pytest.mark.parametrize("distance", DISTANCES)
@pytest.mark.parametrize("region", ["boxes", "whole"])
@pytest.mark.parametrize("object_weight", ["seen", "equal"])
@pytest.mark.parametrize("mask_rgb", [True, False])
def test_it_is_what_loops_over_places_give(distance: str, region: str, object_weight: str, mask_rgb: bool) -> None:
    config = settings(distance=distance, region=region, object_weight=object_weight, mask_rgb=mask_rgb, temperature=0.7)
    module, student = guidance(config), maps_of(STUDENT_CHANNELS, 0)
    found = value(module, student)
    assert found.dtype == torch.float32
    assert found.shape == ()
    assert found.item() == pytest.approx(expected_value(config, module, student), rel=1e-4)
    assert found.item() > 1e-3


def test_a_hand_case_over_boxes() -> None:
    # student 1 everywhere, teacher 3 everywhere, the adapter doubles and adds 0.5: (2.5 - 3)^2 = 0.25 for each object
    config = settings(distance="mse", strides=[8])
    module = Guidance(config, {8: 1}, {8: 1}, TASK)
    torch.nn.init.constant_(module.adapters["8"].weight, 2.0)
    torch.nn.init.constant_(module.adapters["8"].bias, 0.5)
    seen = replace(view(), maps={8: torch.full((4, 1, 8, 8), 3.0)})
    found = value(module, {8: torch.ones(4, 1, 8, 8)}, seen)
    # five objects have RGB: of them the teacher sees this much
    assert found.item() == pytest.approx(0.25 * (0.9 + 0.3 + 0.0 + 0.6 + 0.5) / 5)
    equal = Guidance(settings(distance="mse", strides=[8], object_weight="equal"), {8: 1}, {8: 1}, TASK)
    equal.load_state_dict(module.state_dict())
    assert value(equal, {8: torch.ones(4, 1, 8, 8)}, seen).item() == pytest.approx(0.25)


def test_what_the_teacher_sees_less_of_teaches_less() -> None:
    """Not less of one object beside others: the scores are in no divisor."""
    student = maps_of(STUDENT_CHANNELS, 0)
    for region in ("boxes", "whole"):
        for distance in DISTANCES:
            module = guidance(settings(distance=distance, region=region))
            by_day = value(module, student).item()
            dark = view(tuple((i, box, c, score / 10, level) for i, box, c, score, level in OBJECTS))
            assert value(module, student, dark).item() == pytest.approx(by_day / 10, rel=1e-4), (region, distance)


def test_images_without_rgb_do_not_weaken_the_others() -> None:
    """Three more images without RGB, full of objects, change nothing."""
    one = batch()
    assert one.rgb_valid is not None
    for region in ("boxes", "whole"):
        for mask_rgb in (True, False):
            module = guidance(settings(region=region, mask_rgb=mask_rgb, distance="cosine"))
            student, seen = maps_of(STUDENT_CHANNELS, 0), view()
            first, seen_first = (each.map(lambda values: values[:1]) for each in (one, seen))
            alone = value(module, {s: m[:1] for s, m in student.items()}, seen_first, first).item()
            without = replace(one, rgb_valid=one.rgb_valid & (torch.arange(4) == 0)[:, None, None])
            assert value(module, student, seen, without).item() == pytest.approx(alone, rel=1e-5)


@pytest.mark.parametrize("distance", DISTANCES)
@pytest.mark.parametrize("region", ["boxes", "whole"])
def test_places_that_are_masked_or_unseen_get_no_gradient(distance: str, region: str) -> None:
    module = guidance(settings(distance=distance, region=region))
    student = with_gradient(maps_of(STUDENT_CHANNELS, 0))
    value(module, student).backward()
    gradients = {stride: maps.grad for stride, maps in student.items()}
    at8, at16, at32 = (gradients[stride] for stride in (8, 16, 32))
    assert at8 is not None
    assert at16 is not None
    assert at32 is not None
    assert (at8[2:] == 0).all()
    assert (at16[2:] == 0).all()
    assert (at32[2:] == 0).all()
    # a cell from 32 px on has one valid column
    assert (at8[1, :, :, 4:] == 0).all()
    assert (at16[1, :, :, 2:] == 0).all()
    assert (at32[1, :, :, 1:] == 0).all()
    assert (at16[1, :, 1, :2] != 0).all()
    # seen objects are learned from; around the third, which is not seen, nothing is
    assert (at8[0, :, 1, 1] != 0).all()
    assert (at8[0, :, 6:, :3] == 0).all()
    assert (at16[0, :, 3, 0] == 0).all()
    if region == "whole":
        assert (at32[0, :, 0, 1] != 0).all()
    else:
        # it belongs to stride 16, where no other object of the image is
        assert (at16[0] == 0).all()


def test_without_the_mask_an_image_with_some_rgb_counts_everywhere_and_one_without_nowhere() -> None:
    module = guidance(settings(mask_rgb=False, region="whole", object_weight="equal"))
    student = with_gradient(maps_of(STUDENT_CHANNELS, 0))
    value(module, student).backward()
    for maps in student.values():
        assert maps.grad is not None
        assert (maps.grad[[0, 1, 3]] != 0).all()
        assert (maps.grad[2] == 0).all()


@pytest.mark.parametrize("distance", DISTANCES)
@pytest.mark.parametrize("region", ["boxes", "whole"])
def test_its_gradient_is_that_of_differences_and_reaches_no_teacher(distance: str, region: str) -> None:
    module = guidance(settings(distance=distance, region=region))
    student = with_gradient(maps_of(STUDENT_CHANNELS, 0))
    seen = view()
    teacher = with_gradient(dict(seen.maps))
    scores = seen.predictions.scores.requires_grad_()
    seen = TeacherOutput(teacher, replace(seen.predictions, scores=scores))
    value(module, student, seen).backward()
    assert all(maps.grad is None for maps in teacher.values())
    assert scores.grad is None
    generator = torch.Generator().manual_seed(3)
    learned = [*student.values(), *module.parameters()]
    for tensor in learned:
        assert tensor.grad is not None
        assert tensor.grad.isfinite().all()
        # along a way that the value changes along: half of the gradient's and half of any
        away = torch.randn(tensor.shape, generator=generator)
        way = tensor.grad / tensor.grad.norm().clamp(min=1e-12) + 0.5 * away / away.norm()
        values = []
        step = 0.005
        with torch.no_grad():
            for sign in (1, -1):
                tensor += sign * step * way
                values.append(value(module, student, seen).double().item())
                tensor -= sign * step * way
        slope = (values[0] - values[1]) / (2 * step)
        assert (tensor.grad * way).sum().item() == pytest.approx(slope, rel=0.01, abs=5e-5)


@pytest.mark.parametrize("distance", DISTANCES)
@pytest.mark.parametrize("region", ["boxes", "whole"])
@pytest.mark.parametrize("lack", ["rgb", "boxes", "sight", "both"])
def test_a_batch_that_teaches_nothing_is_a_zero_that_goes_backward(distance: str, region: str, lack: str) -> None:
    module = guidance(settings(distance=distance, region=region))
    student, seen, nothing = with_gradient(maps_of(STUDENT_CHANNELS, 0)), view(), batch()
    assert nothing.rgb_valid is not None
    if lack in ("rgb", "both"):
        nothing = replace(nothing, rgb_valid=torch.zeros_like(nothing.rgb_valid))
    if lack in ("boxes", "both"):
        nothing.targets.objects[:] = False
    if lack == "sight":
        seen.predictions.scores[:] = 0
    found = value(module, student, seen, nothing)
    found.backward()
    assert found.item() == 0
    for tensor in (*student.values(), *module.parameters()):
        assert tensor.grad is not None
        assert (tensor.grad == 0).all()


def test_half_precision_maps_under_autocast_give_a_single_precision_value() -> None:
    for region in ("boxes", "whole"):
        module, student, seen = guidance(settings(region=region)), maps_of(STUDENT_CHANNELS, 0), view()
        rounded = {stride: maps.bfloat16() for stride, maps in student.items()}
        of_rounded = value(module, {stride: maps.float() for stride, maps in rounded.items()}, seen)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            found = value(module, rounded, seen)
        assert found.dtype == torch.float32
        assert found.item() == of_rounded.item()


def test_strides_that_are_not_in_use_are_not_looked_at() -> None:
    module = guidance(settings(strides=[16], region="whole"))
    assert list(module.adapters) == ["16"]
    student = with_gradient(maps_of(STUDENT_CHANNELS, 0))
    value(module, {16: student[16]}, replace(view(), maps={16: view().maps[16]})).backward()
    assert student[16].grad is not None


def test_a_teacher_that_lacks_a_stride_or_has_maps_of_another_size_is_refused() -> None:
    with pytest.raises(InputError, match=r"no map at stride 8: give strides among \[16, 32\]"):
        Guidance(settings(), STUDENT_CHANNELS, {16: 3, 32: 4}, TASK)
    module, seen = guidance(settings()), view()
    seen = replace(seen, maps={**seen.maps, 16: torch.zeros(4, 3, 5, 4)})
    with pytest.raises(
        InputError, match=r"at stride 16 the teacher's map is \[5, 4\] cells and the student's \[4, 4\]"
    ):
        value(module, maps_of(STUDENT_CHANNELS, 0), seen)


def test_a_batch_without_a_place_for_rgb_is_a_fault_of_the_caller() -> None:
    without = replace(batch(), rgb=None, rgb_valid=None)
    with pytest.raises(ValueError, match="batches with RGB"):
        guidance(settings())(Lesson(without, TASK.regions(without.targets), {}, None), 1.0)


# rows that two processes hold: the second has no object at stride 32; nor any at all
SHARINGS = (((0, 1), (1, 4)), ((0, 3), (3, 4)))


def learn(rows: slice) -> dict[str, Tensor]:
    """Of each distance and region the value for `rows` of the batch and the gradients of maps and adapters."""
    found = {}
    for distance in DISTANCES:
        for region in ("boxes", "whole"):
            module = guidance(settings(distance=distance, region=region))
            student = with_gradient({s: maps[rows] for s, maps in maps_of(STUDENT_CHANNELS, 0).items()})
            part, seen = (each.map(lambda values: values[rows]) for each in (batch(), view()))
            found_here = value(module, student, seen, part)
            found_here.backward()
            tensors = {f"map.{stride}": maps.grad for stride, maps in student.items()}
            tensors |= {name: parameter.grad for name, parameter in module.named_parameters()}
            tensors["value"] = found_here.detach()
            found |= {f"{distance} {region} {k}": tensor for k, tensor in tensors.items() if tensor is not None}
    return found


def compute_shares(out: str) -> None:
    """What each process does: its rows of everything, written to a file of its rank."""
    from cgdet_core.training.distributed import process_group
    from cgdet_core.world import rank

    with process_group("cpu"):
        for number, rows in enumerate(SHARINGS):
            save_file(learn(slice(*rows[rank()])), f"{out}/{number}.{rank()}.safetensors")


def test_values_and_gradients_of_two_processes_add_up_to_those_of_the_whole_batch(tmp_path: Path) -> None:
    in_two_processes(compute_shares, tmp_path)
    whole = learn(slice(0, 4))
    for number in range(len(SHARINGS)):
        shares = [load_file(tmp_path / f"{number}.{rank}.safetensors") for rank in range(2)]
        for name, expected in whole.items():
            one, other = (share[name] for share in shares)
            found = torch.cat((one, other)) if " map." in name else one + other
            atol = 1e-4 * max(float(expected.abs().max()), 1e-3)
            torch.testing.assert_close(found, expected, atol=atol, rtol=1e-4, msg=f"{number} {name}")
