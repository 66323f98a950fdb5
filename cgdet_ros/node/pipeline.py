"""From a checked image to what is published about it: a predictor, its worker, and what to do when either fails."""

from __future__ import annotations

import gc
import re
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cgdet_core.config import PostprocessConfig
from cgdet_core.errors import InputError
from cgdet_core.runtime.gain import GainSmoother, ShutterWatch
from cgdet_core.thermal import cut_telemetry, to_grey
from cgdet_core.types import Detections, ImageArray, stamp_to_ns
from cgdet_ros.config import NodeConfig
from cgdet_ros.node import parameters
from cgdet_ros.node.frame_log import LOG_THROTTLE, FrameLog, one_line
from cgdet_ros.node.image_input import ReceivedFrame
from cgdet_ros.node.outputs import Outputs, draw_overlay
from cgdet_ros.node.worker import NewestOnlyWorker

_GPU_NAME = re.compile(r"cuda(:\d+)?")


class Inference:
    """A warm predictor, with the settings that parameters give it, over one stream of frames. For one thread.

    Raises InputError for a model or settings that are none, and what the device raises.
    """

    def __init__(self, config: NodeConfig) -> None:
        from cgdet_core.runtime.predictor import Predictor

        path = Path(config.model).expanduser() if config.model else None
        self.predictor = Predictor(
            path, device=config.device, precision=config.precision, threads=config.threads, backend=config.backend
        )
        self.postprocess = self.postprocess_of(config)
        self.thermal = parameters.thermal_of(config, self.predictor.info.thermal)
        self._telemetry_rows = config.telemetry_rows
        smoothed = config.gain_time_s > 0 and self.thermal.raw_range is None
        self._smoother = GainSmoother(config.gain_time_s, self.thermal) if smoothed else None
        self.predictor.warm_up()

    def postprocess_of(self, config: NodeConfig) -> PostprocessConfig:
        """Thresholds and the like; InputError for those of classes that the model does not know."""
        from cgdet_core.runtime.predictor import check_thresholds

        info = self.predictor.info
        return check_thresholds(parameters.postprocess_of(config, info.postprocess), info.class_names)

    def forget(self) -> None:
        """The next frame is of another stream."""
        if self._smoother is not None:
            self._smoother.forget()

    def predict(self, image: ImageArray, stamp_ns: int, postprocess: PostprocessConfig) -> Detections:
        """Detections in a raw frame, in its pixels, best first; equal scores in the order of the network's cells."""
        thermal = self.thermal
        if self._smoother is not None:
            picture, _ = cut_telemetry(image, self._telemetry_rows)
            limits = self._smoother.limits_of(to_grey(picture), stamp_ns)
            thermal = thermal.model_copy(update={"raw_range": (limits.low, limits.high)})
        return self.predictor.predict(image, self._telemetry_rows, postprocess, thermal)


@dataclass(frozen=True)
class Live:
    """The settings that may change between two frames, replaced as one: a frame sees those before or those after."""

    config: NodeConfig
    postprocess: PostprocessConfig
    class_ids: Sequence[str]  # what is published for each class, by its number


