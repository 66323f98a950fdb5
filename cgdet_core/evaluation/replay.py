"""What a replay of a bag through a live detector recorded, what became of every frame, and what the same detector gives
offline. No ROS here."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cgdet_core.data.bags.frames import NO_LABELS, StampedLabels, read_raw_images
from cgdet_core.data.bags.reader import TimeBy
from cgdet_core.errors import InputError
from cgdet_core.evaluation.metrics.matching import above_thresholds
from cgdet_core.types import NANOSECONDS, Detections, ImageArray

# an answer's detection is the offline one where no side of the box and not the score is further from it
SAME_BOX_PX = 0.5
SAME_SCORE = 0.01


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
class Replay:
    """A finished replay: what was played, how, and what came of it.

    by: what counted as a frame's stamp. truth_topic: of the labels, or their COCO JSON. frames: in the order sent;
    late_ms: how much later than its time each was published. node: what the node said of itself; threshold: the lowest
    score that it publishes; stages_ms: its stages -> p50, p95, p99; node_log: the last warnings and errors of its log.
    accounts: of `account_for_frames`; anomalies: name -> count; not_sendable: images of the bag that could not be made
    a message, each with its reason. ended: why the run is cut short, the node having ended; interrupted: by the user.
    warnings: what was noticed before the run. command: what reproduces it.
    """

    bag: Path
    topic: str
    truth_topic: str | None
    rate: float
    lockstep: bool
    command: str
    class_names: tuple[str, ...]
    threshold: float
    frames: tuple[ReplayedFrame, ...]
    late_ms: tuple[float, ...]
    node: Mapping[str, str]
    stages_ms: Mapping[str, Mapping[str, float]] | None
    accounts: Mapping[str, Any]
    anomalies: Mapping[str, int]
    not_sendable: tuple[str, ...]
    ended: str | None
    interrupted: bool
    labels: StampedLabels = NO_LABELS
    by: TimeBy = "stamp"
    node_exit_code: int = 0
    node_log: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()

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


@dataclass(frozen=True)
class OfflineAnswers:
    """The live detector's own network over the frames of a recording, offline.

    detections: stamp in ns -> what was found, down to the evaluation's score floor; thresholds: float64 [C], the live
    ones; stage_ms: stage -> time of every frame; executed: device, precision and backend; warnings: what makes this run
    another thing than the live one.
    """

    detections: Mapping[int, Detections]
    thresholds: NDArray[np.float64]
    stage_ms: Mapping[str, Sequence[float]]
    executed: Mapping[str, str]
    warnings: tuple[str, ...] = ()

    def published(self, stamp_ns: int) -> Detections | None:
        """What would have been published about the frame; None where it cannot be decoded."""
        found = self.detections.get(stamp_ns)
        return None if found is None else above_thresholds(found, self.thresholds)


def same_detections(a: Detections, b: Detections, thresholds: NDArray[np.float64]) -> bool:
    """Whether each detection of one list is in the other too, within the tolerance, or may have been lost to a
    threshold, being that near to it. thresholds: float64 [C], from which both were published."""
    distance_px = np.abs(a.boxes_xyxy_px[:, None] - b.boxes_xyxy_px[None]).max(axis=2, initial=0.0)
    fits = (distance_px <= SAME_BOX_PX) & (a.class_ids[:, None] == b.class_ids[None])
    fits &= np.abs(a.scores[:, None] - b.scores[None]) <= SAME_SCORE
    sure_a, sure_b = (each.scores > thresholds[each.class_ids] + SAME_SCORE for each in (a, b))
    as_many = sure_a.sum() <= len(b) and sure_b.sum() <= len(a)
    return bool(as_many and fits[sure_a].any(axis=1).all() and fits[:, sure_b].any(axis=0).all())
