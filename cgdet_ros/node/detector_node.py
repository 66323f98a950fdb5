"""The node `thermal_detector`: convert, predict, publish.

The executor's thread checks each image and leaves it in a one-slot mailbox; one worker thread
predicts and publishes. A frame that a newer one overtakes is counted and never seen again.
"""

from __future__ import annotations

import argparse
import sys
import time
from typing import Any

import rclpy
from rcl_interfaces.msg import SetParametersResult
from rclpy.exceptions import ParameterException
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from rclpy.parameter import Parameter
from rclpy.utilities import remove_ros_args
from std_srvs.srv import SetBool

from cgdet_core.errors import InputError
from cgdet_ros.node import parameters
from cgdet_ros.node.ctrl_c import CtrlC
from cgdet_ros.node.diagnostics import Situation, Status, describe
from cgdet_ros.node.engine import one_line, release_device_memory
from cgdet_ros.node.frame_log import FrameLog
from cgdet_ros.node.image_input import ImageInput, ReceivedFrame, type_name
from cgdet_ros.node.image_watch import ImageWatch
from cgdet_ros.node.log_folder import arguments_for_logging
from cgdet_ros.node.outputs import Outputs
from cgdet_ros.node.pipeline import Pipeline
from cgdet_ros.node.reporter import Reporter
from cgdet_ros.node.seldom import SELDOM
from cgdet_ros.node.stamp_age import StampAges
from cgdet_ros.node.transitions import forget_the_dead, guard_transitions, told


