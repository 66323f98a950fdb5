"""The one error a user is meant to read."""

from __future__ import annotations

import sys


class InputError(Exception):
    """Bad input: one line that names the file, topic or key, and what to do about it.

    Commands print the message without a traceback and exit with code 2; the node refuses the
    frame or the transition with it.
    """


def print_error(error: InputError | str) -> None:
    """Tell the user, as every command does."""
    print(f"cgdet: error: {error}", file=sys.stderr, flush=True)
