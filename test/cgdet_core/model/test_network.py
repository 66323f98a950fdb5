"""The network against a second one, written with functions alone from what the module docs say."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from cgdet_core.config import ModelConfig
from cgdet_core.tasks.detection.head import DetectionNetwork

torch.set_num_threads(1)

SMALL = ModelConfig(
    widths=(8, 16, 24, 32, 40), depths=(1, 2, 0, 1), neck_depth=2, head_width=16, bins=5, class_names=("a", "b")
)
HARD, CUT = SMALL.model_copy(update={"activation": "hard_swish"}), SMALL.model_copy(update={"activation": "relu"})
FLAT = ModelConfig(widths=(24, 16, 40, 8, 32), depths=(2, 0, 1, 3), neck_depth=0, head_width=9, bins=2)
# Howard et al. 2019 (MobileNetV3), section 5.2, for the hard one
ACTIVATIONS = {
    "silu": lambda x: x * torch.sigmoid(x),
    "hard_swish": lambda x: x * (x + 3).clamp(0, 6) / 6,
    "relu": lambda x: (x + x.abs()) / 2,
}


def fill(detector: DetectionNetwork, seed: int = 0) -> DetectionNetwork:
    """Every weight and statistic another value, so that no two can be confused."""
    generator = torch.Generator().manual_seed(seed)
    state = {}
    for name, tensor in detector.state_dict().items():
        noise = torch.randn(tensor.shape, generator=generator)
        if name.endswith("running_var"):
            state[name] = 0.5 + noise.abs()
        elif name.endswith("norm.weight"):
            state[name] = 1 + 0.2 * noise
        elif name.endswith("num_batches_tracked"):
            state[name] = tensor
        elif tensor.ndim == 4:
            state[name] = noise * (2 / tensor[0].numel()) ** 0.5
        else:
            state[name] = 0.3 * noise
    detector.load_state_dict(state)
    return detector.eval()


class Second:
    """The same network: weights by name, operations by torch.nn.functional."""

    def __init__(self, state: dict[str, Tensor], config: ModelConfig) -> None:
        self.state, self.config = state, config

    def unit(self, name: str, x: Tensor, stride: int = 1) -> Tensor:
        kernel = self.state[f"{name}.conv.weight"]
        x = functional.conv2d(x, kernel, None, stride, kernel.shape[-1] // 2)
        mean, variance, weight, bias = (
            self.state[f"{name}.norm.{part}"][:, None, None]
            for part in ("running_mean", "running_var", "weight", "bias")
        )
        x = (x - mean) / torch.sqrt(variance + 1e-3) * weight + bias
        return ACTIVATIONS[self.config.activation](x)

    def bottleneck(self, name: str, x: Tensor) -> Tensor:
        return self.unit(f"{name}.second", self.unit(f"{name}.first", x))

    def cross_stage(self, name: str, x: Tensor, depth: int, shortcut: bool) -> Tensor:
        entered = self.unit(f"{name}.enter", x)
        half = entered.shape[1] // 2
        parts = [entered[:, :half], entered[:, half:]]
        for index in range(depth):
            inner = self.bottleneck(f"{name}.bottlenecks.{index}", parts[-1])
            parts.append(parts[-1] + inner if shortcut else inner)
        return self.unit(f"{name}.leave", torch.cat(parts, 1))

    def context(self, name: str, x: Tensor) -> Tensor:
        x = self.unit(f"{name}.enter", x)
        fields = [x] + [functional.max_pool2d(x, size, 1, size // 2) for size in (5, 9, 13)]
        return self.unit(f"{name}.leave", torch.cat(fields, 1))

    def __call__(self, images: Tensor) -> list[tuple[Tensor, Tensor]]:
        x = self.unit("backbone.stem", images, 2)
        maps = []
        for index in range(4):
            x = self.unit(f"backbone.stages.{index}.0", x, 2)
            x = self.cross_stage(f"backbone.stages.{index}.1", x, self.config.depths[index], True)
            maps.append(x)
        c3, c4, c5 = maps[1], maps[2], self.context("backbone.context", maps[3])
        depth = self.config.neck_depth

        def double(y: Tensor) -> Tensor:
            return y.repeat_interleave(2, -1).repeat_interleave(2, -2)

        p4 = self.cross_stage("neck.down_to_16", torch.cat([double(c5), c4], 1), depth, False)
        n3 = self.cross_stage("neck.down_to_8", torch.cat([double(p4), c3], 1), depth, False)
        n4 = self.cross_stage("neck.up_to_16", torch.cat([self.unit("neck.shrink_8", n3, 2), p4], 1), depth, False)
        n5 = self.cross_stage("neck.up_to_32", torch.cat([self.unit("neck.shrink_16", n4, 2), c5], 1), depth, False)
        outputs = []
        for level, feature in enumerate((n3, n4, n5)):
            maps = []
            for branch in ("class", "box"):
                name = f"head.{branch}_branches.{level}"
                y = self.unit(f"{name}.1", self.unit(f"{name}.0", feature))
                maps.append(functional.conv2d(y, self.state[f"{name}.2.weight"], self.state[f"{name}.2.bias"]))
            outputs.append((maps[0], maps[1]))
        return outputs


@pytest.mark.parametrize("config", [SMALL, HARD, CUT, FLAT], ids=["silu", "hard", "relu", "flat"])
def test_the_network_gives_what_a_second_implementation_gives_cell_by_cell(config: ModelConfig) -> None:
    detector = fill(DetectionNetwork(config))
    images = torch.rand(2, 1, 64, 96, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        output = detector(images)
        levels = Second(detector.state_dict(), config)(images)
        alone = detector(images[1:])
    assert output.class_logits.shape == (2, 96 + 24 + 6, len(config.class_names))
    cell = 0
    for (classes, boxes), stride in zip(levels, (8, 16, 32), strict=True):
        assert classes.shape[2:] == (64 // stride, 96 // stride)
        for row in range(64 // stride):
            for column in range(96 // stride):
                torch.testing.assert_close(
                    output.class_logits[:, cell], classes[:, :, row, column], atol=1e-4, rtol=1e-4
                )
                expected = boxes[:, :, row, column].reshape(2, 4, config.bins)
                torch.testing.assert_close(output.box_logits[:, cell], expected, atol=1e-4, rtol=1e-4)
                assert output.centres_xy_px[cell].tolist() == [(column + 0.5) * stride, (row + 0.5) * stride]
                assert output.strides_px[cell] == stride
                cell += 1
    assert output.class_logits.std() > 0.1  # the comparison was of something
    torch.testing.assert_close(output.class_logits[1], alone.class_logits[0], atol=1e-5, rtol=1e-5)


def test_the_default_network_has_the_designs_number_of_parameters() -> None:
    assert 3_050_000 <= DetectionNetwork(ModelConfig()).parameter_count() <= 3_250_000


def test_before_training_every_class_is_seen_with_a_chance_of_a_hundredth() -> None:
    torch.manual_seed(0)
    detector = DetectionNetwork(SMALL).eval()
    for branch in detector.head.class_branches:
        assert branch[-1].bias.sigmoid().tolist() == pytest.approx([0.01, 0.01])
    with torch.no_grad():
        scores = detector(torch.rand(1, 1, 64, 64)).class_logits.sigmoid()
    assert 0.001 < scores.mean() < 0.05


def test_every_parameter_learns() -> None:
    detector = DetectionNetwork(SMALL).train()
    output = detector(torch.rand(2, 1, 64, 64, generator=torch.Generator().manual_seed(4)))
    generator = torch.Generator().manual_seed(5)
    probes = [
        (logits * torch.randn(logits.shape, generator=generator)).sum()
        for logits in (output.class_logits, output.box_logits)
    ]
    sum(probes).backward()
    for name, parameter in detector.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().sum() > 0, name
