"""Dual injection against loops over objects and cells: what is compared, what it counts, who learns from it."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from scene import (
    IMAGES,
    OBJECTS,
    SIZE,
    STRIDES,
    WITH_RGB,
    batch,
    check_no_gradient,
    check_shares_add_up,
    check_slopes,
    maps_of,
    plain_ciou,
    rows_of,
    slots,
    with_rgb,
)
from torch import Tensor, nn

from cgdet_core.config import InjectionConfig, LossConfig, ModelConfig, OutputsConfig, Recipe, ThermalConfig
from cgdet_core.distill.injection import Injection, Outputs, running_statistics
from cgdet_core.distill.lesson import Lesson
from cgdet_core.distill.teachers.base import ModelTeacher, Teacher, untrained
from cgdet_core.distill.teachers.yolox import YoloxTeacher, logit_of_product
from cgdet_core.distill.teachers.yolox_network import Yolox, YoloxShape
from cgdet_core.tasks.detection.classes import class_table
from cgdet_core.tasks.detection.head import DetectionNetwork, HeadOutput
from cgdet_core.tasks.detection.injection import DetectionLosses, bernoulli_divergence
from cgdet_core.tasks.detection.loss import detection_loss
from cgdet_core.tasks.detection.targets import DetectionTargets, Predictions
from cgdet_core.tasks.detection.task import DetectionTask
from cgdet_core.tasks.task import TeacherOutput, TrainingBatch

NAMES = ("person", "bicycle", "car")
CENTRES = [
    ((x + 0.5) * s, (y + 0.5) * s, s) for s in STRIDES for y in range(SIZE // s) for x in range(SIZE // s)
]  # and stride
CELLS = len(CENTRES)
STUDENT = ModelConfig(widths=(8, 8, 8, 16, 24), depths=(1, 0, 0, 0), neck_depth=0, head_width=8, bins=4)
TEACHER = ModelConfig(widths=(8, 8, 24, 8, 16), depths=(1, 0, 0, 0), neck_depth=0, head_width=8, bins=4)
LOSS = LossConfig(class_weight=0.7, box_weight=3.0)
TASK = DetectionTask(Recipe(model=STUDENT, loss=LOSS))


def view() -> TeacherOutput:
    """Faint predictions everywhere, and of each object the exact box, at the cell nearest its middle."""
    generator = torch.Generator().manual_seed(1)
    middle = torch.tensor([centre[:2] for centre in CENTRES])
    sizes = 6 + 20 * torch.rand(IMAGES, CELLS, 2, generator=generator)
    boxes = torch.cat((middle - sizes / 2, middle + sizes / 2), dim=-1)
    scores = 0.04 * torch.rand(IMAGES, CELLS, 3, generator=generator)
    for image, box, class_id, score in OBJECTS:
        x, y = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
        nearest = min(range(64), key=lambda cell: math.hypot(CENTRES[cell][0] - x, CENTRES[cell][1] - y))
        boxes[image, nearest], scores[image, nearest, class_id] = torch.tensor(box), score
        # of half its size beside it: fainter, and at another place
        boxes[image, nearest - 1] = torch.tensor([box[0], box[1], x, y])
        scores[image, nearest - 1, class_id] = 0.8 * score
    maps = maps_of(dict(zip(STRIDES, TEACHER.widths[2:], strict=True)), 1)
    return TeacherOutput(maps, Predictions(boxes, scores))


def with_scores(seen: TeacherOutput, scores: Tensor) -> TeacherOutput:
    return replace(seen, predictions=replace(seen.predictions, scores=scores))


def student_maps() -> dict[int, Tensor]:
    return maps_of(dict(zip(STRIDES, STUDENT.widths[2:], strict=True)), 5)


def alive(build: Callable[[], Any], channels: int) -> Any:
    """A network of random weights whose batch norms have statistics."""
    return untrained(build, lambda rgb: rgb[:2, :channels, :SIZE, :SIZE].float() / 255)


def teacher_of(kind: str = "model", names: tuple[str, ...] = NAMES) -> Teacher:
    classes = class_table(names, NAMES, {}, "teacher")
    if kind == "yolox":
        shape = YoloxShape(4, 1, True, len(names))
        return YoloxTeacher(alive(lambda: Yolox(shape), 3), classes, bgr_raw=False)
    config = TEACHER.model_copy(update={"class_names": names})
    return ModelTeacher(alive(lambda: DetectionNetwork(config), 1), classes, ThermalConfig())


def student() -> DetectionNetwork:
    """In training mode, with running statistics that are not those of any map here."""
    detector = alive(lambda: DetectionNetwork(STUDENT), 1)
    assert isinstance(detector, DetectionNetwork)
    for module in detector.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 0.03
    return detector.train()


def injection(teacher: Teacher, network: DetectionNetwork | None = None, **settings: Any) -> Injection:
    values = {"forward_weight": 1.0, "reverse_weight": 1.0, **settings}
    network = network or student()
    torch.manual_seed(2)
    made = Injection(InjectionConfig.model_validate(values), network, teacher, TASK)
    made.knows = teacher.knows  # for `taking_part`
    return made


def taking_part(
    module: Injection, seen: TeacherOutput | None = None, of: TrainingBatch | None = None
) -> tuple[Tensor, TeacherOutput, DetectionLosses]:
    """Rows of the crops that have RGB, the teacher's output of them, and what is said of them."""
    of = of or batch()
    lesson = Lesson(of, TASK.regions(of.targets), {}, None, None)
    lesson.__dict__["teacher_output"] = seen or view()
    rows, part, theirs = lesson.with_rgb
    return rows, theirs, TASK.teacher_losses(part, theirs, module.knows, module.config.sure_score)


