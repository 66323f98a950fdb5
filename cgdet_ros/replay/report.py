"""The page of a replay: what metrics.json says, with plots and pictures."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from cgdet_core.evaluation.metrics.metrics import evaluate
from cgdet_core.evaluation.report.error_picture import LEGEND
from cgdet_core.evaluation.report.report import (
    SAMPLES_NOTE,
    WORST_TITLES,
    ComparisonPart,
    Gallery,
    KeyFigure,
    Part,
    Report,
    write_report,
)
from cgdet_core.evaluation.report.tables import NONE, fraction
from cgdet_ros.config import ReplayConfig
from cgdet_ros.replay.compare import common_frames
from cgdet_ros.replay.document import unexplained
from cgdet_ros.replay.judge import Judged
from cgdet_ros.replay.pictures import Drawn, video_rate_hz
from cgdet_ros.replay.session import Replay
from cgdet_ros.replay.timeline import latency_trace, stage_times

_COUNTS = (
    ("in_bag", "frames in the bag", "messages of the image topic, by the bag's index"),
    ("not_played", "not played", "the run ended before them"),
    ("repeated_stamps", "left out: stamp repeated", "an answer could not be told from that to another frame"),
    ("not_sendable", "left out: not an image", "could not be decoded"),
    ("answered", "answered", "detections received by the replay"),
    ("overtaken", "overtaken", "counted by the node: a newer frame came while it waited"),
    (
        "lost_before_node",
        "lost before the node",
        "sent less received: replaced by newer ones in the middleware's queues",
    ),
    ("refused", "refused", "counted by the node: malformed"),
    ("failed", "failed", "counted by the node: errors in the network or the device"),
    ("in_work", "in work", "received by the node and neither answered nor counted as lost"),
    ("lost_answers", "answers lost", "counted as answered by the node, not received by the replay"),
)


def write_replay_report(
    path: Path,
    judged: Sequence[Judged],
    documents: Sequence[Mapping[str, Any]],
    comparison: Mapping[str, Any] | None,
    drawn: Sequence[Drawn],
    differing: Sequence[Gallery] = (),
) -> None:
    """documents: metrics.json of each model; comparison: that of two; differing: pictures of both."""
    replay = judged[0].replay
    several = len(judged) > 1
    pace = "each frame after the answer to the one before" if replay.lockstep else f"{replay.rate:g} x real time"
    warnings: list[str] = []
    for letter, of_model, document, pictures in zip("AB", judged, documents, drawn, strict=False):
        lines = [*_warnings(of_model.replay, document), *pictures.warnings]
        warnings += [f"{letter}: {line}" for line in lines] if several else lines
    parts = []
    for letter, of_model, document, pictures in zip("AB", judged, documents, drawn, strict=False):
        name = f"Model {letter}: {Path(document['node'].get('model', '')).name}" if several else ""
        parts.append(_part(name, of_model, document, pictures, pace))
    report = Report(
        title="Two models, replayed through the node" if several else "Replay through the node",
        subtitle=f"{replay.topic} of {replay.bag.name}, {pace}",
        warnings=warnings,
        comparison=_comparison(judged, documents, comparison, differing) if several else None,
        parts=parts,
        commands=[_command(judged)],
    )
    write_report(path, report)


def _part(name: str, judged: Judged, document: Mapping[str, Any], drawn: Drawn, pace: str) -> Part:
    galleries = [Gallery("Frames", drawn.samples, SAMPLES_NOTE)]
    galleries += [Gallery(WORST_TITLES[kind], pictures, LEGEND) for kind, pictures in drawn.worst.items()]
    over = document.get("accuracy_over")
    return Part(
        name=name,
        key_figures=_tiles(document),
        video=drawn.video,
        counts=_counts(document["frames"]),
        latency=latency_trace(judged.replay),
        latency_note=_age_note(document),
        stages=stage_times(judged.replay, document),
        steps=document["offline"]["steps"] if document["offline"] else (),
        answers=_answers(document["offline"]),
        metrics=judged.figures,
        metrics_note=""
        if over is None
        else f"Of what the node answered: {over['frames']} labelled frames of {over['of']} sent, detections from score "
        f"{over['least_score']:g}.",
        galleries=galleries,
        facts={**_facts(judged.replay, document), "pace": pace},
    )


def _tiles(document: Mapping[str, Any]) -> list[KeyFigure]:
    frames, times, offline = document["frames"], document["latency_ms"], document["offline"]
    tiles = [KeyFigure("Answered", f"{frames['answered']} of {frames['sent']}", note=f"{document['dropped']} dropped")]
    if times is not None:
        note = f"p95 {times['p95']:.1f} ms, p99 {times['p99']:.1f} ms; publish to detections received"
        tiles.append(KeyFigure("Latency p50", f"{times['p50']:.1f}", "ms", note))
    steps = offline["steps"] if offline else []
    if steps:
        note = f"over {offline['labelled_frames']} labelled frames; offline {fraction(steps[0]['map50'])}"
        tiles.append(KeyFigure("mAP50 live", fraction(steps[-1]["map50"]), note=note))
    elif "map50" in document:
        note = f"over {document['frames_evaluated']} frames that were answered"
        tiles.append(KeyFigure("mAP50", fraction(document["map50"]), note=note))
    if offline:
        answers = offline["answers"]
        note = "of the answers are what the predictor gives offline"
        tiles.append(KeyFigure("As offline", f"{answers['same']} of {answers['compared']}", note=note))
    return tiles


def _counts(frames: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    always = ("in_bag", "answered", "overtaken", "lost_before_node")
    rows = []
    for key, name, note in _COUNTS:
        count = frames[key]
        if count is None and key in always:
            rows.append((name, NONE, "unknown: the node ended before it could say"))
        elif key in always or count:
            rows.append((name, str(count), note))
    return rows


def _age_note(document: Mapping[str, Any]) -> str:
    held = document["held_ms"]
    if held is None or document["lockstep"]:
        return ""
    return (
        f"Grey: how old the newest answer's picture was until the next one came, at most {held['p50']:.0f} ms before "
        f"half of the answers, {held['p95']:.0f} ms before 95 % of them."
    )


def _answers(offline: Mapping[str, Any] | None) -> str:
    if offline is None:
        return ""
    answers = offline["answers"]
    text = (
        f"{answers['same']} of {answers['compared']} answers hold the detections that the same predictor gives "
        f"offline, within {answers['within_box_px']:g} px and {answers['within_score']:g} of the score. Greatest "
        f"differences: {answers['greatest_box_px']:.4f} px, {answers['greatest_score']:.6f}."
    )
    if answers["different"]:
        stamps = ", ".join(str(stamp_ns) for stamp_ns in answers["different_stamps_ns"][:3])
        text += f" Different: {answers['different']}, the first at stamp {stamps} ns; frames.csv names all."
    return text


def _warnings(replay: Replay, document: Mapping[str, Any]) -> list[str]:
    lines = list(document["warnings"])
    late = document["published_late_ms"]
    if late is not None and late["p95"] > 500 / video_rate_hz(replay, ReplayConfig()) / replay.rate:
        lines.append(
            f"This machine was too busy to publish in time (p95 {late['p95']:.0f} ms late): latencies are of a "
            "stream that was not even."
        )
    lines += [f"{count} {name.replace('_', ' ')}." for name, count in unexplained(replay.run.anomalies).items()]
    if replay.run.node.get("last_error"):
        lines.append(f"The node's last error: {replay.run.node['last_error']}")
    lines += [f"The node's log: {line}" for line in replay.node_lines]
    return lines


def _facts(replay: Replay, document: Mapping[str, Any]) -> dict[str, str]:
    node = replay.run.node
    facts = {"bag": str(replay.bag), "topic": replay.topic, "labels": replay.truth_topic or "none"}
    for name in ("model", "model_sha256", "device", "precision", "backend"):
        if name in node:
            facts[name.replace("_", " ")] = node[name]
    facts["score threshold"] = f"{document['score_threshold']:g}"
    return facts


def _comparison(
    judged: Sequence[Judged],
    documents: Sequence[Mapping[str, Any]],
    comparison: Mapping[str, Any] | None,
    differing: Sequence[Gallery],
) -> ComparisonPart:
    names = [str(document["node"].get("model", "")) for document in documents]

    def row(name: str, values: Sequence[str]) -> tuple[str, str, str]:
        return name, values[0], values[1]

    table = [row("frames answered", [f"{one['frames']['answered']} of {one['frames']['sent']}" for one in documents])]
    for rank in ("p50", "p95"):
        times = [one["latency_ms"] for one in documents]
        table.append(row(f"latency {rank}, ms", [NONE if of is None else f"{of[rank]:.1f}" for of in times]))
    steps = [one["offline"]["steps"] if one["offline"] else [] for one in documents]
    if all(steps):
        table.append(row("mAP50 live", [fraction(of_model[-1]["map50"]) for of_model in steps]))
        table.append(row("mAP50 offline", [fraction(of_model[0]["map50"]) for of_model in steps]))
    metrics = None
    note = "No labels: nothing is said about accuracy."
    if comparison is not None:
        _, a, b = common_frames(judged)
        class_names = judged[0].replay.run.class_names
        metrics = evaluate(a, class_names), evaluate(b, class_names)
        note = f"Accuracy is compared over {comparison['over']}: {comparison['images']} labelled frames."
    return ComparisonPart(comparison, (names[0], names[1]), table, metrics, note, differing)


def _command(judged: Sequence[Judged]) -> str:
    replay = judged[0].replay
    words = ["cgdet-replay", "--bag", str(replay.bag), "--topic", replay.topic]
    models = [of_model.replay.run.node["model"] for of_model in judged if "model" in of_model.replay.run.node]
    if models:
        words += ["--model", *models]
    words += ["--lockstep"] if replay.lockstep else ["--rate", f"{replay.rate:g}"]
    return shlex.join([*words, *replay.options])
