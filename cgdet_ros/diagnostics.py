"""What the node knows of itself: counts, times and the last error, and how that reads on /diagnostics."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from cgdet_core.runtime.percentiles import percentiles

OK, WARN, ERROR = 0, 1, 2
_WINDOW_FRAMES = 256  # of the times that are summed up
_MAX_ERROR_LENGTH = 300  # a message may quote what was sent, at any length


@dataclass(frozen=True)
class Status:
    """One status of /diagnostics; level: OK, WARN or ERROR."""

    level: int
    message: str
    values: dict[str, str]


@dataclass
class Counts:
    """Frames since the node started. received = refused + overtaken + answered + failed + in work."""

    received: int = 0
    refused: int = 0
    overtaken: int = 0
    answered: int = 0
    failed: int = 0


@dataclass(frozen=True)
class Outcome:
    """What became of the frames since the report before; unanswered_s: seconds since the first that has no outcome."""

    answered: int
    refused: int
    failed: int
    unanswered_s: float


@dataclass
class FrameLog:
    """Written by the subscription and the worker, read by the diagnostics timer; safe between threads."""

    counts: Counts = field(default_factory=Counts)
    last_error: str = ""
    _last_image_s: float | None = None
    _answer_ms: deque[float] = field(default_factory=lambda: deque(maxlen=_WINDOW_FRAMES))
    _stage_ms: deque[dict[str, float]] = field(default_factory=lambda: deque(maxlen=_WINDOW_FRAMES))
    _answered_before: tuple[float, int, int] | None = None
    _counts_before: Counts = field(default_factory=Counts)
    _outcome: tuple[int, int, int] = (0, 0, 0)
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
            self.counts.refused += 1
            self.last_error = reason[:_MAX_ERROR_LENGTH]
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

    def failed(self, reason: str) -> int:
        """Count it; how many failed so far."""
        with self._lock:
            self.counts.failed += 1
            self.last_error = reason[:_MAX_ERROR_LENGTH]
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
        """What is in work has been given up: nobody waits for it any more."""
        with self._lock:
            self._unanswered_since_s = None

    def outcome(self) -> Outcome:
        """Since the call before; where no frame came to an end since then, that of the call before.

        Images may come more slowly than reports: what was refused is not mended by a pause.
        """
        with self._lock:
            now, before = self.counts, self._counts_before
            changes = (now.answered - before.answered, now.refused - before.refused, now.failed - before.failed)
            if any(changes):
                self._outcome = changes
            self._counts_before = replace(now)
            since_s = self._unanswered_since_s
            return Outcome(*self._outcome, 0.0 if since_s is None else time.monotonic() - since_s)

    def values(self) -> dict[str, str]:
        """Counts, rates since the call before, and percentiles of the times of the last frames."""
        with self._lock:
            now, counts = time.monotonic(), self.counts
            values = {
                name: str(getattr(counts, name)) for name in ("received", "answered", "overtaken", "refused", "failed")
            }
            if self._answered_before is not None and now > self._answered_before[0]:
                then, received, answered = self._answered_before
                values["input_rate_hz"] = f"{(counts.received - received) / (now - then):.2f}"
                values["output_rate_hz"] = f"{(counts.answered - answered) / (now - then):.2f}"
            self._answered_before = (now, counts.received, counts.answered)
            times = {"receive_to_publish": list(self._answer_ms)}
            for stage in self._stage_ms[-1] if self._stage_ms else ():
                times[stage] = [stages[stage] for stages in self._stage_ms if stage in stages]
            last_error = self.last_error
        for name, milliseconds in times.items():
            if milliseconds:
                figures = percentiles(milliseconds)
                values[f"{name}_ms"] = ", ".join(f"{rank} {figure:.2f}" for rank, figure in figures.items())
        values["last_error"] = last_error
        return values


def describe(
    state: str,
    log: FrameLog,
    image_topic: str,
    image_publishers: int,
    enabled: bool,
    active_s: float,
    image_timeout_s: float,
    facts: Mapping[str, str],
) -> Status:
    """The node's status.

    state: of the lifecycle; active_s: seconds since it became active; facts: what is executed
    (model, device, precision); they come first.
    """
    values = {**facts, "state": state, "image_topic": image_topic, "image_publishers": str(image_publishers)}
    values.update(log.values())
    outcome = log.outcome()
    if state != "active":
        level, message = (ERROR, log.last_error) if state == "unconfigured" and log.last_error else (WARN, state)
        return Status(level, message, values)
    if not enabled:
        return Status(WARN, "paused by ~/enable", values)
    without_image_s = log.seconds_without_image()
    if without_image_s is None or without_image_s > active_s:
        heard = f"{image_publishers} publishers" if image_publishers else "nobody publishes there"
        return Status(WARN, f"no image yet on {image_topic} ({heard})", values)
    if without_image_s > image_timeout_s:
        return Status(WARN, f"no image on {image_topic} for {without_image_s:.0f} s", values)
    if outcome.refused or outcome.failed:
        lost = f"{outcome.refused} frames refused and {outcome.failed} failed since the last report"
        level = WARN if outcome.answered else ERROR
        return Status(level, f"{lost}, {outcome.answered} answered: {log.last_error}", values)
    if outcome.unanswered_s > image_timeout_s:
        return Status(ERROR, f"no frame answered for {outcome.unanswered_s:.0f} s, though images come", values)
    return Status(OK, "detecting", values)
