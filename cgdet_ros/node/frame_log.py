"""What becomes of the frames: counts, rates, times, ages, oddities, the last error."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from rclpy.clock import Clock, ClockType

from cgdet_core.errors import CgdetError
from cgdet_core.runtime.shutter import Sight

# Words for rclpy's logger about trouble that repeats. By the steady clock: with the system's, which is rclpy's default,
# a clock that is set back would silence the node for as long.
STEADY_CLOCK = Clock(clock_type=ClockType.STEADY_TIME)
LOG_THROTTLE: dict[str, Any] = {"throttle_duration_sec": 5.0, "throttle_time_source_type": STEADY_CLOCK}

_WINDOW_FRAMES = 256  # of the times that are summed up
_RATE_WINDOW_S = 2.0
_MAX_ERROR_LENGTH = 300  # a message may quote what was sent, at any length
AHEAD_NS = 50_000_000  # a stamp so far in the future is of another clock, not of a rough one
BEHIND_NS = 10_000_000_000  # nothing that this node does takes so long


@dataclass
class Counts:
    """Frames since the node started. received = refused + overtaken + answered + failed + in work.

    Of those answered: frozen_frames, flat_frames and gain_jumps (cgdet_core.runtime.shutter); resolution_changes, those
    of another size or encoding than the one before; stamps and clocks that went back; foreign_stamps, of another clock.
    """

    received: int = 0
    refused: int = 0
    overtaken: int = 0
    answered: int = 0
    failed: int = 0
    frozen_frames: int = 0
    flat_frames: int = 0
    gain_jumps: int = 0
    resolution_changes: int = 0
    clock_jumps_back: int = 0
    stamp_jumps_back: int = 0
    foreign_stamps: int = 0


@dataclass(frozen=True)
class Outcome:
    """What became of the frames since the report before, or, where none came to an end since, before that one.

    frozen_run: the last frames that repeat their picture; unanswered_s: seconds since the first frame without outcome.
    """

    changes: Counts
    frozen_run: int
    unanswered_s: float


@dataclass
class FrameLog:
    """Written by the subscription and the worker, read by the diagnostics timer; safe between threads."""

    counts: Counts = field(default_factory=Counts)
    last_error: str = ""
    image_kind: str = ""
    _last_image_s: float | None = None
    _unanswered_since_s: float | None = None
    _answer_ms: deque[float] = field(default_factory=lambda: deque(maxlen=_WINDOW_FRAMES))
    _stage_ms: deque[dict[str, float]] = field(default_factory=lambda: deque(maxlen=_WINDOW_FRAMES))
    _ages_ms: deque[float] = field(default_factory=lambda: deque(maxlen=_WINDOW_FRAMES))
    _no_age: str = ""
    _clock_ns: int | None = None
    _stamp_ns: int | None = None
    _reports: deque[tuple[float, int, int]] = field(default_factory=deque)
    _counts_before: Counts = field(default_factory=Counts)
    _changes: Counts = field(default_factory=Counts)
    _frozen_run: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    # of a frame

    def received(self) -> None:
        with self._lock:
            self.counts.received += 1
            self._last_image_s = time.monotonic()
            if self._unanswered_since_s is None:
                self._unanswered_since_s = self._last_image_s

    def overtaken(self) -> None:
        with self._lock:
            self.counts.overtaken += 1

    def refused(self, reason: str) -> int:
        """Count it; how many were refused so far."""
        with self._lock:
            self.counts.refused += 1
            self.last_error, self._unanswered_since_s = reason[:_MAX_ERROR_LENGTH], None
            return self.counts.refused

    def failed(self, reason: str) -> int:
        """Count it; how many failed so far."""
        with self._lock:
            self.counts.failed += 1
            self.last_error, self._unanswered_since_s = reason[:_MAX_ERROR_LENGTH], None
            return self.counts.failed

    def answered(self, receive_to_publish_ms: float, stage_ms: Mapping[str, float]) -> None:
        with self._lock:
            self.counts.answered += 1
            self._unanswered_since_s = None
            self._answer_ms.append(receive_to_publish_ms)
            self._stage_ms.append(dict(stage_ms))

    def aged(self, stamp_ns: int, clock_ns: int) -> None:
        """The frame of `stamp_ns` was answered at `clock_ns` of the node's ROS clock, which reads 0 before it is set.

        Ages before and after a jump back, of that clock or of the stamps, are never in one window. An age outside
        -AHEAD_NS..BEHIND_NS tells of two clocks, not of time: it is named, not averaged.
        """
        with self._lock:
            clock_back = self._clock_ns is not None and clock_ns < self._clock_ns
            stamp_back = self._stamp_ns is not None and stamp_ns < self._stamp_ns
            self._clock_ns, self._stamp_ns, age_ns = clock_ns, stamp_ns, clock_ns - stamp_ns
            self.counts.clock_jumps_back += clock_back
            self.counts.stamp_jumps_back += stamp_back
            self._no_age = ""
            if clock_ns == 0:
                self._no_age = "no time has come on /clock yet"
            elif not -AHEAD_NS <= age_ns <= BEHIND_NS:
                where = "behind" if age_ns > 0 else "ahead of"
                self._no_age = f"stamps of another clock: {abs(age_ns) / 1e9:.1f} s {where} this node's, not averaged"
            if clock_back or stamp_back or self._no_age:
                self._ages_ms.clear()
            if self._no_age:
                self.counts.foreign_stamps += 1
            else:
                self._ages_ms.append(age_ns / 1e6)

    def seen(self, sight: Sight, image_kind: str) -> str | None:
        """What is odd about an answered frame; the kind of image before, where it is another now."""
        with self._lock:
            self.counts.frozen_frames += sight.frozen
            self.counts.flat_frames += sight.flat
            self.counts.gain_jumps += sight.gain_jump
            self._frozen_run = self._frozen_run + 1 if sight.frozen else 0
            before, self.image_kind = self.image_kind, image_kind
            if before in ("", image_kind):
                return None
            self.counts.resolution_changes += 1
            return before

    # of the stream

    def error(self, reason: str) -> None:
        with self._lock:
            self.last_error = reason[:_MAX_ERROR_LENGTH]

    def forget(self) -> None:
        """What follows is another stream: nobody waits for what is in work, rates, runs and ages start anew."""
        with self._lock:
            self._unanswered_since_s = self._stamp_ns = None
            self._frozen_run = 0
            self._no_age = ""
            self._ages_ms.clear()
            self._reports.clear()

    # for the report

    def seconds_without_image(self) -> float | None:
        """None where there never was one."""
        with self._lock:
            return None if self._last_image_s is None else time.monotonic() - self._last_image_s

    def outcome(self) -> Outcome:
        """Since the call before. Images may come more slowly than reports: a refusal is not mended by a pause."""
        with self._lock:
            now, before = asdict(self.counts), asdict(self._counts_before)
            changes = Counts(**{name: count - before[name] for name, count in now.items()})
            if changes.answered or changes.refused or changes.failed:
                self._changes = changes
            self._counts_before = replace(self.counts)
            since_s = self._unanswered_since_s
            return Outcome(self._changes, self._frozen_run, 0.0 if since_s is None else time.monotonic() - since_s)

    def rates_hz(self) -> tuple[float, float] | None:
        """Images and answers a second over the calls of the last seconds; None at the first, also after `forget`."""
        with self._lock:
            now = (time.monotonic(), self.counts.received, self.counts.answered)
            while len(self._reports) > 1 and now[0] - self._reports[1][0] >= _RATE_WINDOW_S:
                self._reports.popleft()
            self._reports.append(now)
            then = self._reports[0]
            seconds = now[0] - then[0]
            return ((now[1] - then[1]) / seconds, (now[2] - then[2]) / seconds) if seconds > 0 else None

    def times_ms(self) -> dict[str, list[float]]:
        """Of the last frames: receive_to_publish, and every stage of the predictor."""
        with self._lock:
            times = {"receive_to_publish": list(self._answer_ms)}
            for stage in self._stage_ms[-1] if self._stage_ms else ():
                times[stage] = [stages[stage] for stages in self._stage_ms if stage in stages]
            return times

    def ages_ms(self) -> tuple[list[float], str]:
        """From stamp to answer of the last frames, and why there are none where there could be."""
        with self._lock:
            return list(self._ages_ms), self._no_age


def one_line(error: Exception) -> str:
    """An error for a log: the text of what was foreseen, its kind before that of what was not."""
    text = str(error) if isinstance(error, CgdetError) else f"{type(error).__name__}: {error}"
    return " ".join(text.split())
