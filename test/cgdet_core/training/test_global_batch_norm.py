"""What two processes of torchrun compute of a batch that they share unevenly, against torch's own of the whole."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from two_processes import in_two_processes

from cgdet_core.config import AssignerConfig, LossConfig, ModelConfig
from cgdet_core.data.feed.dataset import TrainingBatch
from cgdet_core.errors import InputError
from cgdet_core.model.detector import Detector
from cgdet_core.tasks.detection.loss import detection_loss
from cgdet_core.training.distributed import ALONE, World
from cgdet_core.training.global_batch_norm import GlobalBatchNorm2d, use_global_statistics

torch.set_num_threads(1)

SHARES = ((0, 3), (3, 4))  # rows of the batch that the two processes hold
MODEL = ModelConfig(widths=(8, 8, 8, 8, 8), depths=(1, 0, 0, 0), neck_depth=0, head_width=8, bins=4, class_names=("a",))
# with a target for every overlap, the shares' sums of targets differ much from each other
LOSS = LossConfig(assigner=AssignerConfig(beta=1.0))


def values() -> tuple[Tensor, Tensor]:
    """A batch [4, 5, 6, 7], each image with a mean and spread of its own, and weights.

    One channel is constant, as a dead one is, and one lies far from 0.
    """
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(4, 5, 6, 7, generator=generator) * torch.tensor([0.1, 1, 3, 10]).view(4, 1, 1, 1)
    x += torch.tensor([-2.0, 0, 1, 4]).view(4, 1, 1, 1)
    x[:, 3] = 2
    x[:, 4] = 300 + 0.1 * x[:, 4]
    return x, torch.randn(4, 5, 6, 7, generator=generator)


def norm_of(x: Tensor, towards: Tensor, layer: nn.Module) -> dict[str, Tensor]:
    """Two training passes and one of inference; the last training pass' gradients of sum(out * towards)."""
    layer(x * 2)
    x = x.clone().requires_grad_()
    out = layer(x)
    (out.float() * towards).sum().backward()
    found = {"out": out.detach(), "x": x.grad, "weight": layer.weight.grad, "bias": layer.bias.grad}
    layer.eval()
    found |= {"inference": layer(x).detach()} | {f"state.{name}": value for name, value in layer.state_dict().items()}
    return {name: value.detach().clone() for name, value in found.items() if value is not None}


def new_layer() -> nn.BatchNorm2d:
    layer = nn.BatchNorm2d(5, eps=1e-3, momentum=0.03)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([1.0, -0.5, 2, 0.1, 1]))
        layer.bias.copy_(torch.tensor([0.0, 1, -1, 3, 0.5]))
    return layer


def batch() -> TrainingBatch:
    """Four images, with many objects, few or none."""
    generator = torch.Generator().manual_seed(1)
    corners = torch.rand(4, 6, 2, generator=generator) * 40
    boxes = torch.cat((corners, corners + 8 + 16 * torch.rand(4, 6, 2, generator=generator)), dim=2)
    objects = torch.arange(6)[None] < torch.tensor([6, 2, 0, 1])[:, None]
    images = torch.rand(4, 1, 64, 64, generator=generator)
    class_ids, labelled = torch.zeros(4, 6, dtype=torch.int64), torch.ones(4, 1, dtype=torch.bool)
    return TrainingBatch(images, boxes, class_ids, objects, torch.zeros_like(objects), labelled)


def learn(rows: slice, world: World) -> dict[str, Tensor]:
    """Loss and gradients of a network for `rows` of the batch, added up over the processes."""
    from cgdet_core.training.distributed import add_up_gradients

    torch.manual_seed(0)
    network = Detector(MODEL).train()
    use_global_statistics(network, world)
    part = batch().map(lambda value: value[rows])
    loss = detection_loss(network(part.images), part, LOSS, world)
    loss.total.backward()  # type: ignore[no-untyped-call]
    terms = add_up_gradients(
        network.parameters(), torch.stack((loss.class_term, loss.box_term, loss.distribution_term)), world
    )
    gradients = {f"gradient.{name}": p.grad.clone() for name, p in network.named_parameters() if p.grad is not None}
    return gradients | {"terms": terms.detach()} | {f"state.{n}": v for n, v in network.state_dict().items()}


