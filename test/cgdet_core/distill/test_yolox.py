"""YOLOX: the published structure, computed once more from the names of its tensors; and what no checkpoint is."""

from __future__ import annotations

import math
import pickle
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from cgdet_core.distill.teachers.yolox import load_yolox
from cgdet_core.distill.teachers.yolox_network import Yolox, YoloxShape, yolox_boxes
from cgdet_core.errors import InputError
from cgdet_core.files import write_tensors
from cgdet_core.model.blocks import fuse

torch.set_num_threads(1)

SMALL = YoloxShape(width=4, depth=1, channelwise=True, classes=5)
State = dict[str, Tensor]


def alive(shape: YoloxShape) -> Yolox:
    """Weights large enough, and batch norms odd enough, that every layer matters to the output."""
    generator = torch.Generator().manual_seed(0)
    network = Yolox(shape)
    for module in network.modules():
        if isinstance(module, torch.nn.Conv2d):
            fan_in = module.weight[0].numel()
            module.weight.data = torch.randn(module.weight.shape, generator=generator) * math.sqrt(2 / fan_in)
            if module.bias is not None:
                module.bias.data = torch.randn(module.bias.shape, generator=generator) * 0.1
        elif isinstance(module, torch.nn.BatchNorm2d):
            for tensor in (module.weight.data, module.running_var):
                tensor.copy_(torch.rand(tensor.shape, generator=generator) + 0.5)
            for tensor in (module.bias.data, module.running_mean):
                tensor.copy_(torch.randn(tensor.shape, generator=generator) * 0.2)
    return network.eval().requires_grad_(False)


def published(network: Yolox) -> State:
    """Its state under the names of an official checkpoint."""
    state = {}
    for name, tensor in network.state_dict().items():
        for ours, theirs in (
            ("norm", "bn"),
            ("enter", "conv1"),
            ("leave", "conv2"),
        ):
            name = name.replace(f".{ours}.", f".{theirs}.")
        state[name] = tensor
    return state


