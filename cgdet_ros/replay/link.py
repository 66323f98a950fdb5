"""The replay's own node: publishes images, collects answers, hears what the detector says of itself."""

from __future__ import annotations

import os
import re
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

from diagnostic_msgs.msg import DiagnosticArray
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.serialization import serialize_message
from sensor_msgs.msg import Image
from vision_msgs.msg import Detection2DArray, LabelInfo

from cgdet_core.data.bags.truth import detections_from_message
from cgdet_core.errors import InputError, RunError
from cgdet_core.evaluation.replay import ReplayedFrame
from cgdet_core.files import shipped_places
from cgdet_core.types import stamp_to_ns
from cgdet_ros.cameras import large_frames
from cgdet_ros.node.lifecycle import init_ros
from cgdet_ros.node.qos import quality_of_service
from cgdet_ros.replay.process import NodeProcess

# reliable on both ends, so that a frame without an answer is one that the node did not take
IMAGE_QOS = quality_of_service(depth=10)
ANSWER_QOS = quality_of_service(depth=1000)
INFO_QOS = quality_of_service(depth=1, latched=True)
_POLL_S = 0.02
_START_TIMEOUT_S = 180.0  # a model may be converted
Answer = tuple[float, Detection2DArray]  # monotonic time of arrival, and the message
_RANKED = re.compile(r"(p\d+) (\d+\.\d+)")  # in the node's report: "p50 1.20, p95 1.31, p99 1.34"
STAGES = ("preprocess", "infer", "postprocess", "total", "receive_to_publish")


