"""DIKD between two landmark networks: both parts against sums worked out apart, and whom their gradients reach."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from cgdet_core.config import InjectionConfig, LandmarkModelConfig, Recipe, ThermalConfig
from cgdet_core.distill.injection import Injection
from cgdet_core.distill.lesson import Lesson
from cgdet_core.distill.teachers.base import ModelTeacher, untrained
from cgdet_core.tasks import task_of
from cgdet_core.tasks.landmarks.head import LandmarkNetwork
from cgdet_core.tasks.landmarks.teaching import LandmarkTargets, LandmarkTeacherReading
from cgdet_core.tasks.task import TrainingBatch

SIZE, FACES = 32, 3
TASK = task_of(Recipe.model_validate({"task": "landmarks"} | {"model": {"input_height_width_px": [SIZE, SIZE]}}))
SHARES = {"forward_teacher_share": 0.25, "reverse_teacher_share": 0.75}


def network(*widths: int) -> LandmarkNetwork:
    shape: dict[str, Any] = {"depths": (0, 0, 0, 0), "input_height_width_px": (SIZE, SIZE)}
    config = LandmarkModelConfig(widths=(8, 8, *widths), head_width=8, **shape)
    return untrained(lambda: LandmarkNetwork(config), lambda rgb: rgb[:4, :1, :SIZE, :SIZE].float() / 255)


def batch() -> TrainingBatch:
    generator = torch.Generator().manual_seed(3)
    labelled = torch.rand(FACES, 68, generator=generator) < 0.7
    targets = LandmarkTargets(torch.rand(FACES, 68, 2, generator=generator) * SIZE, labelled)
    rgb = torch.randint(0, 256, (FACES, 3, SIZE, SIZE), generator=generator, dtype=torch.uint8)
    valid = torch.ones(FACES, SIZE, SIZE, dtype=torch.bool)
    valid[1] = False  # a face without RGB takes no part
    return TrainingBatch(torch.rand(FACES, 1, SIZE, SIZE, generator=generator), targets, rgb, valid)


def against_both(logits: Tensor, theirs: Tensor, targets: LandmarkTargets, teacher_share: float) -> float:
    """In NumPy, point by point: default weights, and a teacher of which every point counts."""
    ours, target = (each.detach().double().numpy() for each in (logits, theirs))
    places = (np.arange(4) + 0.5) * 8 - 0.5
    of_labels, apart = [], []
    for face, point in np.ndindex(*ours.shape[:2]):
        p, q = (np.exp(each[face, point] - each[face, point].max()) for each in (target, ours))
        p, q = p / p.sum(), q / q.sum()
        apart.append((p * np.log(p / q)).sum())
        if not targets.labelled[face, point]:
            continue
        label = targets.points_xy_px[face, point].double().numpy()
        marginals = q.sum(0), q.sum(1)
        found = np.array([marginal @ places for marginal in marginals])
        variance = sum(marginal @ (places - middle) ** 2 for marginal, middle in zip(marginals, found, strict=True))
        error = np.abs(found - label)
        wing = np.where(error < 7, 7 * np.log(1 + error / 1.15), error - 7 + 7 * np.log(1 + 7 / 1.15)).mean()
        cross = 0.0
        for marginal, middle in zip(marginals, label, strict=True):
            wanted = np.exp(-((places - middle) ** 2) / (2 * (0.75 * 8) ** 2))
            cross -= (wanted / wanted.sum() * np.log(marginal)).sum()
        scale = np.sqrt(variance / 6)
        of_labels.append(wing + 0.5 * cross + 2 * np.log(scale) + np.hypot(*(found - label)) / scale)
    return float((1 - teacher_share) * np.mean(of_labels) + teacher_share * np.mean(apart))


def laid(adapters: nn.ModuleDict, maps: dict[int, Tensor]) -> tuple[Tensor, ...]:
    """1x1 convolutions as sums over channels."""
    out = []
    for stride, adapter in adapters.items():
        values = torch.einsum("oc,bchw->bohw", adapter.weight[:, :, 0, 0], maps[int(stride)])
        out.append(values if adapter.bias is None else values + adapter.bias[None, :, None, None])
    return tuple(out)


def test_both_parts_are_sums_over_points_and_reach_only_whom_they_should() -> None:
    student, of_teacher = network(16, 16, 8).train(), network(8, 24, 16)
    teacher = ModelTeacher(of_teacher, LandmarkTeacherReading(), ThermalConfig())
    torch.manual_seed(1)
    term = Injection(
        InjectionConfig(forward_weight=1.0, reverse_weight=1.0, sure_score=0.0, **SHARES), student, teacher, TASK
    )
    data = batch()
    features = student.features(data.images)
    maps = dict(zip((8, 16, 32), features, strict=True))
    lesson = Lesson(data, TASK.regions(data.targets), maps, student.head(features), teacher)
    terms = term(lesson, 1.0)
    rows = torch.tensor([0, 2])
    targets = LandmarkTargets(data.targets.points_xy_px[rows], data.targets.labelled[rows])
    _, _, theirs = lesson.with_rgb
    output = theirs.predictions.map_logits
    assert term.into_student is not None
    assert term.into_teacher is not None
    student.head.eval()  # DIKD takes its running statistics
    forward = student.head(laid(term.into_student, dict(theirs.maps)))
    student.head.train()
    reverse = of_teacher.head(laid(term.into_teacher, {stride: maps[rows] for stride, maps in lesson.student.items()}))
    wanted = against_both(forward, output, targets, 0.25), against_both(reverse, output, targets, 0.75)
    assert [float(terms[f"dikd_{name}"].detach()) for name in ("forward", "reverse")] == pytest.approx(wanted, rel=1e-3)
    parts = {
        "head": student.head,
        "body": nn.ModuleList([student.stem, student.stages]),
        "into_student": term.into_student,
        "into_teacher": term.into_teacher,
        "teacher": of_teacher,
    }
    for name, reached in {"forward": {"head", "into_student"}, "reverse": {"body", "into_teacher"}}.items():
        for part in parts.values():
            part.zero_grad(set_to_none=True)
        terms[f"dikd_{name}"].backward(retain_graph=True)
        moved = {
            part
            for part, module in parts.items()
            if any(each.grad is not None and each.grad.any() for each in module.parameters())
        }
        assert moved == reached
