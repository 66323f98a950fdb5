"""What of the set-up is done, and the lock that keeps two set-ups apart."""

from __future__ import annotations

import fcntl
import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from environment.progress import say


class Stamps:
    """One small file per finished step, holding the key of what it was done with.

    A step counts as done only where its file holds the very key it has now. The file is taken away
    before the step begins and comes back, in one move, after it ended well, so that a step that was
    killed is done again.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def is_done(self, step: str, key: str) -> bool:
        try:
            return (self.folder / step).read_text(encoding="utf-8") == key
        except OSError:
            return False

    def begin(self, step: str) -> None:
        (self.folder / step).unlink(missing_ok=True)

    def finish(self, step: str, key: str) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        beside = self.folder / f".{step}.{os.getpid()}"
        beside.write_text(key, encoding="utf-8")
        os.replace(beside, self.folder / step)


def key_of(*parts: object) -> str:
    """A digest of paths' contents and of everything else's text."""
    digest = hashlib.sha256()
    for part in parts:
        data = part.read_bytes() if isinstance(part, Path) else str(part).encode()
        digest.update(len(data).to_bytes(8, "little") + data)
    return digest.hexdigest()


@contextmanager
def one_at_a_time(file: Path) -> Iterator[None]:
    """Holds a lock on an existing file; waits, and says so, while another process has it.

    The kernel drops the lock with the last process that holds it, however that ends: commands inherit
    it, so that a pip that outlives its killed set-up is waited for as well.
    """
    with file.open("r+b") as held:
        os.set_inheritable(held.fileno(), True)
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("another set-up of this checkout is running: waiting for it")
            fcntl.flock(held, fcntl.LOCK_EX)
        yield
