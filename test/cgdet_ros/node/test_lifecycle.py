"""A node's log file where no place for it is."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from cgdet_ros.node.lifecycle import arguments_for_logging

NO_LOG_FILE = ["--ros-args", "--disable-external-lib-logs"]


def test_the_folder_is_the_one_that_rcl_takes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "h"))
    for log_dir, ros_home, expected in (
        ("", "", "h/.ros/log"),
        ("", f"{tmp_path}/r", "r/log"),
        (f"{tmp_path}/l", f"{tmp_path}/r", "l"),
        ("~/l", "", "h/l"),
        ("", "~/r", "h/r/log"),
    ):
        monkeypatch.setenv("ROS_LOG_DIR", log_dir)
        monkeypatch.setenv("ROS_HOME", ros_home)
        assert not (tmp_path / expected).exists()
        assert arguments_for_logging([]) == ([], "")
        assert (tmp_path / expected).is_dir()
        shutil.rmtree(tmp_path / expected)


def test_a_folder_that_can_be_written_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ROS_LOG_DIR", str(tmp_path / "a" / "b"))
    assert arguments_for_logging(["--ros-args", "-p", "x:=1"]) == (["--ros-args", "-p", "x:=1"], "")
    monkeypatch.setattr(sys, "argv", ["program", "-p"])
    assert arguments_for_logging(None) == (["program", "-p"], "")


def test_a_node_starts_where_no_log_can_be_written_and_says_so(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    code = (
        "import rclpy; from cgdet_ros.node.lifecycle import arguments_for_logging; "
        "given, warning = arguments_for_logging(['--ros-args', '-p', 'threads:=3']); "
        "print(given[3:], warning, sep='|'); "
        "rclpy.init(args=given); node = rclpy.create_node('n'); node.declare_parameter('threads', 1); "
        "print(node.get_parameter('threads').value); rclpy.shutdown()"
    )
    environment = os.environ | {"HOME": str(tmp_path / "file"), "ROS_LOG_DIR": "", "ROS_HOME": ""}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    first, second = done.stdout.splitlines()
    folder = tmp_path / "file" / ".ros" / "log"
    assert first == f"{NO_LOG_FILE}|no log file: {folder}: Not a directory: name another folder by ROS_LOG_DIR"
    assert second == "3"
