"""A node for thermal images: lifecycle, parameters, services, diagnostics, whatever a type of node finds in them.

The executor's thread checks each image and leaves it in a one-slot mailbox; one worker thread predicts and publishes. A
frame that a newer one overtakes is counted and never seen again.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from typing import Any, ClassVar

from rcl_interfaces.msg import SetParametersResult
from rclpy.lifecycle import LifecycleState, TransitionCallbackReturn
from rclpy.parameter import Parameter
from std_srvs.srv import SetBool

from cgdet_core.errors import InputError
from cgdet_ros.config import NodeConfig
from cgdet_ros.node import parameters
from cgdet_ros.node.diagnostics import Reporter, Situation
from cgdet_ros.node.frame_log import FrameLog, one_line
from cgdet_ros.node.image_input import TYPE_NAMES, ImageInput, image_topic
from cgdet_ros.node.lifecycle import GuardedNode, told
from cgdet_ros.node.outputs import Outputs
from cgdet_ros.node.pipeline import Pipeline
from cgdet_ros.node.qos import has_namesake, idle_arguments


class ThermalNode(GuardedNode, ABC):
    """Thermal images in, answers out. Raises InputError for parameters that are none.

    A type of node says its name, what it is doing, its settings and its Inference, and brings its Outputs.
    """

    NAME: ClassVar[str]
    DOING: ClassVar[str]
    CONFIG: ClassVar[type[NodeConfig]]
    INFERENCE: ClassVar[Any]  # its type, made of the settings in the thread that will use it
    INFO: ClassVar[frozenset[str]] = frozenset()  # parameters of which publish_info tells

    @abstractmethod
    def publish(self, config: Any, inference: Any) -> Outputs:
        """The publishers of what it finds."""

    def topics_in(self) -> list[str]:
        """Full names of all topics that it subscribes to with some parameters or others."""
        return [image_topic(self, transport) for transport in TYPE_NAMES]

    def listen(self, pipeline: Pipeline, config: Any, log: FrameLog) -> ImageInput:
        """The subscription of the images, which gives them to the pipeline."""
        return ImageInput(self, config.image_transport, pipeline.offer, log)

    def publish_info(self, pipeline: Pipeline) -> None:
        """On activate, and when a parameter of INFO has changed: what is published for all who listen now or later."""

    def __init__(self, **node_arguments: Any) -> None:
        super().__init__(self.NAME, **node_arguments)
        try:
            self._config = parameters.declare_parameters(self, self.CONFIG)
        except Exception:
            self.destroy_node()  # it would be seen by others for as long as the process lives
            raise
        self.autostart = self._config.autostart
        self._log = FrameLog()
        self._pipeline: Pipeline | None = None  # from configure to cleanup
        self._input: ImageInput | None = None  # while active and enabled
        self._enabled = True
        self._active_since_s = 0.0
        self.configured_times = 0
        self.add_on_set_parameters_callback(self._on_set_parameters)
        self.create_service(SetBool, "~/enable", self._on_enable)
        if self._config.diagnostics.period_s > 0:
            self._reporter = Reporter(self, self._config.diagnostics.period_s, self._log, self._situation)

    def close(self) -> None:
        """Stop listening and end the worker; for the end of the process, whatever the state."""
        self._stop_listening()
        self._free()
        self.destroy_node()

    # transitions

    @told
    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        try:
            self._pipeline = Pipeline(self, self._config, self._log)
            own = (publisher.topic_name for publisher in self.publishers)
            parameters.check_overridden_topics(self, [*self.topics_in(), *own])
        except Exception as error:  # a device that refuses, memory that ends: a reason, and the process lives
            self._log.error(one_line(error))
            self.get_logger().error(f"cannot be configured: {one_line(error)}")
            self._free()
            return TransitionCallbackReturn.FAILURE
        self.configured_times += 1
        self._log.error("")
        facts = ", ".join(f"{name} {value}" for name, value in self._facts().items() if name != "model_sha256")
        self.get_logger().info(f"configured: {facts}")
        return super().on_configure(state)

    @told
    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        result = super().on_activate(state)  # publishers first: the first image may come at once
        self._active_since_s = time.monotonic()
        assert self._pipeline is not None
        self.publish_info(self._pipeline)
        if self._enabled:
            self._listen()
        for line in idle_arguments(self, self.arguments, self.topics_in()):
            self.get_logger().warning(line)
        doing = self.DOING if self._enabled else f"paused by ~/enable, else {self.DOING}"
        self.get_logger().info(f"active: {doing} on {image_topic(self, self._config.image_transport)}")
        return result

    @told
    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        self._stop_listening()
        return super().on_deactivate(state)

    @told
    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """As shutdown and as an error: the publishers, rclpy's managed entities, end with the pipeline."""
        self._stop_listening()
        self._free()
        return TransitionCallbackReturn.SUCCESS

    on_shutdown = on_cleanup

    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        self.get_logger().error("back to unconfigured")
        return self.on_cleanup(state)

    def on_transition_error(self, transition: str, error: Exception) -> None:
        """A callback has raised; rclpy goes on to on_error."""
        self._log.error(one_line(error))
        self.get_logger().error(f"{transition} failed: {one_line(error)}")

    def _listen(self) -> None:
        if self._input is None:
            assert self._pipeline is not None
            self._input = self.listen(self._pipeline, self._config, self._log)

    def _stop_listening(self) -> None:
        """Returns once the frame that is worked on has been published."""
        if self._input is not None:
            self._input.close()
            self._input = None
        if self._pipeline is not None:
            self._pipeline.drain()
        self._log.forget()

    def _free(self) -> None:
        pipeline, self._pipeline = self._pipeline, None
        if pipeline is not None:
            pipeline.close()

    # parameters, services, diagnostics

    def _on_set_parameters(self, changes: list[Parameter]) -> SetParametersResult:
        """All or nothing: a frame sees the settings before or those after."""
        try:
            config = parameters.updated(self._config, changes)
            changed = parameters.changed_names(self._config, config)
            if self._pipeline is not None:
                for name in sorted(changed):
                    if not parameters.is_live(self.CONFIG, name):
                        raise InputError(
                            f"'{name}' can be set while the node is unconfigured only, it is {self.state}: "
                            "deactivate and clean up first"
                        )
                self._pipeline.apply(config)
        except Exception as error:  # one that was not foreseen must not end the node either
            return SetParametersResult(successful=False, reason=one_line(error))
        self._config = config
        if self._pipeline is not None and changed & self.INFO and self.state == "active":
            self.publish_info(self._pipeline)
        return SetParametersResult(successful=True)

    def _on_enable(self, request: SetBool.Request, response: SetBool.Response) -> SetBool.Response:
        self._enabled, self._active_since_s = bool(request.data), time.monotonic()
        try:
            if self.state == "active":
                (self._listen if self._enabled else self._stop_listening)()
            response.success, reason = True, ""
        except Exception as error:  # an override of quality of service that is none, say
            self._enabled, response.success, reason = False, False, f": {one_line(error)}"
            self._log.error(one_line(error))
        response.message = f"{'enabled' if self._enabled else 'paused'}, {self.state}{reason}"
        return response

    def _facts(self) -> dict[str, str]:
        """What is executed."""
        if self._pipeline is None:
            return {"model": self._config.model or "(shipped)"}
        predictor, fallback = self._pipeline.inference.predictor, self._pipeline.fallback
        return {
            "model": str(predictor.model_path),
            "model_sha256": predictor.model_sha256,
            "device": predictor.device,
            "precision": predictor.precision,
            "backend": predictor.backend,
            "parameters": str(predictor.info.parameters),
            **({"fallback": fallback} if fallback else {}),
        }

    def _situation(self) -> Situation:
        """For /diagnostics."""
        transport = self._config.image_transport
        topic = image_topic(self, transport)
        unheard = self._pipeline.outputs.unheard() if self._pipeline is not None else []
        if self._input is not None:
            unheard = [*self._input.unheard(), *unheard]
        return Situation(
            state=self.state,
            doing=self.DOING,
            image_topic=topic,
            image_type=TYPE_NAMES[transport],
            image_publishers=self.count_publishers(topic),
            enabled=self._enabled,
            active_s=time.monotonic() - self._active_since_s,
            simulated_clock=bool(getattr(self.get_clock(), "ros_time_is_active", False)),
            unheard=unheard,
            namesake=has_namesake(self),
            facts=self._facts(),
            camera=self._config.frames,
            limits=self._config.diagnostics,
        )
