"""metrics.json, detections.json and frames.csv: every figure of a replay, of which the report is drawn."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from cgdet_core.boxes import xyxy_to_xywh
from cgdet_core.runtime.percentiles import percentiles
from cgdet_ros.config import ReplayConfig
from cgdet_ros.replay.judge import Judged, count_different
from cgdet_ros.replay.run import ReplayRun
from cgdet_ros.replay.session import Replay

_NAMED_STAMPS = 20


def failure(replay: Replay) -> str | None:
    """Why the replay is to count as failed, though it has results; None where it does not."""
    run = replay.run
    last_error = run.node.get("last_error") or (replay.node_lines[-1] if replay.node_lines else "")
    reason = last_error or "the node gave no reason"
    if run.ended is not None:
        return f"{run.ended}; {len(run.answered)} frames were answered before"
    if not run.answered:
        return f"none of the {len(run.frames)} frames was answered: {reason}"
    if replay.node_exit_code != 0:
        return f"the node did not end in order (exit code {replay.node_exit_code}): {reason}"
    return None


def warnings(replay: Replay) -> list[str]:
    """What makes the results less than they seem to be; a sentence each."""
    run, accounts = replay.run, replay.run.accounts
    lines = [failed] if (failed := failure(replay)) is not None else []
    if run.interrupted:
        lines.append(f"interrupted: {accounts.not_played} of {accounts.in_bag} frames were not played")
    lines += replay.warnings
    repeated = run.anomalies.get("repeated_stamps_in_bag", 0)
    if repeated:
        total = repeated + len(run.frames) + len(run.not_sendable)
        lines.append(
            f"{repeated} of {total} frames were left out, as their header stamps repeat those of others: answers to "
            "them could not be told apart; let the recorder stamp every image"
        )
    if run.not_sendable:
        more = f" (and {len(run.not_sendable) - 1} more)" if len(run.not_sendable) > 1 else ""
        lines.append(f"{len(run.not_sendable)} images could not be sent: {run.not_sendable[0]}{more}")
    labels = replay.labels.truth
    if labels and run.frames and not any(frame.stamp_ns in labels for frame in run.frames):
        lines.append(
            f"no accuracy: none of the {len(labels)} labelled stamps of {replay.truth_topic} is the header stamp of a "
            f"frame of {replay.topic} that was sent: name the topic of its labels with --truth-topic"
        )
    if not accounts.consistent:
        lines.append(f"bag, replay and node do not count the same frames: {accounts.to_json()}")
    return lines


def latency_ms(run: ReplayRun) -> dict[str, float] | None:
    """p50, p95 and p99 of publish to detections received; None without an answer."""
    return rounded_percentiles([frame.latency_ms for frame in run.frames if frame.latency_ms is not None])


def rounded_percentiles(values: Sequence[float]) -> dict[str, float] | None:
    """p50, p95 and p99; None of nothing."""
    if not values:
        return None
    return {name: round(value, 3) for name, value in percentiles(values).items()}


def held_ms(run: ReplayRun) -> list[tuple[int, float]]:
    """For each answer but the last: the place of its frame in the run, and the age that its picture had reached when
    the next answer came, the oldest that whoever listens had to go by."""
    answered = [(i, frame) for i, frame in enumerate(run.frames) if frame.latency_ms is not None]
    answered.sort(key=lambda item: item[1].sent_s + (item[1].latency_ms or 0) / 1e3)
    held = []
    for (i, frame), (_, following) in pairwise(answered):
        next_s = following.sent_s + (following.latency_ms or 0) / 1e3
        held.append((i, (next_s - frame.sent_s) * 1e3))
    return held


def metrics_document(judged: Judged, config: ReplayConfig) -> dict[str, Any]:
    """metrics.json: what was sent and answered, how fast, by what; the same offline; and the accuracy where there are
    labels.

    frames_sent = detections_received + dropped; `frames` says what became of all.
    """
    replay, run, figures = judged.replay, judged.replay.run, judged.figures
    dropped = [frame.stamp_ns for frame in run.frames if frame.detections is None]
    sent_s = [frame.sent_s for frame in run.frames]
    document: dict[str, Any] = {
        "bag": str(replay.bag),
        "topic": replay.topic,
        "truth_topic": replay.truth_topic,
        "rate": None if replay.lockstep else replay.rate,
        "lockstep": replay.lockstep,
        "frames_sent": len(run.frames),
        "detections_received": len(run.answered),
        "dropped": len(dropped),
        "dropped_stamps_ns": dropped,
        "frames": run.accounts.to_json(),
        "interrupted": run.interrupted,
        "seconds": round(sent_s[-1] - sent_s[0], 3),
        "latency_ms": latency_ms(run),
        "held_ms": rounded_percentiles([age_ms for _, age_ms in held_ms(run)]),
        "published_late_ms": rounded_percentiles(run.late_ms),
        "stages_ms": dict(run.reports[-1].stage_ms) if run.reports else None,
        "objects_detected": sum(len(frame.detections or ()) for frame in run.answered),
        "score_threshold": run.threshold,
        "class_names": list(run.class_names),
        "node": {**run.node, "exit_code": replay.node_exit_code},
        "anomalies": run.anomalies,
        "offline": _offline_document(judged, config),
        "warnings": [*warnings(replay), *judged.warnings],
    }
    if figures is not None:
        document["frames_evaluated"] = figures.images
        # map50, map and all others of the figures are over these frames, from this score on
        document["accuracy_over"] = {
            "frames": figures.images,
            "of": len(run.frames),
            "least_score": run.threshold,
        }
        model = Path(run.node.get("model", ""))
        extra = {"params": int(run.node["parameters"])} if "parameters" in run.node else {}
        document.update(figures.to_json(extra | ({"model_bytes": model.stat().st_size} if model.is_file() else {})))
    return document


def _offline_document(judged: Judged, config: ReplayConfig) -> dict[str, Any] | None:
    """The same predictor over every frame that was sent; steps: from its accuracy to the live one, all over the same
    labelled frames; answers: the node's beside it, frame by frame."""
    offline = judged.offline
    if offline is None:
        return None
    compared = judged.agreement
    different = [stamp_ns for stamp_ns, item in compared.items() if not item.same]
    return {
        **offline.executed,
        "frames": len(offline.detections),
        "stages_ms": {stage: rounded_percentiles(times) for stage, times in offline.stage_ms.items()},
        "labelled_frames": len(judged.live),
        "steps": [step.to_json() for step in judged.steps],
        "answers": {
            "compared": len(compared),
            "same": len(compared) - count_different(judged),
            "different": count_different(judged),
            "different_stamps_ns": different[:_NAMED_STAMPS],
            "greatest_box_px": round(max((item.box_px for item in compared.values()), default=0.0), 4),
            "greatest_score": round(max((item.score for item in compared.values()), default=0.0), 6),
            "within_box_px": config.same_box_px,
            "within_score": config.same_score,
        },
    }


