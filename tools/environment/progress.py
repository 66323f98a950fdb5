"""Lines with the time elapsed, and commands whose whole output goes to a log."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

_STARTED = time.monotonic()
_QUIET_SECONDS = 15.0
_LARGE = re.compile(r"Downloading (?:\S*/)?([\w.]+?-\d[\w.]*)\S* \((\d{2,}\.?\d* MB|[\d.]+ GB)\)")


class SetupError(Exception):
    """One line that says what is wrong and what to do."""


def say(text: str) -> None:
    print(f"[{time.monotonic() - _STARTED:4.0f} s] {text}", flush=True)


def run_logged(
    command: Sequence[str | Path], what: str, log: Path, environment: Mapping[str, str] | None = None
) -> None:
    """Runs a command with its output in `log`; shows large downloads, and a sign of life when it is quiet."""
    log.parent.mkdir(parents=True, exist_ok=True)
    said_at = time.monotonic()
    last_line = ""
    over = threading.Event()

    def sign_of_life() -> None:
        nonlocal said_at
        while not over.wait(1.0):
            if time.monotonic() - said_at >= _QUIET_SECONDS:
                say(f"{what}: {last_line or 'still at it'}")
                said_at = time.monotonic()

    with log.open("a", encoding="utf-8", errors="replace") as file:
        file.write(f"\n$ {' '.join(map(str, command))}\n")
        file.flush()
        process = subprocess.Popen(
            [str(word) for word in command],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=dict(clean_environment() if environment is None else environment),
            close_fds=False,  # the lock of the set-up goes with it
            encoding="utf-8",
            errors="replace",
        )
        watcher = threading.Thread(target=sign_of_life, daemon=True)
        watcher.start()
        lines: list[str] = []
        assert process.stdout is not None
        try:
            for line in process.stdout:
                file.write(line)
                file.flush()
                lines.append(line)
                last_line = _sign(line) or last_line
                large = _LARGE.search(line)
                if large:
                    say(f"{what}: downloading {large[1]}, {large[2]}")
                    said_at = time.monotonic()
            code = process.wait()
        except BaseException:
            process.terminate()
            process.wait()
            raise
        finally:
            over.set()
            watcher.join()
    if code:
        raise SetupError(f"{what} failed: {_reason(lines)} (all of its output: {log})")


def clean_environment() -> dict[str, str]:
    """This process's environment without what make and pip hand down to their own kind."""
    handed_down = ("MAKEFLAGS", "MFLAGS", "MAKEOVERRIDES", "MAKELEVEL", "GNUMAKEFLAGS")
    elsewhere = ("PIP_USER", "PIP_TARGET", "PIP_PREFIX", "VIRTUAL_ENV", "PYTHONHOME")
    return {name: value for name, value in os.environ.items() if name not in handed_down + elsewhere}


def _sign(line: str) -> str:
    """What a line says of how far the work is, in short."""
    line = line.strip()
    if line.startswith("Installing collected packages:"):
        return f"unpacking {line.count(',') + 1} packages"
    if line.startswith(("Attempting uninstall", "Found existing installation", "Uninstalling", "Successfully uninst")):
        return ""
    return line if len(line) <= 90 else line[:87] + "..."


def _reason(lines: Sequence[str]) -> str:
    """The line that most likely says why: the first one marked as an error, else the last one."""
    stripped = [line.strip() for line in lines if line.strip()] or ["it printed nothing"]
    for number, line in enumerate(stripped):
        if re.search(r"^(ERROR|error): |: (fatal )?error: ", line):
            return line[:300]
        if line.startswith("CMake Error"):
            return " ".join(stripped[number : number + 2])[:300]
    return stripped[-1][:300]


def fail(error: Exception) -> int:
    print(f"cgdet set-up: {error}", file=sys.stderr, flush=True)
    return 2
