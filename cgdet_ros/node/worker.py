"""One thread that works on the newest item only: what comes in between is overtaken, not queued."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Generic, TypeVar

T = TypeVar("T")


class NewestOnlyWorker(Generic[T]):
    """A one-slot mailbox and the thread that empties it.

    process: called with one item at a time, in the order offered; on_error: called with that item and what it raised,
    after which the thread goes on with the next.
    """

    def __init__(self, name: str, process: Callable[[T], None], on_error: Callable[[T, Exception], None]) -> None:
        self._process, self._on_error = process, on_error
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=name)
        self._lock = threading.Lock()
        self._waiting: T | None = None
        self._stopped = False

    def start(self, prepare: Callable[[], None]) -> None:
        """Wait until the thread has run `prepare`; whatever that raises is raised here, and the thread has ended.

        What warms up belongs to the thread that will do the work: thread pools and caches of the arithmetic are per
        thread.
        """
        try:
            self._thread.submit(prepare).result()
        except BaseException:  # also a Ctrl-C: the process is not to end with the thread in the middle of it
            self.stop()
            raise

    def offer(self, item: T) -> bool:
        """Leave `item` in the slot; True where another, now lost, was waiting there."""
        with self._lock:
            overtaken, self._waiting = self._waiting is not None, item
            if not (overtaken or self._stopped):
                self._thread.submit(self._work)
        return overtaken

    def forget(self) -> bool:
        """Forget what waits; True where something did. Of the methods the one for the worker's own thread."""
        return self._take() is not None

    def drain(self) -> bool:
        """Forget what waits and return once nothing is worked on; True where something waited."""
        waited = self.forget()
        self._thread.submit(lambda: None).result()
        return waited

    def stop(self) -> None:
        """Forget what waits, finish what is worked on, end the thread."""
        with self._lock:
            self._waiting, self._stopped = None, True
        self._thread.shutdown()

    def _take(self) -> T | None:
        with self._lock:
            item, self._waiting = self._waiting, None
        return item

    def _work(self) -> None:
        item = self._take()
        if item is None:  # it was drained
            return
        try:
            self._process(item)
        except Exception as error:
            self._on_error(item, error)
