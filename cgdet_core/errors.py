"""The errors that a user is meant to read: one line each, without a traceback."""

from __future__ import annotations

import sys
import warnings


class CgdetError(Exception):
    """One line that says what went wrong and what to do about it. Raise one of the two below."""


class InputError(CgdetError):
    """Bad input: the line names the file, topic or key. A command exits with code 2; the node refuses the frame or
    the transition."""


class RunError(CgdetError):
    """Work that was begun on good input and could not be ended: a loss that is not finite, a process that was lost, a
    node that ended. A command exits with code 1."""


def print_error(error: CgdetError | str) -> None:
    """Tell the user, as every command does."""
    print(f"cgdet: error: {error}", file=sys.stderr, flush=True)


def print_warnings_plainly() -> None:
    """Warnings of this process are one line each, as errors are: a damaged bag's, for one."""
    warnings.formatwarning = lambda message, *_, **__: f"cgdet: warning: {message}\n"
