"""A process forked off the tests' own: real signals, exit codes and files, with torch imported already."""

from __future__ import annotations

import os
import signal
import sys
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

TIMEOUT_S = 120.0


@dataclass(frozen=True)
class Forked:
    """process_id: also that of its group; said_path: the file of what it writes to standard output and error.

    A context manager that kills what runs still at its end.
    """

    process_id: int
    said_path: Path

    def __enter__(self) -> Forked:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        try:
            os.kill(self.process_id, signal.SIGKILL)
            os.waitpid(self.process_id, 0)
        except (ProcessLookupError, ChildProcessError):  # waited for already
            pass

    def ended(self) -> bool:
        """Whether it has ended; it can be waited for still."""
        return os.waitid(os.P_PID, self.process_id, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None

    def wait(self) -> int:
        """The exit code, once it has ended, which it must."""
        deadline_s = time.monotonic() + TIMEOUT_S
        while not self.ended():
            assert time.monotonic() < deadline_s, self.said()
            time.sleep(0.01)
        return os.waitstatus_to_exitcode(os.waitpid(self.process_id, 0)[1])

    def said(self) -> str:
        return self.said_path.read_text(encoding="utf-8")


def forked(do: Callable[[], int | None], said_path: Path, environment: Mapping[str, str] | None = None) -> Forked:
    """A process that does this, with these variables set besides; the value, or SystemExit's, is its exit code."""
    process_id = os.fork()
    if process_id:
        return Forked(process_id, said_path)
    code = 1
    try:
        os.setsid()
        descriptor = os.open(said_path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(descriptor, 1)
        os.dup2(descriptor, 2)
        sys.stdout = sys.stderr = os.fdopen(2, "w", buffering=1, encoding="utf-8", closefd=False)
        os.environ.update(environment or {})
        code = do() or 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 1
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)
