"""The page of a replay with its pictures: the annotated video, sample frames, and the frames that went worst.

The bag is read again for the pictures, so that drawing takes nothing from the run.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from tqdm import tqdm

from cgdet_core.drawing import RgbArray, draw
from cgdet_core.evaluation.metrics.matching import OPERATING_SCORE
from cgdet_core.evaluation.metrics.metrics import evaluate
from cgdet_core.evaluation.replay_results import MeasuredReplay, common_frames
from cgdet_core.evaluation.report.errors import differing_frames, worst_frames
from cgdet_core.evaluation.report.page import (
    SAMPLES_NOTE,
    Gallery,
    Picture,
    write_page,
)
from cgdet_core.evaluation.report.video import VideoWriter
from cgdet_core.subsample import subsample
from cgdet_core.types import Detections

SAMPLE_FRAMES = 6
# a node that publishes scores below this is measured, not looked at: its pictures show the likely detections alone
_MEASURING_THRESHOLD = 0.05


def draw_replay(measured: MeasuredReplay, video: Path | None) -> tuple[dict[str, Any], list[str]]:
    """Draw every frame that was sent into `video` (none: no video), and keep samples and the worst of each kind: what
    the page's part has of them, and a warning where there is no video."""
    replay, names = measured.replay, measured.replay.class_names
    places = {stamp_ns: place for place, stamp_ns in enumerate(measured.answered)}
    worst = worst_frames(list(measured.answered.values()), names)
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
    marked = np.ascontiguousarray(picture)
    scale = marked.shape[0] / 512
    thickness = max(1, round(2 * scale))
    place = (round(12 * scale), marked.shape[0] - round(16 * scale))
    for colour, width in (((0, 0, 0), thickness + 2), ((255, 255, 255), thickness)):
        cv2.putText(marked, "dropped", place, cv2.FONT_HERSHEY_SIMPLEX, scale, colour, width, cv2.LINE_AA)
    return marked


def write_replay_report(
    path: Path,
    measured: Sequence[MeasuredReplay],
    documents: Sequence[Mapping[str, Any]],
    comparison: Mapping[str, Any] | None,
    drawn: Sequence[tuple[Mapping[str, Any], Sequence[str]]],
) -> None:
    """documents: metrics.json of each model; comparison: that of two; drawn: of `draw_replay`."""
    replay, several = measured[0].replay, len(measured) > 1
    pace = "each frame after the answer to the one before" if replay.lockstep else f"{replay.rate:g} x real time"
    warnings: list[str] = []
    parts = []
    for letter, of_model, document, (pictures, lost) in zip("AB", measured, documents, drawn, strict=False):
        lines = [*document["warnings"], *lost]
        warnings += [f"{letter}: {line}" for line in lines] if several else lines
        name = f"Model {letter}: {Path(document['node'].get('model', '')).name}" if several else ""
        parts.append({**_part(of_model, document, pace), **pictures, "name": name})
    write_page(
        path,
        "Two models, replayed through the node" if several else "Replay through the node",
        parts,
        subtitle=f"{replay.topic} of {replay.bag.name}, {pace}",
        warnings=warnings,
        comparison=_comparison(measured, documents, comparison) if several else None,
        command=replay.command,
    )


def _part(measured: MeasuredReplay, document: Mapping[str, Any], pace: str) -> dict[str, Any]:
    replay = measured.replay
    executed = {
        key.replace("_", " "): replay.node[key]
        for key in ("model", "model_sha256", "device", "precision", "backend")
        if key in replay.node
    }
    return {
        "metrics": measured.metrics,
        "replay": document,
        "steps": _step_rows(document["offline"]["steps"]) if document["offline"] else {},
        "frames": replay.frames,
        "facts": {
            "bag": replay.bag,
            "topic": replay.topic,
            "labels": replay.truth_topic or "none",
            **executed,
            "score threshold": f"{replay.threshold:g}",
            "pace": pace,
        },
    }


def _step_rows(steps: Sequence[Mapping[str, Any]]) -> dict[str, list[float]]:
    """Name of a figure -> its value after each step; figures that are not defined are left out."""
    rows: dict[str, list[float | None]] = {
        "mAP50": [step["map50"] for step in steps],
        "mAP": [step["map"] for step in steps],
    }
    for group in ("per_class", "by_light"):
        for name in steps[0][group] if steps else ():
            rows[f"{name} AP50"] = [step[group][name]["map50"] for step in steps]
    known = {name: [value for value in values if value is not None] for name, values in rows.items()}
    return {name: values for name, values in known.items() if values and len(values) == len(steps)}


def _comparison(
    measured: Sequence[MeasuredReplay], documents: Sequence[Mapping[str, Any]], comparison: Mapping[str, Any] | None
) -> dict[str, Any]:
    part = {"names": [document["node"].get("model", "") for document in documents], "replays": documents}
    if comparison is None:
        return {**part, "note": "No labels: nothing is said about accuracy."}
    names = measured[0].replay.class_names
    stamps_ns, *frames = common_frames(measured)
    differing = differing_frames(frames[0], frames[1], names)
    places = {stamps_ns[place]: place for place in differing.places}
    for stamp_ns, image in measured[0].replay.pictures(places):
        differing.draw(places[stamp_ns], image)
    note = f"Accuracy is compared over {comparison['over']}: {comparison['images']} labelled frames."
    metrics = evaluate(frames[0], names), evaluate(frames[1], names)
    return {**part, "figures": comparison, "metrics": metrics, "note": note, "galleries": differing.galleries()}
