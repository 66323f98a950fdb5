"""RGB that a registration leaves out does not reach guidance: from warp over partner, crop and batch to the loss."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from cgdet_core.config import GuidanceConfig, Recipe
from cgdet_core.data.registration.homography import Registration
from cgdet_core.data.sets.rgb_partner import RgbPartner
from cgdet_core.distill.guidance import Guidance
from cgdet_core.tasks.detection.sampling import Window
from cgdet_core.tasks.detection.targets import Predictions
from cgdet_core.tasks.detection.task import DetectionTask
from cgdet_core.tasks.task import Regions, TeacherOutput

SIZE = 96
STRIDES = (8, 16, 32)
BOXES = ((20.0, 20.0, 60.0, 70.0), (2.0, 30.0, 40.0, 60.0))  # the second reaches over the edge of the valid part
# the RGB view begins 30 pixels to the right of the thermal one's edge and ends 20 above its bottom
REGISTRATION = Registration(
    np.array([[1.0, 0.02, 30.0], [0.0, 1.0, 0.0], [0, 0, 1]]), (SIZE, SIZE), (SIZE - 20, SIZE), how="camera_info"
)


def loss(beyond: int, config: GuidanceConfig, masked: bool = True) -> tuple[float, Tensor]:
    """The guidance loss and its gradient on the student's finest map; `beyond` fills what has no RGB; not masked: all
    of it is said to be valid."""
    rng = np.random.default_rng(1)
    rgb = cv2.GaussianBlur(rng.integers(0, 256, (SIZE - 20, SIZE, 3), dtype=np.uint8), (0, 0), 3)
    warped, valid = REGISTRATION.warp(np.asarray(rgb, np.uint8))
    warped = warped.copy()
    warped[~valid] = beyond
    _, encoded = cv2.imencode(".png", warped[:, :, ::-1])
    partner = RgbPartner(np.asarray(encoded, np.uint8), Path("rgb.png"), (SIZE, SIZE), valid)
    crop, crop_valid = partner.crop(Window(0, 0, SIZE, SIZE, (SIZE, SIZE), False))
    shown = torch.from_numpy(crop).permute(2, 0, 1)[None]
    # a teacher that sees of each cell what lies in it, and a student that sees nothing of RGB
    maps = {stride: functional.avg_pool2d(shown.float() / 255, stride) for stride in STRIDES}
    torch.manual_seed(0)
    guidance = Guidance(config, dict.fromkeys(STRIDES, 4), dict.fromkeys(STRIDES, 3), DetectionTask(Recipe()))
    student = {stride: torch.randn(1, 4, SIZE // stride, SIZE // stride, requires_grad=True) for stride in STRIDES}
    boxes = torch.tensor(BOXES)
    regions = Regions(torch.cat((torch.zeros(len(BOXES), 1), boxes), dim=1), torch.zeros(len(BOXES), dtype=torch.int64))
    seen = TeacherOutput(maps, Predictions(boxes[None], torch.tensor([[[0.9, 0.0, 0.0]] * len(BOXES)])))
    value = guidance.value(student, seen, torch.from_numpy(crop_valid | (not masked))[None], regions)
    value.backward()
    gradient = student[8].grad
    assert gradient is not None
    return value.item(), gradient


@pytest.mark.parametrize("region", ["boxes", "whole"])
def test_what_lies_outside_the_rgb_view_changes_nothing(region: str) -> None:
    config = GuidanceConfig.model_validate({"region": region, "distance": "mse", "object_weight": "equal"})
    black, gradient = loss(0, config)
    white, other = loss(255, config)
    assert black == white > 0
    assert torch.equal(gradient, other)
    # and without the mask it does change: the test sees what it says
    assert loss(0, config, masked=False)[0] != pytest.approx(loss(255, config, masked=False)[0], rel=1e-3)


def test_cells_without_rgb_teach_nothing() -> None:
    config = GuidanceConfig.model_validate({"region": "whole", "distance": "mse", "object_weight": "equal"})
    _, gradient = loss(0, config)
    _, valid = REGISTRATION.warp(np.zeros((SIZE - 20, SIZE, 3), np.uint8))
    whole_cells = torch.from_numpy(valid.reshape(SIZE // 8, 8, SIZE // 8, 8).all((1, 3)))
    taught = gradient[0].abs().sum(0) > 0
    assert torch.equal(taught, whole_cells)
    assert 0.3 < whole_cells.float().mean() < 0.8