def forward(module: Injection, seen: TeacherOutput | None = None, of: TrainingBatch | None = None) -> Tensor:
    return module.forward_part(*taking_part(module, seen, of)[1:])


def reverse(
    module: Injection,
    maps: dict[int, Tensor],
    teacher: Teacher,
    seen: TeacherOutput | None = None,
    of: TrainingBatch | None = None,
) -> Tensor:
    rows, _, losses = taking_part(module, seen, of)
    return module.reverse_part({stride: values[rows] for stride, values in maps.items()}, teacher, losses)


def divergence(t: float, logit: float) -> float:
    p = 1 / (1 + math.exp(-logit))
    return (t * math.log(t / p) if t else 0) + (1 - t) * math.log((1 - t) / (1 - p))


def cells_of(box: tuple[float, ...], image: int) -> list[int]:
    """Cells with RGB whose centre lies in the box; all boxes here are wider than the assigner's least side."""
    return [
        cell
        for cell, (x, y, stride) in enumerate(CENTRES)
        if box[0] <= x <= box[2] and box[1] <= y <= box[3] and with_rgb(x, y, stride, image)
    ]


def expected_agreement(
    logits: Tensor, boxes: Tensor, seen: Predictions, sure_score: float, knows: tuple[bool, ...]
) -> float:
    """logits, boxes: of all images. Object by object, cell by cell."""
    total = 0.0
    for image, box, class_id, score in OBJECTS:
        cells = cells_of(box, image)
        of_class = {cell: float(seen.scores[image, cell, class_id]) for cell in cells}
        for cell in cells:
            vote = (score if knows[class_id] else 0.0) * of_class[cell] / (sum(of_class.values()) or 1)
            theirs = seen.scores[image, cell].tolist()
            both = zip(theirs, logits[image, cell].tolist(), knows, strict=True)
            total += LOSS.class_weight * vote * sum(divergence(t, logit) for t, logit, known in both if known)
            if max(theirs) >= sure_score:
                theirs_box = seen.boxes_xyxy_px[image, cell].tolist()
                total += LOSS.box_weight * vote * (1 - plain_ciou(boxes[image, cell].tolist(), theirs_box))
    return total / len(WITH_RGB)


