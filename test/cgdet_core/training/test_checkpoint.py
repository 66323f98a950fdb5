"""Checkpoints: whole or refused, and never half written."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from cgdet_core.config import Recipe, TrainConfig
from cgdet_core.errors import InputError
from cgdet_core.training.checkpoint import METADATA_KEY, Checkpoint, load_checkpoint, save_checkpoint

CHECKPOINT = Checkpoint(
    Recipe(train=TrainConfig(seed=3, learning_rate=0.1)),
    17,
    {"weights.a.b": torch.rand(3, 4), "weights.n": torch.tensor(5), "weights_of_others": torch.zeros(1)},
)


def refusal(path: Path) -> str:
    with pytest.raises(InputError) as caught:
        load_checkpoint(path)
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)
    return str(caught.value)


def test_a_checkpoint_comes_back_as_it_was(tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "c", CHECKPOINT)
    back = load_checkpoint(tmp_path / "c")
    assert back.recipe == CHECKPOINT.recipe
    assert back.batches_done == 17
    assert back.tensors.keys() == CHECKPOINT.tensors.keys()
    for name, tensor in back.tensors.items():
        assert torch.equal(tensor, CHECKPOINT.tensors[name])
        assert tensor.dtype == CHECKPOINT.tensors[name].dtype


def test_a_part_is_what_lies_under_its_prefix() -> None:
    assert CHECKPOINT.part("weights").keys() == {"a.b", "n"}
    assert CHECKPOINT.part("average") == {}


def test_a_missing_checkpoint_says_so(tmp_path: Path) -> None:
    assert "there is no checkpoint" in refusal(tmp_path / "none")


def test_a_checkpoint_cut_anywhere_is_refused(tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "c", CHECKPOINT)
    data = (tmp_path / "c").read_bytes()
    for length in (0, 3, 8, 50, len(data) // 2, len(data) - 1):
        (tmp_path / "cut").write_bytes(data[:length])
        assert "not a whole checkpoint" in refusal(tmp_path / "cut")


@pytest.mark.parametrize(
    "metadata",
    [
        None,
        {},
        {METADATA_KEY: "not JSON"},
        {METADATA_KEY: "{}"},
        {METADATA_KEY: "[1]"},
        {METADATA_KEY: '{"recipe": {"unknown": 1}, "batches_done": 3}'},
        {METADATA_KEY: '{"recipe": {}, "batches_done": "many"}'},
        {METADATA_KEY: '{"recipe": {}, "batches_done": null}'},
    ],
)
def test_tensors_without_the_description_of_a_run_are_refused(tmp_path: Path, metadata: dict[str, str] | None) -> None:
    save_file({"weights.a": torch.zeros(1)}, tmp_path / "c", metadata=metadata)
    refusal(tmp_path / "c")


def test_a_pickle_is_refused_unread(tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self):  # type: ignore[no-untyped-def]
            return (Path.touch, (tmp_path / "sprung",))

    torch.save({"weights.a": torch.zeros(1), "trap": Trap()}, tmp_path / "c")
    refusal(tmp_path / "c")
    assert not (tmp_path / "sprung").exists()


def test_a_full_disk_leaves_the_old_checkpoint_whole(
    tmp_path: Path, full_disk: Callable[[int], AbstractContextManager[None]]
) -> None:
    path = tmp_path / "c"
    save_checkpoint(path, CHECKPOINT)
    before = path.read_bytes()
    larger = Checkpoint(CHECKPOINT.recipe, 18, {"weights.a.b": torch.zeros(100_000)})
    with full_disk(20_000), pytest.raises(InputError) as caught:
        save_checkpoint(path, larger)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]
