"""A node's log file where no place for it is."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path


def test_a_node_starts_where_no_log_can_be_written_and_says_so(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    code = (
        "import rclpy; from cgdet_ros.node.lifecycle import init_ros; "
        "print(init_ros(['--ros-args', '-p', 'threads:=3'])); "
        "node = rclpy.create_node('n'); node.declare_parameter('threads', 1); "
        "print(node.get_parameter('threads').value); rclpy.shutdown()"
    )
    for folder in (tmp_path / "file", Path("/proc/1")):  # one that cannot be made, one that cannot be written
        environment = os.environ | {"ROS_LOG_DIR": str(folder)}
        done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
        warning, given = done.stdout.splitlines()
        assert str(folder) in warning
        assert given == "3"
