"""How often a line about the same trouble stands in the log."""

from __future__ import annotations

from typing import Any

from rclpy.clock import Clock, ClockType

# Words for rclpy's logger. By the steady clock: with the system's, which rclpy takes by itself, a clock that is set
# back would silence the node for as long.
SELDOM: dict[str, Any] = {
    "throttle_duration_sec": 5.0,
    "throttle_time_source_type": Clock(clock_type=ClockType.STEADY_TIME),
}
