"""The pictures of a replay: the annotated video, and the page with plots, sample frames and worst frames."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from cgdet_core.config import ReplayConfig
from cgdet_core.data.bags import read_raw_images
from cgdet_core.drawing import RgbArray, draw
from cgdet_core.errors import InputError
from cgdet_core.evaluation.metrics import Metrics
from cgdet_core.evaluation.report import KeyFigure, LatencyTrace, Picture, Report, accuracy_figures, write_report
from cgdet_core.evaluation.video import VideoWriter
from cgdet_core.types import Detections, ImageArray
from cgdet_ros.replay_results import Replay, unexplained
from cgdet_ros.replay_run import ReplayedFrame

# a node that publishes scores below this is measured, not looked at: its pictures show the likely ones
_MEASURING_THRESHOLD = 0.05


@dataclass
class Drawn:
    """What was drawn. video: file name, None where there is none, for the reason in `warnings`."""

    samples: list[Picture] = field(default_factory=list)
    worst: list[Picture] = field(default_factory=list)
    video: str | None = None
    warnings: list[str] = field(default_factory=list)


def draw_frames(video: Path | None, replay: Replay, config: ReplayConfig, worst_captions: Mapping[int, str]) -> Drawn:
    """Draw every frame that was sent into `video` (none: no video), and keep samples and the worst.

    worst_captions: stamp in ns -> what is wrong with the frame, worst first.
    """
    drawn = Drawn()
    samples = _sample_stamps(replay, config.sample_frames)
    worst: dict[int, Picture] = {}
    with ExitStack() as stack:
        writer: VideoWriter | None = None
        for frame, image in _pictures(replay):
            truth = replay.labels.truth.get(frame.stamp_ns)
            if video is None and frame.stamp_ns not in samples and frame.stamp_ns not in worst_captions:
                continue
            shown = _shown(frame, replay, config)
            picture = draw(image, shown, replay.run.class_names, truth)
            if frame.stamp_ns in samples:
                drawn.samples.append(Picture(picture, _caption(frame, replay)))
            if frame.stamp_ns in worst_captions:
                worst[frame.stamp_ns] = Picture(picture, worst_captions[frame.stamp_ns])
            if video is not None and not drawn.warnings:
                if writer is None:
                    size = picture.shape[0], picture.shape[1]
                    try:
                        writer = stack.enter_context(VideoWriter(video, size, _video_rate_hz(replay, config)))
                    except InputError as error:
                        drawn.warnings.append(f"no video: {error}")
                        continue
                if frame.detections is None:
                    picture = _marked_as_dropped(picture)
                writer.write(_fitted(picture, size))
    if video is not None and writer is not None:
        drawn.video = video.name
    drawn.worst = [worst[stamp_ns] for stamp_ns in worst_captions if stamp_ns in worst]
    return drawn


def _pictures(replay: Replay) -> Iterator[tuple[ReplayedFrame, ImageArray]]:
    """The frames that were sent, with their pixels, in the bag's order; one that cannot be decoded is passed over."""
    waiting = {frame.stamp_ns: frame for frame in replay.run.frames}
    for image in read_raw_images(replay.bag, replay.topic):
        frame = waiting.pop(image.stamp_ns, None)
        if frame is not None:
            try:
                pixels = image.decode()
            except InputError:  # the node refused it as well: it is among the dropped ones
                continue
            yield frame, pixels
        if not waiting:
            return


def _shown(frame: ReplayedFrame, replay: Replay, config: ReplayConfig) -> Detections:
    if frame.detections is None:
        return Detections.empty()
    if replay.run.threshold < _MEASURING_THRESHOLD:
        return frame.detections.above(config.drawn_score)
    return frame.detections


def _sample_stamps(replay: Replay, count: int) -> set[int]:
    """Evenly over the run, of the frames with detections where there are any."""
    answered = replay.run.answered
    chosen = [frame for frame in answered if len(frame.detections or ())] or list(answered)
    if not chosen or count == 0:
        return set()
    places = np.linspace(0, len(chosen) - 1, min(count, len(chosen))).round().astype(int)
    return {chosen[place].stamp_ns for place in places}


def _caption(frame: ReplayedFrame, replay: Replay) -> str:
    after_s = frame.sent_s - replay.run.frames[0].sent_s
    return f"{after_s:.2f} s: {len(frame.detections or ())} detections after {frame.latency_ms:.1f} ms"


def _video_rate_hz(replay: Replay, config: ReplayConfig) -> float:
    """The rate at which the frames were recorded, by the middle one of their periods."""
    steps_s = np.diff([frame.stamp_ns for frame in replay.run.frames]) / 1e9
    steps_s = steps_s[steps_s > 0]
    period_s = float(np.median(steps_s)) if len(steps_s) else config.default_period_s
    low, high = config.video_rate_range_hz
    return min(max(1 / period_s, low), high)


