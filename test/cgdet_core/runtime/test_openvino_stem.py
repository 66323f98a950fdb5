"""The widened first convolution: the same sums, and only where a network begins as ours do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional

from cgdet_core.config import ModelConfig
from cgdet_core.runtime.backends.libraries import is_installed
from cgdet_core.runtime.backends.openvino_stem import wide_weight, widen_stem
from cgdet_core.runtime.backends.torch_backend import fuse
from cgdet_core.runtime.exports.network_onnx import network_onnx
from cgdet_core.tasks.detection.head import Detector


def test_the_wide_weights_give_two_columns_at_once() -> None:
    generator = torch.Generator().manual_seed(0)
    picture, weight = torch.rand(1, 1, 12, 16, generator=generator), torch.randn(5, 1, 3, 3, generator=generator)
    expected = functional.conv2d(picture, weight, stride=2, padding=1)
    blocks = picture.reshape(1, 12, 4, 4).permute(0, 3, 1, 2)
    wide = functional.conv2d(
        functional.pad(blocks, (1, 0, 1, 1)), torch.from_numpy(wide_weight(weight.numpy())), stride=(2, 1)
    )
    columns = wide.reshape(1, 2, 5, 6, 4).permute(0, 2, 3, 4, 1).reshape(1, 5, 6, 8)
    torch.testing.assert_close(columns, expected)


def compiled_and_stem(network: Any) -> tuple[Any, list[int]]:
    from cgdet_core.runtime.backends.openvino_backend import core, settings

    stem = next(node for node in network.get_ordered_ops() if node.get_type_name() == "Convolution")
    return core().compile_model(network, "CPU", settings("fp32", 1)), list(stem.input_value(1).get_shape())


@pytest.mark.parametrize("activation", ["silu", "hard_swish", "relu"])
@pytest.mark.parametrize("saved", [False, True])
def test_a_network_gives_the_same_with_its_stem_widened(activation: str, saved: bool, tmp_path: Path) -> None:
    if not is_installed("openvino"):
        pytest.skip("openvino is not installed: pip install openvino")
    from cgdet_core.runtime.backends.openvino_backend import core, library

    torch.manual_seed(0)
    config = ModelConfig(
        widths=(8, 16, 16, 32, 32),
        depths=(1, 1, 1, 1),
        head_width=16,
        input_height_width_px=(64, 96),
        activation=activation,  # type: ignore[arg-type]
    )
    detector = Detector(config).eval()
    for module in detector.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_var.fill_(0.05)  # type: ignore[union-attr]
    network = core().read_model(network_onnx(fuse(detector), (64, 96), {}))
    if saved:  # constants are folded then
        library().save_model(network, tmp_path / "m.xml", compress_to_fp16=False)
        network = core().read_model(tmp_path / "m.xml")
    canvas = np.random.default_rng(0).random((1, 1, 64, 96), np.float32)
    plain, shape = compiled_and_stem(network)
    expected = [np.array(value) for value in plain([canvas]).values()]
    assert shape == [8, 1, 3, 3]
    widen_stem(network)
    wide, shape = compiled_and_stem(network)
    assert shape == [16, 4, 3, 2]
    for found, wanted in zip(wide([canvas]).values(), expected, strict=True):
        assert wanted.std() > 0.01
        np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-4 * float(wanted.std()))


@pytest.mark.parametrize("odd", ["colour", "stride", "kernel", "width", "no bias", "other activation"])
def test_another_network_is_left_as_it_is(odd: str) -> None:
    if not is_installed("openvino"):
        pytest.skip("openvino is not installed: pip install openvino")
    import openvino
    import openvino.opset13 as ops

    channels, kernel = (3 if odd == "colour" else 1), (5 if odd == "kernel" else 3)
    strides, width = ([1, 1] if odd == "stride" else [2, 2]), (34 if odd == "width" else 32)
    picture = ops.parameter([1, channels, 16, width], np.float32)
    weight = ops.constant(np.ones((4, channels, kernel, kernel), np.float32))
    value = ops.convolution(picture, weight, strides, [kernel // 2] * 2, [kernel // 2] * 2, [1, 1])
    if odd != "no bias":
        value = ops.add(value, ops.constant(np.ones((1, 4, 1, 1), np.float32)))
    value = ops.tanh(value) if odd == "other activation" else ops.relu(value)
    network = openvino.Model([value], [picture])
    before = [(node.get_type_name(), node.get_friendly_name()) for node in network.get_ordered_ops()]
    widen_stem(network)
    assert [(node.get_type_name(), node.get_friendly_name()) for node in network.get_ordered_ops()] == before