class DetectorNode(LifecycleNode):  # type: ignore[misc]
    """Thermal images in, vision_msgs/Detection2DArray out. Raises InputError for parameters that are none."""

    def __init__(self, **node_arguments: Any) -> None:
        super().__init__("thermal_detector", **node_arguments)
        try:
            self._config = parameters.declare_parameters(self)
        except Exception:
            self.destroy_node()  # it would be seen by others for as long as the process lives
            raise
        for name in parameters.unknown_overrides(self):
            meant = parameters.did_you_mean(name)
            self.get_logger().warning(f"parameter '{name}' is none of this node's, it is ignored{meant}")
        self.add_on_set_parameters_callback(self._on_set_parameters)
        self._log = FrameLog()
        self._ages = StampAges()
        self._image_watch = ImageWatch()
        self._input = ImageInput(self, self._log.received, self._on_frame, self._on_refused)
        self._pipeline: Pipeline | None = None
        self._outputs: Outputs | None = None
        self._enabled = True
        self._active_since_s = 0.0
        self._configured_times = 0
        guard_transitions(self)
        self.create_service(SetBool, "~/enable", self._on_enable)
        if self._config.diagnostics.period_s > 0:
            self._reporter = Reporter(self, self._config.diagnostics.period_s, self._status)

    @property
    def autostart(self) -> bool:
        """Whether the node is to drive itself to active."""
        return self._config.autostart

    @property
    def state(self) -> str:
        """The lifecycle's: unconfigured, inactive, active or finalized."""
        return str(self._state_machine.current_state[1])

    def start(self) -> None:
        """Configure and activate; a reason why it does not get there is in the log."""
        configured = self.trigger_configure() is TransitionCallbackReturn.SUCCESS
        if not self.context.ok():
            return
        if configured:
            self.trigger_activate()
            return
        name = self.get_fully_qualified_name()
        self.get_logger().error(
            f"not active: start it again with what is right, or `ros2 param set {name} ...`, "
            f"`ros2 lifecycle set {name} configure` and `ros2 lifecycle set {name} activate`"
        )

    def close(self) -> None:
        """Stop listening and end the worker; for the end of the process, whatever the state."""
        self._stop_listening()
        if self._pipeline is not None:
            self._pipeline.close()
        self.destroy_node()

    def destroy_node(self) -> None:
        """In addition to rclpy's, whose state machine holds the node: others would see it while the process lives."""
        super().destroy_node()
        self._state_machine.destroy_when_not_in_use()

    # transitions

    @told
    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        try:
            self._pipeline = Pipeline(self, self._config, self._log, self._ages)
            self._outputs = self._pipeline.outputs = Outputs(self)
        except Exception as error:  # a device that refuses, memory that ends: a reason, and the process lives
            self._free()
            self._log.error(one_line(error))
            self.get_logger().error(f"cannot be configured: {one_line(error)}")
            return TransitionCallbackReturn.FAILURE
        self._configured_times += 1
        self._log.error("")
        facts = ", ".join(f"{name} {value}" for name, value in self._facts().items() if name != "model_sha256")
        self.get_logger().info(f"configured: {facts}")
        return super().on_configure(state)

    @told
    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        result = super().on_activate(state)  # publishers first: the first image may come at once
        self._active_since_s = time.monotonic()
        self._publish_info()
        if self._enabled:
            self._listen()
        for name in parameters.idle_qos_overrides(self, self._input.topics):
            self.get_logger().warning(f"parameter '{name}' overrides nothing of this node: look at topic and policy")
        doing = "detecting" if self._enabled else "paused by ~/enable, else detecting"
        self.get_logger().info(f"active: {doing} on {self._image_topic()}")
        return result

    @told
    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        self._stop_listening()
        return super().on_deactivate(state)

    @told
    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        result = super().on_cleanup(state)
        self._free()
        return result

    @told
    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        self._stop_listening()
        result = super().on_shutdown(state)
        self._free()
        return result

    @told
    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        self._stop_listening()
        result = super().on_error(state)
        self._free()
        self.get_logger().error("back to unconfigured")
        return result

    def on_transition_error(self, transition: str, error: Exception) -> None:
        """rclpy goes on to on_error and forgets what was raised: here it is told."""
        self._log.error(one_line(error))
        self.get_logger().error(f"{transition} failed: {one_line(error)}")

    def _free(self) -> None:
        if self._pipeline is not None:
            self._pipeline.close()
            self._pipeline = None
        if self._outputs is not None:
            self._outputs.destroy()
            self._outputs = None
        release_device_memory()
        forget_the_dead(self.default_callback_group)

    # images

    def _listen(self) -> None:
        self._input.open(self._config.image_transport)

    def _stop_listening(self) -> None:
        """Returns once the frame that is worked on has been published."""
        self._input.close()
        if self._pipeline is not None:
            self._pipeline.drain()
        self._log.forget()
        self._ages.forget()
        forget_the_dead(self.default_callback_group)

    def _on_refused(self, error: Exception) -> None:
        count = self._log.refused(one_line(error))
        self.get_logger().warning(
            f"image on {self._image_topic()} refused ({count} so far): {one_line(error)}",
            **SELDOM,
        )

    def _on_frame(self, frame: ReceivedFrame) -> None:
        if self._pipeline is not None:
            self._pipeline.offer(frame)

    def _image_topic(self) -> str:
        return self._input.topic(self._config.image_transport)

    # parameters, services, information

    def _on_set_parameters(self, changes: list[Parameter]) -> SetParametersResult:
        """All or nothing: a frame sees the settings before or those after."""
        try:
            config = parameters.updated(self._config, changes)
            changed = parameters.changed_names(self._config, config)
            if self._pipeline is not None:
                for name in sorted(changed.difference(parameters.LIVE)):
                    raise InputError(
                        f"'{name}' can be set while the node is unconfigured only, it is {self.state}: "
                        "deactivate and clean up first"
                    )
                self._pipeline.apply(config)
        except Exception as error:  # one that was not foreseen must not end the node either
            return SetParametersResult(successful=False, reason=one_line(error))
        self._config = config
        if changed & {"score_threshold", "class_thresholds"} and self.state == "active":
            self._publish_info()
        return SetParametersResult(successful=True)

    def _on_enable(self, request: SetBool.Request, response: SetBool.Response) -> SetBool.Response:
        self._enabled, self._active_since_s = bool(request.data), time.monotonic()
        try:
            if self.state == "active":
                (self._listen if self._enabled else self._stop_listening)()
        except Exception as error:  # an override of quality of service that is none, say
            self._enabled = False
            self._log.error(one_line(error))
            response.success, response.message = False, f"paused, {self.state}: {one_line(error)}"
            return response
        response.success = True
        response.message = f"{'enabled' if self._enabled else 'paused'}, {self.state}"
        return response

    def _publish_info(self) -> None:
        pipeline, outputs = self._pipeline, self._outputs
        assert pipeline is not None
        assert outputs is not None
        predictor, postprocess = pipeline.engine.predictor, pipeline.postprocess
        names = predictor.info.class_names
        threshold = min(postprocess.threshold_of(name) for name in names)
        method = f"{predictor.info.architecture} {predictor.model_path.name} sha256:{predictor.model_sha256[:12]}"
        stamp = self.get_clock().now().to_msg()
        outputs.publish_info(stamp, names, threshold, method, self._configured_times)

    def _facts(self) -> dict[str, str]:
        if self._pipeline is None:
            return {"model": self._config.model or "(shipped)"}
        predictor = self._pipeline.engine.predictor
        return {
            "model": str(predictor.model_path),
            "model_sha256": predictor.model_sha256,
            "device": predictor.device,
            "precision": predictor.precision,
            "backend": predictor.backend,
            "parameters": str(predictor.info.parameters),
        }

    def _status(self) -> tuple[Status, str]:
        """For /diagnostics: the status, and the hardware that it is of."""
        transport, topic = self._config.image_transport, self._image_topic()
        unheard = self._input.unheard(transport) + (self._outputs.deaf() if self._outputs is not None else [])
        situation = Situation(
            state=self.state,
            image_topic=topic,
            image_type=type_name(transport),
            image_publishers=self.count_publishers(topic),
            enabled=self._enabled,
            active_s=time.monotonic() - self._active_since_s,
            simulated_clock=bool(getattr(self.get_clock(), "ros_time_is_active", False)),
            unheard=unheard,
            facts=self._facts(),
            fallback=self._pipeline.engine.fallback if self._pipeline is not None else "",
        )
        self._tell_of_images(situation)
        hardware_id = self._pipeline.engine.predictor.device if self._pipeline is not None else "none"
        return describe(situation, self._log, self._ages, self._config.diagnostics), hardware_id

    def _tell_of_images(self, situation: Situation) -> None:
        """In the log, where it has changed whether they come."""
        line = self._image_watch.look(
            situation,
            self._log.seconds_without_image(),
            self._log.image_kind,
            self._config.diagnostics.image_timeout_s,
            lambda: self._input.elsewhere(
                self._config.image_transport,
                [self.resolve_topic_name(name) for name in ("overlay", "overlay/compressed")],
            ),
        )
        if line is None:
            return
        is_warning, text = line
        # two lines: rclpy holds a place in the code to the severity that it had first
        if is_warning:
            self.get_logger().warning(text)
        else:
            self.get_logger().info(text)


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
    CtrlC().watch()
    try:
        try:
            _check_arguments(arguments)
            for_logging, warning = arguments_for_logging(arguments)
            rclpy.init(args=for_logging)
            node = DetectorNode()
            if warning:
                node.get_logger().warning(warning)
        except (InputError, ParameterException, RuntimeError) as error:  # rcl's own refusals are RuntimeErrors
            text = " ".join(str(error).split())
            remedy = ": write names as in -r __ns:=/front -r image:=/flir/image_raw" if "remap rule" in text else ""
            print(f"thermal_detector: {text}{remedy}", file=sys.stderr)
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