class Plainly:
    """The network again, as functions over a checkpoint's tensors."""

    def __init__(self, state: State) -> None:
        self.state = state

    def unit(self, name: str, x: Tensor, stride: int = 1) -> Tensor:
        if f"{name}.dconv.conv.weight" in self.state:
            return self.unit(f"{name}.pconv", self.unit(f"{name}.dconv", x, stride))
        weight = self.state[f"{name}.conv.weight"]
        x = functional.conv2d(
            x, weight, stride=stride, padding=weight.shape[-1] // 2, groups=x.shape[1] // weight.shape[1]
        )
        scale, shift, mean, variance = (
            self.state[f"{name}.bn.{key}"][:, None, None] for key in ("weight", "bias", "running_mean", "running_var")
        )
        x = (x - mean) / torch.sqrt(variance + 1e-3) * scale + shift
        return x / (1 + torch.exp(-x))

    def stage(self, name: str, x: Tensor, shortcut: bool) -> Tensor:
        left, right, number = self.unit(f"{name}.conv1", x), self.unit(f"{name}.conv2", x), 0
        while f"{name}.m.{number}.conv1.conv.weight" in self.state:
            out = self.unit(f"{name}.m.{number}.conv2", self.unit(f"{name}.m.{number}.conv1", left))
            left = left + out if shortcut else out
            number += 1
        assert number > 0
        return self.unit(f"{name}.conv3", torch.cat((left, right), 1))

    def context(self, name: str, x: Tensor) -> Tensor:
        x = self.unit(f"{name}.conv1", x)
        pools = [functional.max_pool2d(x, size, 1, size // 2) for size in (5, 9, 13)]
        return self.unit(f"{name}.conv2", torch.cat((x, *pools), 1))

    def maps(self, images: Tensor) -> list[Tensor]:
        body, neck = "backbone.backbone", "backbone"
        pixels = [images[..., 0::2, 0::2], images[..., 1::2, 0::2], images[..., 0::2, 1::2], images[..., 1::2, 1::2]]
        x = self.unit(f"{body}.stem.conv", torch.cat(pixels, 1))
        x = self.stage(f"{body}.dark2.1", self.unit(f"{body}.dark2.0", x, 2), True)
        c3 = self.stage(f"{body}.dark3.1", self.unit(f"{body}.dark3.0", x, 2), True)
        c4 = self.stage(f"{body}.dark4.1", self.unit(f"{body}.dark4.0", c3, 2), True)
        c5 = self.context(f"{body}.dark5.1", self.unit(f"{body}.dark5.0", c4, 2))
        c5 = self.stage(f"{body}.dark5.2", c5, False)
        lateral5 = self.unit(f"{neck}.lateral_conv0", c5)
        p4 = self.stage(f"{neck}.C3_p4", torch.cat((doubled(lateral5), c4), 1), False)
        lateral4 = self.unit(f"{neck}.reduce_conv1", p4)
        p3 = self.stage(f"{neck}.C3_p3", torch.cat((doubled(lateral4), c3), 1), False)
        n4 = self.stage(f"{neck}.C3_n3", torch.cat((self.unit(f"{neck}.bu_conv2", p3, 2), lateral4), 1), False)
        n5 = self.stage(f"{neck}.C3_n4", torch.cat((self.unit(f"{neck}.bu_conv1", n4, 2), lateral5), 1), False)
        return [p3, n4, n5]

    def outputs(self, maps: list[Tensor]) -> tuple[list[Tensor], list[Tensor], list[Tensor]]:
        """Of each level the raw four, objectness and classes, [B, channels, h, w]."""
        raw: tuple[list[Tensor], list[Tensor], list[Tensor]] = ([], [], [])
        for level, x in enumerate(maps):
            x = self.unit(f"head.stems.{level}", x)
            branches = {}
            for branch in ("cls", "reg"):
                middle = self.unit(f"head.{branch}_convs.{level}.0", x)
                branches[branch] = self.unit(f"head.{branch}_convs.{level}.1", middle)
            for values, name in zip(raw, ("reg", "obj", "cls"), strict=True):
                layer = f"head.{name}_preds.{level}"
                source = branches["cls" if name == "cls" else "reg"]
                values.append(functional.conv2d(source, self.state[f"{layer}.weight"], self.state[f"{layer}.bias"]))
        return raw


def doubled(x: Tensor) -> Tensor:
    return x.repeat_interleave(2, 2).repeat_interleave(2, 3)


def rows(levels: list[Tensor]) -> Tensor:
    return torch.cat([level.flatten(2).transpose(1, 2) for level in levels], 1)


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    path = tmp_path / "yolox_small.safetensors"
    write_tensors(path, published(alive(SMALL)), {})
    return path


@pytest.mark.parametrize("channelwise", [True, False])
def test_maps_and_outputs_agree_with_the_published_structure_computed_plainly(channelwise: bool) -> None:
    # in float64: through so many layers float32 rounds either one by more than a small mistake would be
    network = alive(YoloxShape(4, 2, channelwise, 5)).double()
    images = torch.randn(2, 3, 64, 96, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    own_maps = network.backbone(images)
    own_boxes, own_objectness, own_classes = network.head(own_maps)
    plain = Plainly(published(network))
    maps = plain.maps(images)
    for number, (mine, theirs) in enumerate(zip(own_maps, maps, strict=True)):
        assert mine.shape == (2, 16 << number, 8 >> number, 12 >> number)
        torch.testing.assert_close(mine, theirs, rtol=1e-6, atol=1e-9)
    boxes, objectness, classes = plain.outputs(maps)
    torch.testing.assert_close(own_objectness, rows(objectness)[..., 0], rtol=1e-6, atol=1e-9)
    torch.testing.assert_close(own_classes, rows(classes), rtol=1e-6, atol=1e-9)
    expected = torch.cat([yolox_boxes(level, 8 << number) for number, level in enumerate(boxes)], 1)
    torch.testing.assert_close(own_boxes, expected, rtol=1e-3, atol=1e-2)


# parameters in millions and kinds, as the YOLOX repository's README and model zoo state them
@pytest.mark.parametrize(
    ("width", "depth", "channelwise", "millions"),
    [(16, 1, True, 0.91), (24, 1, False, 5.06), (32, 1, False, 9.0), (48, 2, False, 25.3), (64, 3, False, 54.2),
     (80, 4, False, 99.1)],
    ids=["nano", "tiny", "s", "m", "l", "x"],
)  # fmt: skip
def test_the_published_sizes_have_the_published_numbers_of_parameters(
    width: int, depth: int, channelwise: bool, millions: float
) -> None:
    with torch.device("meta"):
        network = Yolox(YoloxShape(width, depth, channelwise, 80))
    count = sum(parameter.numel() for parameter in network.parameters())
    assert count / 1e6 == pytest.approx(millions, abs=0.06 if millions > 1 else 0.006)


def test_boxes_are_decoded_as_computed_by_hand() -> None:
    values = torch.zeros(1, 4, 2, 3)
    values[0, :, 1, 2] = torch.tensor([0.5, -0.25, math.log(2), math.log(0.5)])
    boxes = yolox_boxes(values, 16)
    assert boxes.shape == (1, 6, 4)
    # cell (row 0, column 0), no offset, one cell wide: centred on the cell's corner
    assert boxes[0, 0].tolist() == [-8, -8, 8, 8]
    # row 0, column 1
    assert boxes[0, 1].tolist() == [8, -8, 24, 8]
    # row 1, column 2: centre (2.5, 0.75) * 16 = (40, 12), 32 wide, 8 high
    assert boxes[0, 5].tolist() == pytest.approx([24, 8, 56, 16])


def test_a_fused_network_is_the_same_function() -> None:
    network, images = alive(SMALL), torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(2))
    boxes_before, _, classes_before = network(images)
    fuse(network)
    boxes, _, classes = network(images)
    assert not any(isinstance(module, torch.nn.BatchNorm2d) for module in network.modules())
    torch.testing.assert_close(boxes, boxes_before, rtol=1e-3, atol=1e-2)
    torch.testing.assert_close(classes, classes_before, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("shape", [SMALL, YoloxShape(6, 2, False, 80)], ids=["channelwise", "deeper"])
@pytest.mark.parametrize("half", [False, True])
def test_a_checkpoint_tells_its_shape_and_its_tensors_are_taken_as_they_are(
    shape: YoloxShape, half: bool, tmp_path: Path
) -> None:
    saved = {name: tensor for name, tensor in published(alive(shape)).items() if "tracked" not in name}
    saved = {name: tensor.half() if half else tensor for name, tensor in saved.items()}
    write_tensors(tmp_path / "y.safetensors", saved, {})
    network = load_yolox(tmp_path / "y.safetensors")
    assert network.shape == shape
    assert not network.training
    assert {tensor.dtype for tensor in network.parameters()} == {torch.float32}
    loaded = published(network)
    assert all(torch.equal(loaded[name], tensor.float()) for name, tensor in saved.items())
    assert network(torch.zeros(1, 3, 32, 32))[2].shape == (1, 21, shape.classes)


def without(name: str) -> Callable[[State], None]:
    return lambda state: state.pop(name)  # type: ignore[return-value]


def changed(name: str, change: Callable[[Tensor], Tensor]) -> Callable[[State], None]:
    return lambda state: state.update({name: change(state[name])})


def not_finite(tensor: Tensor) -> Tensor:
    tensor = tensor.clone()
    tensor.view(-1)[3] = float("nan")
    return tensor


@pytest.mark.parametrize(
    ("damage", "named"),
    [
        (without("backbone.backbone.stem.conv.conv.weight"), "backbone.backbone.stem.conv.conv.weight"),
        (without("backbone.C3_p4.conv2.bn.bias"), "backbone.C3_p4.conv2.norm.bias"),
        (lambda state: state.update(extra=torch.zeros(1)), "extra"),
        (changed("head.obj_preds.1.weight", lambda t: t[:, :8]), "head.obj_preds.1.weight"),
        (changed("backbone.backbone.stem.conv.conv.weight", lambda t: t[:, :, 0, 0]), "stem.conv.conv.weight"),
        (changed("backbone.backbone.dark2.0.pconv.conv.weight", not_finite), "dark2.0.pconv.conv.weight"),
    ],
)
def test_a_file_that_is_no_checkpoint_is_refused_with_the_tensors_name(
    damage: Callable[[State], None], named: str, tmp_path: Path
) -> None:
    state = published(alive(SMALL))
    damage(state)
    path = tmp_path / "odd.safetensors"
    write_tensors(path, state, {})
    with pytest.raises(InputError) as refusal:
        load_yolox(path)
    assert str(refusal.value).startswith(f"{path}: ")
    assert named in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_a_pickle_is_refused_with_the_command_that_converts_it_and_that_command_works(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "yolox_small.pth"
    torch.save({"model": published(alive(SMALL)), "start_epoch": 300}, path)
    with pytest.raises(InputError, match="is a pickle") as refusal:
        load_yolox(path)
    message = str(refusal.value)
    assert "\n" not in message
    code = message.partition('python -c "')[2].rpartition('"')[0]
    monkeypatch.chdir(tmp_path)
    exec(code, {})  # as python -c does
    assert load_yolox(tmp_path / "yolox_small.safetensors").shape == SMALL


@pytest.mark.parametrize("protocol", [None, 0, 2])
def test_a_pickle_is_not_even_opened_under_another_name(protocol: int | None, tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> tuple[object, ...]:
            return Path.touch, (tmp_path / "sprung",)

    path = tmp_path / ("named.pth" if protocol == 0 else "hidden.safetensors")
    if protocol is None:
        torch.save({"model": Trap()}, path)
    else:
        path.write_bytes(pickle.dumps({"model": Trap()}, protocol=protocol))
    with pytest.raises(InputError, match="is a pickle"):
        load_yolox(path)
    assert not (tmp_path / "sprung").exists()


def test_a_missing_a_cut_and_a_foreign_file_and_a_folder_are_named(checkpoint: Path, tmp_path: Path) -> None:
    for path in (tmp_path / "none.safetensors", tmp_path):
        with pytest.raises(InputError, match=str(path)):
            load_yolox(path)
    data = checkpoint.read_bytes()
    for content in (data[: len(data) // 2], b"", b"hello, this is text"):
        checkpoint.write_bytes(content)
        with pytest.raises(InputError, match=str(checkpoint)):
            load_yolox(checkpoint)
