"""What the node adds to its predictor, over DDS between processes: publish an image, receive its detections.

    python benchmarks/node_overhead.py [--frames 300] [--rate 10] [--model M] [--json F] [key:=value ...]

The real node in a process of its own, images of 640x512 mono16 at `--rate` a second, each sent when the one before is
answered. Of every frame: from just before publish to the node's callback, from there to the start of `predict` (checked
and handed to the worker), in `predict`, and from its end to the arrival here (message made, sent, received by the
middleware); all but `predict` is the overhead. Clocks are steady and the same for all processes of a machine. What
stands after the options are parameters of the node, such as backend:=openvino.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np

from cgdet_core.evaluation.benchmark import machine_facts, street_frames
from cgdet_core.runtime.model_file import default_model_path
from cgdet_core.runtime.predictor import percentiles
from cgdet_ros.replay.process import NodeProcess, isolate, share_memory_for_large_frames

NAMESPACE = "/under_test"
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


class Client:
    """Publishes images to the node and waits for the answer to each."""

    def __init__(self) -> None:
        import rclpy
        from rclpy.executors import SingleThreadedExecutor
        from rclpy.qos import QoSProfile, ReliabilityPolicy
        from sensor_msgs.msg import Image
        from vision_msgs.msg import Detection2DArray

        self._node = rclpy.create_node("client", namespace=NAMESPACE)
        self._images = self._node.create_publisher(
            Image, "image", QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)
        )
        self._node.create_subscription(Detection2DArray, "detections", self._on_answer, 100)
        self._answers: dict[int, tuple[float, int]] = {}
        self._changed = threading.Condition()
        self.executor = SingleThreadedExecutor()
        self.executor.add_node(self._node)
        threading.Thread(target=self.executor.spin, daemon=True).start()

    def _on_answer(self, message: Any, info: Any) -> None:
        # by the middleware, in a thread of its own: the threads of Python may be busy with sending
        arrived_s = time.monotonic() - (time.time_ns() - info["received_timestamp"]) * 1e-9
        stamp = message.header.stamp
        with self._changed:
            self._answers[stamp.sec * 10**9 + stamp.nanosec] = arrived_s, len(message.detections)
            self._changed.notify_all()

    def connect(self, process: NodeProcess) -> None:
        """Wait until images arrive and answers are heard."""
        while not (self._images.get_subscription_count() and self._node.count_publishers(f"{NAMESPACE}/detections")):
            process.check()
            time.sleep(0.002)
        time.sleep(0.5)

    def ask(self, message: Any) -> tuple[float, float, float, int]:
        """Monotonic times before and after publishing and of the answer's arrival, and its number of detections."""
        stamp_ns = time.time_ns()
        message.header.stamp.sec, message.header.stamp.nanosec = divmod(stamp_ns, 10**9)
        start_s = time.monotonic()
        self._images.publish(message)
        sent_s = time.monotonic()
        with self._changed:
            if not self._changed.wait_for(lambda: stamp_ns in self._answers, ANSWER_TIMEOUT_S):
                raise SystemExit(f"no answer within {ANSWER_TIMEOUT_S:.0f} s")
            return start_s, sent_s, *self._answers[stamp_ns]


def run(count: int, rate_hz: float, model: Path, parameters: list[str], folder: Path) -> dict[str, Any]:
    import rclpy
    from std_msgs.msg import Header

    from cgdet_ros.node.messages import image_to_message

    times_file, executable = folder / "calls.json", folder / "node.sh"
    executable.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{__file__}" --serve "{times_file}" "$@"\n')
    executable.chmod(0o755)
    isolate()
    share_memory_for_large_frames()
    rclpy.init(args=[])
    words = ["-r", f"__ns:={NAMESPACE}"]
    for parameter in (f"model:={model.resolve()}", "threads:=1", *parameters):
        words += ["-p", parameter]
    images = [image_to_message(Header(frame_id="thermal"), frame, "mono16") for frame in street_frames((512, 640))]
    times: list[tuple[float, float, float, int]] = []
    with NodeProcess(executable, words, echo=False) as process:
        client = Client()
        client.connect(process)
        while len(times) < count + WARM_UP_FRAMES:
            times.append(client.ask(images[len(times) % len(images)]))
            time.sleep(max(0.0, times[-1][0] + 1 / rate_hz - time.monotonic()))
    client.executor.shutdown(timeout_sec=2)
    rclpy.try_shutdown()
    calls_s = np.array(json.loads(times_file.read_text(encoding="utf-8")))[-len(times) :]  # the first are its warm-up
    start_s, sent_s, arrived_s, found = np.array(times).T
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
        "detections_per_frame": float(found.mean()),
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
