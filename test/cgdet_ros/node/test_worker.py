"""The pipeline's worker: the newest item only, and a thread that survives what it works on."""

from __future__ import annotations

import threading
import time

import pytest

from cgdet_ros.node.pipeline import NewestOnlyWorker


def test_what_is_overtaken_is_lost_and_the_newest_is_worked_on() -> None:
    started, go_on, done = threading.Event(), threading.Event(), threading.Event()
    seen: list[int] = []

    def process(item: int) -> None:
        seen.append(item)
        started.set()
        go_on.wait(10)
        if item == 4:
            done.set()

    worker = NewestOnlyWorker[int]("test", process, lambda item, error: None)
    worker.start(lambda: None)
    assert worker.offer(1) is False
    assert started.wait(10)
    assert [worker.offer(item) for item in (2, 3, 4)] == [False, True, True]
    go_on.set()
    assert done.wait(10)
    worker.stop()
    assert seen == [1, 4]


def test_an_error_is_reported_and_the_next_item_is_worked_on() -> None:
    errors: list[str] = []
    reported, done = threading.Event(), threading.Event()

    def process(item: str) -> None:
        if item == "bad":
            raise ValueError(item)
        done.set()

    def report(item: str, error: Exception) -> None:
        errors.append(f"{item}: {error}")
        reported.set()

    worker = NewestOnlyWorker[str]("test", process, report)
    worker.start(lambda: None)
    worker.offer("bad")
    assert reported.wait(10)
    worker.offer("good")
    assert done.wait(10)
    worker.stop()
    assert errors == ["bad: bad"]


def test_the_preparation_runs_in_the_thread_that_works_and_what_fails_there_is_raised() -> None:
    threads: list[threading.Thread] = []
    done = threading.Event()

    def process(item: int) -> None:
        threads.append(threading.current_thread())
        done.set()

    worker = NewestOnlyWorker[int]("test", process, lambda item, error: None)
    worker.start(lambda: threads.append(threading.current_thread()))
    worker.offer(1)
    assert done.wait(10)
    worker.stop()
    assert threads[0] is threads[1] is not threading.current_thread()

    def prepare() -> None:
        raise MemoryError("no room")

    worker = NewestOnlyWorker[int]("test", lambda item: None, lambda item, error: None)
    with pytest.raises(MemoryError, match="no room"):
        worker.start(prepare)
    assert worker.offer(1) is False
    worker.stop()


def test_drain_waits_for_the_item_in_work_and_forgets_the_one_that_waits() -> None:
    started, go_on = threading.Event(), threading.Event()
    seen: list[int] = []

    def process(item: int) -> None:
        started.set()
        go_on.wait(10)
        seen.append(item)

    worker = NewestOnlyWorker[int]("test", process, lambda item, error: None)
    worker.start(lambda: None)
    worker.offer(1)
    assert started.wait(10)
    worker.offer(2)
    threading.Timer(0.05, go_on.set).start()
    assert worker.drain() is True
    assert seen == [1]
    assert worker.drain() is False
    worker.offer(3)
    worker.drain()
    worker.stop()
    assert 2 not in seen


def test_an_interrupt_while_the_thread_is_prepared_waits_for_the_thread_and_ends_it() -> None:
    import _thread

    worker = NewestOnlyWorker[int]("interrupted", lambda item: None, lambda item, error: None)
    entered, go_on = threading.Event(), threading.Event()

    def prepare() -> None:
        entered.set()
        go_on.wait(20)

    def interrupt() -> None:
        entered.wait(20)
        time.sleep(0.2)  # until the start waits
        threading.Timer(0.2, go_on.set).start()
        _thread.interrupt_main()

    threading.Thread(target=interrupt).start()
    with pytest.raises(KeyboardInterrupt):
        worker.start(prepare)
    assert go_on.is_set()
    assert not any(thread.name.startswith("interrupted") for thread in threading.enumerate())
