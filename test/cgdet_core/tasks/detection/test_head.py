"""Cells and boxes of the head, by hand."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from cgdet_core.config import ModelConfig
from cgdet_core.tasks.detection.head import Head, HeadOutput, decode_boxes

torch.set_num_threads(1)


def test_a_box_reaches_from_its_cells_centre_by_the_mean_of_each_sides_distribution() -> None:
    # a distribution all on one bin, a half and half, a uniform one, and unequal logits
    logits = torch.full((1, 2, 4, 5), -50.0)
    logits[0, 0, 0, 3] = 50  # left: 3 strides
    logits[0, 0, 1, 1] = logits[0, 0, 1, 2] = 50  # top: 1.5
    logits[0, 0, 2] = 7  # right: uniform over 0..4: 2
    logits[0, 0, 3] = torch.tensor([0.0, math.log(3), -50, -50, -50])  # bottom: 0.75
    logits[0, 1, :, 4] = 50  # all sides the last bin
    centres, strides = torch.tensor([[100.0, 60.0], [16.0, 48.0]]), torch.tensor([8.0, 32.0])
    boxes = decode_boxes(logits, centres, strides)
    assert boxes[0, 0].tolist() == pytest.approx([100 - 24, 60 - 12, 100 + 16, 60 + 6], abs=1e-4)
    assert boxes[0, 1].tolist() == pytest.approx([16 - 128, 48 - 128, 16 + 128, 48 + 128], abs=1e-4)
    output = HeadOutput(torch.zeros(1, 2, 1), logits, centres, strides)
    assert torch.equal(output.boxes_xyxy_px(), boxes)


def test_half_precision_logits_are_decoded_in_single_precision() -> None:
    logits = torch.randn(1, 3, 4, 16, generator=torch.Generator().manual_seed(1)).bfloat16()
    centres, strides = torch.tensor([[600.0, 500.0]] * 3), torch.tensor([32.0] * 3)
    boxes = decode_boxes(logits, centres, strides)
    assert boxes.dtype == torch.float32
    assert torch.equal(boxes, decode_boxes(logits.float(), centres, strides))


def test_cells_come_stride_8_first_and_row_by_row_and_sides_before_bins() -> None:
    head = Head(ModelConfig(widths=(8, 8, 8, 8, 8), head_width=8, bins=3, class_names=("a", "b")))
    head.class_branches = nn.ModuleList(nn.Identity() for _ in range(3))
    box = nn.Conv2d(2, 12, 1)
    nn.init.zeros_(box.weight)
    box.bias.data = torch.arange(12.0)
    head.box_branches = nn.ModuleList(box for _ in range(3))
    # each feature says its level and place
    features = []
    for level, (height, width) in enumerate([(4, 6), (2, 3), (1, 2)]):
        y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
        features.append(torch.stack([level * 1000.0 + y, x.float()])[None])
    output = head(tuple(features))
    expected = [
        ((column + 0.5) * stride, (row + 0.5) * stride, level * 1000 + row, column, stride)
        for level, (height, width, stride) in enumerate([(4, 6, 8), (2, 3, 16), (1, 2, 32)])
        for row in range(height)
        for column in range(width)
    ]
    found = torch.cat([output.centres_xy_px, output.class_logits[0], output.strides_px[:, None]], dim=1)
    assert [tuple(row) for row in found.tolist()] == expected
    assert output.box_logits[0, 5].tolist() == [[0, 1, 2], [3, 4, 5], [6, 7, 8], [9, 10, 11]]
