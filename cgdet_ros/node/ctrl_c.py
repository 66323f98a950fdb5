"""Ctrl-C ends the node once, however many signals it makes.

`ros2 launch` sends its processes a SIGINT for the Ctrl-C that the terminal has sent to all of them as well. The second
would interrupt what the first began, and the node would die with a traceback in place of its end.
"""

from __future__ import annotations

import os
import signal
import threading
from types import FrameType


class CtrlC:
    """The first SIGINT raises KeyboardInterrupt, the next one is passed over, a third ends the process at once."""

    def __init__(self) -> None:
        self._count = 0

    def watch(self) -> None:
        """Begin; of no effect outside the main thread, which alone gets signals. To be called before rclpy.init, whose
        own handler calls the one that it finds."""
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGINT, self._on_signal)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self._count += 1
        if self._count == 1:
            raise KeyboardInterrupt
        if self._count > 2:
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
