"""The one error a user is meant to read."""


class InputError(Exception):
    """Bad input: one line that names the file, topic or key, and what to do about it.

    Commands print the message without a traceback and exit with code 2; the node refuses the
    frame or the transition with it.
    """
