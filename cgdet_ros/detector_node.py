"""The node `thermal_detector`: convert, predict, publish.

The executor's thread checks each image and leaves it in a one-slot mailbox; one worker thread
predicts and publishes. A frame that a newer one overtakes is counted and never seen again.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from rcl_interfaces.msg import SetParametersResult
from rclpy.clock import Clock, ClockType
from rclpy.exceptions import ParameterException
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from rclpy.parameter import Parameter
from rclpy.qos import DurabilityPolicy, HistoryPolicy, QoSProfile, ReliabilityPolicy
from rclpy.qos_overriding_options import QoSOverridingOptions
from rclpy.utilities import remove_ros_args
from sensor_msgs.msg import Image
from std_msgs.msg import Header
from std_srvs.srv import SetBool
from vision_msgs.msg import Detection2DArray, LabelInfo, VisionInfo

from cgdet_core.errors import InputError
from cgdet_core.types import Detections, ImageArray
from cgdet_ros import messages, parameters
from cgdet_ros.detection_bytes import DetectionWriter
from cgdet_ros.diagnostics import FrameLog, describe
from cgdet_ros.overlay import draw_overlay
from cgdet_ros.worker import NewestOnlyWorker

if TYPE_CHECKING:
    from cgdet_core.runtime.predictor import Predictor

WARNING_PERIOD_S = 5.0  # between two lines in the log about the same trouble


def quality_of_service(depth: int, best_effort: bool = False, latched: bool = False) -> QoSProfile:
    """A new profile at each call: rclpy writes the overrides that the user gave into the one that it is handed."""
    return QoSProfile(
        history=HistoryPolicy.KEEP_LAST,
        depth=depth,
        reliability=ReliabilityPolicy.BEST_EFFORT if best_effort else ReliabilityPolicy.RELIABLE,
        durability=DurabilityPolicy.TRANSIENT_LOCAL if latched else DurabilityPolicy.VOLATILE,
    )


@dataclass(frozen=True)
class ReceivedFrame:
    """A checked image on its way to the worker; received_s: monotonic clock."""

    header: Header
    image: ImageArray
    received_s: float


class DetectorNode(LifecycleNode):  # type: ignore[misc]
    """Thermal images in, vision_msgs/Detection2DArray out. Raises InputError for parameters that are none."""

    def __init__(self, **node_arguments: Any) -> None:
        super().__init__("thermal_detector", **node_arguments)
        self._config = parameters.declare_parameters(self)
        for name in parameters.unknown_overrides(self):
            self.get_logger().warning(f"parameter '{name}' is none of this node's: it is ignored")
        self.add_on_set_parameters_callback(self._on_set_parameters)
        self._log = FrameLog()
        self._predictor: Predictor | None = None
        self._writer = DetectionWriter()  # the worker's alone
        self._worker: NewestOnlyWorker[ReceivedFrame] | None = None
        self._subscription: Any = None
        self._enabled = True
        self._active_since_s = 0.0
        self._configured_times = 0
        self._guard_transitions()
        self.create_service(SetBool, "~/enable", self._on_enable)
        self._create_diagnostics()

    @property
    def autostart(self) -> bool:
        """Whether the node is to drive itself to active."""
        return self._config.autostart

    def start(self) -> None:
        """Configure and activate; a reason why it does not get there is in the log."""
        if self.trigger_configure() is TransitionCallbackReturn.SUCCESS:
            self.trigger_activate()

    def close(self) -> None:
        """Stop listening and end the worker; for the end of the process, whatever the state."""
        self._unsubscribe()
        if self._worker is not None:
            self._worker.stop()
        self.destroy_node()

    # transitions

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        try:
            self._load()
        except InputError as error:
            return self._configure_failed(str(error))
        except Exception as error:  # a device that refuses, memory that ends: a reason, and the process lives
            return self._configure_failed(_one_line(error))
        self._create_publishers()
        self._configured_times += 1
        self._log.error("")
        facts = ", ".join(f"{name} {value}" for name, value in self._facts().items() if name != "model_sha256")
        self.get_logger().info(f"configured: {facts}")
        return super().on_configure(state)

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        result = super().on_activate(state)  # publishers first: the first image may come at once
        self._active_since_s = time.monotonic()
        self._publish_info()
        if self._enabled:
            self._subscribe()
        self.get_logger().info(f"active: detecting on {self._image_topic()}")
        return result

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        self._unsubscribe()
        return super().on_deactivate(state)

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        result = super().on_cleanup(state)
        self._free()
        return result

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        self._unsubscribe()
        result = super().on_shutdown(state)
        self._free()
        return result

    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        self.get_logger().error(f"a transition from state '{state.label}' raised an error: back to unconfigured")
        self._unsubscribe()
        result = super().on_error(state)
        self._free()
        return result

    def _configure_failed(self, reason: str) -> TransitionCallbackReturn:
        self._free()
        self._log.error(reason)
        self.get_logger().error(f"cannot be configured: {reason}")
        return TransitionCallbackReturn.FAILURE

    def _load(self) -> None:
        """The predictor, warmed up in the thread that will use it."""
        config = self._config
        from cgdet_core.runtime.model_file import default_model_path, read_info
        from cgdet_core.runtime.predictor import Predictor

        path = Path(config.model).expanduser() if config.model else default_model_path()
        info = read_info(path)
        predictor = Predictor(
            path,
            device=config.device,
            precision=config.precision,
            postprocess=parameters.postprocess_of(config, info.postprocess),
            thermal=parameters.thermal_of(config, info.thermal),
            threads=config.threads,
            backend=config.backend,
        )
        self._worker = NewestOnlyWorker("detector", self._process, self._on_worker_error)
        self._worker.start(predictor.warm_up)
        self._predictor = predictor

    def _free(self) -> None:
        if self._worker is not None:
            self._worker.stop()
        self._worker = self._predictor = None
        for publisher in getattr(self, "_publishers_of_state", ()):
            self.destroy_lifecycle_publisher(publisher)
        self._publishers_of_state: tuple[Any, ...] = ()

    def _create_publishers(self) -> None:
        create = self.create_lifecycle_publisher
        self._detections = create(
            Detection2DArray,
            "detections",
            quality_of_service(depth=5),
            qos_overriding_options=QoSOverridingOptions.with_default_policies(),
        )
        self._label_info = create(LabelInfo, "label_info", quality_of_service(depth=1, latched=True))
        self._vision_info = create(VisionInfo, "vision_info", quality_of_service(depth=1, latched=True))
        self._overlay = create(Image, "overlay", quality_of_service(depth=1))
        self._publishers_of_state = (self._detections, self._label_info, self._vision_info, self._overlay)

    def _guard_transitions(self) -> None:
        """rclpy raises out of the service, and so ends the node, where a transition is not possible in its state."""
        service = self._service_change_state
        change_state: Callable[[Any, Any], Any] = service.callback

        def guarded(request: Any, response: Any) -> Any:
            try:
                return change_state(request, response)
            except Exception as error:
                wanted = request.transition.label or f"number {request.transition.id}"
                self.get_logger().warning(
                    f"transition {wanted} is not possible in state '{self._state()}': {' '.join(str(error).split())}"
                )
                response.success = False
                return response

        service.callback = guarded

    def _state(self) -> str:
        return str(self._state_machine.current_state[1])

    # images

    def _subscribe(self) -> None:
        if self._subscription is None:
            self._subscription = self.create_subscription(
                Image,
                "image",
                self._on_image,
                quality_of_service(depth=1, best_effort=True),  # that of sensor data
                qos_overriding_options=QoSOverridingOptions.with_default_policies(),
            )

    def _unsubscribe(self) -> None:
        """Returns once the frame that is worked on has been published."""
        if self._subscription is not None:
            self.destroy_subscription(self._subscription)
            self._subscription = None
        if self._worker is not None and self._worker.drain():
            self._log.overtaken()
        self._log.forget()

    def _on_image(self, message: Image) -> None:
        received_s = time.monotonic()
        self._log.received()
        try:
            image = messages.image_from_message(message)
        except Exception as error:  # whatever a message holds, it does not end the node
            reason = _one_line(error)
            count = self._log.refused(reason)
            self.get_logger().warning(
                f"image on {self._image_topic()} refused ({count} so far): {reason}",
                throttle_duration_sec=WARNING_PERIOD_S,
            )
            return
        if self._worker is not None and self._worker.offer(ReceivedFrame(message.header, image, received_s)):
            self._log.overtaken()

    def _process(self, frame: ReceivedFrame) -> None:
        """In the worker's thread: predict and publish."""
        predictor, config = self._predictor, self._config
        assert predictor is not None
        detections = predictor.predict(frame.image, config.telemetry_rows)
        names = predictor.info.class_names
        class_ids = names if config.class_id == "name" else tuple(str(number) for number in range(len(names)))
        self._detections.publish(self._writer.write(frame.header, detections, class_ids))
        self._log.answered((time.monotonic() - frame.received_s) * 1e3, predictor.last_stage_ms)
        if self._overlay.get_subscription_count() > 0:
            try:
                self._publish_overlay(frame, detections)
            except Exception as error:  # the frame is answered: a picture that cannot be drawn changes nothing of it
                self._on_overlay_error(error)

    def _publish_overlay(self, frame: ReceivedFrame, detections: Detections) -> None:
        predictor, config = self._predictor, self._config
        assert predictor is not None
        picture = draw_overlay(frame.image, detections, predictor.info.class_names, predictor.thermal, config.overlay)
        self._overlay.publish(messages.image_to_message(frame.header, picture, "rgb8"))

    def _on_overlay_error(self, error: Exception) -> None:
        if self.context.ok():
            self.get_logger().warning(
                f"the overlay of a frame of {self._image_topic()} failed, its detections were published: "
                f"{_one_line(error)}",
                throttle_duration_sec=WARNING_PERIOD_S,
            )

    def _on_worker_error(self, error: Exception) -> None:
        if not self.context.ok():  # the process is ending, with this frame in work
            return
        reason = _one_line(error)
        count = self._log.failed(reason)
        self.get_logger().error(
            f"a frame of {self._image_topic()} failed ({count} so far): {reason}",
            throttle_duration_sec=WARNING_PERIOD_S,
        )

    def _image_topic(self) -> str:
        return str(self.resolve_topic_name("image"))

    # parameters, services, information

    def _on_set_parameters(self, changes: list[Parameter]) -> SetParametersResult:
        """All or nothing: a frame sees the settings before or those after."""
        try:
            config = parameters.updated(self._config, changes)
            changed = parameters.changed_names(self._config, config)
            predictor = self._predictor
            if predictor is not None:
                for name in sorted(changed.difference(parameters.LIVE)):
                    raise InputError(
                        f"'{name}' can be set while the node is unconfigured only, it is {self._state()}: "
                        "deactivate and clean up first"
                    )
                from cgdet_core.runtime.predictor import check_thresholds

                postprocess = parameters.postprocess_of(config, predictor.info.postprocess)
                predictor.postprocess = check_thresholds(postprocess, predictor.info.class_names)
        except InputError as error:
            return SetParametersResult(successful=False, reason=str(error))
        self._config = config
        if changed & {"score_threshold", "class_thresholds"} and self._state() == "active":
            self._publish_info()
        return SetParametersResult(successful=True)

    def _on_enable(self, request: SetBool.Request, response: SetBool.Response) -> SetBool.Response:
        self._enabled = bool(request.data)
        if self._state() == "active":
            if self._enabled:
                self._subscribe()
            else:
                self._unsubscribe()
        response.success = True
        response.message = f"{'enabled' if self._enabled else 'paused'}, {self._state()}"
        return response

    def _publish_info(self) -> None:
        predictor = self._predictor
        assert predictor is not None
        names = predictor.info.class_names
        threshold = min(predictor.postprocess.threshold_of(name) for name in names)
        stamp = self.get_clock().now().to_msg()
        self._label_info.publish(messages.label_info_message(stamp, names, threshold))
        method = f"{predictor.info.architecture} {predictor.model_path.name} sha256:{predictor.model_sha256[:12]}"
        label_topic = str(self.resolve_topic_name("label_info"))
        self._vision_info.publish(messages.vision_info_message(stamp, method, label_topic, self._configured_times))

    def _facts(self) -> dict[str, str]:
        predictor = self._predictor
        if predictor is None:
            return {"model": self._config.model or "(shipped)"}
        return {
            "model": str(predictor.model_path),
            "model_sha256": predictor.model_sha256,
            "device": predictor.device,
            "precision": predictor.precision,
            "backend": predictor.backend,
            "parameters": str(predictor.info.parameters),
        }

    def _create_diagnostics(self) -> None:
        period_s = self._config.diagnostics.period_s
        if period_s > 0:
            self._diagnostics = self.create_publisher(DiagnosticArray, "/diagnostics", 10)
            # steady: a simulated clock that stands still must not silence the node
            self.create_timer(period_s, self._publish_diagnostics, clock=Clock(clock_type=ClockType.STEADY_TIME))

    def _publish_diagnostics(self) -> None:
        topic = self._image_topic()
        status = describe(
            state=self._state(),
            log=self._log,
            image_topic=topic,
            image_publishers=self.count_publishers(topic),
            enabled=self._enabled,
            active_s=time.monotonic() - self._active_since_s,
            image_timeout_s=self._config.diagnostics.image_timeout_s,
            facts=self._facts(),
        )
        name = self.get_fully_qualified_name()
        hardware_id = self._predictor.device if self._predictor is not None else "none"
        stamp = self.get_clock().now().to_msg()
        self._diagnostics.publish(
            messages.diagnostics_message(stamp, name, hardware_id, status.level, status.message, status.values)
        )