def of_head(module: Injection, seen: TeacherOutput) -> HeadOutput:
    """Of all images, by a head in evaluation mode and adapters written out."""
    assert module.into_student is not None
    adapted = []
    for stride in STRIDES:
        adapter = module.into_student[str(stride)]
        assert isinstance(adapter, nn.Conv2d)
        assert adapter.bias is not None
        values = torch.einsum("oc,bchw->bohw", adapter.weight[:, :, 0, 0], seen.maps[stride])
        adapted.append(values + adapter.bias[:, None, None])
    with torch.no_grad():
        head = module._head[0]
        output: HeadOutput = head.eval()(tuple(adapted))
        head.train()
    return output


def test_what_takes_part_are_the_crops_cells_and_objects_with_rgb() -> None:
    rows, _, found = taking_part(injection(teacher_of()))
    assert rows.tolist() == [0, 1, 3, 4]
    for (image, box, _, score), slot in zip(OBJECTS, slots(), strict=True):
        if image != 2:
            row = rows.tolist().index(image)
            assert found.inside[row, slot].nonzero()[:, 0].tolist() == cells_of(box, image)
            assert found.seen[row, slot].item() == pytest.approx(score)
    assert int(found.with_rgb.sum()) == len(WITH_RGB)
    for row, image in enumerate((0, 1, 3, 4)):
        assert found.cells[row].tolist() == [with_rgb(x, y, stride, image) for x, y, stride in CENTRES]


@pytest.mark.parametrize("sure_score", [0.0, 0.3, 0.65])
def test_forward_against_the_teacher_is_what_loops_over_objects_and_cells_give(sure_score: float) -> None:
    module, seen = injection(teacher_of(), forward_teacher_share=1, sure_score=sure_score), view()
    output = of_head(module, seen)
    logits, boxes = output.class_logits, output.boxes_xyxy_px()
    found = forward(module)
    assert found.dtype == torch.float32
    expected = expected_agreement(logits, boxes, seen.predictions, sure_score, (True,) * 3)
    assert found.item() == pytest.approx(expected, rel=1e-4)
    assert found.item() > 0.1


@pytest.mark.parametrize("kind", ["model", "yolox"])
@pytest.mark.parametrize("names", [NAMES, ("car", "person")])
def test_reverse_against_the_teacher_is_what_loops_over_objects_and_cells_give(
    kind: str, names: tuple[str, ...]
) -> None:
    teacher = teacher_of(kind, names)
    knows = tuple(name in names for name in NAMES)
    assert teacher.knows == knows
    module, seen = injection(teacher, reverse_teacher_share=1), view()
    # a teacher has no score of a class that it does not know
    seen = with_scores(seen, seen.predictions.scores * torch.tensor(knows))
    assert module.into_teacher is not None
    maps = student_maps()
    with torch.no_grad():
        found = teacher.predict({s: module.into_teacher[str(s)](values) for s, values in maps.items()})
    expected = expected_agreement(found.class_logits, found.boxes_xyxy_px, seen.predictions, 0.3, knows)
    assert reverse(module, maps, teacher, seen).item() == pytest.approx(expected, rel=1e-3)


def test_the_students_own_output_against_the_teacher_is_what_loops_give_and_teaches_the_student_alone() -> None:
    network, teacher, seen, of = student().eval(), teacher_of(), view(), batch()
    output = network.head(tuple(0.1 * maps for maps in student_maps().values()))
    lesson = Lesson(of, TASK.regions(of.targets), {}, output, teacher)
    lesson.__dict__["teacher_output"] = seen
    term = Outputs(OutputsConfig(weight=2.0), TASK)
    found = term(lesson, 0.5)["ld"]
    expected = expected_agreement(output.class_logits, output.boxes_xyxy_px(), seen.predictions, 0.3, (True,) * 3)
    assert found.item() == pytest.approx(expected, rel=1e-4)
    found.backward()
    gradients = [parameter.grad for parameter in network.head.parameters()]
    assert all(gradient is not None and gradient.isfinite().all() for gradient in gradients)
    assert all(parameter.grad is None for parameter in teacher.network.parameters())
    assert list(term.parameters()) == []
    assert term.state_dict() == {}


