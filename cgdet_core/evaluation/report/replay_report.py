"""What a replay leaves behind: its page, annotated video, metrics.json, lists, and a summary for a person.

The bag is read again for the pictures, so that drawing takes nothing from the run.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from tqdm import tqdm

from cgdet_core.data.bags.messages import DETECTIONS
from cgdet_core.data.bags.write import BagWriter
from cgdet_core.data.sets.coco_file import CocoDraft, image_entry
from cgdet_core.drawing import RgbArray, draw
from cgdet_core.evaluation.metrics.matching import OPERATING_SCORE
from cgdet_core.evaluation.replay import CAUSES, MeasuredReplay, Replay
from cgdet_core.evaluation.report.errors import worst_frames
from cgdet_core.evaluation.report.page import SAMPLES_NOTE, Gallery, Picture, fraction, write_page
from cgdet_core.evaluation.report.video import VideoWriter
from cgdet_core.files import write_text
from cgdet_core.runtime.predictor import percentiles
from cgdet_core.subsample import subsample
from cgdet_core.types import Detections

SAMPLE_FRAMES = 6
# a node that publishes scores below this is measured, not looked at: its pictures show the likely detections alone
_MEASURING_THRESHOLD = 0.05
DETECTIONS_TOPIC = "/detections"
# metrics.json appears last, so that who finds it finds the others
RESULT_NAMES = ("report.html", "annotated.webm", "detections.json", "metrics.json")


def write_results(out: Path, measured: MeasuredReplay, with_video: bool, bag_writer: BagWriter | None) -> list[str]:
    """Write everything about a replay, in place of the results that were there; a summary for a person, line by line.
    bag_writer: for the detections as the node published them."""
    document = measured.document
    for name in RESULT_NAMES:
        (out / name).unlink(missing_ok=True)
    pictures, failure = draw_replay(measured, out / "annotated.webm" if with_video else None)
    detections_draft(measured.replay).write(out / "detections.json")
    write_replay_report(out / "report.html", measured, pictures, failure)
    if bag_writer is not None:
        write_detections_bag(bag_writer, measured.replay)
    write_text(out / "metrics.json", json.dumps(document, indent=2) + "\n")
    lines = [*measured_summary(document), *(f"  {out / name}" for name in RESULT_NAMES if (out / name).exists())]
    return lines if bag_writer is None else [*lines, f"  {bag_writer.out}"]


def detections_draft(replay: Replay) -> CocoDraft:
    """detections.json, COCO as `cgdet detect` writes it: the frames that were answered, each with its `stamp_ns`; image
    and category ids are those of this file, which names its categories."""
    draft = CocoDraft(replay.class_names)
    for frame in replay.answered:
        draft.add_image(image_entry(str(frame.stamp_ns), frame.height_width_px, stamp_ns=frame.stamp_ns))
        draft.add_detections(frame.detections or Detections.empty())
    return draft


def write_detections_bag(writer: BagWriter, replay: Replay) -> None:
    """Every answer as the node published it, header included.

    Record times: that of the image and, where it was played in time, as much later as the answer came, so that both
    bags played together show what was known when.
    """
    with writer as bag:
        for frame in replay.answered:
            assert frame.answer is not None
            assert frame.latency_ms is not None
            # at another rate the recording's time runs faster or slower than the clock
            later_ns = 0 if replay.lockstep else round(frame.latency_ms * 1e6 * replay.rate)
            bag.serialised(DETECTIONS_TOPIC, frame.answer, DETECTIONS, frame.record_time_ns + later_ns)


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


def draw_replay(measured: MeasuredReplay, video: Path | None) -> tuple[dict[str, Any], list[str]]:
    """Draw every frame that was sent into `video` (none: no video), and keep samples and the worst of each kind: what
    the page's part has of them, and a warning where there is no video."""
    replay, names = measured.replay, measured.replay.class_names
    places = {stamp_ns: place for place, stamp_ns in enumerate(measured.answered)}
    worst = worst_frames(list(measured.answered.values()), names, np.full(len(names), OPERATING_SCORE))
    frames = {frame.stamp_ns: frame for frame in replay.frames}
    least_score = OPERATING_SCORE if replay.threshold < _MEASURING_THRESHOLD else 0.0
    # samples evenly over the run, of the frames with detections where there are any
    seen = [frame.stamp_ns for frame in replay.answered if frame.detections] or [f.stamp_ns for f in replay.answered]
    chosen = {seen[place] for place in subsample(len(seen), SAMPLE_FRAMES)} if seen else set()
    samples: list[Picture] = []
    with nullcontext() if video is None else VideoWriter(video, replay.rate_hz) as writer:
        for stamp_ns, image in tqdm(replay.pictures(frames), "drawing", len(frames), unit="frame", disable=None):
            frame = frames[stamp_ns]
            worst.draw(places.get(stamp_ns, -1), image)
            if writer is None and stamp_ns not in chosen:
                continue
            shown = (frame.detections or Detections.empty()).above(least_score)
            picture = draw(image, shown, names, replay.labels.truth.get(stamp_ns))
            if stamp_ns in chosen:
                said = f"{len(frame.detections or ())} detections after {frame.latency_ms:.1f} ms"
                samples.append(Picture(picture, f"{frame.bag_s:.2f} s: {said}"))
            if writer is not None:
                writer.write(picture if frame.detections is not None else _marked_as_dropped(picture))
    failure = None if writer is None else writer.failure
    galleries = [Gallery("Frames", samples, SAMPLES_NOTE), *worst.galleries()]
    name = video.name if video is not None and video.exists() else ""
    return {"galleries": galleries, "video": name}, [] if failure is None else [f"no video: {failure}"]


def _marked_as_dropped(picture: RgbArray) -> RgbArray:
    marked, scale = np.ascontiguousarray(picture), picture.shape[0] / 512
    place = round(12 * scale), marked.shape[0] - round(16 * scale)
    for colour, width in (((0, 0, 0), 4), ((255, 255, 255), 2)):
        cv2.putText(marked, "dropped", place, cv2.FONT_HERSHEY_SIMPLEX, scale, colour, width, cv2.LINE_AA)
    return marked


def write_replay_report(
    path: Path, measured: MeasuredReplay, pictures: Mapping[str, Any], failure: Sequence[str]
) -> None:
    """pictures, failure: of `draw_replay`."""
    replay, document = measured.replay, measured.document
    pace = "each frame after the answer to the one before" if replay.lockstep else f"{replay.rate:g} x real time"
    keys = ("model", "model_sha256", "device", "precision", "backend")
    part = {
        **pictures,
        "metrics": measured.metrics,
        "replay": document,
        "frames": replay.frames,
        "facts": {
            "bag": replay.bag,
            "topic": replay.topic,
            "labels": replay.truth_topic or "none",
            **{key.replace("_", " "): replay.node[key] for key in keys if key in replay.node},
            "score threshold": f"{replay.threshold:g}",
            "pace": pace,
        },
    }
    write_page(
        path,
        "Replay through the node",
        [part],
        subtitle=f"{replay.topic} of {replay.bag.name}, {pace}",
        warnings=[*document["warnings"], *failure],
        command=replay.command,
    )
