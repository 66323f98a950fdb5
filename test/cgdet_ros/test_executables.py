"""The node and the replay, interrupted while ROS 2 is loaded."""

from __future__ import annotations

from collections.abc import Callable

import pytest

pytest.importorskip("rclpy", reason="ROS 2 is not installed: make setup")


@pytest.mark.parametrize(
    ("command", "at", "expected"),
    [
        ("detector", "rclpy", (0, "", "")),
        ("replay", "cgdet_core.errors", (130, "", "cgdet-replay: interrupted, nothing was written\n")),
    ],
)
def test_a_ctrl_c_while_the_program_is_loaded_ends_it_as_later_and_without_a_traceback(
    interrupted: Callable[..., tuple[int, str, str]], command: str, at: str, expected: tuple[int, str, str]
) -> None:
    assert interrupted(at, "cgdet_ros.executables", command) == expected