def labels(kept: set[int]) -> DetectionTargets:
    """The labels in which of the objects those with these numbers are left; the others are regions to ignore."""
    found: DetectionTargets = batch().targets
    for number, ((image, *_), slot) in enumerate(zip(OBJECTS, slots(), strict=True)):
        if number not in kept:
            found.objects[image, slot], found.ignored[image, slot] = False, True
    return found


def cells_with_rgb(images: set[int]) -> Tensor:
    return torch.tensor(
        [[image in images and with_rgb(x, y, stride, image) for x, y, stride in CENTRES] for image in range(IMAGES)]
    )


@pytest.mark.parametrize(
    ("sure_score", "sure", "images"),
    [(0.3, {0, 3, 6}, {0, 1}), (0.15, {0, 1, 3, 6}, {0, 1}), (0.05, {0, 1, 3, 6, 7}, {0, 1, 4}), (0.8, {0}, {0})],
)
def test_forward_against_labels_is_the_detection_loss_of_what_the_teacher_is_sure_of(
    sure_score: float, sure: set[int], images: set[int]
) -> None:
    module = injection(teacher_of(), forward_teacher_share=0, sure_score=sure_score)
    output = of_head(module, view())
    whole = sum(detection_loss(output, labels(sure), LOSS, cells=cells_with_rgb(images)).values())
    found = forward(module)
    assert found.item() == pytest.approx(float(whole) * len(sure) / len(WITH_RGB), rel=1e-4)
    assert found.item() > 0.1


@pytest.mark.parametrize(
    ("names", "known", "images"), [(NAMES, set(WITH_RGB), {0, 1, 4}), (("person", "bicycle"), {0, 1, 3}, {0, 1})]
)
def test_reverse_against_labels_is_the_class_and_box_term_of_the_classes_that_the_teacher_knows(
    names: tuple[str, ...], known: set[int], images: set[int]
) -> None:
    teacher = teacher_of("model", names)
    module, maps = injection(teacher, reverse_teacher_share=0), student_maps()
    assert module.into_teacher is not None
    assert isinstance(teacher.network, DetectionNetwork)
    adapted = [module.into_teacher[str(stride)](maps[stride]) for stride in STRIDES]
    with torch.no_grad():
        output = teacher.network.head(tuple(adapted))
    of_names = torch.zeros(IMAGES, CELLS, 3)
    of_names[..., [NAMES.index(name) for name in names]] = output.class_logits
    expected_labels = labels(known)
    expected_labels.labelled[:, [name not in names for name in NAMES]] = False
    without_bins = LOSS.model_copy(update={"distribution_weight": 0.0})
    of_all = replace(output, class_logits=of_names)
    expected = detection_loss(of_all, expected_labels, without_bins, cells=cells_with_rgb(images))
    # the dark crop counts: its maps are the student's own
    found = reverse(module, maps, teacher)
    assert found.item() == pytest.approx(float(sum(expected.values())), rel=1e-4)


def test_a_share_lies_between_labels_and_teacher() -> None:
    teacher, maps, found = teacher_of(), student_maps(), []
    for share in (0.0, 0.25, 1.0):
        module = injection(teacher, forward_teacher_share=share, reverse_teacher_share=share)
        found.append((forward(module).item(), reverse(module, maps, teacher).item()))
    for labelled, mixed, taught in zip(*found, strict=True):
        assert mixed == pytest.approx(0.75 * labelled + 0.25 * taught, rel=1e-5)


