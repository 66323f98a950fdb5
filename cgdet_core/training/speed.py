"""How fast a run is, and whether the network waits for data."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeVar

T = TypeVar("T")

_WARM_UP_BATCHES = 5
WAITING_SHARE = 0.05  # of the time; a network that waits longer than this is held up by its data


@dataclass
class Pace:
    """Batches, and seconds spent waiting for them and learning from them."""

    batches: int = 0
    wait_s: float = 0.0
    step_s: float = 0.0

    def add(self, wait_s: float, step_s: float) -> None:
        self.batches += 1
        self.wait_s += wait_s
        self.step_s += step_s

    def figures(self, batch_size: int) -> dict[str, float]:
        """images_per_second, and data_wait_share: of the time, what the network waited for the next batch."""
        seconds = max(self.wait_s + self.step_s, 1e-9)
        return {
            "images_per_second": self.batches * batch_size / seconds,
            "data_wait_share": self.wait_s / seconds,
        }


class SpeedMeter:
    """Times a loop over batches; what else happens between two batches (saving, validation) does not count.

    `step_done` ends the step that the batch handed out last was for.
    """

    def __init__(self) -> None:
        self._first, self._steady, self._lap = Pace(), Pace(), Pace()
        self._wait_s = 0.0
        self._handed_out = 0.0

    @property
    def total(self) -> Pace:
        """All batches but the first five, where there are more: they wait for processes to start and arithmetic
        to be compiled."""
        return self._steady if self._steady.batches else self._first

    def over(self, batches: Iterator[T]) -> Iterator[T]:
        while True:
            asked = time.perf_counter()
            try:
                batch = next(batches)
            except StopIteration:
                return
            self._handed_out = time.perf_counter()
            self._wait_s = self._handed_out - asked
            yield batch

    def step_done(self) -> None:
        step_s = time.perf_counter() - self._handed_out
        self._lap.add(self._wait_s, step_s)
        pace = self._first if self._first.batches < _WARM_UP_BATCHES else self._steady
        pace.add(self._wait_s, step_s)

    def lap(self) -> Pace:
        """The pace since the last call."""
        lap, self._lap = self._lap, Pace()
        return lap


def speed_line(figures: dict[str, float], workers: int) -> str:
    """One line for a person: how fast, and what bounds it."""
    share = figures["data_wait_share"]
    line = f"{figures['images_per_second']:.1f} images/s; the network waited {share:.0%} of the time for data: "
    if share <= WAITING_SHARE:
        return line + "arithmetic bounds it"
    return line + f"data preparation bounds it, more processes may help (train.workers={workers + 1})"
