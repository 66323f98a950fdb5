"""Taps on the real detector: what they keep, what they refuse, and that the network is left as it was."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from cgdet_core.config import ModelConfig, TermConfig
from cgdet_core.distill.taps import Taps
from cgdet_core.errors import InputError
from cgdet_core.tasks.detection.head import Detector

MODEL = ModelConfig(widths=(8, 8, 8, 16, 24), depths=(1, 0, 0, 0), neck_depth=0, head_width=8, bins=4)
LAYERS = TermConfig().student_layers


def detector_and_images() -> tuple[Detector, Tensor]:
    torch.manual_seed(0)
    return Detector(MODEL), torch.rand(2, 1, 64, 96)


def hooks_of(network: nn.Module) -> int:
    return sum(len(module._forward_hooks) + len(module._forward_pre_hooks) for module in network.modules())


def test_the_default_layers_are_the_maps_that_the_head_gets() -> None:
    detector, images = detector_and_images()
    with Taps(detector, LAYERS, "contrast.student_layers") as taps:
        detector(images)
        maps = taps.take()
    assert list(maps) == list(LAYERS)
    assert [tuple(maps[name].shape) for name in LAYERS] == [(2, 8, 8, 12), (2, 16, 4, 6), (2, 24, 2, 3)]
    detector.train()
    for found, expected in zip(maps.values(), detector.neck(detector.backbone(images)), strict=True):
        assert torch.equal(found, expected)


def test_the_networks_output_and_gradient_are_the_same_to_the_bit() -> None:
    results = []
    for tapped in (False, True):
        detector, images = detector_and_images()
        keys = list(detector.state_dict())
        with Taps(detector, LAYERS if tapped else (), "layers"):
            output = detector(images)
        (output.class_logits.sum() + output.box_logits.square().sum()).backward()
        gradients = [p.grad for p in detector.parameters() if p.grad is not None]
        results.append([output.class_logits, output.box_logits, *gradients, *detector.state_dict().values()])
        assert list(detector.state_dict()) == keys
    plain, tapped_too = results
    assert len(plain) == len(tapped_too) > 10
    assert all(torch.equal(one, other) for one, other in zip(plain, tapped_too, strict=True))


def test_what_was_taken_is_forgotten_and_the_latest_pass_counts() -> None:
    detector, images = detector_and_images()
    detector.eval()
    with Taps(detector, ("neck.down_to_8",), "layers") as taps:
        detector(images * 0)
        detector(images)
        found = taps.take()["neck.down_to_8"]
        assert torch.equal(found, detector.neck(detector.backbone(images))[0])
        taps.take()
        # no map of an earlier pass stands in for one of this
        with pytest.raises(InputError, match="was not called"):
            taps.take()


def test_hooks_are_removed_at_the_end_also_after_an_error() -> None:
    detector, images = detector_and_images()
    with Taps(detector, LAYERS, "layers") as taps:
        assert hooks_of(detector) == 3
        detector(images)
    assert hooks_of(detector) == 0
    detector(images)
    with pytest.raises(InputError, match="was not called"):
        taps.take()
    with pytest.raises(KeyError), Taps(detector, LAYERS, "layers"):
        raise KeyError("something")
    assert hooks_of(detector) == 0


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("neck.down_to_4", "neck.down_to_8"),
        ("nack.down_to_8", "it has backbone, neck, head"),
        ("", "it has backbone, neck, head"),
        ("neck.\nup", r"'neck.\\nup'"),
    ],
)
def test_an_unknown_name_is_refused_in_one_line_with_names_that_exist(name: str, told: str) -> None:
    detector, _ = detector_and_images()
    with pytest.raises(InputError, match=told) as refusal:
        Taps(detector, (*LAYERS, name), "contrast.student_layers")
    message = str(refusal.value)
    assert message.startswith("contrast.student_layers: the network has no module ")
    assert "\n" not in message
    assert len(message) < 400
    assert hooks_of(detector) == 0


def test_a_module_that_puts_out_several_maps_is_refused_by_name() -> None:
    detector, images = detector_and_images()
    with Taps(detector, ("neck",), "guidance.student_layers"), pytest.raises(InputError) as refusal:
        detector(images)
    message = str(refusal.value)
    assert message == "guidance.student_layers: module 'neck' puts out a tuple, not one map: name one inside it"


def test_a_module_that_is_never_called_is_refused_by_name() -> None:
    network = nn.Sequential(nn.Conv2d(1, 2, 1), nn.ReLU())
    network.spare = nn.ReLU()
    forward = network[:2]
    with Taps(network, ("0", "spare"), "layers") as taps:
        forward(torch.zeros(1, 1, 2, 2))
        with pytest.raises(InputError, match="layers: module 'spare' was not called"):
            taps.take()
