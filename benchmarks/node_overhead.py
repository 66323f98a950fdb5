"""What the node adds to its predictor, over DDS between processes: publish an image, receive its detections.

    python benchmarks/node_overhead.py [--frames 300] [--rate 10] [--model M] [--json F] [key:=value ...]

The real node in a process of its own, images of 640x512 mono16 at `--rate` a second, each sent when the one before is
answered. Of every frame: from just before publish to the node's callback, from there to the start of `predict` (checked
and handed to the worker), in `predict`, and from its end to the subscriber's callback (message made, sent, received);
all but `predict` is the overhead. The subscriber takes the message as bytes: what it costs to take them apart in Python
is not the node's. Clocks are steady and the same for all processes of a machine. What stands after the options are
parameters of the node, such as backend:=openvino. Images travel through the shared memory for large frames of
config/fastdds_large_frames.xml.
"""

from __future__ import annotations

import argparse
import json
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np

from cgdet_core.evaluation.benchmark import street_frames
from cgdet_core.evaluation.machine import machine_facts
from cgdet_core.runtime.percentiles import percentiles

WARM_UP_FRAMES = 20
ANSWER_TIMEOUT_S = 20.0
START_TIMEOUT_S = 120.0


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
        detector_node.main(["--ros-args", *ros_arguments])
    finally:
        times_file.write_text(json.dumps(calls), encoding="utf-8")


class Client:
    """Publishes images and notes when their detections came."""

    def __init__(self) -> None:
        import rclpy
        from rclpy.executors import SingleThreadedExecutor
        from rclpy.qos import QoSProfile, ReliabilityPolicy
        from sensor_msgs.msg import Image
        from vision_msgs.msg import Detection2DArray

        self.node = rclpy.create_node("cgdet_overhead")
        reliable = QoSProfile(depth=5, reliability=ReliabilityPolicy.RELIABLE)
        self.images = self.node.create_publisher(Image, "image", reliable)
        self.answers: dict[int, tuple[float, int]] = {}
        self._type = Detection2DArray
        self._changed = threading.Condition()
        self.node.create_subscription(Detection2DArray, "detections", self._on_answer, reliable, raw=True)
        self._executor = SingleThreadedExecutor()
        self._executor.add_node(self.node)
        self._thread = threading.Thread(target=self._executor.spin, daemon=True)
        self._thread.start()

    def _on_answer(self, data: bytes) -> None:
        from rclpy.serialization import deserialize_message

        now_s = time.monotonic()
        message = deserialize_message(data, self._type)
        with self._changed:
            self.answers[message.header.stamp.sec] = (now_s, len(message.detections))
            self._changed.notify_all()

    def connected(self) -> bool:
        return self.images.get_subscription_count() > 0 and self.node.count_publishers("detections") > 0

    def ask(self, message: Any) -> tuple[float, float]:
        """When the image was about to be published, and when publish had returned; returns once it is answered."""
        start_s = time.monotonic()
        self.images.publish(message)
        sent_s = time.monotonic()
        with self._changed:
            if not self._changed.wait_for(lambda: message.header.stamp.sec in self.answers, ANSWER_TIMEOUT_S):
                raise SystemExit(f"no answer to frame {message.header.stamp.sec} within {ANSWER_TIMEOUT_S:.0f} s")
        return start_s, sent_s

    def close(self) -> None:
        self._executor.shutdown(timeout_sec=2)
        self._thread.join(timeout=2)
        self.node.destroy_node()


def run(arguments: argparse.Namespace, parameters: list[str], times_file: Path) -> dict[str, Any]:
    import rclpy
    from builtin_interfaces.msg import Time
    from std_msgs.msg import Header

    from cgdet_ros.node.messages import image_to_message
    from cgdet_ros.replay.process import isolate, share_memory_for_large_frames

    isolate()
    share_memory_for_large_frames()
    words = [word for each in parameters for word in ("-p", each)]
    if arguments.model:
        words += ["-p", f"model:={arguments.model}"]
    process = subprocess.Popen([sys.executable, __file__, "--serve", str(times_file), *words])
    rclpy.init(args=[])
    client = Client()
    frames = street_frames((512, 640))
    sent: list[tuple[float, float]] = []
    try:
        deadline_s = time.monotonic() + START_TIMEOUT_S
        while not client.connected():
            if process.poll() is not None or time.monotonic() > deadline_s:
                raise SystemExit("the node did not come up")
            time.sleep(0.1)
        time.sleep(1)
        for number in range(arguments.frames + WARM_UP_FRAMES):
            header = Header(stamp=Time(sec=number + 1), frame_id="thermal_optical")
            message = image_to_message(header, frames[number % len(frames)], "mono16")
            sent.append(client.ask(message))
            time.sleep(max(0.0, sent[-1][0] + 1 / arguments.rate - time.monotonic()))
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(20)
        client.close()
        rclpy.try_shutdown()
    return figures(np.array(sent), client.answers, np.array(json.loads(times_file.read_text(encoding="utf-8"))))


def figures(sent_s: np.ndarray, answers: dict[int, tuple[float, int]], calls_s: np.ndarray) -> dict[str, Any]:
    """Percentiles in ms of each part; the predictor's first calls are its own warm-up."""
    calls_s = calls_s[-len(sent_s) :]
    received_s = np.array([answers[number + 1][0] for number in range(len(sent_s))])
    came_s, start_s, end_s = calls_s.T
    moments = np.stack([sent_s[:, 0], came_s, start_s, end_s, received_s])
    assert (np.diff(moments, axis=0) > 0).all(), "frames and calls do not belong together"
    to_callback, to_predict, within, to_received = np.diff(moments, axis=0)
    parts = {
        "publish to callback": to_callback,
        "callback to predict": to_predict,
        "predict": within,
        "predict to received": to_received,
        "overhead": to_callback + to_predict + to_received,
        "publish to received": received_s - sent_s[:, 0],
        "(publish returns)": sent_s[:, 1] - sent_s[:, 0],
    }
    return {
        "detections_per_frame": float(np.mean([count for _, count in answers.values()])),
        "ms": {name: percentiles(values[WARM_UP_FRAMES:] * 1e3) for name, values in parts.items()},
    }


def main() -> None:
    if sys.argv[1:2] == ["--serve"]:
        serve(Path(sys.argv[2]), sys.argv[3:])
        return
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path)
    parser.add_argument("--frames", type=int, default=300, metavar="N")
    parser.add_argument("--rate", type=float, default=10.0, metavar="HZ")
    parser.add_argument("--json", type=Path, metavar="F")
    arguments, parameters = parser.parse_known_args()
    with tempfile.TemporaryDirectory() as folder:
        result = run(arguments, parameters, Path(folder) / "calls.json")
    result = {"frames": arguments.frames, "rate_hz": arguments.rate, "machine": machine_facts()} | result
    print(f"{result['detections_per_frame']:.1f} detections a frame; ms: p50 p95 p99")
    for name, values in result["ms"].items():
        print(f"  {name:<22}" + "".join(f"{value:9.2f}" for value in values.values()))
    if arguments.json:
        arguments.json.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
