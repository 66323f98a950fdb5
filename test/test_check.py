"""tools/check.sh, what `make test` runs, in a terminal where a ROS is sourced."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.fixture
def checkout(repository: Path, tmp_path: Path) -> Path:
    """check.sh over one test; the linters, which are not in question, pass everything."""
    folder = tmp_path / "checkout"
    (folder / "tools").mkdir(parents=True)
    shutil.copy(repository / "tools/check.sh", folder / "tools")
    (folder / "test_one.py").write_text("def test_one():\n    pass\n")
    programs = folder / ".venv" / "bin"
    programs.mkdir(parents=True)
    python = f'#!/bin/sh\n[ "$2" = mypy ] || exec "{sys.executable}" "$@"\n'
    for name, text in (("python", python), ("ruff", "#!/bin/sh\n"), ("lint-imports", "#!/bin/sh\n")):
        (programs / name).write_text(text)
        (programs / name).chmod(0o755)
    return folder


@pytest.fixture
def sourced(tmp_path: Path) -> dict[str, str]:
    """The environment with a plugin on PYTHONPATH that this pytest does not take, as launch_testing's."""
    site = tmp_path / "ros"
    (site / "old_launch_testing-1.0.dist-info").mkdir(parents=True)
    (site / "old_launch_testing-1.0.dist-info" / "METADATA").write_text("Name: old_launch_testing\nVersion: 1.0\n")
    (site / "old_launch_testing-1.0.dist-info" / "entry_points.txt").write_text(
        "[pytest11]\nold_launch_testing = old_launch_testing\n"
    )
    (site / "old_launch_testing.py").write_text("def pytest_collect_file(no_such_argument):\n    pass\n")
    unset = ("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "PYTEST_ADDOPTS", "PYTEST_PLUGINS")
    environment = {name: value for name, value in os.environ.items() if name not in unset}
    return {**environment, "PYTHONPATH": str(site)}


def _answer(command: list[str], folder: Path, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


def test_the_tests_run_where_a_sourced_ros_brings_plugins_that_break_pytest(
    checkout: Path, sourced: dict[str, str]
) -> None:
    plain = _answer([sys.executable, "-m", "pytest"], checkout, sourced)
    assert plain.returncode != 0, "the plugin breaks nothing"
    assert "no_such_argument" in plain.stdout + plain.stderr
    answer = _answer(["sh", "tools/check.sh", "all"], checkout, sourced)
    assert answer.returncode == 0, answer.stdout + answer.stderr
    assert "1 passed" in answer.stdout


def test_a_failed_check_fails_the_whole(checkout: Path) -> None:
    (checkout / ".venv/bin/ruff").write_text("#!/bin/sh\nexit 1\n")
    answer = _answer(["sh", "tools/check.sh", "all"], checkout, dict(os.environ))
    assert answer.returncode != 0
    assert "1 passed" in answer.stdout
    assert "FAILED: ruff check;" in answer.stdout
