"""The node with a record of when each image came, was worked on and was answered; for node_flood.py.

    python benchmarks/node_recorded.py RECORD.npz --ros-args ...

The record lies in memory that is taken at the start, so that it adds nothing to what the node's memory is watched for.
Moments are of the steady clock, which all processes of a machine share.
"""

from __future__ import annotations

import gc
import os
import sys
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

# of each image that was answered
FRAME = (
    "received_s",  # by the middleware, in a thread of its own
    "taken_s",  # the executor's callback began: the message has been made
    "offered_s",  # checked, and left for the worker
    "begun_s",
    "predicted_s",
    "published_s",
    "ended_s",  # with what follows the answer
    "infer_s",  # the network, of what lies between begun and predicted
    "core_wait_s",  # the thread that infers was ready from begun to published and had no core
)
# what else took time in the node: a number of KINDS, its start, its end
SPAN = ("kind", "start_s", "end_s")
KINDS = ("garbage collection", "diagnostics", "parameters")
_ROOM = 200_000


class Record:
    """Rows of numbers, each written by one thread at a time."""

    def __init__(self) -> None:
        # written to: the memory is there from now on
        self.stamps_ns = np.full(_ROOM, -1, np.int64)
        self.frames = np.full((_ROOM, len(FRAME)), np.nan)
        self.spans = np.full((_ROOM, len(SPAN)), np.nan)
        self.frame_count = self.span_count = 0
        self._lock = threading.Lock()

    def frame(self, stamp_ns: int, *values: float) -> None:
        self.stamps_ns[self.frame_count % _ROOM] = stamp_ns
        self.frames[self.frame_count % _ROOM] = values
        self.frame_count += 1

    def span(self, kind: int, start_s: float) -> None:
        end_s = time.monotonic()
        with self._lock:
            self.spans[self.span_count % _ROOM] = kind, start_s, end_s
            self.span_count += 1

    def save(self, path: Path) -> None:
        frames, spans = self.frame_count, self.span_count
        np.savez(path, stamps_ns=self.stamps_ns[:frames], frames=self.frames[:frames], spans=self.spans[:spans])


class CoreWaits:
    """How long threads that may infer, all but the executor's and those of DDS, have been ready and had no core."""

    _LOOK_EVERY = 200  # threads come and go with the model

    def __init__(self) -> None:
        self._calls = 0
        self._threads: list[str] = []

    def read(self) -> dict[str, int]:
        """Nanoseconds by the thread's file."""
        if self._calls % self._LOOK_EVERY == 0:
            others = (task for task in Path("/proc/self/task").iterdir() if int(task.name) != os.getpid())
            self._threads = [
                f"{each}/schedstat" for each in others if not (each / "comm").read_text().startswith("dds")
            ]
        self._calls += 1
        waits = {}
        for name in self._threads:
            with suppress(OSError), open(name, encoding="ascii") as file:
                waits[name] = int(file.read().split()[1])
        return waits

    @staticmethod
    def most_s(before: dict[str, int], after: dict[str, int]) -> float:
        """Of the thread that waited most."""
        return max((after[name] - before[name] for name in before.keys() & after.keys()), default=0) * 1e-9


def main() -> int:
    from cgdet_ros.node import detector_node, image_input, pipeline, reporter
    from cgdet_ros.node.messages import stamp_to_ns

    record, core_waits = Record(), CoreWaits()
    predicted_s = 0.0

    @dataclass(frozen=True)
    class Frame(image_input.ReceivedFrame):
        arrived_s: float = 0.0
        offered_s: float = 0.0

    class Input(image_input.ImageInput):
        def _on_raw(self, message: Any, info: Any) -> None:  # type: ignore[override]  # rclpy gives what is asked for
            self.arrived_s = time.monotonic() - (time.time_ns() - info["received_timestamp"]) * 1e-9
            image_input.ImageInput._on_raw(self, message)

    class Line(pipeline.Pipeline):
        def offer(self, frame: image_input.ReceivedFrame) -> None:
            super().offer(Frame(**vars(frame), arrived_s=self._node._input.arrived_s, offered_s=time.monotonic()))

        def _process(self, frame: Frame) -> None:  # type: ignore[override]
            nonlocal predicted_s
            begun_s, waits = time.monotonic(), core_waits.read()
            published: list[float] = []
            publish = self.outputs.publish_detections

            def noted(*words: Any) -> None:
                publish(*words)
                published.extend((time.monotonic(), core_waits.most_s(waits, core_waits.read())))

            self.outputs.publish_detections = noted
            try:
                super()._process(frame)
            finally:
                self.outputs.publish_detections = publish
            record.frame(
                stamp_to_ns(frame.header.stamp),
                frame.arrived_s,
                frame.received_s,
                frame.offered_s,
                begun_s,
                predicted_s,
                published[0],
                time.monotonic(),
                self.engine.predictor.last_stage_ms["infer"] * 1e-3,
                published[1],
            )

    class Reporter(reporter.Reporter):
        def report(self) -> None:
            start_s = time.monotonic()
            super().report()
            record.span(KINDS.index("diagnostics"), start_s)

    class Node(detector_node.DetectorNode):
        def _on_set_parameters(self, changes: Any) -> Any:
            start_s = time.monotonic()
            try:
                return super()._on_set_parameters(changes)
            finally:
                record.span(KINDS.index("parameters"), start_s)

    collecting_since_s = 0.0

    def on_collection(phase: str, info: Any) -> None:
        nonlocal collecting_since_s
        if phase == "start":
            collecting_since_s = time.monotonic()
        else:
            record.span(KINDS.index("garbage collection"), collecting_since_s)

    predict = pipeline.Engine.predict

    def noted_predict(self: Any, *words: Any) -> Any:
        nonlocal predicted_s
        detections = predict(self, *words)
        predicted_s = time.monotonic()
        return detections

    pipeline.Engine.predict = noted_predict  # type: ignore[method-assign]
    detector_node.ImageInput, detector_node.Pipeline = Input, Line  # type: ignore[misc]
    detector_node.DetectorNode, detector_node.Reporter = Node, Reporter  # type: ignore[misc]
    gc.callbacks.append(on_collection)
    try:
        return detector_node.main(sys.argv[2:])
    finally:
        record.save(Path(sys.argv[1]))


if __name__ == "__main__":
    sys.exit(main())
