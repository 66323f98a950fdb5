"""The pictures of a replay: the annotated video, sample frames, and the frames that went worst."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
from tqdm import tqdm

from cgdet_core.config import EvaluationConfig
from cgdet_core.drawing import RgbArray, draw
from cgdet_core.errors import InputError
from cgdet_core.evaluation.metrics.matching import EvaluatedFrame
from cgdet_core.evaluation.report.error_picture import draw_errors
from cgdet_core.evaluation.report.report import Picture
from cgdet_core.evaluation.report.video import VideoWriter
from cgdet_core.evaluation.report.worst import frame_errors, worst_of_each_kind
from cgdet_core.evenly import evenly_spread
from cgdet_core.types import Detections, ImageArray
from cgdet_ros.config import ReplayConfig
from cgdet_ros.replay.images import sent_pictures
from cgdet_ros.replay.judge import Judged
from cgdet_ros.replay.run import ReplayedFrame
from cgdet_ros.replay.session import Replay

# a node that publishes scores below this is measured, not looked at: its pictures show the likely ones
_MEASURING_THRESHOLD = 0.05


@dataclass
class Drawn:
    """What was drawn. worst: kind of error -> pictures; video: file name, None where there is none, for the reason in
    `warnings`."""

    samples: list[Picture] = field(default_factory=list)
    worst: dict[str, list[Picture]] = field(default_factory=dict)
    video: str | None = None
    warnings: list[str] = field(default_factory=list)


def draw_frames(video: Path | None, judged: Judged, config: ReplayConfig) -> Drawn:
    """Draw every frame that was sent into `video` (none: no video), and keep samples and the worst of each kind."""
    replay, run, drawn = judged.replay, judged.replay.run, Drawn()
    names = run.class_names
    samples = _sample_stamps(replay, config.sample_frames)
    labelled = [frame.stamp_ns for frame in run.answered if frame.stamp_ns in replay.labels.truth]
    worst = worst_of_each_kind(frame_errors(judged.answered, names), config.worst_frames)
    wanted = {labelled[errors.index]: judged.answered[errors.index] for kind in worst.values() for errors in kind}
    pictures: dict[int, RgbArray] = {}
    frames = {frame.stamp_ns: frame for frame in run.frames}
    with ExitStack() as stack:
        writer: VideoWriter | None = None
        images = sent_pictures(replay.bag, replay.topic, frames)
        for stamp_ns, image in tqdm(images, "drawing", len(frames), unit="frame", disable=None):
            frame = frames[stamp_ns]
            if stamp_ns in wanted:
                pictures[stamp_ns] = picture_of_errors(image, wanted[stamp_ns], names)
            if video is None and stamp_ns not in samples:
                continue
            picture = draw(image, _shown(frame, replay, config), names, replay.labels.truth.get(stamp_ns))
            if stamp_ns in samples:
                drawn.samples.append(Picture(picture, _caption(frame)))
            if video is not None and not drawn.warnings:
                if writer is None:
                    size = picture.shape[0], picture.shape[1]
                    try:
                        writer = stack.enter_context(VideoWriter(video, size, video_rate_hz(replay, config)))
                    except InputError as error:
                        drawn.warnings.append(f"no video: {error}")
                        continue
                if frame.detections is None:
                    picture = _marked_as_dropped(picture)
                writer.write(_fitted(picture, size))
    if video is not None and writer is not None:
        drawn.video = video.name
    for kind, errors in worst.items():
        drawn.worst[kind] = [
            Picture(pictures[labelled[item.index]], item.caption) for item in errors if labelled[item.index] in pictures
        ]
    return drawn


def picture_of_errors(image: ImageArray, frame: EvaluatedFrame, class_names: tuple[str, ...]) -> RgbArray:
    """At the configured operating score, as the errors are counted."""
    config = EvaluationConfig()
    return draw_errors(image, frame, class_names, np.full(len(class_names), config.operating_score))


def draw_pairs(
    judged: list[Judged],
    stamps_ns: list[int],
    frames: tuple[list[EvaluatedFrame], list[EvaluatedFrame]],
    places: set[int],
) -> dict[int, tuple[RgbArray, RgbArray]]:
    """Place among `stamps_ns` -> the frame with A's errors and with B's."""
    replay = judged[0].replay
    of_stamp = {stamps_ns[place]: place for place in places}
    pairs = {}
    for stamp_ns, image in sent_pictures(replay.bag, replay.topic, of_stamp):
        place, names = of_stamp[stamp_ns], replay.run.class_names
        a, b = (picture_of_errors(image, of_model[place], names) for of_model in frames)
        pairs[place] = (a, b)
    return pairs


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
    return {chosen[place].stamp_ns for place in evenly_spread(len(chosen), count)}


def _caption(frame: ReplayedFrame) -> str:
    return f"{frame.bag_s:.2f} s: {len(frame.detections or ())} detections after {frame.latency_ms:.1f} ms"


def video_rate_hz(replay: Replay, config: ReplayConfig) -> float:
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
