"""Ctrl-C in the middle of a replay ends the playing, not the work: what was measured is written."""

from __future__ import annotations

import os
import signal
import threading
import time
from types import FrameType, TracebackType
from typing import Any

_SIGNALS = (signal.SIGINT, signal.SIGTERM)
# `ros2 launch` passes on the Ctrl-C that the terminal has sent to the replay as well: both are one
_SAME_S = 1.0


class Interruption:
    """From `watch` on to the end of the `with` block the first SIGINT or SIGTERM is only noted, as `asked`; a second
    one, a second or more later, raises KeyboardInterrupt where the program is, and `forced` says so. Of no effect
    outside the main thread, which alone gets signals."""

    def __init__(self) -> None:
        self._asked = threading.Event()
        self._asked_s = 0.0
        self._before: dict[int, Any] = {}
        self.forced = False

    @property
    def asked(self) -> bool:
        """Whether there was a signal."""
        return self._asked.is_set()

    def wait(self, seconds: float) -> bool:
        """Wait so long, or less where a signal comes; whether there was one."""
        return self._asked.wait(max(0.0, seconds))

    def watch(self) -> None:
        """Begin, where it was not begun before."""
        if not self._before and threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._note) for number in _SIGNALS}

    def __enter__(self) -> Interruption:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self._asked.is_set():
            if time.monotonic() - self._asked_s < _SAME_S:
                return
            self.forced = True
            raise KeyboardInterrupt
        self._asked_s = time.monotonic()
        self._asked.set()
        # not by print, which the signal may have come in the middle of
        os.write(2, b"\ncgdet-replay: interrupted: writing what was measured (once more: nothing)\n")
