"""One thread that works on the newest item only: what comes in between is overtaken, not queued."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class NewestOnlyWorker(Generic[T]):
    """A one-slot mailbox and the thread that empties it.

    process: called with one item at a time, in the order offered; on_error: called with that item and what it raised,
    after which the thread goes on with the next.
    """

    def __init__(self, name: str, process: Callable[[T], None], on_error: Callable[[T, Exception], None]) -> None:
        self._process, self._on_error = process, on_error
        self._changed = threading.Condition()
        self._waiting: T | None = None
        self._busy = self._stopped = False
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self, prepare: Callable[[], None]) -> None:
        """Start the thread and wait until it has run `prepare`; whatever that raises is raised here.

        What warms up belongs to the thread that will do the work: thread pools and caches of the arithmetic are per
        thread.
        """
        failures: list[BaseException] = []
        ready = threading.Event()

        def prepared() -> None:
            try:
                prepare()
            except BaseException as error:
                failures.append(error)
                self._stopped = True
            finally:
                ready.set()

        self._prepare = prepared
        try:
            self._thread.start()
            ready.wait()
        except BaseException:  # a Ctrl-C: the process is not to end with the thread in the middle of it
            self.stop()
            raise
        if failures:
            self._thread.join()
            raise failures.pop()

    def offer(self, item: T) -> bool:
        """Leave `item` in the slot; True where another, now lost, was waiting there."""
        with self._changed:
            overtaken, self._waiting = self._waiting is not None, item
            self._changed.notify_all()
        return overtaken

    def forget(self) -> bool:
        """Forget what waits; True where something did. Of the methods the one for the worker's own thread."""
        with self._changed:
            waited, self._waiting = self._waiting is not None, None
        return waited

    def drain(self) -> bool:
        """Forget what waits and return once nothing is worked on; True where something waited."""
        with self._changed:
            waited = self.forget()
            self._changed.wait_for(lambda: not self._busy)
        return waited

    def stop(self) -> None:
        """Forget what waits, finish what is worked on, end the thread."""
        with self._changed:
            self._waiting, self._stopped = None, True
            self._changed.notify_all()
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        self._prepare()
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._stopped or self._waiting is not None)
                if self._stopped:
                    return
                item, self._waiting, self._busy = self._waiting, None, True
            assert item is not None
            try:
                self._process(item)
            except Exception as error:
                self._on_error(item, error)
            finally:  # also where the thread ends here: nobody may wait for it for ever
                with self._changed:
                    self._busy = False
                    self._changed.notify_all()
