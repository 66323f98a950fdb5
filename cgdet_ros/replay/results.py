"""What a replay writes, all at once: figures, detections, pictures and the report.

The bag is read again for the offline run and for the pictures, so that neither takes anything from the run.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from cgdet_core.evaluation.report.tables import fraction
from cgdet_core.files import write_text
from cgdet_ros.config import ReplayConfig
from cgdet_ros.replay.document import (
    detections_document,
    failure,
    frames_table,
    latency_ms,
    metrics_document,
    unexplained,
)
from cgdet_ros.replay.interrupt import Interruption
from cgdet_ros.replay.judge import Judged, judge
from cgdet_ros.replay.output import IN_ORDER_OF_USE, results_folder, results_of
from cgdet_ros.replay.session import Replay

if TYPE_CHECKING:
    from cgdet_core.data.bags.write import BagWriter
    from cgdet_core.evaluation.report.report import Gallery

__all__ = ["failure", "lettered", "play_summary", "write_results"]


def write_results(
    arguments: argparse.Namespace,
    replays: Sequence[Replay],
    config: ReplayConfig,
    interruption: Interruption,
    bag_writer: BagWriter | None,
) -> str:
    """Measure, and write everything in place of the results that were there; the summary for a person."""
    from cgdet_ros.replay.bag import write_detections
    from cgdet_ros.replay.compare import compare_replays
    from cgdet_ros.replay.pictures import draw_frames
    from cgdet_ros.replay.report import write_replay_report

    judged = [judge(replay, config, interruption, with_offline=not arguments.no_offline) for replay in replays]
    documents = [metrics_document(of_model, config) for of_model in judged]
    several = len(judged) > 1
    comparison = compare_replays(judged) if several else None
    whole = documents[0] if not several else {"models": documents, "comparison": comparison}
    with results_folder(arguments.out) as folder:
        drawn = []
        for of_model, names in zip(judged, results_of(len(judged)), strict=True):
            video = None if arguments.no_video else folder / names.video
            drawn.append(draw_frames(video, of_model, config))
            write_text(folder / names.detections, json.dumps(detections_document(of_model.replay)) + "\n")
            write_text(folder / names.frames, frames_table(of_model))
        differing = _differing(judged, config) if comparison is not None else []
        write_replay_report(folder / "report.html", judged, documents, comparison, drawn, differing)
        write_text(folder / "metrics.json", json.dumps(whole, indent=2) + "\n")
        if bag_writer is not None:
            write_detections(bag_writer, replays)
    lines = lettered(
        [
            measured_summary(document, of_model.replay.node_lines)
            for document, of_model in zip(documents, judged, strict=True)
        ]
    )
    if comparison is not None:
        lines.append(comparison["words"])
    lines += [f"  {arguments.out / name}" for name in IN_ORDER_OF_USE if (arguments.out / name).exists()]
    if bag_writer is not None:
        lines.append(f"  {bag_writer.out}")
    return "\n".join(lines)


def lettered(texts: Sequence[str]) -> list[str]:
    """Texts of several lines, of one model each; of two with A or B before every line."""
    if len(texts) < 2:
        return list(texts)
    return [f"{letter}  {line}" for letter, text in zip("AB", texts, strict=True) for line in text.splitlines()]


def _differing(judged: list[Judged], config: ReplayConfig) -> list[Gallery]:
    """Pictures of the frames in which two models differ most."""
    from cgdet_core.evaluation.differing import galleries, most_differing
    from cgdet_ros.replay.compare import common_frames
    from cgdet_ros.replay.pictures import draw_pairs

    stamps_ns, a, b = common_frames(judged)
    differing = most_differing(a, b, config.worst_frames, judged[0].replay.run.class_names)
    return galleries(differing, draw_pairs(judged, stamps_ns, (a, b), differing.places))


def play_summary(replay: Replay) -> str:
    """What is known as soon as the bag was played, in a few lines."""
    run, times, accounts = replay.run, latency_ms(replay.run), replay.run.accounts
    lines = [
        f"{accounts.sent} frames sent, {accounts.answered} answered, {accounts.unanswered} dropped; "
        f"{sum(len(frame.detections or ()) for frame in run.answered)} objects detected"
    ]
    causes = {name: count for name, count in accounts.causes().items() if count}
    if causes:
        lines.append("dropped: " + ", ".join(f"{count} {name.replace('_', ' ')}" for name, count in causes.items()))
    if times is not None:
        p50, p95, p99 = (f"{times[name]:.1f}" for name in ("p50", "p95", "p99"))
        lines.append(f"publish to detections received: p50 {p50} ms, p95 {p95}, p99 {p99}")
    node = run.node
    lines.append(f"node: {node.get('model')} on {node.get('device')}, {node.get('precision')}")
    return "\n".join(lines)


def measured_summary(document: Mapping[str, Any], node_lines: Sequence[str] = ()) -> str:
    """What was measured afterwards, in a few lines."""
    lines = []
    if "map50" in document:
        lines.append(
            f"mAP50 {fraction(document['map50'])}, mAP {fraction(document['map'])} over the "
            f"{document['frames_evaluated']} labelled frames that were answered, of {document['frames_sent']} sent, "
            f"at score >= {document['score_threshold']}"
        )
    else:
        lines.append("no labels to measure accuracy against")
    offline = document["offline"]
    if offline is not None:
        if offline["steps"]:
            steps = ", ".join(f"{step['step']} {fraction(step['map50'])}" for step in offline["steps"])
            lines.append(f"mAP50 of every labelled frame, from offline to live: {steps}")
        answers = offline["answers"]
        lines.append(f"{answers['same']} of {answers['compared']} answers are what the predictor gives offline")
    odd = {name.replace("_", " "): count for name, count in unexplained(document["anomalies"]).items()}
    if odd:
        lines.append("odd: " + ", ".join(f"{count} {name}" for name, count in odd.items()))
    lines += [f"warning: {warning}" for warning in document["warnings"]]
    lines += [f"node: {line}" for line in node_lines]
    return "\n".join(lines)
