"""The node's status on /diagnostics, once in a while."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray
from rclpy.clock import Clock, ClockType

from cgdet_ros.node import messages
from cgdet_ros.node.diagnostics import Status
from cgdet_ros.node.engine import one_line
from cgdet_ros.node.seldom import SELDOM


class Reporter:
    """Publishes a status of `node` every `period_s` > 0; look: gives it, and the hardware's id."""

    def __init__(self, node: Any, period_s: float, look: Callable[[], tuple[Status, str]]) -> None:
        self._node = node
        self._look = look
        self._publisher = node.create_publisher(DiagnosticArray, "/diagnostics", 10)
        # steady: a simulated clock that stands still must not silence the node
        node.create_timer(period_s, self.report, clock=Clock(clock_type=ClockType.STEADY_TIME))

    def report(self) -> None:
        """Once, now."""
        try:
            status, hardware_id = self._look()
            stamp, name = self._node.get_clock().now().to_msg(), self._node.get_fully_qualified_name()
            self._publisher.publish(
                messages.diagnostics_message(stamp, name, hardware_id, status.level, status.message, status.values)
            )
        except Exception as error:  # of the middleware's graph, which others fill: no report, but the node goes on
            if self._node.context.ok():
                self._node.get_logger().error(f"nothing on /diagnostics: {one_line(error)}", **SELDOM)
