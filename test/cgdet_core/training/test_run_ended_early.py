"""What ends a run early: a full disk, a loss that explodes, a signal, a kill. What was kept is whole and goes on."""

from __future__ import annotations

import os
import signal
import sys
import time
import warnings
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from forked import forked
from safetensors.torch import load_file
from tiny_run import RECIPE, SAVES_EACH_BATCH, acting_sources, changed, check_same_run, refusal, sources

from cgdet_core.errors import CgdetError, InputError, RunError
from cgdet_core.training.checkpoint import RunStopped, load_checkpoint
from cgdet_core.training.trainer import train


@pytest.mark.parametrize(
    # batch 20 is logged before it is saved
    ("batch", "limit_bytes", "kind", "file"),
    [(12, 20_000, InputError, "safetensors"), (19, 100, RunError, "log.jsonl")],
)
def test_a_disk_that_fills_up_ends_the_run_in_one_line_with_its_last_checkpoint_whole(
    unwatched: Path,
    tmp_path: Path,
    full_disk: Callable[[int], AbstractContextManager[None]],
    batch: int,
    limit_bytes: int,
    kind: type[CgdetError],
    file: str,
) -> None:
    with ExitStack() as until_refused:
        fills_up = acting_sources(batch, lambda: until_refused.enter_context(full_disk(limit_bytes)))
        message = refusal(changed(**SAVES_EACH_BATCH), fills_up, tmp_path, kind=kind)
    assert str(tmp_path) in message
    assert file in message
    assert not list(tmp_path.glob(".*partial"))
    assert load_checkpoint(tmp_path / "checkpoint.safetensors").batches_done == batch
    train(changed(tensorboard=False), sources(), tmp_path, resume=True, progress=False)
    check_same_run(tmp_path, unwatched)


def test_the_batch_of_a_loss_that_explodes_is_named(tmp_path: Path) -> None:
    wild = changed(learning_rate=1e30, gradient_clip=1e30, warmup_images=0)
    message = refusal(wild, sources(), tmp_path, kind=RunError)
    assert "not finite at batch" in message
    # what was last kept is of a batch before it, and whole
    checkpoint = load_checkpoint(tmp_path / "checkpoint.safetensors")
    assert checkpoint.batches_done == 1
    assert all(tensor.isfinite().all() for tensor in checkpoint.tensors.values())


class Slow(tuple):  # type: ignore[type-arg]
    """Frames of a run that lasts until somebody stops it."""

    def __getitem__(self, index):  # type: ignore[no-untyped-def, override]
        time.sleep(0.05)
        return super().__getitem__(index)


def slow_run(out: Path, workers: int) -> int:
    # torch says so where there are more workers than cores
    warnings.filterwarnings("ignore", "This DataLoader will create")
    slow = [replace(source, frames=Slow(source.frames)) for source in sources()]
    try:
        train(changed(workers=workers), slow, out, progress=False)
    except RunStopped as stopped:
        print(stopped)
        return stopped.exit_code
    return 0


def wait_for(checkpoint: Path) -> None:
    deadline = time.monotonic() + 60
    while not checkpoint.exists():
        assert time.monotonic() < deadline, "the run wrote no checkpoint within a minute"
        time.sleep(0.002)


@pytest.mark.parametrize(("number", "workers", "code"), [(signal.SIGINT, 2, 130), (signal.SIGTERM, 1, 143)])
def test_ctrl_c_and_sigterm_keep_the_state_and_say_how_to_go_on(
    unwatched: Path, tmp_path: Path, number: signal.Signals, workers: int, code: int
) -> None:
    out = tmp_path / "run"
    with forked(lambda: slow_run(out, workers), tmp_path / "said.txt") as process:
        wait_for(out / "checkpoint.safetensors")
        os.killpg(process.process_id, number)  # a terminal's Ctrl-C reaches every process of the group
        assert process.wait() == code, process.said()
    (line,) = process.said().splitlines()
    assert line.startswith(f"stopped by {number.name} after batch ")
    assert "--resume" in line
    done = load_checkpoint(out / "checkpoint.safetensors").batches_done
    assert f"after batch {done} of 27" in line
    # by its own interval it would have kept the first batch alone
    model, average = load_file(out / "model.safetensors"), load_checkpoint(out / "checkpoint.safetensors")
    assert all(torch.equal(tensor, average.part("average")[name]) for name, tensor in model.items())
    train(RECIPE, sources(), out, resume=True, progress=False)
    check_same_run(out, unwatched)


def test_who_asks_while_it_is_decided_what_to_save_is_answered_only_once_the_state_is_kept(
    unwatched: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The clock is read between the question whether to stop and the save; the signal comes right then."""
    real, asked = time.monotonic, []

    def clock() -> float:
        if sys._getframe(1).f_code.co_name == "train" and (tmp_path / "checkpoint.safetensors").exists() and not asked:
            asked.append(True)
            signal.raise_signal(signal.SIGINT)
        return real()

    monkeypatch.setattr(time, "monotonic", clock)
    with pytest.raises(RunStopped) as stopped:
        train(RECIPE, sources(), tmp_path, progress=False)
    assert asked
    assert "after batch 2 of 27" in str(stopped.value)
    assert load_checkpoint(tmp_path / "checkpoint.safetensors").batches_done == 2
    train(RECIPE, sources(), tmp_path, resume=True, progress=False)
    check_same_run(tmp_path, unwatched)


@pytest.mark.parametrize("delay_ms", [0, 11, 47])
def test_a_kill_at_any_moment_leaves_a_run_that_ends_as_the_uninterrupted_one(
    unwatched: Path, tmp_path: Path, delay_ms: int
) -> None:
    """The run saves after each batch, so that most of these moments lie within a save."""
    process = os.fork()
    if process == 0:
        try:
            train(changed(**SAVES_EACH_BATCH), sources(), tmp_path, progress=False)
        finally:
            os._exit(0)
    wait_for(tmp_path / "checkpoint.safetensors")
    time.sleep(delay_ms / 1e3)
    os.kill(process, signal.SIGKILL)
    os.waitpid(process, 0)
    assert load_checkpoint(tmp_path / "checkpoint.safetensors").batches_done >= 1
    train(RECIPE, sources(), tmp_path, resume=True, progress=False)
    check_same_run(tmp_path, unwatched)
