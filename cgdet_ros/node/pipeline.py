"""From a checked image to what is published about it: one worker, one engine, and what to do when either fails."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

from cgdet_core.config import PostprocessConfig
from cgdet_core.errors import InputError
from cgdet_core.runtime.shutter import ShutterWatch
from cgdet_core.thermal import cut_telemetry
from cgdet_core.types import Detections
from cgdet_ros.config import NodeConfig
from cgdet_ros.node import messages
from cgdet_ros.node.engine import Engine, one_line, open_engine
from cgdet_ros.node.frame_log import FrameLog
from cgdet_ros.node.image_input import ReceivedFrame
from cgdet_ros.node.outputs import Outputs
from cgdet_ros.node.seldom import SELDOM
from cgdet_ros.node.stamp_age import StampAges
from cgdet_ros.node.worker import NewestOnlyWorker


@dataclass(frozen=True)
class Live:
    """The settings that may change between two frames, replaced as one: a frame sees those before or those after."""

    config: NodeConfig
    postprocess: PostprocessConfig


class Pipeline:
    """A loaded model and the thread that it runs in, warm; from configure to cleanup of `node`.

    Raises whatever stands in the way of loading; nothing is left running then. `outputs` must be there
    before the first frame is offered.
    """

    def __init__(self, node: Any, config: NodeConfig, log: FrameLog, ages: StampAges) -> None:
        self._node = node
        self._log = log
        self._ages = ages
        self._topic = ""
        self.outputs: Outputs | None = None
        self.engine: Engine = open_engine(config)
        self._live = Live(config, self.engine.postprocess_of(config))
        self._watch = ShutterWatch(self.engine.predictor.info.thermal, config.diagnostics.gain_jump)
        self.worker = NewestOnlyWorker[ReceivedFrame]("detector", self._process, self._on_error)
        # in the thread that will use it
        self.worker.start(self.engine.warm_up)
        if self.engine.fallback:
            self._warn_of_fallback()

    @property
    def postprocess(self) -> PostprocessConfig:
        """Thresholds and the like of the next frame."""
        return self._live.postprocess

    def apply(self, config: NodeConfig) -> None:
        """Take the live settings of `config` from the next frame on; InputError, with nothing changed, for bad ones."""
        self._live = Live(config, self.engine.postprocess_of(config))

    def offer(self, frame: ReceivedFrame) -> None:
        """Leave `frame` for the worker, in place of one that waits still."""
        if self.worker.offer(frame):
            self._log.overtaken()

    def drain(self) -> None:
        """Return once the frame that is worked on has been published; the next one is of another stream."""
        if self.worker.drain():
            self._log.overtaken()
        self.engine.forget()
        self._watch.forget()

    def close(self) -> None:
        """End the thread, with the frame that is worked on."""
        self.worker.stop()

    def _process(self, frame: ReceivedFrame) -> None:
        """In the worker's thread: predict and publish, then whatever else the frame is good for."""
        live, predictor = self._live, self.engine.predictor
        config = live.config
        self._topic = frame.topic
        assert self.outputs is not None
        stamp_ns = messages.stamp_to_ns(frame.header.stamp)
        try:
            detections = self.engine.predict(frame.image, stamp_ns, live.postprocess)
        except Exception as error:
            self._on_error(error)
            if self._node.context.ok() and self.engine.can_fall_back and not isinstance(error, InputError):
                self._fall_back(error)
            return
        names = predictor.info.class_names
        class_ids = names if config.class_id == "name" else tuple(str(number) for number in range(len(names)))
        self.outputs.publish_detections(frame.header, detections, class_ids)
        self._log.answered((time.monotonic() - frame.received_s) * 1e3, predictor.last_stage_ms)
        # the frame is answered: what fails from here on changes nothing of it, and is not the GPU's
        try:
            self._ages.answered(stamp_ns, self._node.get_clock().now().nanoseconds)
            self._look_for_oddities(frame, stamp_ns, config)
        except Exception as error:
            self._on_error_after_the_answer("the look for frozen and flat frames", error)
        try:
            self._draw(frame, detections, config)
        except Exception as error:
            self._on_error_after_the_answer("the overlay", error)

    def _draw(self, frame: ReceivedFrame, detections: Detections, config: NodeConfig) -> None:
        outputs, predictor = self.outputs, self.engine.predictor
        assert outputs is not None
        if outputs.overlay_is_watched:
            names, thermal = predictor.info.class_names, self.engine.tone
            outputs.publish_overlay(frame.header, frame.image, detections, names, thermal, config.overlay)

    def _look_for_oddities(self, frame: ReceivedFrame, stamp_ns: int, config: NodeConfig) -> None:
        self._watch.jump_share = config.diagnostics.gain_jump
        picture, _ = cut_telemetry(frame.image, config.telemetry_rows)
        before = self._log.seen(self._watch.look(picture, stamp_ns), frame.kind)
        if before is not None:
            self._node.get_logger().info(f"images on {frame.topic} were {before}, now they are {frame.kind}")

    def _on_error_after_the_answer(self, what: str, error: Exception) -> None:
        if self._node.context.ok():
            self._log.error(one_line(error))
            self._node.get_logger().warning(
                f"{what} of a frame of {self._topic} failed, its detections were published: {one_line(error)}",
                **SELDOM,
            )

    def _on_error(self, error: Exception) -> None:
        """In the worker's thread, with the frame that failed lost."""
        if not self._node.context.ok():  # the process is ending, with this frame in work
            return
        count = self._log.failed(one_line(error))
        self._node.get_logger().error(
            f"a frame of {self._topic} failed ({count} so far): {one_line(error)}",
            **SELDOM,
        )

    def _fall_back(self, error: Exception) -> None:
        try:
            self.engine.fall_back(error, self._live.config)
        except Exception as second:  # the next frame that fails tries again
            self._log.error(one_line(second))
            self._node.get_logger().error(f"the CPU cannot take the GPU's place: {one_line(second)}")
            return
        self._warn_of_fallback()
        if self.worker.forget():  # it came before the CPU's model was loaded: an answer would be stale
            self._log.overtaken()

    def _warn_of_fallback(self) -> None:
        self._node.get_logger().warning(
            f"THE GPU FAILED, the CPU ({self.engine.predictor.precision}) is in its place until the next configure: "
            f"{self.engine.fallback}. Set cpu_fallback to false where no detections are better than slow ones"
        )