def part_of(rows: list[int]) -> tuple[TrainingBatch, TeacherOutput, dict[int, Tensor]]:
    one, seen = (each.map(lambda values: values[rows].detach()) for each in (batch(), view()))
    return one, seen, rows_of(student_maps(), rows)


@pytest.mark.parametrize("lack", ["rgb", "boxes", "sight"])
def test_a_batch_that_teaches_nothing_is_a_zero_that_goes_backward(lack: str) -> None:
    teacher, network, one, seen = teacher_of(), student(), batch(), view()
    assert one.rgb_valid is not None
    if lack == "rgb":
        one = replace(one, rgb_valid=torch.zeros_like(one.rgb_valid))
    elif lack == "boxes":
        one = replace(one, targets=replace(one.targets, objects=torch.zeros_like(one.targets.objects)))
    else:
        seen = with_scores(seen, torch.zeros_like(seen.predictions.scores))
    module = injection(teacher, network, reverse_teacher_share=1.0 if lack == "sight" else 0.5)
    leaves = student_maps()
    values = forward(module, seen, one), reverse(module, leaves, teacher, seen, one)
    assert [value.item() for value in values] == [0, 0]
    sum(values).backward()  # type: ignore[union-attr]
    check_no_gradient((*leaves.values(), *module.parameters(), *network.head.parameters()))


def test_places_without_rgb_get_no_gradient_and_images_without_any_none_at_all() -> None:
    teacher = teacher_of()
    for share in (0, 1):
        module = injection(teacher, reverse_teacher_share=share)
        leaves = student_maps()
        reverse(module, leaves, teacher).backward()
        at8 = leaves[8].grad
        assert at8 is not None
        assert (at8[[2, 3]] == 0).all()
        assert (at8[[0, 1, 4]] != 0).flatten(1).any(1).all()
        # the head looks two cells around each, so that beyond 32 px + 2 cells nothing is left
        assert (at8[1, :, :, 6:] == 0).all()


def test_gradients_reach_head_and_adapters_and_no_teacher() -> None:
    teacher, network, seen = teacher_of(), student(), view()
    before = {name: value.clone() for name, value in teacher.network.state_dict().items()}
    module, maps, scores = injection(teacher, network), student_maps(), seen.predictions.scores.requires_grad_()

    def learned(value: Tensor) -> list[bool]:
        """Of the head, the adapters into either, and the student's maps."""
        assert module.into_student is not None
        assert module.into_teacher is not None
        groups = (network.head.parameters(), module.into_student.parameters(), module.into_teacher.parameters())
        found = []
        for group in (*map(list, groups), list(maps.values())):
            gradients = torch.autograd.grad(value, group, retain_graph=True, allow_unused=True)
            found.append(any(gradient is not None and bool((gradient != 0).any()) for gradient in gradients))
        return found

    assert learned(forward(module, seen)) == [True, True, False, False]
    assert learned(reverse(module, maps, teacher, seen)) == [False, False, True, True]
    (forward(module, seen) + reverse(module, maps, teacher, seen)).backward()
    assert scores.grad is None
    assert all(value.grad is None and not value.requires_grad for value in teacher.network.parameters())
    assert not teacher.network.training
    for name, value in teacher.network.state_dict().items():
        assert torch.equal(value, before[name]), name


@pytest.mark.parametrize("part", ["forward", "reverse"])
def test_its_gradient_is_that_of_differences(part: str) -> None:
    """Against the teacher's output: the assignment to labels jumps."""
    teacher, network = teacher_of(), student()
    module = injection(teacher, network, forward_teacher_share=1, reverse_teacher_share=1)
    maps = student_maps()

    def value() -> Tensor:
        return forward(module) if part == "forward" else reverse(module, maps, teacher)

    value().backward()
    adapters = module.into_student if part == "forward" else module.into_teacher
    assert adapters is not None
    learned = [*adapters.parameters(), *(network.head.parameters() if part == "forward" else maps.values())]
    check_slopes(value, learned, 0.002, rel=0.03, abs=2e-3)


