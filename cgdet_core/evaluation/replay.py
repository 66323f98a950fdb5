"""A replay of a bag through a live detector: what it recorded, what became of every frame, and how that measures up to
the labels and to the same detector offline. No ROS here."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cgdet_core.data.bags.frames import NO_LABELS, StampedLabels, read_raw_images
from cgdet_core.data.bags.messages import TimeBy
from cgdet_core.data.bags.truth import FrameInfo
from cgdet_core.errors import InputError
from cgdet_core.evaluation.metrics.matching import EvaluatedFrame, above_thresholds
from cgdet_core.evaluation.metrics.metrics import Metrics, evaluate
from cgdet_core.runtime.predictor import percentiles
from cgdet_core.types import NANOSECONDS, Detections, ImageArray

# an answer's detection is the offline one where no side of the box and not the score is further from it
SAME_BOX_PX = 0.5
SAME_SCORE = 0.01


@dataclass(frozen=True)
class ReplayedFrame:
    """One frame that was published; latency_ms (publish to detections received), detections and answer (the serialised
    Detection2DArray): None without an answer. bag_s: of its stamp, from the first frame on, long pauses shortened."""

    stamp_ns: int
    height_width_px: tuple[int, int]
    bag_s: float
    sent_s: float
    record_time_ns: int = 0
    latency_ms: float | None = None
    detections: Detections | None = None
    answer: bytes | None = None


CAUSES = ("lost_before_node", "overtaken", "refused", "failed", "in_work", "lost_answers")


@dataclass(frozen=True)
class Replay:
    """A finished replay: what was played, how, and what came of it.

    truth_topic: of the labels, or their COCO JSON. in_bag: messages of the image topic, as many as were to be played;
    of these left out: repeated_stamps, and not_sendable, a reason for each. frames: in the order sent; late_ms: how
    much later than its time each was published. node: what the node said of itself, node_is_final: after all of them;
    threshold: the lowest score that it publishes; stages_ms: its stages -> p50, p95, p99; node_log: the last warnings
    and errors of its log. anomalies: name -> count. ended: why the node cut the run short. warnings: of before the run.
    """

    bag: Path
    topic: str
    rate: float
    lockstep: bool
    command: str
    class_names: tuple[str, ...]
    threshold: float
    in_bag: int
    repeated_stamps: int
    not_sendable: tuple[str, ...]
    frames: tuple[ReplayedFrame, ...]
    late_ms: tuple[float, ...]
    node: Mapping[str, str]
    node_is_final: bool
    stages_ms: Mapping[str, Mapping[str, float]] | None
    anomalies: Mapping[str, int]
    ended: str | None
    interrupted: bool
    truth_topic: str | None = None
    labels: StampedLabels = NO_LABELS
    by: TimeBy = "stamp"
    node_exit_code: int = 0
    node_log: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()

    @property
    def answered(self) -> tuple[ReplayedFrame, ...]:
        return tuple(frame for frame in self.frames if frame.detections is not None)

    @cached_property
    def accounts(self) -> dict[str, Any]:
        """`frames` of metrics.json: each of the bag's is in exactly one of the counts but `sent` and `unanswered`.

        not_played: the run ended before them. sent = answered + unanswered; unanswered = the sum of CAUSES, None where
        the node left no last report. lost_before_node: newer ones replaced them in the middleware's queues;
        lost_answers: published by the node, not received by the replay. consistent: whether all three tell the same.
        """
        sent, answered, not_sendable = len(self.frames), len(self.answered), len(self.not_sendable)
        not_played = self.in_bag - sent - self.repeated_stamps - not_sendable
        causes: dict[str, int | None] = dict.fromkeys(CAUSES)
        names = ("received", "overtaken", "refused", "failed", "answered")
        if self.node_is_final and all(name in self.node for name in names):
            received, overtaken, refused, failed, published = (int(self.node[name]) for name in names)
            in_work = received - overtaken - refused - failed - published
            counts = sent - received, overtaken, refused, failed, in_work, published - answered
            causes = dict(zip(CAUSES, counts, strict=True))
        return {
            "in_bag": self.in_bag,
            "repeated_stamps": self.repeated_stamps,
            "not_sendable": not_sendable,
            "not_played": not_played,
            "sent": sent,
            "answered": answered,
            "unanswered": sent - answered,
            **causes,
            "consistent": min(not_played, *(count or 0 for count in causes.values())) >= 0 and not causes["in_work"],
        }

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
    """The live detector's own network over the frames, offline: stamp in ns -> what was found, down to the evaluation's
    score floor. thresholds: float64 [C], the live ones; stage_ms: stage -> time of every frame; executed: as live."""

    detections: Mapping[int, Detections]
    thresholds: NDArray[np.float64]
    stage_ms: Mapping[str, Sequence[float]]
    executed: Mapping[str, str]


def same_detections(a: Detections, b: Detections, thresholds: NDArray[np.float64]) -> bool:
    """Whether each detection of one list is in the other too, within the tolerance, or may have been lost to a
    threshold, being that near to it. thresholds: float64 [C], from which both were published."""
    distance_px = np.abs(a.boxes_xyxy_px[:, None] - b.boxes_xyxy_px[None]).max(axis=2, initial=0.0)
    fits = (distance_px <= SAME_BOX_PX) & (a.class_ids[:, None] == b.class_ids[None])
    fits &= np.abs(a.scores[:, None] - b.scores[None]) <= SAME_SCORE
    sure_a, sure_b = (each.scores > thresholds[each.class_ids] + SAME_SCORE for each in (a, b))
    as_many = sure_a.sum() <= len(b) and sure_b.sum() <= len(a)
    return bool(as_many and fits[sure_a].any(axis=1).all() and fits[:, sure_b].any(axis=0).all())


def live_steps(
    offline: Sequence[EvaluatedFrame],
    answers: Sequence[Detections | None],
    class_names: Sequence[str],
    thresholds: NDArray[np.float64],
) -> list[dict[str, Any]]:
    """From the offline figures to the live ones, one cause at a time, all over the same labelled frames; for JSON.

    offline: with what was found down to the evaluation's score floor; answers: what the live detector published about
    each, None where it published nothing. `step`: `offline`, every frame; `thresholds`, without what lies below the
    live detector's (float64 [C]); `drops`, and nothing is found in a frame without an answer; `live`, the answers
    themselves. Each with map50 and map, of each class and light too. Raises InputError as `evaluate`.
    """
    published = [above_thresholds(frame.detections, thresholds) for frame in offline]
    pairs, empty = list(zip(published, answers, strict=True)), Detections.empty()
    chain = {
        "offline": [frame.detections for frame in offline],
        "thresholds": published,
        "drops": [found if answer is not None else empty for found, answer in pairs],
        "live": [answer or empty for _, answer in pairs],
    }

    def two(figures: Mapping[str, Any]) -> dict[str, Any]:
        return {key: figures[key] for key in ("map50", "map")}

    steps = []
    for step, found in chain.items():
        frames = [replace(frame, detections=each) for frame, each in zip(offline, found, strict=True)]
        metrics = evaluate(frames, class_names)
        groups = {"per_class": metrics.per_class, "by_light": metrics.by_light}
        parts = {group: {name: two(each) for name, each in of.items()} for group, of in groups.items()}
        steps.append({"step": step, **two(vars(metrics)), **parts})
    return steps


@dataclass(frozen=True)
class MeasuredReplay:
    """answered: stamp -> frame with labels and an answer; metrics: over these, or None; document: metrics.json."""

    replay: Replay
    answered: Mapping[int, EvaluatedFrame]
    metrics: Metrics | None
    document: Mapping[str, Any]


def measure_replay(
    replay: Replay, offline: OfflineAnswers | None, without_offline: str | None = None
) -> MeasuredReplay:
    """What was sent and answered, how fast, by what; the same offline; and the accuracy where there are labels, over
    the `frames_evaluated`. without_offline: why there is no offline run though it was asked for."""
    answers = {frame.stamp_ns: frame.detections for frame in replay.answered if frame.detections is not None}
    answered = _labelled(replay, answers)
    metrics = None
    if _have_objects(answered.values()):
        metrics = evaluate(list(answered.values()), replay.class_names)
    warnings = _warnings(replay)
    if offline is None and without_offline is not None:
        warnings.append(f"no offline run to compare with: {without_offline}")
    dropped = [frame.stamp_ns for frame in replay.frames if frame.detections is None]
    document: dict[str, Any] = {
        "bag": str(replay.bag),
        "topic": replay.topic,
        "truth_topic": replay.truth_topic,
        "rate": None if replay.lockstep else replay.rate,
        "lockstep": replay.lockstep,
        "frames_sent": len(replay.frames),
        "detections_received": len(replay.answered),
        "dropped": len(dropped),
        "dropped_stamps_ns": dropped,
        "frames": replay.accounts,
        "interrupted": replay.interrupted,
        "seconds": round(replay.frames[-1].sent_s - replay.frames[0].sent_s, 3),
        "latency_ms": _percentiles([frame.latency_ms or 0.0 for frame in replay.answered]),
        "published_late_ms": _percentiles(replay.late_ms),
        "stages_ms": replay.stages_ms,
        "score_threshold": replay.threshold,
        "class_names": list(replay.class_names),
        "node": {**replay.node, "exit_code": replay.node_exit_code},
        "anomalies": dict(replay.anomalies),
        "offline": None if offline is None else _beside_offline(replay, answers, offline),
        "warnings": warnings,
    }
    if metrics is not None:
        document["frames_evaluated"] = metrics.images
        model = Path(replay.node.get("model", ""))
        extra = {"params": int(replay.node["parameters"])} if "parameters" in replay.node else {}
        document |= metrics.to_json(extra | ({"model_bytes": model.stat().st_size} if model.is_file() else {}))
    return MeasuredReplay(replay, answered, metrics, document)


def _labelled(replay: Replay, found: Mapping[int, Detections]) -> dict[int, EvaluatedFrame]:
    """Of the frames that were sent those with labels, and something said of them."""
    frames = {}
    for frame in replay.frames:
        if (stamp_ns := frame.stamp_ns) in replay.labels.truth and stamp_ns in found:
            info = replay.labels.infos.get(stamp_ns, FrameInfo())
            name, truth = f"{info.name or 'frame'} at {stamp_ns} ns", replay.labels.truth[stamp_ns]
            frames[stamp_ns] = EvaluatedFrame(name, found[stamp_ns], truth, frame.height_width_px, info.light)
    return frames


def _beside_offline(replay: Replay, answers: Mapping[int, Detections], offline: OfflineAnswers) -> dict[str, Any]:
    """The same predictor over every frame that was sent; steps: from its accuracy to the live one, all over the same
    labelled frames; answers: the node's beside it, frame by frame."""
    found = _labelled(replay, offline.detections)
    steps: list[dict[str, Any]] = []
    if _have_objects(found.values()):
        live = [answers.get(stamp_ns) for stamp_ns in found]
        steps = live_steps(list(found.values()), live, replay.class_names, offline.thresholds)
    compared = {
        stamp_ns: same_detections(answer, above_thresholds(expected, offline.thresholds), offline.thresholds)
        for stamp_ns, answer in answers.items()
        if (expected := offline.detections.get(stamp_ns)) is not None
    }
    different = [stamp_ns for stamp_ns, same in compared.items() if not same]
    return {
        **offline.executed,
        "frames": len(offline.detections),
        "stages_ms": {stage: _percentiles(times) for stage, times in offline.stage_ms.items()},
        "labelled_frames": len(found),
        "steps": steps,
        "answers": {
            "compared": len(compared),
            "same": len(compared) - len(different),
            "different": len(different),
            "different_stamps_ns": different,
            "within_box_px": SAME_BOX_PX,
            "within_score": SAME_SCORE,
        },
    }


