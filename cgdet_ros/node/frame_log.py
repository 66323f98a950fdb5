"""What becomes of the frames: counts, rates, times, oddities, the last error."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace

from cgdet_core.runtime.shutter import Sight

_WINDOW_FRAMES = 256  # of the times that are summed up
_RATE_WINDOW_S = 2.0
_MAX_ERROR_LENGTH = 300  # a message may quote what was sent, at any length


@dataclass
class Counts:
    """Frames since the node started. received = refused + overtaken + answered + failed + in work.

    Of those answered: frozen_frames, flat_frames and gain_jumps (cgdet_core.runtime.shutter), and
    resolution_changes, those of another size or encoding than the one before.
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


@dataclass(frozen=True)
class Outcome:
    """What became of the frames since the report before, or, where none came to an end since, before that one.

    unanswered_s: seconds since the first frame that has no outcome; frozen_run: the last frames that
    repeat their picture.
    """

    received: int
    answered: int
    overtaken: int
    refused: int
    failed: int
    flat: int
    gain_jumps: int
    frozen_run: int
    unanswered_s: float


@dataclass(frozen=True)
class Rates:
    """Frames per second over the last seconds."""

    input_hz: float
    output_hz: float


@dataclass
class FrameLog:
    """Written by the subscription and the worker, read by the diagnostics timer; safe between threads."""

    counts: Counts = field(default_factory=Counts)
    last_error: str = ""
    image_kind: str = ""
    _last_image_s: float | None = None
    _answer_ms: deque[float] = field(default_factory=lambda: deque(maxlen=_WINDOW_FRAMES))
    _stage_ms: deque[dict[str, float]] = field(default_factory=lambda: deque(maxlen=_WINDOW_FRAMES))
    _reports: deque[tuple[float, int, int]] = field(default_factory=deque)
    _counts_before: Counts = field(default_factory=Counts)
    _changes: Counts = field(default_factory=Counts)
    _frozen_run: int = 0
    _unanswered_since_s: float | None = None
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def received(self) -> None:
        with self._lock:
            self.counts.received += 1
            self._last_image_s = time.monotonic()
            if self._unanswered_since_s is None:
                self._unanswered_since_s = self._last_image_s

    def refused(self, reason: str) -> int:
        """Count it; how many were refused so far."""
        with self._lock:
            self.last_error = reason[:_MAX_ERROR_LENGTH]
            self.counts.refused += 1
            self._unanswered_since_s = None
            return self.counts.refused

    def overtaken(self) -> None:
        with self._lock:
            self.counts.overtaken += 1

    def answered(self, receive_to_publish_ms: float, stage_ms: Mapping[str, float]) -> None:
        with self._lock:
            self.counts.answered += 1
            self._unanswered_since_s = None
            self._answer_ms.append(receive_to_publish_ms)
            self._stage_ms.append(dict(stage_ms))

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

    def failed(self, reason: str) -> int:
        """Count it; how many failed so far."""
        with self._lock:
            self.last_error = reason[:_MAX_ERROR_LENGTH]
            self.counts.failed += 1
            self._unanswered_since_s = None
            return self.counts.failed

    def error(self, reason: str) -> None:
        with self._lock:
            self.last_error = reason[:_MAX_ERROR_LENGTH]

    def seconds_without_image(self) -> float | None:
        """None where there never was one."""
        with self._lock:
            return None if self._last_image_s is None else time.monotonic() - self._last_image_s

    def forget(self) -> None:
        """The stream is cut: nobody waits for what is in work, and rates and runs start anew."""
        with self._lock:
            self._unanswered_since_s = None
            self._frozen_run = 0
            self._reports.clear()

    def outcome(self) -> Outcome:
        """Since the call before. Images may come more slowly than reports: a refusal is not mended by a pause."""
        with self._lock:
            now, before = self.counts, self._counts_before
            changes = Counts(*(getattr(now, item.name) - getattr(before, item.name) for item in fields(Counts)))
            if changes.answered or changes.refused or changes.failed:
                self._changes = changes
            self._counts_before = replace(now)
            since_s = self._unanswered_since_s
            last = self._changes
            return Outcome(
                last.received,
                last.answered,
                last.overtaken,
                last.refused,
                last.failed,
                last.flat_frames,
                last.gain_jumps,
                self._frozen_run,
                0.0 if since_s is None else time.monotonic() - since_s,
            )

    def rates(self) -> Rates | None:
        """Over the calls of the last seconds; None at the first, and at the first after `forget`."""
        with self._lock:
            now = (time.monotonic(), self.counts.received, self.counts.answered)
            while len(self._reports) > 1 and now[0] - self._reports[1][0] >= _RATE_WINDOW_S:
                self._reports.popleft()
            self._reports.append(now)
            then = self._reports[0]
            if now[0] <= then[0]:
                return None
            return Rates((now[1] - then[1]) / (now[0] - then[0]), (now[2] - then[2]) / (now[0] - then[0]))

    def times_ms(self) -> dict[str, list[float]]:
        """Of the last frames: receive_to_publish, and every stage of the predictor."""
        with self._lock:
            times = {"receive_to_publish": list(self._answer_ms)}
            for stage in self._stage_ms[-1] if self._stage_ms else ():
                times[stage] = [stages[stage] for stages in self._stage_ms if stage in stages]
            return times

    def totals(self) -> dict[str, str]:
        """The counts, as text."""
        with self._lock:
            return {item.name: str(getattr(self.counts, item.name)) for item in fields(Counts)}
