"""Where the time of a frame goes: every stage from the raw mono16 message to the published array, and a picture.

    python benchmarks/stages.py [--frames 200] [--backend B] [--precision P] [--threads N] [--json F] [--picture F.png]

Frames of synthetic streets, through the very functions that the predictor and the node call, in their order, so that
each stage meets the caches as the network leaves them. Three settings take turns: the model's own thresholds, and those
at which a frame holds 20 and 100 detections on average. A subscriber in a process of its own listens to what is
published. `--cpu-time` counts what this thread computes in place of the clock on the wall, for a busy machine: the
network's own row is then too low where it has more threads.

Rows marked "plain" are no part of a frame: what the percentiles and the message take when made the obvious way.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import multiprocessing
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import rclpy
from rclpy.executors import ExternalShutdownException
from rclpy.qos import QoSProfile
from rclpy.serialization import serialize_message
from stages_picture import NETWORK, PLAIN, draw
from std_msgs.msg import Header
from vision_msgs.msg import Detection2DArray

from cgdet_core import thermal
from cgdet_core.config import PostprocessConfig
from cgdet_core.evaluation.benchmark import street_frames
from cgdet_core.evaluation.machine import machine_facts
from cgdet_core.runtime.model_file import default_model_path
from cgdet_core.runtime.predictor import Predictor, percentiles
from cgdet_core.tasks.detection.decode import candidates, decode_boxes, suppress
from cgdet_core.types import Detections
from cgdet_ros.node import messages
from cgdet_ros.node.detection_bytes import DetectionWriter
from cgdet_ros.replay.process import isolate

WARM_UP_FRAMES = 20
TOPIC = "cgdet_stages/detections"


class Stopwatch:
    """Adds up the time between two calls of `lap` under the name of what was done in it."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self.laps_ms: dict[str, list[float]] = {}
        self._last_s = clock()

    def start(self) -> None:
        self._last_s = self._clock()

    def lap(self, name: str) -> None:
        now_s = self._clock()
        self.laps_ms.setdefault(name, []).append((now_s - self._last_s) * 1e3)
        self._last_s = self._clock()


def one_frame(
    predictor: Predictor,
    message: Any,
    config: PostprocessConfig,
    writer: DetectionWriter,
    publisher: Any,
    watch: Stopwatch,
) -> None:
    """What the node does with an image, taken apart; the predictor's answer is the same."""
    names = predictor.info.class_names
    watch.start()
    image = messages.image_from_message(message)
    watch.lap("message to pixels")
    limits = thermal.tone_limits(thermal.to_grey(image), predictor.thermal)
    watch.lap("percentiles")
    toned = thermal.apply_tone(image, limits)
    watch.lap("tone")
    canvas, placed = thermal.letterbox(toned, predictor.info.input_height_width_px)
    watch.lap("letterbox")
    output = predictor._network.infer(canvas)
    watch.lap(NETWORK)
    class_logits, box_logits, cells = output.class_logits, output.box_logits, predictor._cells
    assert class_logits.min() > -np.inf
    assert class_logits.max() < np.inf
    thresholds = np.array([config.threshold_of(name) for name in names])
    rows, class_ids, scores = candidates(class_logits, thresholds, config.max_candidates)
    watch.lap("scores, candidates")
    boxes = decode_boxes(box_logits[rows], cells.centres_xy_px[rows], cells.strides_px[rows])
    watch.lap("decode")
    kept = suppress(boxes, class_ids, config.nms_iou, config.max_detections)
    watch.lap("suppression")
    in_frame = placed.to_frame(boxes[kept])
    real = (in_frame[:, 2] > in_frame[:, 0]) & (in_frame[:, 3] > in_frame[:, 1])
    detections = Detections(in_frame[real], scores[kept][real], class_ids[kept][real])
    watch.lap("boxes to frame")
    written = writer.write(message.header, detections, names)
    watch.lap("detections to message")
    publisher.publish(written)
    watch.lap("publish")
    histogram = np.bincount(image.reshape(-1), minlength=65536)
    np.searchsorted(np.cumsum(histogram), [1, 1000])
    watch.lap(PLAIN + "percentiles")
    serialize_message(messages.detections_to_message(message.header, detections, names))
    watch.lap(PLAIN + "detections to message")
    expected = predictor.predict(image, postprocess=config)
    assert expected.boxes_xyxy_px.tobytes() == detections.boxes_xyxy_px.tobytes(), (
        "a stage differs from the predictor's"
    )


