"""The installed commands, interrupted while their program is loaded."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

Interrupted = Callable[..., tuple[int, str, str]]
AT = "cgdet_core.errors"


def test_a_ctrl_c_while_the_program_is_loaded_ends_it_as_later_and_without_a_traceback(
    interrupted: Interrupted,
) -> None:
    assert interrupted(AT, "cgdet_core.loading", "cgdet") == (130, "", "cgdet: interrupted\n")


def test_where_the_shell_has_it_ignored_it_stays_so_and_the_program_runs(interrupted: Interrupted) -> None:
    code, shown, said = interrupted(AT, "cgdet_core.loading", "cgdet", before="SIG_IGN")
    assert (code, said) == (0, "")
    assert shown.startswith("usage: ")


def test_once_it_is_loaded_a_ctrl_c_is_the_program_s_own_again(repository: Path) -> None:
    program = (
        "import signal\n"
        "from cgdet_core.loading import main_of\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "main_of('json.tool', 3)\n"
        "try:\n    signal.raise_signal(signal.SIGINT)\n"
        "except KeyboardInterrupt:\n    print('its own')\n"
    )
    words = [sys.executable, "-c", program]
    answer = subprocess.run(words, cwd=repository, capture_output=True, text=True, check=False)
    assert (answer.returncode, answer.stdout) == (0, "its own\n")
