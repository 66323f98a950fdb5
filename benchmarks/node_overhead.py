"""What the node adds to its predictor, over DDS between processes: publish an image, receive its detections.

    python benchmarks/node_overhead.py [--frames 300] [--rate 10] [--model M] [--json F] [key:=value ...]

The real node in a process of its own, images of 640x512 mono16 at `--rate` a second, each sent when the one before is
answered. Of every frame: from just before publish to the node's callback, from there to the start of `predict` (checked
and handed to the worker), in `predict`, and from its end to the arrival here (message made, sent, received by the
middleware); all but `predict` is the overhead. Clocks are steady and the same for all processes of a machine. What
stands after the options are parameters of the node, such as backend:=openvino.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from node_under_test import NodeUnderTest, arguments_parser, frames, stamp_of, stamped, write_json

from cgdet_core.evaluation.benchmark import machine_facts
from cgdet_core.runtime.predictor import percentiles

WARM_UP_FRAMES = 20
ANSWER_TIMEOUT_S = 20.0


def serve(times_file: Path, ros_arguments: list[str]) -> None:
    """The node, which notes when each image came and each prediction began and ended; written when it ends, as JSON."""
    from cgdet_core.runtime.predictor import Predictor
    from cgdet_ros.node import detector_node, messages

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


def run(count: int, rate_hz: float, model: Path | None, parameters: list[str], folder: Path) -> dict[str, Any]:
    times_file, executable = folder / "calls.json", folder / "node.sh"
    executable.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{__file__}" --serve "{times_file}" "$@"\n')
    executable.chmod(0o755)
    times: list[tuple[float, float, float]] = []
    with NodeUnderTest(*parameters, model=model, executable=executable) as node:
        messages = frames()
        node.connected()
        while len(times) < count + WARM_UP_FRAMES:
            message = stamped(messages[len(times) % len(messages)], time.time_ns())
            start_s = time.monotonic()
            node.images.publish(message)
            sent_s = time.monotonic()
            arrived_s = node.answer_to(stamp_of(message), ANSWER_TIMEOUT_S)
            if arrived_s is None:
                raise SystemExit(f"no answer within {ANSWER_TIMEOUT_S:.0f} s")
            times.append((start_s, sent_s, arrived_s))
            time.sleep(max(0.0, start_s + 1 / rate_hz - time.monotonic()))
        found = [len(message.detections) for _, message in node.answers]
    calls_s = np.array(json.loads(times_file.read_text(encoding="utf-8")))[-len(times) :]  # the first are its warm-up
    start_s, sent_s, arrived_s = np.array(times).T
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
        "(publish returns)": sent_s - start_s,
    }
    return {
        "detections_per_frame": float(np.mean(found)),
        "ms": {name: percentiles(values[WARM_UP_FRAMES:] * 1e3) for name, values in parts.items()},
    }


def main() -> None:
    if sys.argv[1:2] == ["--serve"]:
        serve(Path(sys.argv[2]), sys.argv[3:])
        return
    parser = arguments_parser(__doc__)
    parser.add_argument("--frames", type=int, default=300, metavar="N")
    parser.add_argument("--rate", type=float, default=10.0, metavar="HZ")
    arguments, parameters = parser.parse_known_args()
    with tempfile.TemporaryDirectory() as folder:
        result = run(arguments.frames, arguments.rate, arguments.model, parameters, Path(folder))
    print(f"{result['detections_per_frame']:.1f} detections a frame; ms: p50 p95 p99")
    for name, values in result["ms"].items():
        print(f"  {name:<22}" + "".join(f"{value:9.2f}" for value in values.values()))
    write_json(
        arguments.json, {"frames": arguments.frames, "rate_hz": arguments.rate, "machine": machine_facts(), **result}
    )


if __name__ == "__main__":
    main()
