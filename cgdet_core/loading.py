"""How the installed commands load their program: a Ctrl-C in the meantime ends them without a traceback, as later."""

from __future__ import annotations

import importlib
import os
import signal
from collections.abc import Callable
from types import FrameType


def main_of(module: str, exit_code: int, interrupted: str = "") -> Callable[[], int]:
    """`main` of the module, once it is loaded; to be called in the main thread.

    exit_code, interrupted: with what, and after which line on standard error, a Ctrl-C before then ends the process.
    """

    def end(number: int, frame: FrameType | None) -> None:
        if interrupted:
            os.write(2, f"{interrupted}\n".encode())
        os._exit(exit_code)  # no exception: what is half loaded would answer one in its own way

    usual = signal.getsignal(signal.SIGINT) is signal.default_int_handler  # not where the shell has it ignored
    if usual:
        signal.signal(signal.SIGINT, end)
    main: Callable[[], int] = importlib.import_module(module).main
    if usual:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    return main


def cgdet() -> int:
    return main_of("cgdet_core.cli", 130, "cgdet: interrupted")()
