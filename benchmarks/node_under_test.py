"""The node as a process of its own, somebody beside it that talks to it over DDS, and what the process holds."""

from __future__ import annotations

import argparse
import json
import os
import threading
import time
from pathlib import Path
from types import TracebackType
from typing import Any

from cgdet_ros.replay.process import NodeProcess, find_executable, isolate, share_memory_for_large_frames

NAMESPACE = "/under_test"
PATIENCE_S = 60.0


def rss_mib(pid: int) -> float:
    """Resident memory of a process of this machine, without what is shared with others."""
    resident, shared = (int(word) for word in Path(f"/proc/{pid}/statm").read_text().split()[1:3])
    return round((resident - shared) * os.sysconf("SC_PAGE_SIZE") / 2**20, 1)


def arguments_parser(description: str | None) -> argparse.ArgumentParser:
    """With what these benchmarks have in common: --model and --json."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path)
    parser.add_argument("--json", type=Path)
    return parser


def write_json(path: Path | None, figures: Any) -> None:
    """Where a path was given."""
    if path is not None:
        path.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")


class NodeUnderTest:
    """A context manager: the node runs in it on one thread, `parameters` as words such as name:=value.

    model, executable: in place of the shipped one and of the node's.

    answers: (monotonic time of arrival, Detections2DArray) in order.
    """

    def __init__(self, *parameters: str, model: Path | None = None, executable: Path | None = None) -> None:
        isolate()
        share_memory_for_large_frames()
        given = [f"model:={model.resolve()}"] if model is not None else []
        self._words = ["-r", f"__ns:={NAMESPACE}"]
        self._executable = executable or find_executable()
        for parameter in (*given, "threads:=1", *parameters):
            self._words += ["-p", parameter]
        self.answers: list[tuple[float, Any]] = []
        self.kept = threading.Condition()

    def __enter__(self) -> NodeUnderTest:
        import rclpy
        from rclpy.executors import SingleThreadedExecutor
        from rclpy.qos import QoSProfile, ReliabilityPolicy
        from sensor_msgs.msg import Image
        from vision_msgs.msg import Detection2DArray

        rclpy.init(args=[])
        self.process = NodeProcess(self._executable, self._words, echo=False)
        self.pid = self.process._process.pid
        self.node = rclpy.create_node("tester", namespace=NAMESPACE)
        qos = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)
        self.images = self.node.create_publisher(Image, "image", qos)
        self.node.create_subscription(Detection2DArray, "detections", self._on_answer, 100)
        self._executor = SingleThreadedExecutor()
        self._executor.add_node(self.node)
        self._thread = threading.Thread(target=self._executor.spin, daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        import rclpy

        self.exit_code = self.process.stop()
        self._executor.shutdown(timeout_sec=5)
        self._thread.join(5)
        self.node.destroy_node()
        rclpy.try_shutdown()

    def _on_answer(self, message: Any, info: Any) -> None:
        # by the middleware, in a thread of its own: the threads of Python may be busy with sending
        arrived_s = time.monotonic() - (time.time_ns() - info["received_timestamp"]) * 1e-9
        with self.kept:
            self.answers.append((arrived_s, message))
            self.kept.notify_all()

    def connected(self) -> None:
        """Wait until images arrive and answers are heard; SystemExit where that does not come."""
        deadline_s = time.monotonic() + PATIENCE_S
        while not (self.images.get_subscription_count() and self.node.count_publishers(f"{NAMESPACE}/detections")):
            self.process.check()
            if time.monotonic() > deadline_s:
                raise SystemExit(f"the node takes no images: {self.process.last_words()}")
            time.sleep(0.002)
        time.sleep(0.5)

    def answer_to(self, stamp_ns: int, timeout_s: float) -> float | None:
        """The time of arrival of the answer to the image sent last; None where there is none in time."""
        with self.kept:
            answered = self.kept.wait_for(
                lambda: bool(self.answers) and stamp_of(self.answers[-1][1]) == stamp_ns, timeout_s
            )
            return self.answers[-1][0] if answered else None


def frames() -> list[Any]:
    """sensor_msgs/Image messages, mono16, of 640x512 street scenes."""
    from std_msgs.msg import Header

    from cgdet_core.evaluation.benchmark import street_frames
    from cgdet_ros.node.messages import image_to_message

    return [image_to_message(Header(frame_id="thermal"), frame, "mono16") for frame in street_frames((512, 640))]


def stamped(message: Any, stamp_ns: int) -> Any:
    """The same message with another stamp."""
    message.header.stamp.sec, message.header.stamp.nanosec = divmod(stamp_ns, 10**9)
    return message


def stamp_of(message: Any) -> int:
    """In nanoseconds."""
    return int(message.header.stamp.sec) * 10**9 + int(message.header.stamp.nanosec)
