"""From a checked image to what is published about it: a predictor, its thread, and what to do when either fails.

The thread works on the newest image only: what comes in between is overtaken, not queued.
"""

from __future__ import annotations

import gc
import re
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

from cgdet_core.config import ThermalConfig
from cgdet_core.errors import InputError
from cgdet_core.runtime.gain import ShutterWatch
from cgdet_core.thermal import cut_telemetry
from cgdet_core.types import FloatArray, ImageArray, stamp_to_ns
from cgdet_ros.config import NodeConfig
from cgdet_ros.node.frame_log import LOG_THROTTLE, FrameLog, one_line
from cgdet_ros.node.image_input import ReceivedFrame

T = TypeVar("T")
_GPU_NAME = re.compile(r"cuda(:\d+)?")


class NewestOnlyWorker(Generic[T]):
    """A one-slot mailbox and the thread that empties it.

    process: called with one item at a time, in the order offered; on_error: called with that item and what it raised,
    after which the thread goes on with the next.
    """

    def __init__(self, name: str, process: Callable[[T], None], on_error: Callable[[T, Exception], None]) -> None:
        self._process, self._on_error = process, on_error
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=name)
        self._lock = threading.Lock()
        self._waiting: T | None = None
        self._stopped = False

    def start(self, prepare: Callable[[], None]) -> None:
        """Wait until the thread has run `prepare`; whatever that raises is raised here, and the thread has ended.

        What warms up belongs to the thread that does the work: pools and caches of the arithmetic are per thread.
        """
        try:
            self._thread.submit(prepare).result()
        except BaseException:  # also a Ctrl-C: the process is not to end with the thread in the middle of it
            self.stop()
            raise

    def offer(self, item: T) -> bool:
        """Leave `item` in the slot; True where another, now lost, was waiting there."""
        with self._lock:
            overtaken, self._waiting = self._waiting is not None, item
            if not (overtaken or self._stopped):
                self._thread.submit(self._work)
        return overtaken

    def take(self) -> T | None:
        """Empty the slot of what waits there, if anything does. Of the methods the one for the worker's own thread."""
        with self._lock:
            item, self._waiting = self._waiting, None
        return item

    def drain(self) -> bool:
        """Forget what waits and return once nothing is worked on; True where something waited."""
        waited = self.take() is not None
        self._thread.submit(lambda: None).result()
        return waited

    def stop(self) -> None:
        """Forget what waits, finish what is worked on, end the thread."""
        with self._lock:
            self._waiting, self._stopped = None, True
        self._thread.shutdown()

    def _work(self) -> None:
        item = self.take()
        if item is None:  # it was drained
            return
        try:
            self._process(item)
        except Exception as error:
            self._on_error(item, error)


class Inference(Protocol):
    """What a type of node brings: a warm predictor, with the settings that parameters give it, over one stream of
    frames. For one thread. Raises InputError for a model or settings that are none, and what the device raises.

    predictor: names what is executed (model_path, model_sha256, device, precision, backend, info) and gives
    last_stage_ms; thermal: how its frames are seen.
    """

    predictor: Any
    thermal: ThermalConfig

    def settings_of(self, config: Any) -> Any:
        """The live settings of `config` in the model's terms; InputError for those that do not suit it."""

    def predict(self, image: ImageArray, faces_xyxy_px: FloatArray | None, settings: Any) -> Any:
        """What is found in a raw frame, in these boxes where they came with it; InputError for one that is none."""

    def forget(self) -> None:
        """The next frame is of another stream."""


@dataclass(frozen=True)
class Live:
    """The settings that may change between two frames, replaced as one: a frame sees those before or those after."""

    config: NodeConfig
    settings: Any  # of the inference


class Pipeline:
    """A loaded, warm model, the thread that it runs in and the publishers; from configure to cleanup of `node`.

    node: a ThermalNode, whose INFERENCE and `publish` make what its type brings. Raises whatever stands in the way;
    nothing is left running then. fallback: why the CPU is in the place of the GPU, or nothing.
    """

    inference: Inference

    def __init__(self, node: Any, config: NodeConfig, log: FrameLog) -> None:
        self._node, self._log = node, log
        self.fallback = ""
        self._telemetry_rows = config.frames.telemetry_rows
        self.worker = NewestOnlyWorker[ReceivedFrame](node.get_name(), self._process, self._on_failed)
        self.worker.start(lambda: self._load(config))  # in the thread that will use it
        try:
            self._watch = ShutterWatch(self.inference.thermal, config.diagnostics.gain_jump)
            self.apply(config)
            self.outputs: Any = node.publish(config, self.inference)
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
        self.live = Live(config, self.inference.settings_of(config))

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
            self.inference = self._node.INFERENCE(config)
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
            on_cpu = {"device": "cpu", "precision": "auto", "backend": "auto"}
            inference = self._node.INFERENCE(config.model_copy(update=on_cpu))
        except Exception:
            raise error from None
        self.inference, self.fallback = inference, one_line(error)
        _release_device_memory()
        self._node.get_logger().warning(
            f"THE GPU FAILED: {self.fallback}: the CPU ({inference.predictor.precision}) works until the next "
            "configure; to stop instead, set cpu_fallback to false"
        )

    def _process(self, frame: ReceivedFrame) -> None:
        """Predict and publish, then whatever else the frame is good for."""
        live, inference = self.live, self.inference
        stamp_ns = stamp_to_ns(frame.header.stamp)
        try:
            found = inference.predict(frame.image, frame.faces_xyxy_px, live.settings)
        except Exception as error:
            if inference.predictor.device != "cpu" and live.config.cpu_fallback and not isinstance(error, InputError):
                self._fall_back(error, live.config)
                # what waits came before the CPU's model was loaded: an answer to it would be stale
                if self.worker.take() is not None:
                    self._log.overtaken()
            raise
        self.outputs.publish(frame, found)
        self._log.answered((time.monotonic() - frame.received_s) * 1e3, inference.predictor.last_stage_ms)
        # the frame is answered: what fails from here on changes nothing of it, and is not the GPU's
        try:
            self._look(frame, stamp_ns, live.config)
            if self.outputs.overlay_is_watched:
                self.outputs.publish_overlay(frame, found, live.config.overlay)
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
        picture, _ = cut_telemetry(frame.image, self._telemetry_rows)
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
