"""A replay measured against its labels and against the same predictor offline: metrics.json and the lists beside it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cgdet_core.data.bags.truth import FrameInfo
from cgdet_core.data.sets.coco_file import CocoDraft, image_entry
from cgdet_core.evaluation.metrics.matching import above_thresholds
from cgdet_core.evaluation.metrics.metrics import EvaluatedFrame, Metrics, evaluate
from cgdet_core.evaluation.replay import SAME_BOX_PX, SAME_SCORE, OfflineAnswers, Replay, same_detections
from cgdet_core.runtime.predictor import percentiles
from cgdet_core.types import Detections


def live_steps(
    offline: Sequence[EvaluatedFrame],
    answers: Sequence[Detections | None],
    class_names: Sequence[str],
    thresholds: NDArray[np.float64],
) -> list[dict[str, Any]]:
    """From the offline figures to the live ones, one cause at a time, all over the same labelled frames; for JSON.

    offline: with what was found offline, down to the evaluation's score floor; answers: what the live detector
    published about each, None where it published nothing.

    `step`: `offline`, every frame; `thresholds`, without what lies below the live detector's (float64 [C]); `drops`,
    and nothing is found in a frame without an answer; `live`, the answers themselves. The difference between two steps
    is what their cause took. Each with map50 and map, of each class and light too. Raises InputError as `evaluate`.
    """
    empty = Detections.empty()
    published = [replace(frame, detections=above_thresholds(frame.detections, thresholds)) for frame in offline]
    pairs = list(zip(published, answers, strict=True))
    undropped = [frame if answer is not None else replace(frame, detections=empty) for frame, answer in pairs]
    answered = [replace(frame, detections=answer or empty) for frame, answer in pairs]
    chain = {"offline": offline, "thresholds": published, "drops": undropped, "live": answered}

    def two(figures: Mapping[str, Any]) -> dict[str, Any]:
        return {key: figures[key] for key in ("map50", "map")}

    steps = []
    for step, given in chain.items():
        metrics = evaluate(given, class_names)
        groups = {"per_class": metrics.per_class, "by_light": metrics.by_light}
        parts = {group: {name: two(each) for name, each in of.items()} for group, of in groups.items()}
        steps.append({"step": step, **two(vars(metrics)), **parts})
    return steps


@dataclass(frozen=True)
class MeasuredReplay:
    """answered: stamp -> the frames that have labels and an answer; metrics: over these; None without labels.

    offline: what the same predictor gives of every frame; None where it was not run. found_offline: stamp -> the
    labelled frames with it; steps: of `live_steps`; same_answers: stamp -> whether the answer is what would have been
    published offline. warnings: what makes all this less than it seems to be, a sentence each.
    """

    replay: Replay
    answered: Mapping[int, EvaluatedFrame]
    metrics: Metrics | None
    offline: OfflineAnswers | None
    found_offline: Mapping[int, EvaluatedFrame] = field(default_factory=dict)
    steps: Sequence[Mapping[str, Any]] = ()
    same_answers: Mapping[int, bool] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()


def measure_replay(
    replay: Replay, offline: OfflineAnswers | None, without_offline: str | None = None
) -> MeasuredReplay:
    """without_offline: why there is no offline run though it was asked for."""
    truth, names = replay.labels.truth, replay.class_names

    def labelled(found: Mapping[int, Detections]) -> dict[int, EvaluatedFrame]:
        """Of the frames that were sent those with labels, and something said of them."""
        frames = {}
        for frame in replay.frames:
            if (stamp_ns := frame.stamp_ns) in truth and stamp_ns in found:
                info = replay.labels.infos.get(stamp_ns, FrameInfo())
                name, size = f"{info.name or 'frame'} at {stamp_ns} ns", frame.height_width_px
                frames[stamp_ns] = EvaluatedFrame(name, found[stamp_ns], truth[stamp_ns], size, info.light)
        return frames

    answers = {frame.stamp_ns: frame.detections for frame in replay.answered if frame.detections is not None}
    answered = labelled(answers)
    metrics = evaluate(list(answered.values()), names) if _have_objects(answered.values()) else None
    warnings = _warnings(replay)
    if offline is None:
        if without_offline is not None:
            warnings.append(f"no offline run to compare with: {without_offline}")
        return MeasuredReplay(replay, answered, metrics, None, warnings=tuple(warnings))
    found_offline = labelled(offline.detections)
    steps: Sequence[Mapping[str, Any]] = ()
    if _have_objects(found_offline.values()):
        live = [answers.get(stamp_ns) for stamp_ns in found_offline]
        steps = live_steps(list(found_offline.values()), live, names, offline.thresholds)
    same_answers = {
        stamp_ns: same_detections(answer, expected, offline.thresholds)
        for stamp_ns, answer in answers.items()
        if (expected := offline.published(stamp_ns)) is not None
    }
    warnings += offline.warnings
    return MeasuredReplay(replay, answered, metrics, offline, found_offline, steps, same_answers, tuple(warnings))


def _have_objects(frames: Iterable[EvaluatedFrame]) -> bool:
    """Whether there is anything in `frames` to be found; `evaluate` refuses them where not."""
    return any((~frame.truth.ignore).any() for frame in frames)


def _warnings(replay: Replay) -> list[str]:
    """What the run itself gives to be said."""
    accounts, anomalies = replay.accounts, dict(replay.anomalies)
    lines = [] if replay.failure is None else [replay.failure]
    if replay.interrupted:
        lines.append(f"interrupted: {accounts['not_played']} of {accounts['in_bag']} frames were not played")
    lines += replay.warnings
    if repeated := anomalies.pop("repeated_stamps_in_bag", 0):
        lines.append(
            f"{repeated} of {accounts['in_bag'] - accounts['not_played']} frames were left out, as their header stamps "
            "repeat those of others: answers to them could not be told apart; let the recorder stamp every image"
        )
    if not_sendable := anomalies.pop("images_not_sendable", 0):
        lines.append(f"{not_sendable} images could not be sent, the first: {replay.not_sendable[0]}")
    labels = replay.labels.truth
    if labels and not any(frame.stamp_ns in labels for frame in replay.frames):
        lines.append(
            f"no accuracy: none of the {len(labels)} labelled stamps of {replay.truth_topic} is the header stamp of a "
            f"frame of {replay.topic} that was sent: name the topic of its labels with --truth-topic"
        )
    if not accounts["consistent"]:
        lines.append(f"bag, replay and node do not count the same frames: {accounts}")
    late_ms = percentiles(replay.late_ms)["p95"] if replay.late_ms else 0.0
    if late_ms > 500 / replay.rate_hz / replay.rate:  # half a period
        lines.append(f"this machine was too busy to publish in time (p95 {late_ms:.0f} ms late): latencies are uneven")
    lines += [f"{count} {name.replace('_', ' ')}" for name, count in anomalies.items() if count]
    if replay.node.get("last_error"):
        lines.append(f"the node's last error: {replay.node['last_error']}")
    return lines + [f"the node's log: {line}" for line in replay.node_log]


def metrics_document(measured: MeasuredReplay) -> dict[str, Any]:
    """metrics.json: what was sent and answered, how fast, by what; the same offline; and the accuracy where there are
    labels.

    frames_sent = detections_received + dropped; `frames` says what became of all.
    """
    replay, metrics = measured.replay, measured.metrics
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
        "objects_detected": sum(len(frame.detections or ()) for frame in replay.answered),
        "score_threshold": replay.threshold,
        "class_names": list(replay.class_names),
        "node": {**replay.node, "exit_code": replay.node_exit_code},
        "anomalies": dict(replay.anomalies),
        "offline": None if measured.offline is None else _offline_document(measured, measured.offline),
        "warnings": list(measured.warnings),
    }
    if metrics is not None:
        document["frames_evaluated"] = metrics.images
        # map50, map and all others of the figures are over these frames, from this score on
        over = {"frames": metrics.images, "of": len(replay.frames), "least_score": replay.threshold}
        document["accuracy_over"] = over
        model = Path(replay.node.get("model", ""))
        extra = {"params": int(replay.node["parameters"])} if "parameters" in replay.node else {}
        document |= metrics.to_json(extra | ({"model_bytes": model.stat().st_size} if model.is_file() else {}))
    return document


def _offline_document(measured: MeasuredReplay, offline: OfflineAnswers) -> dict[str, Any]:
    """The same predictor over every frame that was sent; steps: from its accuracy to the live one, all over the same
    labelled frames; answers: the node's beside it, frame by frame."""
    compared = measured.same_answers
    different = [stamp_ns for stamp_ns, same in compared.items() if not same]
    return {
        **offline.executed,
        "frames": len(offline.detections),
        "stages_ms": {stage: _percentiles(times) for stage, times in offline.stage_ms.items()},
        "labelled_frames": len(measured.found_offline),
        "steps": measured.steps,
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


def detections_draft(replay: Replay) -> CocoDraft:
    """detections.json, COCO as `cgdet detect` writes it: the frames that were answered, each with its `stamp_ns`; image
    and category ids are those of this file, which names its categories."""
    draft = CocoDraft(replay.class_names)
    for frame in replay.answered:
        draft.add_image(image_entry(str(frame.stamp_ns), frame.height_width_px, stamp_ns=frame.stamp_ns))
        draft.add_detections(frame.detections or Detections.empty())
    return draft