def compute_share(out: str) -> None:
    """What each process does: its rows of everything, written to a file of its rank."""
    from safetensors.torch import save_file

    from cgdet_core.training.processes import processes

    with processes() as world:
        rows = slice(*SHARES[world.rank])
        x, towards = values()
        found = {}
        for dtype in (torch.float32, torch.bfloat16):
            layer = GlobalBatchNorm2d(new_layer(), world)
            results = norm_of(x[rows].to(dtype), towards[rows], layer)
            found |= {f"{dtype}.{name}": value for name, value in results.items()}
        found |= {f"network.{name}": value for name, value in learn(rows, world).items()}
        found["sum"] = world.sum(torch.tensor([1.0, 10.0]) * (1 + world.rank))
        found["gathered"] = world.gather(torch.tensor([world.rank, 7]))
        world.check_alike("what both have", 1, "a")
        try:
            world.check_alike("what differs", 1, world.rank)
        except InputError as error:
            found["refusal"] = torch.tensor(list(str(error).encode()))
        save_file({name: value.contiguous() for name, value in found.items()}, f"{out}/{world.rank}.safetensors")


@pytest.fixture(scope="module")
def shares(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Tensor]]:
    out = tmp_path_factory.mktemp("shares")
    in_two_processes(compute_share, out)
    return [load_file(out / f"{rank}.safetensors") for rank in range(2)]


def test_sums_and_what_is_gathered_are_the_same_in_every_process(shares: list[dict[str, Tensor]]) -> None:
    for share in shares:
        assert share["sum"].tolist() == [3, 30]
        assert share["gathered"].tolist() == [[0, 7], [1, 7]]


def test_what_is_not_alike_is_refused_by_every_process(shares: list[dict[str, Tensor]]) -> None:
    for share in shares:
        message = bytes(share["refusal"].tolist()).decode()
        assert message.startswith("what differs: not the same in process 1 as in process 0: ")


def test_its_outputs_and_gradients_are_those_of_the_whole_batch(shares: list[dict[str, Tensor]]) -> None:
    x, towards = values()
    whole = norm_of(x, towards, new_layer())
    parts = [{name: share[f"torch.float32.{name}"] for name in whole} for share in shares]
    for name, expected in whole.items():
        if name in ("out", "x", "inference"):
            found = torch.cat([part[name] for part in parts])
        elif name in ("weight", "bias"):
            found = parts[0][name] + parts[1][name]
        else:
            assert torch.equal(parts[0][name], parts[1][name]), name
            found = parts[0][name]
        # the channel at 300 has a spread of 0.8: float32 itself is at its end there
        torch.testing.assert_close(found, expected, atol=2e-4, rtol=2e-4, msg=name)
    # a process' rows by themselves are something else
    own = norm_of(x[: SHARES[0][1]], towards[: SHARES[0][1]], new_layer())
    assert (own["out"] - parts[0]["out"]).abs().max() > 0.1
    assert (own["x"] - parts[0]["x"]).abs().max() > 0.01
    assert (own["state.running_var"] - parts[0]["state.running_var"]).abs().max() > 0.1


def test_half_precision_in_is_half_precision_out_with_single_precision_statistics(
    shares: list[dict[str, Tensor]],
) -> None:
    x, towards = values()
    whole = norm_of(x.bfloat16(), towards, new_layer())
    for name in ("out", "x"):
        found = torch.cat([share[f"torch.bfloat16.{name}"] for share in shares])
        assert found.dtype == torch.bfloat16
        # but for the channel at 300, whose values are all but one and the same in half precision
        distance = (found.float() - whole[name].float())[:, :4].abs().max()
        assert distance <= 2**-7 * whole[name][:, :4].float().abs().max(), name
    for name in ("running_mean", "running_var"):
        found = shares[0][f"torch.bfloat16.state.{name}"]
        assert found.dtype == torch.float32
        torch.testing.assert_close(found, whole[f"state.{name}"], atol=1e-4, rtol=1e-4)


def test_loss_and_gradient_of_a_network_are_those_of_the_whole_batch(shares: list[dict[str, Tensor]]) -> None:
    whole = learn(slice(0, 4), ALONE)
    for name, expected in whole.items():
        found = [share[f"network.{name}"] for share in shares]
        assert torch.equal(found[0], found[1]), name
        distance = float((found[0].double() - expected.double()).norm())
        assert distance <= 2e-4 * max(float(expected.double().norm()), 1e-3), name


def test_one_process_keeps_its_batch_norms_and_several_keep_the_names() -> None:
    network = Detector(MODEL)
    before = network.state_dict(keep_vars=True)
    kinds = {type(module) for module in network.modules()}
    use_global_statistics(network, ALONE)
    assert {type(module) for module in network.modules()} == kinds
    use_global_statistics(network, World(size=2))
    after = network.state_dict(keep_vars=True)
    assert list(after) == list(before)
    assert all(after[name] is tensor for name, tensor in before.items())
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    assert norms
    assert all(isinstance(norm, GlobalBatchNorm2d) and (norm.eps, norm.momentum) == (1e-3, 0.03) for norm in norms)
