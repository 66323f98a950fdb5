"""What becomes of the frames: counts, rates, times, ages, oddities, the last error."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

from rclpy.clock import Clock, ClockType

from cgdet_core.errors import CgdetError
from cgdet_core.runtime.gain import Sight

# Words for rclpy's logger about trouble that repeats. By the steady clock: with the system's, which is rclpy's default,
# a clock that is set back would silence the node for as long.
STEADY_CLOCK = Clock(clock_type=ClockType.STEADY_TIME)
LOG_THROTTLE: dict[str, Any] = {"throttle_duration_sec": 5.0, "throttle_time_source_type": STEADY_CLOCK}

_WINDOW_FRAMES = 256  # of the times that are summed up
_RATE_WINDOW_S = 2.0
_MAX_ERROR_LENGTH = 300  # a message may quote what was sent, at any length
_AHEAD_NS = 50_000_000  # a stamp so far in the future is of another clock, not of a rough one
_BEHIND_NS = 10_000_000_000  # nothing that this node does takes so long


@dataclass
class Counts:
    """Frames since the node started. received = refused + overtaken + answered + failed + in work.

    Of those answered: frozen_frames, flat_frames and gain_jumps (cgdet_core.runtime.gain); resolution_changes, those
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
class Frames:
    """What a report is made of.

    changes: counts since the report before, or, where no frame came to an end since, before that one; rates_hz: of
    images and answers, over two seconds or more, None at first; times_ms: of the last frames, receive_to_publish and
    every stage of the predictor; ages_ms: from stamp to answer, no_age: why there are none; frozen_run: the last frames
    that repeat their picture; unanswered_s: since the first frame without outcome; imageless_s: since the last image.
    """

    counts: Counts
    changes: Counts
    rates_hz: tuple[float, float] | None
    times_ms: dict[str, list[float]]
    ages_ms: list[float]
    no_age: str
    frozen_run: int
    unanswered_s: float
    imageless_s: float | None
    image_kind: str
    last_error: str


class FrameLog:
    """Written by the subscription and the worker, read by the diagnostics timer; safe between threads."""

    def __init__(self) -> None:
        self.counts = Counts()
        self.last_error = self.image_kind = ""
        self._last_image_s: float | None = None
        self._unanswered_since_s: float | None = None
        self._times_ms: deque[dict[str, float]] = deque(maxlen=_WINDOW_FRAMES)
        self._ages_ms: deque[float] = deque(maxlen=_WINDOW_FRAMES)
        self._no_age = ""
        self._clock_ns: int | None = None
        self._stamp_ns: int | None = None
        self._reports: deque[tuple[float, int, int]] = deque()  # time, received, answered
        self._counts_before, self._changes = Counts(), Counts()
        self._frozen_run = 0
        self._lock = threading.Lock()

    def received(self) -> None:
        with self._lock:
            self.counts.received += 1
            self._last_image_s = time.monotonic()
            if self._unanswered_since_s is None:
                self._unanswered_since_s = self._last_image_s

    def overtaken(self) -> None:
        with self._lock:
            self.counts.overtaken += 1

    def lost(self, how: Literal["refused", "failed"], reason: str) -> int:
        """Count it; how many so far."""
        with self._lock:
            count = getattr(self.counts, how) + 1
            setattr(self.counts, how, count)
            self.last_error, self._unanswered_since_s = reason[:_MAX_ERROR_LENGTH], None
            return int(count)

    def answered(self, receive_to_publish_ms: float, stage_ms: Mapping[str, float]) -> None:
        with self._lock:
            self.counts.answered += 1
            self._unanswered_since_s = None
            self._times_ms.append({"receive_to_publish": receive_to_publish_ms, **stage_ms})

    def aged(self, stamp_ns: int, clock_ns: int) -> None:
        """The frame of `stamp_ns` was answered at `clock_ns` of the node's ROS clock, which reads 0 before it is set.

        Ages before and after a jump back, of that clock or of the stamps, are never in one window. An age that tells of
        two clocks, not of time, is named, not averaged.
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
            elif not -_AHEAD_NS <= age_ns <= _BEHIND_NS:
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

    def error(self, reason: str) -> None:
        with self._lock:
            self.last_error = reason[:_MAX_ERROR_LENGTH]

    def forget(self) -> None:
        """What follows is another stream: nobody waits for what is in work, rates, runs and ages start anew."""
        with self._lock:
            self._unanswered_since_s = self._stamp_ns = None
            self._frozen_run, self._no_age = 0, ""
            self._ages_ms.clear()
            self._reports.clear()

    def report(self) -> Frames:
        """What has become of the frames, since the call before where it is a matter of change."""
        with self._lock:
            now_s, before = time.monotonic(), asdict(self._counts_before)
            counts = self._counts_before = replace(self.counts)
            changes = Counts(**{name: count - before[name] for name, count in asdict(counts).items()})
            # images may come more slowly than reports: a refusal is not mended by a pause
            if changes.answered or changes.refused or changes.failed:
                self._changes = changes
            return Frames(
                counts=counts,
                changes=self._changes,
                rates_hz=self._rates_hz(now_s),
                times_ms={name: [each[name] for each in self._times_ms] for name in (self._times_ms or [{}])[-1]},
                ages_ms=list(self._ages_ms),
                no_age=self._no_age,
                frozen_run=self._frozen_run,
                unanswered_s=now_s - (self._unanswered_since_s or now_s),
                imageless_s=None if self._last_image_s is None else now_s - self._last_image_s,
                image_kind=self.image_kind,
                last_error=self.last_error,
            )

    def _rates_hz(self, now_s: float) -> tuple[float, float] | None:
        while len(self._reports) > 1 and now_s - self._reports[1][0] >= _RATE_WINDOW_S:
            self._reports.popleft()
        self._reports.append((now_s, self.counts.received, self.counts.answered))
        then_s, received, answered = self._reports[0]
        seconds = now_s - then_s
        if seconds <= 0:
            return None
        return (self.counts.received - received) / seconds, (self.counts.answered - answered) / seconds


def one_line(error: Exception) -> str:
    """An error for a log: the text of what was foreseen, its kind before that of what was not."""
    text = str(error) if isinstance(error, CgdetError) else f"{type(error).__name__}: {error}"
    return " ".join(text.split())
