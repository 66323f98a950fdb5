"""tools/check.sh, what `make test` runs, in a terminal where a ROS is sourced."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path


def test_every_check_runs_one_that_fails_fails_the_whole_and_plugins_of_a_sourced_ros_break_nothing(
    repository: Path, tmp_path: Path
) -> None:
    """check.sh over one test, beside a plugin that this pytest does not take, as launch_testing is one."""
    (tmp_path / "tools").mkdir()
    shutil.copy(repository / "tools/check.sh", tmp_path / "tools")
    (tmp_path / "test_one.py").write_text("def test_one():\n    pass\n")
    programs = tmp_path / ".venv" / "bin"
    programs.mkdir(parents=True)
    python = f'#!/bin/sh\n[ "$2" = mypy ] || exec "{sys.executable}" "$@"\n'
    for name, text in (("python", python), ("ruff", "#!/bin/sh\nexit 1\n"), ("lint-imports", "#!/bin/sh\n")):
        (programs / name).write_text(text)
        (programs / name).chmod(0o755)
    plugin = tmp_path / "ros" / "old_launch_testing-1.0.dist-info"
    plugin.mkdir(parents=True)
    (plugin / "METADATA").write_text("Name: old_launch_testing\nVersion: 1.0\n")
    (plugin / "entry_points.txt").write_text("[pytest11]\nold_launch_testing = old_launch_testing\n")
    (plugin.parent / "old_launch_testing.py").write_text("def pytest_collect_file(no_such_argument):\n    pass\n")
    unset = ("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "PYTEST_ADDOPTS", "PYTEST_PLUGINS")
    environment = {name: value for name, value in os.environ.items() if name not in unset}
    environment |= {"PYTHONPATH": str(plugin.parent)}
    words = ["sh", "tools/check.sh", "all"]
    answer = subprocess.run(words, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert "1 passed" in answer.stdout, answer.stdout + answer.stderr
    assert answer.returncode == 1
    assert "FAILED: ruff check; ruff format --check;" in answer.stdout
