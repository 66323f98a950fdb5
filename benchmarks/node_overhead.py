"""What the node adds to its predictor, over DDS between processes: publish an image, receive its detections.

    python benchmarks/node_overhead.py [--frames 300] [--rate 10] [--model M] [--json F] [key:=value ...]

The real node in a process of its own, images of 640x512 mono16 at `--rate` a second, each sent when the one before is
answered. Of every frame: from just before publish to the node's callback, from there to the start of `predict` (checked
and handed to the worker), in `predict`, and from its end to the subscriber's callback here; all but `predict` is the
overhead. Clocks are steady and the same for all processes of a machine. What stands after the options are parameters of
the node, such as backend:=openvino.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import rclpy
from std_msgs.msg import Header

from cgdet_core.evaluation.benchmark import machine_facts, street_frames
from cgdet_core.runtime.model_file import default_model_path
from cgdet_core.runtime.predictor import percentiles
from cgdet_ros.node import messages
from cgdet_ros.replay.link import ReplayLink, start_ros
from cgdet_ros.replay.process import NodeProcess, isolate

NAMESPACE = "/under_test"
WARM_UP_FRAMES = 20
ANSWER_TIMEOUT_S = 20.0


def serve(times_file: Path, ros_arguments: list[str]) -> None:
    """The node, which notes when each image came and each prediction began and ended; written when it ends, as JSON."""
    from cgdet_core.runtime.predictor import Predictor
    from cgdet_ros.node import detector_node

    calls: list[tuple[float, float, float]] = []
    came_s = 0.0
    predict, image_from_message = Predictor.predict, messages.image_from_message

    def noted_image(message: Any) -> Any:
        nonlocal came_s
        came_s = time.monotonic()
        return image_from_message(message)

    def noted_predict(self: Predictor, *words: Any, **named: Any) -> Any:
        start_s = time.monotonic()
        detections = predict(self, *words, **named)
        calls.append((came_s, start_s, time.monotonic()))
        return detections

    messages.image_from_message = noted_image
    Predictor.predict = noted_predict  # type: ignore[method-assign]
    try:
        detector_node.main(ros_arguments)
    finally:
        times_file.write_text(json.dumps(calls), encoding="utf-8")


def run(count: int, rate_hz: float, model: Path, parameters: list[str], folder: Path) -> dict[str, Any]:
    times_file, executable = folder / "calls.json", folder / "node.sh"
    executable.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{__file__}" --serve "{times_file}" "$@"\n')
    executable.chmod(0o755)
    isolate()
    start_ros()
    words = ["-r", f"__ns:={NAMESPACE}", "-p", "autostart:=false"]
    for parameter in (f"model:={model.resolve()}", "threads:=1", *parameters):
        words += ["-p", parameter]
    header = Header(frame_id="thermal")
    images = [messages.image_to_message(header, frame, "mono16") for frame in street_frames((512, 640))]
    sent_s: dict[int, float] = {}
    returned_s = []
    with NodeProcess(executable, words, echo=False) as process:
        link = ReplayLink(NAMESPACE, f"{NAMESPACE}/image")
        try:
            link.bring_up(process)
            for number in range(count + WARM_UP_FRAMES):
                message, stamp_ns = images[number % len(images)], time.time_ns()
                message.header.stamp = messages.stamp_from_ns(stamp_ns)
                sent_s[stamp_ns] = link.send(message)
                returned_s.append(time.monotonic())
                if not link.wait_for_outcome(stamp_ns, number + 1, ANSWER_TIMEOUT_S):
                    raise SystemExit(f"no answer within {ANSWER_TIMEOUT_S:.0f} s: {process.last_words()}")
                time.sleep(max(0.0, sent_s[stamp_ns] + 1 / rate_hz - time.monotonic()))
            answers = link.answers()
        finally:
            link.close()
    rclpy.try_shutdown()
    calls_s = np.array(json.loads(times_file.read_text(encoding="utf-8")))[-len(sent_s) :]  # the first are its warm-up
    start_s, arrived_s = np.array(list(sent_s.values())), np.array([answers[stamp_ns][0] for stamp_ns in sent_s])
    moments = np.stack([start_s, *calls_s.T, arrived_s])
    assert (np.diff(moments, axis=0) > 0).all(), "frames and calls do not belong together"
    to_callback, to_predict, within, to_received = np.diff(moments, axis=0)
    parts = {
        "publish to callback": to_callback,
        "callback to predict": to_predict,
        "predict": within,
        "predict to received": to_received,
        "overhead": to_callback + to_predict + to_received,
        "publish to received": arrived_s - start_s,
        "(publish returns)": returned_s - start_s,
    }
    return {
        "detections_per_frame": float(np.mean([len(message.detections) for _, message in answers.values()])),
        "ms": {name: percentiles(values[WARM_UP_FRAMES:] * 1e3) for name, values in parts.items()},
    }


def main() -> None:
    if sys.argv[1:2] == ["--serve"]:
        serve(Path(sys.argv[2]), sys.argv[3:])
        return
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, default=default_model_path())
    parser.add_argument("--frames", type=int, default=300, metavar="N")
    parser.add_argument("--rate", type=float, default=10.0, metavar="HZ")
    parser.add_argument("--json", type=Path)
    arguments, parameters = parser.parse_known_args()
    with tempfile.TemporaryDirectory() as folder:
        result = run(arguments.frames, arguments.rate, arguments.model, parameters, Path(folder))
    print(f"{result['detections_per_frame']:.1f} detections a frame; ms: p50 p95 p99")
    for name, values in result["ms"].items():
        print(f"  {name:<22}" + "".join(f"{value:9.2f}" for value in values.values()))
    if arguments.json:
        document = {"frames": arguments.frames, "rate_hz": arguments.rate, "machine": machine_facts(), **result}
        arguments.json.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
