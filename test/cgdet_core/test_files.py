"""A file is there whole or not at all; a refusal is one line."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
import torch
from safetensors import safe_open

from cgdet_core.errors import InputError
from cgdet_core.files import check_can_write, replacing, write_tensors, write_text


def test_the_old_file_is_there_until_the_new_one_is_whole_and_after_a_failure(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_text("old")
    with pytest.raises(RuntimeError, match="mine"), replacing(path) as partial:  # noqa: PT012
        partial.write_text("half")
        raise RuntimeError("mine")
    assert list(tmp_path.iterdir()) == [path]
    with replacing(path) as partial:
        partial.write_text("half")
        assert path.read_text() == "old"
        partial.write_text("whole")
    assert path.read_text() == "whole"
    assert list(tmp_path.iterdir()) == [path]


def test_what_killed_processes_left_half_written_is_removed_and_what_they_had_put_aside_comes_back(
    tmp_path: Path,
) -> None:
    with subprocess.Popen(["true"]) as ended:
        pass
    for process in (ended.pid, os.getppid()):
        (tmp_path / f".x.{process}.partial").mkdir()
        (tmp_path / f".x.{process}.partial" / "x").write_text("half")
        (tmp_path / f".bag.{process}.partial" / "bag").mkdir(parents=True)
    (tmp_path / f".old.{ended.pid}.partial" / "previous").mkdir(parents=True)
    (tmp_path / f".old.{ended.pid}.partial" / "previous" / "mine").touch()
    (tmp_path / ".mine.partial").touch()
    write_text(tmp_path / "x", "whole")
    left = {f".x.{os.getppid()}.partial", f".bag.{os.getppid()}.partial", ".mine.partial"}
    assert {path.name for path in tmp_path.iterdir()} == {"x", "old", *left}
    assert (tmp_path / "old" / "mine").exists()


def test_a_full_disk_is_one_line_with_the_name_and_leaves_the_old_file(
    tmp_path: Path, full_disk: Callable[[int], AbstractContextManager[None]]
) -> None:
    path = tmp_path / "x"
    path.write_text("old")
    with full_disk(1000), pytest.raises(InputError) as text_error:
        write_text(path, "new" * 10000)
    with full_disk(1000), pytest.raises(InputError) as tensor_error:
        write_tensors(path, {"a": torch.zeros(10000)}, {})
    for error in (text_error, tensor_error):
        assert str(path) in str(error.value)
        assert "cannot be written" in str(error.value)
        assert "\n" not in str(error.value)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("name", ["file/x", "n" * 250, "folder"])
def test_a_place_that_takes_no_file_is_one_line_with_its_name(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").write_text("not a folder")
    (tmp_path / "folder").mkdir()
    with pytest.raises(InputError) as caught:
        write_text(tmp_path / name, "text")
    assert str(tmp_path / name) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "folder"]


def test_tensors_come_back_as_they_were_even_from_views(tmp_path: Path) -> None:
    tensor = torch.arange(12.0).reshape(3, 4)
    write_tensors(tmp_path / "a" / "t", {"turned": tensor.t(), "whole": tensor.requires_grad_()}, {"key": "value"})
    (tmp_path / "plain").write_text("")
    assert (tmp_path / "a" / "t").stat().st_mode == (tmp_path / "plain").stat().st_mode  # others may read it
    with safe_open(tmp_path / "a" / "t", framework="pt") as handle:
        assert handle.metadata() == {"key": "value"}
        assert handle.get_tensor("turned").tolist() == [list(column) for column in zip(*tensor.tolist(), strict=True)]
        assert handle.get_tensor("whole").tolist() == tensor.tolist()


def test_a_place_is_checked_without_making_anything(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    check_can_write(tmp_path / "a" / "b" / "x")
    for refused in (tmp_path, tmp_path / "file" / "x", tmp_path / "file" / "below" / "x"):
        with pytest.raises(InputError, match=re.escape(str(refused))):
            check_can_write(refused)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