def test_the_heads_running_statistics_are_used_and_stay_as_they_are() -> None:
    network = student()
    before = {name: value.clone() for name, value in network.head.named_buffers()}
    assert len(before) > 20
    forward(injection(teacher_of(), network))
    for name, value in network.head.named_buffers():
        assert torch.equal(value, before[name]), name
    assert all(each.training for each in network.modules())
    # an error on the way leaves the head in training too
    with pytest.raises(RuntimeError), running_statistics(network.head):
        network.head((torch.zeros(1, 3, 8, 8),) * 3)
    assert all(each.training for each in network.modules())


def test_the_divergence_of_equal_scores_is_0_and_of_others_that_of_the_formula() -> None:
    target = torch.tensor([0.0, 1.0, 0.3, 0.3])
    logits = torch.tensor([-90.0, 90.0, math.log(0.3 / 0.7), 1.5])
    found = bernoulli_divergence(target, logits).tolist()
    assert found == pytest.approx([0, 0, 0, divergence(0.3, 1.5)], abs=1e-6)


def test_the_logit_of_a_product_of_scores_is_exact_where_they_are_near_0_or_1() -> None:
    a = torch.tensor([0.0, 1.3, -60.0, 60.0, 60.0, -200.0])
    b = torch.tensor([0.0, -0.7, 3.0, 60.0, 1.0, -200.0])
    p = 1 / (1 + math.exp(-1.3)) / (1 + math.exp(0.7))
    expected = [math.log(1 / 3), math.log(p / (1 - p)), -60 - math.log1p(math.exp(-3)), 60 - math.log(2), 1.0, -400.0]
    assert logit_of_product(a, b).tolist() == pytest.approx(expected, rel=1e-5)


def test_half_precision_under_autocast_gives_a_finite_single_precision_value() -> None:
    teacher, network, maps = teacher_of(), student(), student_maps()
    module = injection(teacher, network)
    exact = forward(module).item(), reverse(module, maps, teacher).item()
    teacher.to(torch.device("cpu"), torch.bfloat16)
    rounded = {stride: values.detach().bfloat16().requires_grad_() for stride, values in maps.items()}
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = forward(module), reverse(module, rounded, teacher)
    assert all(value.dtype == torch.float32 for value in found)
    assert [value.item() for value in found] == pytest.approx(exact, rel=0.1)
    sum(found).backward()  # type: ignore[union-attr]
    for tensor in (*rounded.values(), *module.parameters(), *network.head.parameters()):
        assert tensor.grad is not None
        assert tensor.grad.isfinite().all()


def learn(rows: list[int]) -> dict[str, Tensor]:
    """Values for these images, and the gradients of maps, head and adapters."""
    teacher, network = teacher_of(), student()
    module = injection(teacher, network)
    one, seen, leaves = part_of(rows)
    values = {"forward": forward(module, seen, one), "reverse": reverse(module, leaves, teacher, seen, one)}
    sum(values.values()).backward()  # type: ignore[union-attr]
    both = nn.ModuleDict({"head": network.head, "injection": module})
    found = {name: parameter.grad for name, parameter in both.named_parameters()}
    found |= {f"map.{stride}": values.grad for stride, values in leaves.items()}
    found |= {name: value.detach() for name, value in values.items()}
    assert all(tensor is not None for tensor in found.values())
    return {name: tensor for name, tensor in found.items() if tensor is not None}


def test_values_and_gradients_of_two_processes_add_up_to_those_of_the_whole_batch(tmp_path: Path) -> None:
    # one of them has no image with RGB, or none with an object
    check_shares_add_up(learn, (([0, 1, 3, 4], [2]), ([3], [0, 1, 2, 4]), ([0], [1, 2, 3, 4])), tmp_path)