class ReplayLink:
    """Connects to the node in `namespace`; rclpy must be initialised. `close` when done.

    NODE: its name; ANSWERS: type and topic of what it publishes for an image; LABELLED: whether there is label_info.
    """

    NODE: ClassVar[str] = "thermal_detector"
    ANSWERS: ClassVar[tuple[Any, str]] = (Detection2DArray, "detections")
    LABELLED: ClassVar[bool] = True

    def __init__(self, namespace: str, image_topic: str) -> None:
        self._node = Node("cgdet_replay", namespace=namespace)
        self._detector = f"{namespace}/{self.NODE}"
        self._changed = threading.Condition()
        self._answers: dict[int, Answer] = {}
        self.repeated_answers = 0
        self._last_sign_s = 0.0
        self._labels: LabelInfo | None = None
        self._report: dict[str, str] = {}
        self._reports = 0
        self._images = self._node.create_publisher(Image, image_topic, IMAGE_QOS)
        answer_type, name = self.ANSWERS
        self._answer_topic = f"{namespace}/{name}"
        self._node.create_subscription(answer_type, self._answer_topic, self._on_answer, ANSWER_QOS)
        self._node.create_subscription(LabelInfo, f"{namespace}/label_info", self._on_labels, INFO_QOS)
        self._node.create_subscription(DiagnosticArray, "/diagnostics", self._on_diagnostics, 10)
        self._executor = SingleThreadedExecutor()
        self._executor.add_node(self._node)
        self._thread = threading.Thread(target=self._executor.spin, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End the node."""
        self._executor.shutdown(timeout_sec=2)
        self._thread.join(timeout=2)
        self._node.destroy_node()

    def _on_answer(self, message: Detection2DArray) -> None:
        now_s = time.monotonic()
        stamp_ns = stamp_to_ns(message.header.stamp)
        with self._changed:
            self._last_sign_s = now_s
            if stamp_ns in self._answers:
                self.repeated_answers += 1
            else:
                self._answers[stamp_ns] = (now_s, message)
            self._changed.notify_all()

    def _on_labels(self, message: LabelInfo) -> None:
        with self._changed:
            self._labels = message
            self._changed.notify_all()

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        for status in message.status:
            if status.name == self._detector:
                with self._changed:
                    self._report = {value.key: value.value for value in status.values}
                    self._reports += 1
                    self._changed.notify_all()

    # before the run

    def bring_up(self, process: NodeProcess) -> None:
        """Wait until the node, which starts by itself, and this see each other; CgdetError says why they do not."""
        deadline_s = time.monotonic() + _START_TIMEOUT_S
        while not self._connected():
            process.check()
            reason = self._report.get("last_error")
            if reason and self._report.get("state") == "unconfigured":
                raise InputError(f"the node cannot be configured: {reason}")
            if time.monotonic() > deadline_s:
                raise RunError(f"node and replay did not meet within {_START_TIMEOUT_S:.0f} s: {process.last_words()}")
            time.sleep(_POLL_S)

    def _connected(self) -> bool:
        report = self._report
        sees_us = report.get("state") == "active" and int(report.get("image_publishers", "0")) > 0
        heard = self._images.get_subscription_count() > 0 and self._node.count_publishers(self._answer_topic) > 0
        return sees_us and (self._labels is not None or not self.LABELLED) and heard

    # the run

    def send(self, message: Image) -> float:
        """Publish; the monotonic time just before."""
        self._last_sign_s = sent_s = time.monotonic()
        self._images.publish(message)
        return sent_s

    def wait_for_outcome(self, stamp_ns: int, sent: int, timeout_s: float) -> bool:
        """Whether the frame of `stamp_ns`, the last of `sent`, has its answer or is known to get none.

        The node counts what it refused, failed at and overtook: once only these have no answer, that was all.
        """

        def over() -> bool:
            lost = sum(int(self._report.get(name, "0")) for name in ("refused", "failed", "overtaken"))
            return stamp_ns in self._answers or lost >= sent - len(self._answers)

        with self._changed:
            return bool(self._changed.wait_for(over, timeout_s))

    def quiet_s(self) -> float:
        """Seconds since the last image or answer."""
        return time.monotonic() - self._last_sign_s

    def final_report(self, timeout_s: float) -> tuple[dict[str, str], bool]:
        """What the node says of itself after everything that happened before this call; the last that it said, and
        False, where that does not come in time."""
        with self._changed:
            before = self._reports
            # the next one may have been under way
            in_time = bool(self._changed.wait_for(lambda: self._reports >= before + 2, timeout_s))
            return dict(self._report), in_time

    def stages_ms(self) -> dict[str, dict[str, float]] | None:
        """p50, p95 and p99 of each of the node's stages, as it said last; None where it said nothing of them."""
        told = {stage: _RANKED.findall(self._report.get(f"{stage}_ms", "")) for stage in STAGES}
        stages_ms = {stage: {rank: float(figure) for rank, figure in ranks} for stage, ranks in told.items()}
        return stages_ms if all(stages_ms.values()) else None

    @property
    def model(self) -> str:
        """What the node detects with."""
        return self._report.get("model", "")

    @property
    def class_names(self) -> tuple[str, ...]:
        """By number, from label_info."""
        assert self._labels is not None
        return tuple(entry.class_name for entry in sorted(self._labels.class_map, key=lambda entry: entry.class_id))

    @property
    def threshold(self) -> float:
        """The lowest score that is published, from label_info."""
        assert self._labels is not None
        return round(float(self._labels.threshold), 6)

    def answers(self) -> dict[int, Answer]:
        """By stamp in ns."""
        with self._changed:
            return dict(self._answers)

    def with_answer(self, frame: ReplayedFrame, answer: Answer | None) -> ReplayedFrame:
        """The frame with the answer to it."""
        if answer is None:
            return frame
        received_s, message = answer
        return replace(
            frame,
            latency_ms=(received_s - frame.sent_s) * 1e3,
            detections=detections_from_message(message, self.class_names, self._answer_topic),
            answer=bytes(serialize_message(message)),
        )


def start_ros() -> None:
    """rclpy without signal handlers: Ctrl-C belongs to the replay. What Fast DDS passes on for this process fits into
    shared memory, unless the user has set something else."""
    from rclpy.signals import SignalHandlerOptions

    if found := [place for place in shipped_places(Path("config/fastdds_large_frames.xml")) if place.is_file()]:
        os.environ.update(large_frames(found[0].parents[1]))
    init_ros([], signal_handler_options=SignalHandlerOptions.NO)
