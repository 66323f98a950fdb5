"""What a replay writes: metrics.json, detections.json, annotated.webm and report.html.

The bag is read a second time for the pictures, so that drawing takes nothing from the run.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cgdet_core.boxes import xyxy_to_xywh
from cgdet_core.config import ReplayConfig
from cgdet_core.data.bags import BagReader, FrameInfo, read_frame_info, read_truth
from cgdet_core.evaluation.metrics import EvaluatedFrame, Metrics, evaluate
from cgdet_core.evaluation.report import fraction
from cgdet_core.evaluation.worst import worst_frames
from cgdet_core.files import write_text
from cgdet_core.runtime.percentiles import percentiles
from cgdet_core.types import GroundTruth
from cgdet_ros.replay_output import RESULT_NAMES, VIDEO_NAME, results_folder
from cgdet_ros.replay_run import ReplayRun


@dataclass(frozen=True)
class Labels:
    """Stamp in ns -> what the bag knows of the frame."""

    truth: Mapping[int, GroundTruth]
    infos: Mapping[int, FrameInfo]


@dataclass(frozen=True)
class Replay:
    """A finished replay: what was played, how, and what came of it.

    warnings: what was noticed before the run; node_lines: the last warnings and errors of the node's
    log; options: further words of the command.
    """

    bag: Path
    topic: str
    truth_topic: str | None
    rate: float
    lockstep: bool
    run: ReplayRun
    labels: Labels
    node_exit_code: int
    warnings: tuple[str, ...] = ()
    node_lines: tuple[str, ...] = ()
    options: tuple[str, ...] = ()


def read_labels(
    bag_path: Path, truth_topic: str | None, class_names: tuple[str, ...], class_map: Mapping[str, str]
) -> Labels:
    """All labels of the bag; none without a topic. InputError for labels that are none, or of other classes."""
    if truth_topic is None:
        return Labels({}, {})
    with BagReader(bag_path) as bag:
        return Labels(read_truth(bag, truth_topic, class_names, class_map), read_frame_info(bag, truth_topic))


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
    run = replay.run
    lines = [failed] if (failed := failure(replay)) is not None else []
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
    return lines


def evaluated_frames(replay: Replay) -> list[EvaluatedFrame]:
    """The frames that were answered and are labelled, in the order sent."""
    frames = []
    for frame in replay.run.answered:
        truth = replay.labels.truth.get(frame.stamp_ns)
        if truth is not None and frame.detections is not None:
            info = replay.labels.infos.get(frame.stamp_ns, FrameInfo())
            name = f"{info.name or 'frame'} at {frame.stamp_ns} ns"
            frames.append(EvaluatedFrame(name, frame.detections, truth, frame.height_width_px, info.light))
    return frames


def accuracy(frames: list[EvaluatedFrame], class_names: tuple[str, ...]) -> Metrics | None:
    """The figures over `frames`; None where there is nothing in them to be found, which `evaluate` refuses."""
    if not any((~frame.truth.ignore).any() for frame in frames):
        return None
    return evaluate(frames, class_names)


def latency_ms(run: ReplayRun) -> dict[str, float] | None:
    """p50, p95 and p99 of publish to detections received; None without an answer."""
    times = [frame.latency_ms for frame in run.frames if frame.latency_ms is not None]
    return _rounded_percentiles(times)


def _rounded_percentiles(values: Sequence[float]) -> dict[str, float] | None:
    """p50, p95 and p99; None of nothing."""
    if not values:
        return None
    return {name: round(value, 3) for name, value in percentiles(values).items()}


def metrics_document(replay: Replay, figures: Metrics | None) -> dict[str, Any]:
    """metrics.json: what was sent and answered, how fast, by what; and the accuracy where there are labels.

    frames_sent = detections_received + dropped.
    """
    run = replay.run
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
        "seconds": round(sent_s[-1] - sent_s[0], 3),
        "latency_ms": latency_ms(run),
        "published_late_ms": _rounded_percentiles(run.late_ms),
        "objects_detected": sum(len(frame.detections or ()) for frame in run.answered),
        "score_threshold": run.threshold,
        "class_names": list(run.class_names),
        "node": {**run.node, "exit_code": replay.node_exit_code},
        "anomalies": run.anomalies,
        "warnings": warnings(replay),
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


def write_results(out: Path, replay: Replay, config: ReplayConfig, with_video: bool) -> str:
    """Write everything into `out`, in place of the results that were there; the summary for a person."""
    from cgdet_ros.replay_report import draw_frames, write_replay_report

    frames = evaluated_frames(replay)
    figures = accuracy(frames, replay.run.class_names)
    document = metrics_document(replay, figures)
    worst = worst_frames(frames, config.sample_frames, replay.run.class_names)
    labelled = [frame for frame in replay.run.answered if frame.stamp_ns in replay.labels.truth]
    captions = {labelled[errors.index].stamp_ns: errors.caption for errors in worst}
    with results_folder(out) as folder:
        drawn = draw_frames(folder / VIDEO_NAME if with_video else None, replay, config, captions)
        write_text(folder / "detections.json", json.dumps(detections_document(replay)) + "\n")
        write_replay_report(folder / "report.html", replay, document, figures, drawn)
        write_text(folder / "metrics.json", json.dumps(document, indent=2) + "\n")
    names = [name for name in reversed(RESULT_NAMES) if (out / name).exists()]
    return summary(document, replay.node_lines) + "".join(f"\n  {out / name}" for name in names)


def summary(document: Mapping[str, Any], node_lines: Sequence[str] = ()) -> str:
    """A few lines."""
    times = document["latency_ms"]
    lines = [
        f"{document['frames_sent']} frames sent, {document['detections_received']} answered, "
        f"{document['dropped']} dropped; {document['objects_detected']} objects detected"
    ]
    if times is not None:
        lines.append(f"publish to detections received: p50 {times['p50']} ms, p95 {times['p95']}, p99 {times['p99']}")
    node = document["node"]
    lines.append(f"node: {node.get('model')} on {node.get('device')}, {node.get('precision')}")
    if "map50" in document:
        lines.append(
            f"mAP50 {fraction(document['map50'])}, mAP {fraction(document['map'])} over the "
            f"{document['frames_evaluated']} labelled frames that were answered, of {document['frames_sent']} sent, "
            f"at score >= {document['score_threshold']}"
        )
    else:
        lines.append("no labels to measure accuracy against")
    odd = {name.replace("_", " "): count for name, count in unexplained(document["anomalies"]).items()}
    if odd:
        lines.append("odd: " + ", ".join(f"{count} {name}" for name, count in odd.items()))
    lines += [f"warning: {warning}" for warning in document["warnings"]]
    lines += [f"node: {line}" for line in node_lines]
    return "\n".join(lines)


def unexplained(anomalies: Mapping[str, int]) -> dict[str, int]:
    """Those that happened and of which no warning speaks."""
    explained = ("repeated_stamps_in_bag", "images_not_sendable")
    return {name: count for name, count in anomalies.items() if count and name not in explained}
