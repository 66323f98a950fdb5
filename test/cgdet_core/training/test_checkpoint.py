"""Checkpoints: whole or refused, and never a pickle."""

from __future__ import annotations

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
    {"data": [{"name": "a", "frames": 2, "objects": 3, "sha256": "f"}], "init": None, "teacher": None},
)


def check_refused(path: Path) -> None:
    with pytest.raises(InputError) as caught:
        load_checkpoint(path)
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)


def test_a_checkpoint_comes_back_as_it_was(tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "c", CHECKPOINT)
    back = load_checkpoint(tmp_path / "c")
    assert (back.recipe, back.batches_done) == (CHECKPOINT.recipe, 17)
    assert back.learned_from == CHECKPOINT.learned_from
    assert back.tensors.keys() == CHECKPOINT.tensors.keys()
    for name, tensor in back.tensors.items():
        assert torch.equal(tensor, CHECKPOINT.tensors[name])
        assert tensor.dtype == CHECKPOINT.tensors[name].dtype
    assert back.part("weights").keys() == {"a.b", "n"}


def test_a_checkpoint_that_is_missing_or_cut_anywhere_is_refused(tmp_path: Path) -> None:
    check_refused(tmp_path / "none")
    save_checkpoint(tmp_path / "c", CHECKPOINT)
    data = (tmp_path / "c").read_bytes()
    for length in (0, 3, 8, 50, len(data) // 2, len(data) - 1):
        (tmp_path / "cut").write_bytes(data[:length])
        check_refused(tmp_path / "cut")


@pytest.mark.parametrize(
    "description",
    ["not JSON", "{}", "[1]", '{"recipe": {"unknown": 1}, "batches_done": 3}', '{"recipe": {}, "batches_done": null}'],
)
def test_tensors_without_the_description_of_a_run_are_refused(tmp_path: Path, description: str) -> None:
    save_file({"weights.a": torch.zeros(1)}, tmp_path / "c", metadata={METADATA_KEY: description})
    check_refused(tmp_path / "c")


def test_a_pickle_is_refused_unread(tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self):  # type: ignore[no-untyped-def]
            return (Path.touch, (tmp_path / "sprung",))

    torch.save({"weights.a": torch.zeros(1), "trap": Trap()}, tmp_path / "c")
    check_refused(tmp_path / "c")
    assert not (tmp_path / "sprung").exists()
