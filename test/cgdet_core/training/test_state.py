"""Learning rate, averaged weights and gradients of single terms against their formulas."""

from __future__ import annotations

import math

import pytest
import torch

from cgdet_core.config import ModelConfig, TrainConfig
from cgdet_core.tasks.detection.head import DetectionNetwork
from cgdet_core.training.state import WeightAverage, learning_rate

CONFIG = TrainConfig(
    images=10_000, batch_size=10, learning_rate=0.01, final_learning_rate_fraction=0.05, warmup_images=1000
)
TINY = ModelConfig(widths=(8, 8, 8, 8, 8), depths=(0, 0, 0, 0), neck_depth=0, head_width=8, bins=2)


def test_the_rate_climbs_linearly_to_its_height_and_falls_by_half_a_cosine_to_its_floor() -> None:
    assert learning_rate(0, CONFIG) == pytest.approx(0.01 * 10 / 1010)
    assert learning_rate(495, CONFIG) == pytest.approx(0.01 * 505 / 1010)
    assert learning_rate(1000, CONFIG) == pytest.approx(0.01)
    for images, share in ((1000 + 2250, 0.25), (1000 + 4500, 0.5), (1000 + 6750, 0.75), (10_000, 1.0)):
        expected = 0.0005 + (0.01 - 0.0005) * (1 + math.cos(math.pi * share)) / 2
        assert learning_rate(images, CONFIG) == pytest.approx(expected)
    assert learning_rate(20_000, CONFIG) == pytest.approx(0.0005)
    climb = [learning_rate(images, CONFIG) for images in range(0, 1001, 10)]
    fall = [learning_rate(images, CONFIG) for images in range(1000, 10_001, 10)]
    assert climb == sorted(climb)
    assert fall == sorted(fall, reverse=True)


def test_a_run_shorter_than_its_warm_up_still_comes_down() -> None:
    short = CONFIG.model_copy(update={"images": 200})
    rates = [learning_rate(images, short) for images in range(0, 200, 10)]
    assert max(rates) == pytest.approx(0.01)
    assert rates.index(max(rates)) == 10
    assert rates[-1] < 0.002
    assert learning_rate(0, CONFIG.model_copy(update={"warmup_images": 0})) == pytest.approx(0.01)


def test_the_average_follows_its_recursion_for_weights_and_statistics() -> None:
    torch.manual_seed(0)
    detector = DetectionNetwork(TINY)
    average = WeightAverage(detector, decay=0.9)
    names = ("backbone.stem.conv.weight", "backbone.stem.norm.running_mean")
    expected = {name: detector.state_dict()[name].double() for name in names}
    for update in range(1, 6):
        with torch.no_grad():
            for tensor in detector.state_dict().values():
                if tensor.dtype.is_floating_point:
                    tensor.add_(torch.randn(tensor.shape))
                else:
                    tensor.add_(1)
        average.update(detector)
        decay = 0.9 * (1 - math.exp(-update / 200))
        for name in names:
            expected[name] = decay * expected[name] + (1 - decay) * detector.state_dict()[name].double()
    for name in names:
        torch.testing.assert_close(average.network.state_dict()[name].double(), expected[name], atol=1e-5, rtol=1e-5)
    assert average.network.state_dict()["backbone.stem.norm.num_batches_tracked"] == 5


def test_late_in_a_run_the_average_moves_by_one_minus_decay_and_is_a_network_of_its_own() -> None:
    detector = DetectionNetwork(TINY).train()
    average = WeightAverage(detector, decay=0.9, updates=100_000)
    assert not average.network.training
    assert not any(parameter.requires_grad for parameter in average.network.parameters())
    before = average.network.state_dict()["backbone.stem.conv.weight"].clone()
    with torch.no_grad():
        detector.backbone.stem.conv.weight.add_(1.0)
    average.update(detector)
    moved = average.network.state_dict()["backbone.stem.conv.weight"] - before
    torch.testing.assert_close(moved, torch.full_like(moved, 0.1))
