"""Ctrl-C and SIGTERM end a run between two batches, when its state is whole and can be kept."""

from __future__ import annotations

import signal
import threading
from pathlib import Path
from types import FrameType
from typing import Any


class RunStopped(Exception):
    """The run was asked to end and its state is kept; one line that says how to go on.

    exit_code: 128 + signal, as a shell gives it for a process that a signal ended.
    """

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code


class StopRequest:
    """Within it SIGINT and SIGTERM only set `signal_number`; a second one acts as it does elsewhere.

    Outside the main thread, where Python takes no signals, nothing is changed.
    """

    def __init__(self) -> None:
        self.signal_number: int | None = None
        self._previous: dict[int, Any] = {}

    @property
    def asked(self) -> bool:
        return self.signal_number is not None

    def __enter__(self) -> StopRequest:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._previous[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *_: object) -> None:
        self._restore()

    def _note(self, number: int, _frame: FrameType | None) -> None:
        self.signal_number = number
        self._restore()

    def _restore(self) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler if handler is not None else signal.SIG_DFL)
        self._previous = {}

    def stopped(self, checkpoint: Path, batches_done: int, total: int) -> RunStopped:
        """What to raise once `checkpoint` holds the state after `batches_done` batches."""
        number = self.signal_number or signal.SIGTERM
        name = signal.Signals(number).name if self.asked else "a signal to another process"
        message = f"stopped by {name} after batch {batches_done} of {total}, kept in {checkpoint}: --resume goes on"
        return RunStopped(message, 128 + number)


def leave_signals_to_the_trainer() -> None:
    """In a process that prepares batches: a terminal's Ctrl-C reaches it too, and it must live for the last batch."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