class Pipeline:
    """A loaded, warm model, the thread that it runs in and the publishers; from configure to cleanup of `node`.

    Raises whatever stands in the way; nothing is left running then. fallback: why the CPU is in the place of the GPU,
    or nothing.
    """

    def __init__(self, node: Any, config: NodeConfig, log: FrameLog) -> None:
        self._node, self._log = node, log
        self.fallback = ""
        self.worker = NewestOnlyWorker[ReceivedFrame]("detector", self._process, self._on_failed)
        self.worker.start(lambda: self._load(config))  # in the thread that will use it
        try:
            self._watch = ShutterWatch(self.inference.predictor.info.thermal, config.diagnostics.gain_jump)
            self.apply(config)
            self.outputs = Outputs(node)
        except Exception:
            self.worker.stop()
            raise

    def close(self) -> None:
        """End the thread, with the frame that is worked on, and the publishers; free the device's memory."""
        self.worker.stop()
        self.outputs.destroy()
        del self.inference
        _release_device_memory()

    def apply(self, config: NodeConfig) -> None:
        """Take the live settings of `config` from the next frame on; InputError, with nothing changed, for bad ones."""
        names = self.inference.predictor.info.class_names  # the same on the GPU and on the CPU in its place
        class_ids = names if config.class_id == "name" else [str(number) for number in range(len(names))]
        self.live = Live(config, self.inference.postprocess_of(config), class_ids)

    def offer(self, frame: ReceivedFrame) -> None:
        """Leave `frame` for the worker, in place of one that waits still."""
        if self.worker.offer(frame):
            self._log.overtaken()

    def drain(self) -> None:
        """Return once the frame that is worked on has been published; the next one is of another stream."""
        if self.worker.drain():
            self._log.overtaken()
        self.inference.forget()
        self._watch.forget()

    # in the worker's thread

    def _load(self, config: NodeConfig) -> None:
        try:
            self.inference = Inference(config)
        except Exception as error:
            # with `auto` a GPU is taken where there is one: what is foreseen is then not about the GPU
            automatic = config.device == "auto" and not isinstance(error, InputError)
            if not (config.cpu_fallback and (automatic or _GPU_NAME.fullmatch(config.device))):
                raise
            self._fall_back(error, config)

    def _fall_back(self, error: Exception, config: NodeConfig) -> None:
        """To the CPU, from the GPU that raised `error`; that is raised again where the CPU does not help."""
        # a precision or backend of the GPU gives way to what is automatic on a CPU
        try:
            inference = Inference(config.model_copy(update={"device": "cpu", "precision": "auto", "backend": "auto"}))
        except Exception:
            raise error from None
        self.inference, self.fallback = inference, one_line(error)
        _release_device_memory()
        self._node.get_logger().warning(
            f"THE GPU FAILED, the CPU ({inference.predictor.precision}) is in its place until the next configure: "
            f"{self.fallback}. Set cpu_fallback to false where no detections are better than slow ones"
        )

    def _process(self, frame: ReceivedFrame) -> None:
        """Predict and publish, then whatever else the frame is good for."""
        live, inference = self.live, self.inference
        stamp_ns = stamp_to_ns(frame.header.stamp)
        try:
            detections = inference.predict(frame.image, stamp_ns, live.postprocess)
        except Exception as error:
            if inference.predictor.device != "cpu" and live.config.cpu_fallback and not isinstance(error, InputError):
                self._fall_back(error, live.config)
                if self.worker.forget():  # it came before the CPU's model was loaded: an answer would be stale
                    self._log.overtaken()
            raise
        self.outputs.publish_detections(frame.header, detections, live.class_ids)
        self._log.answered((time.monotonic() - frame.received_s) * 1e3, inference.predictor.last_stage_ms)
        # the frame is answered: what fails from here on changes nothing of it, and is not the GPU's
        try:
            self._look(frame, stamp_ns, live.config)
            if self.outputs.overlay_is_watched:
                names, style = inference.predictor.info.class_names, live.config.overlay
                picture = draw_overlay(frame.image, detections, names, inference.thermal, style)
                self.outputs.publish_overlay(frame.header, picture, style.jpeg_quality)
        except Exception as error:
            if self._node.context.ok():
                self._log.error(one_line(error))
                self._node.get_logger().warning(
                    f"after the answer to a frame of {frame.topic}: {one_line(error)}", **LOG_THROTTLE
                )

    def _look(self, frame: ReceivedFrame, stamp_ns: int, config: NodeConfig) -> None:
        """For its age, and what the camera's shutter does to it."""
        self._log.aged(stamp_ns, self._node.get_clock().now().nanoseconds)
        self._watch.jump_share = config.diagnostics.gain_jump
        picture, _ = cut_telemetry(frame.image, config.telemetry_rows)
        before = self._log.seen(self._watch.look(picture, stamp_ns), frame.kind)
        if before is not None:
            self._node.get_logger().info(f"images on {frame.topic} were {before}, now they are {frame.kind}")

    def _on_failed(self, frame: ReceivedFrame, error: Exception) -> None:
        """The frame is lost."""
        if not self._node.context.ok():  # the process is ending, with this frame in work
            return
        count = self._log.lost("failed", one_line(error))
        self._node.get_logger().error(
            f"a frame of {frame.topic} failed ({count} so far): {one_line(error)}", **LOG_THROTTLE
        )


def _release_device_memory() -> None:
    """Give back what is cached for nobody; to be called once nothing holds the predictor any more."""
    gc.collect()
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        with suppress(RuntimeError):  # a device that failed fails here too
            torch.cuda.empty_cache()