def threshold_for(predictor: Predictor, frames: Sequence[Any], detections_per_frame: int) -> float:
    """The score at or above which the frames hold so many detections on average."""
    config = PostprocessConfig(score_threshold=1e-4, nms_iou=predictor.postprocess.nms_iou, max_detections=10000)
    scores = np.sort(np.concatenate([predictor.predict(frame, postprocess=config).scores for frame in frames]))[::-1]
    return float(scores[min(len(scores), detections_per_frame * len(frames)) - 1])


def summary(laps_ms: dict[str, list[float]], detections: float) -> dict[str, Any]:
    """Figures of each stage, of all without the network, and of all."""
    kept = {name: values[WARM_UP_FRAMES:] for name, values in laps_ms.items()}
    own = {name: values for name, values in kept.items() if not name.startswith(PLAIN)}
    rest = np.sum([values for name, values in own.items() if name != NETWORK], axis=0)
    totals = {"all but the network": rest, "total": rest + np.array(own[NETWORK])}
    return {
        "detections_per_frame": detections,
        "stages": {name: percentiles(values) for name, values in {**kept, **totals}.items()},
    }


def listen() -> None:
    """A subscriber that does nothing, until the process ends."""
    rclpy.init(args=[])
    node = rclpy.create_node("cgdet_stages_listener")
    node.create_subscription(Detection2DArray, TOPIC, lambda message: None, QoSProfile(depth=5))
    with contextlib.suppress(ExternalShutdownException):  # asked to end
        rclpy.spin(node)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, default=default_model_path())
    parser.add_argument("--backend", default="auto")
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--threads", type=int, default=0, metavar="N")
    parser.add_argument("--frames", type=int, default=200, metavar="N")
    parser.add_argument("--cpu-time", action="store_true")
    parser.add_argument("--json", type=Path, metavar="F")
    parser.add_argument("--picture", type=Path, metavar="F.png")
    arguments = parser.parse_args()
    predictor = Predictor(
        arguments.model, "cpu", arguments.precision, threads=arguments.threads, backend=arguments.backend
    )
    isolate()
    listener = multiprocessing.get_context("spawn").Process(target=listen, daemon=True)
    listener.start()
    rclpy.init(args=[])
    node = rclpy.create_node("cgdet_stages")
    publisher = node.create_publisher(Detection2DArray, TOPIC, QoSProfile(depth=5))
    while publisher.get_subscription_count() == 0:
        time.sleep(0.05)
    frames = street_frames(predictor.info.input_height_width_px)
    headers = [Header(stamp=messages.stamp_from_ns(10**18 + n), frame_id="thermal_optical") for n in range(len(frames))]
    inputs = [messages.image_to_message(header, each, "mono16") for header, each in zip(headers, frames, strict=True)]
    own = predictor.postprocess
    settings = {"own thresholds": own}
    for count in (20, 100):
        score = threshold_for(predictor, frames, count)
        settings[f"{count} detections"] = own.at_score(score)
    clock, writer = (time.thread_time if arguments.cpu_time else time.perf_counter), DetectionWriter()
    watches = {name: Stopwatch(clock) for name in settings}
    found: dict[str, list[int]] = {name: [] for name in settings}
    for number in range(arguments.frames + WARM_UP_FRAMES):
        for name, config in settings.items():
            one_frame(predictor, inputs[number % len(inputs)], config, writer, publisher, watches[name])
            found[name].append(len(predictor.predict(frames[number % len(frames)], postprocess=config)))
    runs = {name: summary(watch.laps_ms, float(np.mean(found[name]))) for name, watch in watches.items()}
    machine = machine_facts()
    for name, run in runs.items():
        print(f"\n{name} ({run['detections_per_frame']:.1f} a frame), ms: p50 p95 p99")
        for stage, figures in run["stages"].items():
            print(f"  {stage:<30}" + "".join(f"{value:9.3f}" for value in figures.values()))
    facts = {"backend": predictor.backend, "precision": predictor.precision, "cpu_time": arguments.cpu_time}
    document = {"frames": arguments.frames, **facts, "machine": machine, "runs": runs}
    if arguments.json:
        arguments.json.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    if arguments.picture:
        clock_name = "the thread's own time" if arguments.cpu_time else "by the clock"
        title = f"From raw message to published array, 640x512 mono16; {machine['cpu']}, {clock_name}"
        draw(runs, title, arguments.picture)
    listener.terminate()
    node.destroy_node()
    rclpy.try_shutdown()


if __name__ == "__main__":
    main()
