"""The term where two processes of torchrun share a batch unevenly, against one process with the whole batch."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from two_processes import in_two_processes

from cgdet_core.config import ContrastConfig, ModelConfig
from cgdet_core.data.feed.dataset import TrainingBatch
from cgdet_core.distill.contrast import RegionContrast
from cgdet_core.distill.taps import Taps
from cgdet_core.model.detector import Detector
from cgdet_core.training.distributed import ALONE, World, add_up_gradients
from cgdet_core.training.global_batch_norm import use_global_statistics

torch.set_num_threads(1)

SHARES = ((0, 3), (3, 4))  # rows of a batch that the two processes hold
MODEL = ModelConfig(widths=(8, 8, 8, 16, 24), depths=(1, 0, 0, 0), neck_depth=0, head_width=8, bins=4)
CHANNELS = {8: 8, 16: 16, 32: 24}
TERM = ContrastConfig(hidden=8, dimensions=4, temperature=0.3, queue=9, small_below_px=16, middle_below_px=28)
# objects of the four images in one batch after the other: uneven, of the first process only, of nobody, of the second
# only, and so many at once that the queue holds no others
OBJECTS = ((2, 0, 3, 1), (1, 2, 0, 0), (0, 0, 0, 0), (0, 0, 0, 2), (4, 6, 3, 2))


def batch(number: int) -> TrainingBatch:
    generator = torch.Generator().manual_seed(number)
    corners = torch.rand(4, 6, 2, generator=generator) * 30
    boxes = torch.cat((corners, corners + 6 + 28 * torch.rand(4, 6, 2, generator=generator)), dim=2)
    objects = torch.arange(6)[None] < torch.tensor(OBJECTS[number])[:, None]
    images = torch.rand(4, 1, 64, 64, generator=generator)
    class_ids = torch.randint(0, 2, (4, 6), generator=generator)
    return TrainingBatch(images, boxes, class_ids, objects, ~objects, torch.ones(4, 3, dtype=torch.bool))


def learn(rows: slice, world: World) -> dict[str, Tensor]:
    """Of each batch the value, the gradient added up over the processes, and the queue after it."""
    torch.manual_seed(0)
    detector = Detector(MODEL).train()
    use_global_statistics(detector, world)
    term = RegionContrast(TERM, CHANNELS).train()
    both = nn.ModuleDict({"detector": detector, "term": term})
    found = {}
    with Taps(detector, TERM.student_layers, "contrast.student_layers") as taps:
        for number in range(len(OBJECTS)):
            part = batch(number).map(lambda value: value[rows])
            detector(part.images)
            maps = dict(zip((8, 16, 32), taps.take().values(), strict=True))
            both.zero_grad()
            value = term(maps, part, world)
            value.backward()
            found[f"{number}.share"] = value.detach()
            # those of the head alone have none, in every batch
            names = [name for name, p in both.named_parameters() if p.grad is not None]
            assert names == [name for name, _ in both.named_parameters() if not name.startswith("detector.head.")]
            found[f"{number}.value"] = add_up_gradients(both.parameters(), value.detach()[None], world)
            for name in names:
                gradient = both.get_parameter(name).grad
                assert gradient is not None
                found[f"{number}.gradient.{name}"] = gradient.clone()
            found |= {f"{number}.{name}": tensor.clone() for name, tensor in term.queue.state_dict().items()}
    return found


def compute_share(out: str) -> None:
    """What each process does: its rows of everything, written to a file of its rank."""
    from safetensors.torch import save_file

    from cgdet_core.training.processes import processes

    with processes() as world:
        found = learn(slice(*SHARES[world.rank]), world)
        for number, counts in enumerate(((3, 0), (0, 2), (0, 0), (1, 1))):
            count = counts[world.rank]
            rows = (10 * world.rank + torch.arange(2 * count)).view(count, 2)
            for rank, part in enumerate(world.gather_rows(rows)):
                found[f"rows.{number}.{rank}"] = part
        save_file({name: value.contiguous() for name, value in found.items()}, f"{out}/{world.rank}.safetensors")


@pytest.fixture(scope="module")
def shares(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Tensor]]:
    out = tmp_path_factory.mktemp("shares")
    in_two_processes(compute_share, out)
    return [load_file(out / f"{rank}.safetensors") for rank in range(2)]


@pytest.fixture(scope="module")
def whole() -> dict[str, Tensor]:
    return learn(slice(0, 4), ALONE)


def test_rows_of_every_process_are_gathered_however_many_each_has(shares: list[dict[str, Tensor]]) -> None:
    expected = [
        ([[0, 1], [2, 3], [4, 5]], []),
        ([], [[10, 11], [12, 13]]),
        ([], []),
        ([[0, 1]], [[10, 11]]),
    ]
    for share in shares:
        for number, parts in enumerate(expected):
            for rank, rows in enumerate(parts):
                found = share[f"rows.{number}.{rank}"]
                assert found.tolist() == rows
                assert (found.shape[1], found.dtype) == (2, torch.int64)
    alone = ALONE.gather_rows(torch.ones(2, 3, requires_grad=True))
    assert len(alone) == 1
    assert torch.equal(alone[0], torch.ones(2, 3))
    assert not alone[0].requires_grad


def test_the_values_add_up_to_that_of_the_whole_batch(
    shares: list[dict[str, Tensor]], whole: dict[str, Tensor]
) -> None:
    for number, counts in enumerate(OBJECTS):
        expected = whole[f"{number}.share"].item()
        assert (expected > 0) == (sum(counts) > 0)
        assert shares[0][f"{number}.share"] == shares[1][f"{number}.share"]
        assert sum(share[f"{number}.share"].item() for share in shares) == pytest.approx(expected, rel=1e-4)
        assert shares[0][f"{number}.value"].item() == pytest.approx(whole[f"{number}.value"].item(), rel=1e-4)


def test_the_gradients_add_up_to_that_of_the_whole_batch(
    shares: list[dict[str, Tensor]], whole: dict[str, Tensor]
) -> None:
    names = [name for name in whole if ".gradient." in name]
    assert len(names) > 100
    longest = {number: max(float(whole[n].norm()) for n in names if n.startswith(number)) for number in "01234"}
    assert {number: length > 0.01 for number, length in longest.items()} == {n: n != "2" for n in "01234"}
    for name in names:
        found = [share[name] for share in shares]
        assert torch.equal(found[0], found[1]), name
        # small gradients are sums of large ones that cancel, in another order
        allowed = 1e-3 * float(whole[name].norm()) + 1e-5 * longest[name[0]]
        assert float((found[0] - whole[name]).norm()) <= allowed, name


def test_every_process_has_the_queue_of_one_process(shares: list[dict[str, Tensor]], whole: dict[str, Tensor]) -> None:
    for number in range(len(OBJECTS)):
        for share in shares:
            assert share[f"{number}.class_ids"].tolist() == whole[f"{number}.class_ids"].tolist()
            assert torch.equal(share[f"{number}.vectors"], shares[0][f"{number}.vectors"])
            torch.testing.assert_close(share[f"{number}.vectors"], whole[f"{number}.vectors"], atol=1e-4, rtol=1e-4)
    assert (whole["0.class_ids"] >= 0).sum() == 6
    assert (whole["1.class_ids"] >= 0).sum() == 9
