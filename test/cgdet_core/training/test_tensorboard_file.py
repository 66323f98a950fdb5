"""The curves as TensorBoard itself reads them."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from cgdet_core.training.tensorboard_file import ScalarFile


def curve(folder: Path, name: str) -> list[tuple[int, float]]:
    accumulator = EventAccumulator(str(folder))
    accumulator.Reload()
    return [(event.step, event.value) for event in accumulator.Scalars(name)]


def test_tensorboard_reads_every_point_of_every_curve(tmp_path: Path) -> None:
    file = ScalarFile(tmp_path, 0)
    # steps beyond one and two bytes of a varint, and values of either sign
    points = [(1, 0.5), (127, -2.25), (128, 1e-12), (20_000, 3e30), (3_000_000, 0.0)]
    for step, value in points:
        file.add({"loss/box": value, "validation/AP50_Fußgänger": value + 1}, step)
    assert curve(tmp_path, "loss/box") == [(step, pytest.approx(value, rel=1e-7)) for step, value in points]
    other = curve(tmp_path, "validation/AP50_Fußgänger")
    assert other == [(step, pytest.approx(value + 1, rel=1e-7)) for step, value in points]


def test_a_run_that_is_gone_on_with_draws_no_point_twice_and_survives_a_torn_end(tmp_path: Path) -> None:
    before = ScalarFile(tmp_path, 0)
    for step in (20, 40, 60):
        before.add({"loss/box": float(step)}, step)
    (path,) = tmp_path.iterdir()
    path.write_bytes(path.read_bytes()[:-7])  # what a kill in the middle of a record leaves
    after = ScalarFile(tmp_path, 25)  # the checkpoint is of batch 25
    for step in (40, 60, 80):
        after.add({"loss/box": step + 0.5}, step)
    assert curve(tmp_path, "loss/box") == [(20, 20.0), (40, 40.5), (60, 60.5), (80, 80.5)]


def test_a_point_of_the_very_batch_of_the_checkpoint_stays(tmp_path: Path) -> None:
    ScalarFile(tmp_path, 0).add({"x": 1.0}, 20)
    ScalarFile(tmp_path, 20).add({"x": 2.0}, 40)
    assert curve(tmp_path, "x") == [(20, 1.0), (40, 2.0)]


def test_no_file_is_made_before_the_first_point_and_a_full_disk_is_an_error(
    tmp_path: Path, full_disk: Callable[[int], AbstractContextManager[None]]
) -> None:
    file = ScalarFile(tmp_path, 0)
    assert not list(tmp_path.iterdir())
    with full_disk(10), pytest.raises(OSError, match="too large"):
        file.add({"x": 1.0}, 1)