def _percentiles(values: Sequence[float]) -> dict[str, float] | None:
    """p50, p95 and p99; None of nothing."""
    return {name: round(value, 3) for name, value in percentiles(values).items()} if values else None


def _have_objects(frames: Iterable[EvaluatedFrame]) -> bool:
    """Whether there is anything in `frames` to be found; `evaluate` refuses them where not."""
    return any((~frame.truth.ignore).any() for frame in frames)


def _warnings(replay: Replay) -> list[str]:
    """What the run itself gives to be said."""
    accounts = replay.accounts
    lines = [] if replay.failure is None else [replay.failure]
    if replay.interrupted:
        lines.append(f"interrupted: {accounts['not_played']} of {accounts['in_bag']} frames were not played")
    lines += replay.warnings
    if replay.repeated_stamps:
        of_played = f"{replay.repeated_stamps} of {accounts['in_bag'] - accounts['not_played']} frames"
        lines.append(f"{of_played} were left out, as their header stamps repeat those of others: stamp every image")
    if replay.not_sendable:
        lines.append(f"{accounts['not_sendable']} images could not be sent, the first: {replay.not_sendable[0]}")
    labels = replay.labels.truth
    if labels and not any(frame.stamp_ns in labels for frame in replay.frames):
        none_of = f"none of the {len(labels)} labelled stamps of {replay.truth_topic} is that of a frame that was sent"
        lines.append(f"no accuracy: {none_of}: name the topic of its labels with --truth-topic")
    if not accounts["consistent"]:
        lines.append(f"bag, replay and node do not count the same frames: {accounts}")
    late_ms = percentiles(replay.late_ms)["p95"] if replay.late_ms else 0.0
    if late_ms > 500 / replay.rate_hz / replay.rate:  # half a period
        lines.append(f"this machine was too busy to publish in time (p95 {late_ms:.0f} ms late): latencies are uneven")
    lines += [f"{count} {name.replace('_', ' ')}" for name, count in replay.anomalies.items() if count]
    if replay.node.get("last_error"):
        lines.append(f"the node's last error: {replay.node['last_error']}")
    return lines + [f"the node's log: {line}" for line in replay.node_log]