def _one_line(error: Exception) -> str:
    text = str(error) if isinstance(error, InputError) else f"{type(error).__name__}: {error}"
    return " ".join(text.split())


def _check_arguments(arguments: list[str] | None) -> None:
    """Show help, or end at words that are none; what follows --ros-args is ROS's, which raises RuntimeError."""
    parser = argparse.ArgumentParser(
        prog="cgdet-detector",
        description="The node thermal_detector: sensor_msgs/Image in on `image`, vision_msgs/Detection2DArray out on "
        "`detections`. It takes ROS arguments only.",
        epilog="examples:\n"
        "  cgdet-detector --ros-args -r image:=/flir/image_raw -p score_threshold:=0.3\n"
        "  cgdet-detector --ros-args --params-file config/detector.yaml -r __ns:=/front\n\n"
        "Every parameter, with its default and its range, is described in config/detector.yaml.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    own = remove_ros_args(sys.argv)[1:] if arguments is None else remove_ros_args(arguments)
    parser.parse_args(own)


def main(arguments: list[str] | None = None) -> int:
    """The executable; 0 after a shutdown that was asked for, 2 where it was started with arguments that are none."""
    node = None
    try:
        try:
            _check_arguments(arguments)
            rclpy.init(args=arguments)
            node = DetectorNode()
        except (InputError, ParameterException, RuntimeError) as error:  # rcl's own refusals are RuntimeErrors
            print(f"thermal_detector: {' '.join(str(error).split())}", file=sys.stderr)
            return 2
        executor = SingleThreadedExecutor()
        executor.add_node(node)
        if node.autostart:
            node.start()
        executor.spin()
    except (KeyboardInterrupt, ExternalShutdownException):
        pass
    except RuntimeError:  # rcl's answer to whatever was under way when the context was shut down
        if rclpy.ok():
            raise
    finally:
        if node is not None:
            node.close()
        rclpy.try_shutdown()
    return 0


if __name__ == "__main__":
    sys.exit(main())
