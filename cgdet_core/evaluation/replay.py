"""What a replay of a bag through a live detector recorded, and what became of every frame. No ROS here."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from cgdet_core.data.bags.frames import NO_LABELS, StampedLabels, read_raw_images
from cgdet_core.data.bags.reader import TimeBy
from cgdet_core.errors import InputError
from cgdet_core.types import NANOSECONDS, Detections, ImageArray


@dataclass(frozen=True)
class ReplayedFrame:
    """One frame that was published; latency_ms (publish to detections received), detections and answer (the serialised
    Detection2DArray): None without an answer.

    bag_s: when it was recorded, by the header stamps, from the first frame on, long pauses shortened;
    sent_s: monotonic time.
    """

    stamp_ns: int
    height_width_px: tuple[int, int]
    bag_s: float
    sent_s: float
    record_time_ns: int = 0
    latency_ms: float | None = None
    detections: Detections | None = None
    answer: bytes | None = None


CAUSES = ("lost_before_node", "overtaken", "refused", "failed", "in_work", "lost_answers")


def account_for_frames(
    in_bag: int, repeated_stamps: int, not_sendable: int, sent: int, answered: int, node: Mapping[str, str]
) -> dict[str, Any]:
    """`frames` of metrics.json: each of the bag's is in exactly one of the counts but `sent` and `unanswered`.

    in_bag: messages of the image topic, by the bag's index, as many as were to be played.
    repeated_stamps, not_sendable: left out before sending; not_played: the run ended before them.
    sent = answered + unanswered. answered: an answer reached the replay.
    unanswered = the sum of CAUSES, of which the node counts all but the first and the last; None where it ended and
    could not say so any more (`node`, its own last report, is empty then).
    lost_before_node: newer ones replaced them in the middleware's queues, before the node took them;
    lost_answers: published by the node, and not received by the replay.
    consistent: whether bag, replay and node tell the same: every frame is accounted for, and once.
    """
    causes: dict[str, int | None] = dict.fromkeys(CAUSES)
    not_played = in_bag - sent - repeated_stamps - not_sendable
    counts = [not_played]
    if all(name in node for name in ("received", "refused", "overtaken", "answered", "failed")):
        lost = {name: int(node[name]) for name in ("overtaken", "refused", "failed")}
        received, published = int(node["received"]), int(node["answered"])
        of_node = {
            **lost,
            "lost_before_node": sent - received,
            "in_work": received - published - sum(lost.values()),
            "lost_answers": published - answered,
        }
        causes |= of_node
        counts += of_node.values()
    return {
        "in_bag": in_bag,
        "repeated_stamps": repeated_stamps,
        "not_sendable": not_sendable,
        "not_played": not_played,
        "sent": sent,
        "answered": answered,
        "unanswered": sent - answered,
        **causes,
        "consistent": min(counts) >= 0 and not causes["in_work"],
    }


@dataclass(frozen=True)
class Played:
    """What came of the play.

    frames: in the order sent; late_ms: how much later than its time each was published; node: what the node said of
    itself; accounts: of `account_for_frames`; anomalies: name -> count; not_sendable: images of the bag that could not
    be made a message, each with its reason. ended: why the run is cut short, the node having ended; interrupted: by
    the user.
    """

    frames: tuple[ReplayedFrame, ...]
    late_ms: tuple[float, ...]
    node: Mapping[str, str]
    accounts: Mapping[str, Any]
    anomalies: Mapping[str, int]
    not_sendable: tuple[str, ...]
    ended: str | None
    interrupted: bool


@dataclass(frozen=True)
class Replay(Played):
    """A finished replay: what was played, how, and what came of it.

    by: what counted as a frame's stamp. truth_topic: of the labels, or their COCO JSON. threshold: the lowest score
    that is published; stages_ms: the node's stages -> p50, p95, p99; node_log: the last warnings and errors of its log.
    warnings: what was noticed before the run. command: what reproduces it.
    """

    bag: Path
    topic: str
    truth_topic: str | None
    rate: float
    lockstep: bool
    class_names: tuple[str, ...]
    threshold: float
    stages_ms: Mapping[str, Mapping[str, float]] | None
    labels: StampedLabels = NO_LABELS
    by: TimeBy = "stamp"
    node_exit_code: int = 0
    node_log: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    command: str = ""

    @property
    def answered(self) -> tuple[ReplayedFrame, ...]:
        return tuple(frame for frame in self.frames if frame.detections is not None)

    @property
    def failure(self) -> str | None:
        """Why the replay is to count as failed, though it has results; None where it does not."""
        reason = self.node.get("last_error") or (self.node_log[-1] if self.node_log else "the node gave no reason")
        if self.ended is not None:
            return f"{self.ended}; {len(self.answered)} frames were answered before"
        if not self.answered:
            return f"none of the {len(self.frames)} frames was answered: {reason}"
        if self.node_exit_code != 0:
            return f"the node did not end in order (exit code {self.node_exit_code}): {reason}"
        return None

    @property
    def rate_hz(self) -> float:
        """At which the frames were recorded, by the middle one of their periods; 1 to 60, for a video."""
        steps_s = np.diff([frame.stamp_ns for frame in self.frames]) / NANOSECONDS
        steps_s = steps_s[steps_s > 0]
        return float(np.clip(1 / np.median(steps_s), 1.0, 60.0)) if len(steps_s) else 30.0

    def pictures(self, stamps_ns: Iterable[int]) -> Iterator[tuple[int, ImageArray]]:
        """Stamp and pixels of frames that were sent, read from the bag again, in its order; those that cannot be
        decoded are passed over, as the node refused them too. Of several with one stamp the first, which was sent."""
        waiting = set(stamps_ns)
        for image in read_raw_images(self.bag, self.topic, self.by):
            if image.stamp_ns in waiting:
                waiting.remove(image.stamp_ns)
                try:
                    pixels = image.decode()
                except InputError:
                    continue
                yield image.stamp_ns, pixels
            if not waiting:
                return
