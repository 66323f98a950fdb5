"""A function of a test module, done by two real processes of torchrun."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path


def in_two_processes(module: str, function: str, out: Path, repository: Path) -> None:
    """Call `module.function(out)` in each; they share nothing but the group, so results go into files of `out`."""
    script = out / "share.py"
    script.write_text(
        f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r})\n"
        f"import {module} as t; t.{function}({str(out)!r})\n"
    )
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", str(script)]
    environment = {**os.environ, "PYTHONPATH": str(repository), "OMP_NUM_THREADS": "1"}
    answer = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert answer.returncode == 0, answer.stderr