def detections_document(replay: Replay) -> list[dict[str, Any]]:
    """detections.json: COCO results, category_id the class's number in label_info, image_id the frame's stamp."""
    results = []
    for frame in replay.run.answered:
        assert frame.detections is not None
        boxes = xyxy_to_xywh(frame.detections.boxes_xyxy_px)
        for box, score, class_id in zip(boxes, frame.detections.scores, frame.detections.class_ids, strict=True):
            results.append(
                {
                    "image_id": frame.stamp_ns,
                    "category_id": int(class_id),
                    "bbox": [round(float(value), 2) for value in box],
                    "score": round(float(score), 5),
                }
            )
    return results


def frames_table(judged: Judged) -> str:
    """frames.csv: a line for every frame that was sent; what there is not is empty.

    bag_s: recorded, from the first frame on; sent_s: published, likewise; latency_ms: until the answer
    was there; answered, offline: how many detections; same: whether these agree, with the greatest
    differences of a side of a box and of a score.
    """
    run = judged.replay.run
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(
        (
            "stamp_ns",
            "bag_s",
            "sent_s",
            "latency_ms",
            "answered",
            "offline",
            "same",
            "box_difference_px",
            "score_difference",
        )
    )
    for frame in run.frames:
        expected = None if judged.offline is None else judged.offline.published(frame.stamp_ns)
        item = judged.agreement.get(frame.stamp_ns)
        writer.writerow(
            (
                frame.stamp_ns,
                f"{frame.bag_s:.6f}",
                f"{frame.sent_s - run.frames[0].sent_s:.6f}",
                "" if frame.latency_ms is None else f"{frame.latency_ms:.3f}",
                "" if frame.detections is None else len(frame.detections),
                "" if expected is None else len(expected),
                *(("", "", "") if item is None else (int(item.same), f"{item.box_px:.4f}", f"{item.score:.6f}")),
            )
        )
    return text.getvalue()


def unexplained(anomalies: Mapping[str, int]) -> dict[str, int]:
    """Those that happened and of which no warning speaks."""
    explained = ("repeated_stamps_in_bag", "images_not_sendable")
    return {name: count for name, count in anomalies.items() if count and name not in explained}
