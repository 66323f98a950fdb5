"""What a replay leaves behind: all of its results appear at once, in place of all of those of the run before."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cgdet_core.data.bags.types import DETECTIONS
from cgdet_core.errors import InputError
from cgdet_core.evaluation.replay import CAUSES, Replay
from cgdet_core.evaluation.replay_results import (
    MeasuredReplay,
    compare_replays,
    detections_document,
    frames_table,
    metrics_document,
)
from cgdet_core.evaluation.report.page import fraction
from cgdet_core.evaluation.report.replay_report import draw_replay, write_replay_report
from cgdet_core.files import write_text
from cgdet_core.runtime.predictor import percentiles

if TYPE_CHECKING:
    from cgdet_core.data.bags.write import BagWriter

DETECTIONS_TOPIC = "/detections"
# of two models those of the second end in _b; metrics.json appears last, so that who finds it finds the others
_OF_A_MODEL = ("annotated.webm", "detections.json", "frames.csv")
RESULT_NAMES = (
    "report.html",
    *(name.replace(".", f"{suffix}.") for name in _OF_A_MODEL for suffix in ("", "_b")),
    "metrics.json",
)


@contextmanager
def results_folder(out: Path) -> Iterator[Path]:
    """A folder inside `out` to write into. At the end its files replace the results of the run before, of which none
    stays; where anything fails, they stay as they are."""
    folder = Path(tempfile.mkdtemp(prefix=".cgdet_replay.", dir=out))
    try:
        yield folder
        (out / RESULT_NAMES[-1]).unlink(missing_ok=True)
        for name in RESULT_NAMES:
            if (folder / name).exists():
                os.replace(folder / name, out / name)
            else:
                (out / name).unlink(missing_ok=True)
    except (InputError, OSError) as error:
        reason = str(error).replace(str(folder), str(out))
        raise InputError(f"{out}: the results cannot be written ({reason}): give another --out") from None
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def write_results(
    out: Path, measured: Sequence[MeasuredReplay], with_video: bool, bag_writer: BagWriter | None
) -> list[str]:
    """Write everything about one replay, or two of one bag, in place of the results that were there; a summary for a
    person, line by line. bag_writer: for the detections as the node published them."""
    documents = [metrics_document(of_model) for of_model in measured]
    comparison = compare_replays(measured) if len(measured) > 1 else None
    whole = documents[0] if len(measured) == 1 else {"models": documents, "comparison": comparison}
    with results_folder(out) as folder:
        drawn = []
        for of_model, suffix in zip(measured, ("", "_b"), strict=False):
            drawn.append(draw_replay(of_model, folder / f"annotated{suffix}.webm" if with_video else None))
            detections = json.dumps(detections_document(of_model.replay)) + "\n"
            write_text(folder / f"detections{suffix}.json", detections)
            write_text(folder / f"frames{suffix}.csv", frames_table(of_model))
        write_replay_report(folder / "report.html", measured, documents, comparison, drawn)
        write_text(folder / "metrics.json", json.dumps(whole, indent=2) + "\n")
        if bag_writer is not None:
            write_detections_bag(bag_writer, [of_model.replay for of_model in measured])
    lines = with_letters([measured_summary(document) for document in documents])
    if comparison is not None:
        lines.append(comparison["words"])
    lines += [f"  {out / name}" for name in RESULT_NAMES if (out / name).exists()]
    return lines if bag_writer is None else [*lines, f"  {bag_writer.out}"]


def write_detections_bag(writer: BagWriter, replays: Sequence[Replay]) -> None:
    """Every answer as the node published it, header included; of two models on /a/detections and /b/detections.

    Record times: that of the image and, where it was played in time, as much later as the answer came, so that both
    bags played together show what was known when.
    """
    with writer as bag:
        for replay, prefix in zip(replays, ("",) if len(replays) == 1 else ("/a", "/b"), strict=True):
            for frame in replay.answered:
                assert frame.answer is not None
                assert frame.latency_ms is not None
                # at another rate the recording's time runs faster or slower than the clock
                later_ns = 0 if replay.lockstep else round(frame.latency_ms * 1e6 * replay.rate)
                bag.serialised(prefix + DETECTIONS_TOPIC, frame.answer, DETECTIONS, frame.record_time_ns + later_ns)


def with_letters(said: Sequence[Sequence[str]]) -> list[str]:
    """The lines about one model; about two with A or B before every line."""
    if len(said) == 1:
        return list(said[0])
    return [f"{letter}  {line}" for letter, lines in zip("AB", said, strict=True) for line in lines]


def played_summary(replay: Replay) -> list[str]:
    """What is known as soon as the bag was played."""
    accounts, node = replay.accounts, replay.node
    causes = [f"{accounts[name]} {name.replace('_', ' ')}" for name in CAUSES if accounts[name]]
    line = f"{accounts['sent']} frames sent, {accounts['answered']} answered, {accounts['unanswered']} dropped"
    lines = [f"{line}: {', '.join(causes)}" if causes else line]
    if replay.answered:
        times = percentiles([frame.latency_ms or 0.0 for frame in replay.answered])
        lines.append(
            "publish to detections received: " + ", ".join(f"{name} {ms:.1f} ms" for name, ms in times.items())
        )
    return [*lines, f"node: {node.get('model')} on {node.get('device')}, {node.get('precision')}"]


def measured_summary(document: Mapping[str, Any]) -> list[str]:
    """What was measured afterwards."""
    lines = ["no labels to measure accuracy against"]
    if "map50" in document:
        over = f"{document['frames_evaluated']} labelled frames that were answered, of {document['frames_sent']} sent"
        figures = f"mAP50 {fraction(document['map50'])}, mAP {fraction(document['map'])}"
        lines = [f"{figures} over the {over}, at score >= {document['score_threshold']}"]
    if (offline := document["offline"]) is not None:
        if offline["steps"]:
            steps = ", ".join(f"{step['step']} {fraction(step['map50'])}" for step in offline["steps"])
            lines.append(f"mAP50 of every labelled frame, from offline to live: {steps}")
        answers = offline["answers"]
        lines.append(f"{answers['same']} of {answers['compared']} answers are what the predictor gives offline")
    return lines + [f"warning: {warning}" for warning in document["warnings"]]
