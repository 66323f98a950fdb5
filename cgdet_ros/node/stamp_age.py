"""From an image's stamp to its answer, where two clocks make a time at all."""

from __future__ import annotations

import threading
from collections import deque

_WINDOW_FRAMES = 256
_NANOSECONDS = 1_000_000_000
AHEAD_NS = 50_000_000  # a stamp so far in the future is of another clock, not of a rough one
BEHIND_NS = 10 * _NANOSECONDS  # nothing that this node does takes so long


class StampAges:
    """Ages of the last answered frames by the node's ROS clock; safe between threads.

    Times before and after a jump back, of that clock or of the stamps, are never in one window. An age
    that lies outside -AHEAD_NS..BEHIND_NS tells of two clocks, not of time: it is named, not averaged.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._ages_ms: deque[float] = deque(maxlen=_WINDOW_FRAMES)
        self._clock_ns: int | None = None
        self._stamp_ns: int | None = None
        self._reason = ""
        self.clock_jumps_back = 0
        self.stamp_jumps_back = 0
        self.foreign_stamps = 0

    def answered(self, stamp_ns: int, clock_ns: int) -> None:
        """A frame of `stamp_ns` was answered at `clock_ns` of the node's clock, which reads 0 before it is set."""
        with self._lock:
            if self._clock_ns is not None and clock_ns < self._clock_ns:
                self.clock_jumps_back += 1
                self._ages_ms.clear()
            if self._stamp_ns is not None and stamp_ns < self._stamp_ns:
                self.stamp_jumps_back += 1
                self._ages_ms.clear()
            self._clock_ns, self._stamp_ns = clock_ns, stamp_ns
            age_ns = clock_ns - stamp_ns
            if clock_ns == 0:
                self._reason = "no time has come on /clock yet"
            elif -AHEAD_NS <= age_ns <= BEHIND_NS:
                self._reason = ""
                self._ages_ms.append(age_ns / 1e6)
                return
            else:
                where = "behind" if age_ns > 0 else "ahead of"
                self._reason = f"stamps of another clock: {abs(age_ns) / 1e9:.1f} s {where} this node's, not averaged"
            self.foreign_stamps += 1
            self._ages_ms.clear()

    def forget(self) -> None:
        """What follows is another stream; its first stamp is no jump. The counts stay."""
        with self._lock:
            self._stamp_ns = None
            self._ages_ms.clear()
            self._reason = ""

    def ages_ms(self) -> tuple[list[float], str]:
        """Of the last frames, and why there are none where there could be."""
        with self._lock:
            return list(self._ages_ms), self._reason