def _marked_as_dropped(picture: RgbArray) -> RgbArray:
    marked = np.ascontiguousarray(picture)
    scale = marked.shape[0] / 512
    thickness = max(1, round(2 * scale))
    place = (round(12 * scale), marked.shape[0] - round(16 * scale))
    for colour, width in (((0, 0, 0), thickness + 2), ((255, 255, 255), thickness)):
        cv2.putText(marked, "dropped", place, cv2.FONT_HERSHEY_SIMPLEX, scale, colour, width, cv2.LINE_AA)
    return marked


def _fitted(picture: RgbArray, height_width_px: tuple[int, int]) -> RgbArray:
    """A frame of another size than the first, scaled into the middle of the video's picture."""
    height, width = height_width_px
    if picture.shape[:2] == (height, width):
        return picture
    scale = min(height / picture.shape[0], width / picture.shape[1])
    size = (max(1, round(picture.shape[1] * scale)), max(1, round(picture.shape[0] * scale)))
    resized = np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA), np.uint8)
    canvas = np.zeros((height, width, 3), np.uint8)
    top, left = (height - size[1]) // 2, (width - size[0]) // 2
    canvas[top : top + size[1], left : left + size[0]] = resized
    return canvas


def write_replay_report(
    path: Path, replay: Replay, document: Mapping[str, Any], figures: Metrics | None, drawn: Drawn
) -> None:
    """The page; `document` is metrics.json."""
    run, times = replay.run, document["latency_ms"]
    tiles = [
        KeyFigure("Frames sent", str(document["frames_sent"]), note=f"{document['seconds']:.1f} s"),
        KeyFigure("Answered", str(document["detections_received"]), note=f"{document['dropped']} dropped"),
    ]
    if times is not None:
        note = f"p95 {times['p95']:.1f} ms, p99 {times['p99']:.1f} ms; publish to detections received"
        tiles.append(KeyFigure("Latency p50", f"{times['p50']:.1f}", "ms", note))
    if figures is not None:
        tiles += accuracy_figures(figures)
    start_s = run.frames[0].sent_s
    answered = run.answered
    trace = LatencyTrace(
        np.array([frame.sent_s - start_s for frame in answered], np.float32),
        np.array([frame.latency_ms for frame in answered], np.float32),
        np.array([frame.sent_s - start_s for frame in run.frames if frame.detections is None], np.float32),
    )
    pace = "each frame after the answer to the one before" if replay.lockstep else f"{replay.rate:g} x real time"
    report = Report(
        title="Replay through the node",
        subtitle=f"{replay.topic} of {replay.bag.name}, {pace}",
        warnings=[*_warnings(replay, document, figures), *drawn.warnings],
        key_figures=tiles,
        video=drawn.video,
        facts={**_facts(replay, document), "pace": pace},
        latency=trace,
        metrics=figures,
        samples=drawn.samples,
        worst=drawn.worst,
        commands=[_command(replay)],
    )
    write_report(path, report)


def _warnings(replay: Replay, document: Mapping[str, Any], figures: Metrics | None) -> list[str]:
    lines = list(document["warnings"])
    if document["dropped"]:
        lines.append(
            f"{document['dropped']} of {document['frames_sent']} frames got no answer: newer ones overtook them, or "
            "they were refused or failed."
        )
    late = document["published_late_ms"]
    if late is not None and late["p95"] > 500 / _video_rate_hz(replay, ReplayConfig()) / replay.rate:
        lines.append(
            f"This machine was too busy to publish in time (p95 {late['p95']:.0f} ms late): latencies are of a "
            "stream that was not even."
        )
    if figures is not None and document["score_threshold"] > 0.01:
        lines.append(
            f"The node published detections from score {document['score_threshold']:g}: average precisions are lower "
            "than those of cgdet evaluate, which measures from 0.001."
        )
    if figures is not None:
        over = document["accuracy_over"]
        lines += (
            [f"Accuracy is over {over['frames']} labelled frames that were answered, of {over['of']} sent."]
            if over["frames"] < over["of"]
            else []
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
    for name in ("received", "answered", "overtaken", "refused", "failed"):
        if name in node:
            facts[f"node: {name}"] = node[name]
    for name in ("preprocess_ms", "infer_ms", "postprocess_ms", "receive_to_publish_ms"):
        if name in node:
            facts[f"node: {name.removesuffix('_ms').replace('_', ' ')}, ms"] = node[name]
    return facts


def _command(replay: Replay) -> str:
    words = ["cgdet-replay", "--bag", str(replay.bag), "--topic", replay.topic]
    if "model" in replay.run.node:
        words += ["--model", replay.run.node["model"]]
    words += ["--lockstep"] if replay.lockstep else ["--rate", f"{replay.rate:g}"]
    return shlex.join([*words, *replay.options])
