"""Rows gathered over two processes, and the contrast of a batch that they share unevenly, against one process."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from two_processes import in_two_processes

from cgdet_core.config import ContrastConfig
from cgdet_core.distill.contrast import RegionContrast
from cgdet_core.tasks.detection.targets import DetectionTargets, regions_of
from cgdet_core.training.distributed import process_group
from cgdet_core.world import gather_rows, rank

SHARES = ((0, 3), (3, 4))  # rows of a batch that the two processes hold
CHANNELS = {8: 8, 16: 16, 32: 24}
TERM = ContrastConfig(hidden=8, dimensions=4, temperature=0.3, queue=9, small_below_px=16, middle_below_px=28)
# objects of the four images in one batch after the other: uneven, of the first process only, of nobody, of the second
# only, and so many at once that the queue holds no others
OBJECTS = ((2, 0, 3, 1), (1, 2, 0, 0), (0, 0, 0, 0), (0, 0, 0, 2), (4, 6, 3, 2))


def labels(number: int) -> DetectionTargets:
    generator = torch.Generator().manual_seed(number)
    corners = torch.rand(4, 6, 2, generator=generator) * 30
    boxes = torch.cat((corners, corners + 6 + 28 * torch.rand(4, 6, 2, generator=generator)), dim=2)
    objects = torch.arange(6)[None] < torch.tensor(OBJECTS[number])[:, None]
    class_ids = torch.randint(0, 2, (4, 6), generator=generator)
    return DetectionTargets(boxes, class_ids, objects, ~objects, torch.ones(4, 3, dtype=torch.bool))


def learn(rows: slice) -> dict[str, Tensor]:
    """Of each batch the value, the gradients of the projections and of the rows' maps, and the queue after it."""
    torch.manual_seed(0)
    term = RegionContrast(TERM, CHANNELS).train()
    found = {}
    for number in range(len(OBJECTS)):
        maps = {
            s: torch.randn(4, channels, 64 // s, 64 // s)[rows].requires_grad_() for s, channels in CHANNELS.items()
        }
        term.zero_grad()
        value = term.value(maps, regions_of(labels(number).map(lambda value: value[rows])))
        value.backward()
        found[f"{number}.value"] = value.detach()
        gradients = {f"map.{stride}": each.grad for stride, each in maps.items()}
        gradients |= {name: parameter.grad for name, parameter in term.named_parameters()}
        found |= {f"{number}.gradient.{name}": each.clone() for name, each in gradients.items() if each is not None}
        assert None not in gradients.values()
        found |= {f"{number}.queue.{name}": tensor.clone() for name, tensor in term.queue.state_dict().items()}
    return found


def compute_share(out: str) -> None:
    """What each process does: its rows of everything, written to a file of its rank."""
    with process_group("cpu"):
        found = learn(slice(*SHARES[rank()]))
        for number, counts in enumerate(((3, 0), (0, 2), (0, 0), (1, 1))):
            count = counts[rank()]
            found[f"rows.{number}"] = gather_rows((10 * rank() + torch.arange(2 * count)).view(count, 2))
        save_file({name: value.contiguous() for name, value in found.items()}, f"{out}/{rank()}.safetensors")


@pytest.fixture(scope="module")
def shares(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Tensor]]:
    out = tmp_path_factory.mktemp("shares")
    in_two_processes(compute_share, out)
    return [load_file(out / f"{rank}.safetensors") for rank in range(2)]


def test_rows_of_every_process_are_gathered_however_many_each_has(shares: list[dict[str, Tensor]]) -> None:
    expected = [[[0, 1], [2, 3], [4, 5]], [[10, 11], [12, 13]], [], [[0, 1], [10, 11]]]
    for share in shares:
        for number, rows in enumerate(expected):
            found = share[f"rows.{number}"]
            assert found.tolist() == rows
            assert (found.shape[1], found.dtype) == (2, torch.int64)


def test_values_and_gradients_add_up_to_those_of_the_whole_batch_and_queues_are_alike(
    shares: list[dict[str, Tensor]],
) -> None:
    whole = learn(slice(0, 4))
    assert [whole[f"{number}.value"].item() > 0 for number in range(5)] == [sum(counts) > 0 for counts in OBJECTS]
    for name, expected in whole.items():
        one, other = (share[name] for share in shares)
        if ".queue." in name:
            assert torch.equal(one, other)
            found = one
        else:
            found = torch.cat((one, other)) if ".map." in name else one + other
        torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4, msg=name)
