"""A batch in which all that can happen to RGB happens; and what guidance and injection are both held to on it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import fields
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from two_processes import in_two_processes

from cgdet_core.tasks.detection.targets import DetectionTargets
from cgdet_core.tasks.task import Rows, TrainingBatch

SIZE, STRIDES, IMAGES = 64, (8, 16, 32), 5
Object = tuple[int, tuple[float, float, float, float], int, float]

# image, box, class, what the teacher sees of it
OBJECTS: tuple[Object, ...] = (
    (0, (4.0, 6.0, 13.0, 20.0), 0, 0.9),
    (0, (30.0, 1.0, 63.0, 40.0), 1, 0.2),
    (0, (1.0, 41.0, 24.0, 62.0), 2, 0.0),
    (1, (10.0, 8.0, 40.0, 29.0), 0, 0.6),  # half without RGB
    (1, (40.0, 40.0, 50.0, 51.0), 0, 0.7),  # all without
    (2, (8.0, 8.0, 20.0, 30.0), 1, 0.8),  # in an image without RGB
    (0, (35.0, 30.0, 46.0, 45.0), 2, 0.5),  # overlaps the second
    (4, (8.0, 20.0, 30.0, 51.0), 2, 0.1),  # in the dark
)
WITH_RGB = (0, 1, 2, 3, 6, 7)


def slots() -> list[int]:
    """Of each object its place in its image."""
    return [sum(other[0] == each[0] for other in OBJECTS[:number]) for number, each in enumerate(OBJECTS)]


def batch() -> TrainingBatch:
    """Images of 64 px: RGB everywhere, left of x = 33 only, nowhere, everywhere but no object, everywhere but dark."""
    boxes, class_ids = torch.zeros(IMAGES, 6, 4), torch.zeros(IMAGES, 6, dtype=torch.int64)
    objects, ignored = torch.zeros(IMAGES, 6, dtype=torch.bool), torch.zeros(IMAGES, 6, dtype=torch.bool)
    for (image, box, class_id, _), slot in zip(OBJECTS, slots(), strict=True):
        boxes[image, slot], class_ids[image, slot], objects[image, slot] = torch.tensor(box), class_id, True
    boxes[0, 5], ignored[0, 5], class_ids[0, 5] = torch.tensor([25.0, 44.0, 63.0, 63.0]), True, 1
    boxes[3, 5], ignored[3, 5] = torch.tensor([3.0, 3.0, 30.0, 30.0]), True
    rgb_valid = torch.ones(IMAGES, SIZE, SIZE, dtype=torch.bool)
    rgb_valid[1, :, 33:] = False
    rgb_valid[2] = False
    labelled = torch.ones(IMAGES, 3, dtype=torch.bool)
    labelled[0, 2] = labelled[3, 0] = False
    images = torch.zeros(IMAGES, 1, SIZE, SIZE)
    rgb = torch.zeros(IMAGES, 3, SIZE, SIZE, dtype=torch.uint8)
    return TrainingBatch(images, DetectionTargets(boxes, class_ids, objects, ignored, labelled), rgb, rgb_valid)


def tensors_of(rows: Rows) -> dict[str, Tensor]:
    """By name, all that there are."""
    found: dict[str, Tensor] = {}
    for field in fields(rows):
        value = getattr(rows, field.name)
        found |= tensors_of(value) if isinstance(value, Rows) else {field.name: value} if value is not None else {}
    return found


def with_rgb(x: float, y: float, stride: int, image: int) -> bool:
    """Whether all of the cell with this centre has RGB."""
    return image != 2 and (image != 1 or x + stride / 2 <= 33)


def maps_of(channels: dict[int, int], seed: int) -> dict[int, Tensor]:
    """stride -> random features of all images, with gradient."""
    generator = torch.Generator().manual_seed(seed)
    maps = {s: torch.randn(IMAGES, c, SIZE // s, SIZE // s, generator=generator) for s, c in channels.items()}
    return {stride: values.requires_grad_() for stride, values in maps.items()}


def rows_of(maps: dict[int, Tensor], rows: list[int]) -> dict[int, Tensor]:
    return {stride: values.detach()[rows].requires_grad_() for stride, values in maps.items()}


def ciou_parts(a: list[float], b: list[float]) -> tuple[float, float, float]:
    """(overlap, distance term, v) of Zheng et al. 2020: CIoU = overlap - distance term - alpha v."""
    width = max(0.0, min(a[2], b[2]) - max(a[0], b[0]))
    height = max(0.0, min(a[3], b[3]) - max(a[1], b[1]))
    overlap = width * height / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - width * height)
    rho2 = ((a[0] + a[2] - b[0] - b[2]) / 2) ** 2 + ((a[1] + a[3] - b[1] - b[3]) / 2) ** 2
    c2 = (max(a[2], b[2]) - min(a[0], b[0])) ** 2 + (max(a[3], b[3]) - min(a[1], b[1])) ** 2
    angles = [math.atan((box[2] - box[0]) / (box[3] - box[1])) for box in (a, b)]
    return overlap, rho2 / c2, 4 / math.pi**2 * (angles[1] - angles[0]) ** 2


def plain_ciou(a: list[float], b: list[float]) -> float:
    overlap, distance, v = ciou_parts(a, b)
    return overlap - distance - v * v / (1 - overlap + v)


def check_no_gradient(tensors: Iterable[Tensor]) -> None:
    """It reached all of them, and is 0."""
    for tensor in tensors:
        assert tensor.grad is not None
        assert (tensor.grad == 0).all()


def check_slopes(value: Callable[[], Tensor], learned: Iterable[Tensor], step: float, rel: float, abs: float) -> None:
    """The gradients that the tensors have are those of differences of `value`."""
    generator = torch.Generator().manual_seed(3)
    for tensor in learned:
        assert tensor.grad is not None
        assert tensor.grad.isfinite().all()
        # along a way that the value changes along: half of the gradient's and half of any
        away = torch.randn(tensor.shape, generator=generator)
        way = tensor.grad / tensor.grad.norm().clamp(min=1e-12) + 0.5 * away / away.norm()
        values = []
        with torch.no_grad():
            for sign in (1, -1):
                tensor += sign * step * way
                values.append(value().double().item())
                tensor -= sign * step * way
        slope = (values[0] - values[1]) / (2 * step)
        assert (tensor.grad * way).sum().item() == pytest.approx(slope, rel=rel, abs=abs)


def check_shares_add_up(
    learn: Callable[[list[int]], dict[str, Tensor]], sharings: Iterable[tuple[list[int], list[int]]], folder: Path
) -> None:
    """Values and gradients that two processes get of their images are together those of one process.

    learn: images -> values and gradients by name; those of maps, "map..." in it, have a row for each image.
    """

    def share(out: str) -> None:
        from cgdet_core.training.distributed import process_group
        from cgdet_core.world import rank

        with process_group("cpu"):
            for number, rows in enumerate(sharings):
                save_file(learn(rows[rank()]), f"{out}/{number}.{rank()}.safetensors")

    in_two_processes(share, folder)
    for number, rows in enumerate(sharings):
        shares = [load_file(folder / f"{number}.{rank}.safetensors") for rank in range(2)]
        for name, expected in learn([*rows[0], *rows[1]]).items():
            one, other = (each[name] for each in shares)
            found = torch.cat((one, other)) if "map." in name else one + other
            atol = 1e-4 * max(float(expected.abs().max()), 1e-3)
            torch.testing.assert_close(found, expected, atol=atol, rtol=1e-4, msg=f"{number} {name}")
