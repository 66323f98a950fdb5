"""The node as a process of its own, somebody beside it that talks to it over DDS, and what the process holds."""

from __future__ import annotations

import argparse
import json
import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from cgdet_ros.replay.process import NodeProcess, find_executable, isolate, share_memory_for_large_frames

NAMESPACE = "/under_test"
# A machine may stand still for a while. DDS participants that do not hear of each other for 20 s forget each other, and
# an answer that is under way then; a node that does not answer at all is told of after the longer time.
PATIENCE_S = 600.0
RESEND_S = 30.0
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True)
class Held:
    """What a process holds: resident memory in MiB (without what is shared with others), descriptors, threads."""

    rss_mib: float
    descriptors: int
    threads: int


def held_by(pid: int) -> Held:
    """Of a process of this machine."""
    resident, shared = (int(word) for word in Path(f"/proc/{pid}/statm").read_text().split()[1:3])
    root = Path(f"/proc/{pid}")
    return Held(
        round((resident - shared) * _PAGE_BYTES / 2**20, 1),
        len(list((root / "fd").iterdir())),
        len(list((root / "task").iterdir())),
    )


def arguments_parser(description: str | None, sized: bool = True) -> argparse.ArgumentParser:
    """With what these benchmarks have in common: --model, --json and, where the size of frames is free, --size."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    if sized:
        parser.add_argument("--size", type=int, nargs=2, default=(512, 640), metavar=("H", "W"))
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

    answers: (monotonic time of arrival, Detections2DArray) in order; report: key -> value of its last report.
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
        self.report: dict[str, str] = {}
        self.status = (0, "")
        self._clients: dict[str, Any] = {}
        self.kept = threading.Condition()

    def __enter__(self) -> NodeUnderTest:
        import rclpy
        from diagnostic_msgs.msg import DiagnosticArray
        from rclpy.executors import SingleThreadedExecutor
        from rclpy.qos import QoSProfile, ReliabilityPolicy
        from sensor_msgs.msg import CompressedImage, Image
        from vision_msgs.msg import Detection2DArray

        rclpy.init(args=[])
        self.process = NodeProcess(self._executable, self._words, stop_timeout_s=20.0, echo=False)
        self.pid = self.process._process.pid
        self.node = rclpy.create_node("tester", namespace=NAMESPACE)
        qos = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)
        self.images = self.node.create_publisher(Image, "image", qos)
        self.compressed = self.node.create_publisher(CompressedImage, "image/compressed", qos)
        self.node.create_subscription(Detection2DArray, "detections", self._on_answer, 100)
        self.node.create_subscription(DiagnosticArray, "/diagnostics", self._on_report, 10)
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

    def _on_report(self, message: Any) -> None:
        for status in message.status:
            if status.name == f"{NAMESPACE}/thermal_detector":
                self.report = {value.key: value.value for value in status.values}
                self.status = (int.from_bytes(status.level, "little"), status.message)

    def until(self, condition: Callable[[], bool], what: str, timeout_s: float = PATIENCE_S) -> None:
        """Wait for `condition`; SystemExit where it does not come."""
        deadline_s = time.monotonic() + timeout_s
        while not condition():
            self.process.check()
            if time.monotonic() > deadline_s:
                raise SystemExit(f"{what} did not happen within {timeout_s:.0f} s: {self.process.last_words()}")
            time.sleep(0.002)

    def connected(self, publisher: Any) -> None:
        """Wait until images arrive and answers are heard."""
        self.until(lambda: publisher.get_subscription_count() > 0, "the subscription to the images")
        self.until(lambda: self.node.count_publishers(f"{NAMESPACE}/detections") > 0, "the publisher of answers")
        time.sleep(0.5)

    def answer_to(self, stamp_ns: int, timeout_s: float) -> float | None:
        """The time of arrival of the answer to `stamp_ns`; None where there is none in time."""

        def found() -> float | None:
            for arrived_s, message in reversed(self.answers):
                if stamp_of(message) == stamp_ns:
                    return arrived_s
            return None

        with self.kept:
            self.kept.wait_for(lambda: found() is not None, timeout_s)
            return found()

    def call(self, service_type: Any, name: str, request: Any) -> Any:
        """The answer of a service of the node; asked again where none comes, so that it may have been done twice."""
        if name not in self._clients:
            self._clients[name] = self.node.create_client(service_type, f"{NAMESPACE}/thermal_detector/{name}")
        self.until(self._clients[name].service_is_ready, f"service {name}")
        while True:
            future = self._clients[name].call_async(request)
            deadline_s = time.monotonic() + RESEND_S
            self.until(lambda: future.done() or time.monotonic() > deadline_s, f"the answer of {name}")  # noqa: B023
            if future.done():
                return future.result()
            self._clients[name].remove_pending_request(future)

    def held(self) -> Held:
        """What the node's process holds now."""
        return held_by(self.pid)


def frames(height: int, width: int, count: int = 8) -> list[Any]:
    """sensor_msgs/Image messages, mono16, each another noisy scene with a warm body."""
    from std_msgs.msg import Header

    from cgdet_ros.node.messages import image_to_message

    generator = np.random.default_rng(5)
    made = []
    for number in range(count):
        counts = generator.normal(21000, 25, (height, width))
        left = width // 4 + number * width // 32
        counts[height // 3 : height // 3 * 2, left : left + width // 12] += 800
        made.append(image_to_message(Header(frame_id="thermal"), counts.astype(np.uint16), "mono16"))
    return made


def stamped(message: Any, stamp_ns: int) -> Any:
    """The same message with another stamp."""
    message.header.stamp.sec, message.header.stamp.nanosec = divmod(stamp_ns, 10**9)
    return message


def stamp_of(message: Any) -> int:
    """In nanoseconds."""
    return int(message.header.stamp.sec) * 10**9 + int(message.header.stamp.nanosec)
