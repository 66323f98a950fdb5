"""Where rcl writes a node's log file, and what to do where it cannot: a vehicle's home may be read-only."""

from __future__ import annotations

import os
import sys
from pathlib import Path


def arguments_for_logging(arguments: list[str] | None) -> tuple[list[str], str]:
    """What rclpy.init is to be given in place of `arguments` (None: the process'), and a warning, if any.

    rcl ends a process whose log folder it cannot make; without a log file the log goes to the console
    and to /rosout all the same.
    """
    given = list(sys.argv if arguments is None else arguments)
    folder = log_folder()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        reason = "" if os.access(folder, os.W_OK | os.X_OK) else "it cannot be written"
    except OSError as error:
        reason = str(error.strerror)
    if not reason:
        return given, ""
    warning = f"no log file: {folder}: {reason}: name another folder by ROS_LOG_DIR"
    return [*given, "--ros-args", "--disable-external-lib-logs"], warning


def log_folder() -> Path:
    """As rcl chooses it: ROS_LOG_DIR, else log in ROS_HOME, else ~/.ros/log."""
    named = os.environ.get("ROS_LOG_DIR")
    home = os.environ.get("ROS_HOME")
    return Path(named).expanduser() if named else Path(home or "~/.ros").expanduser() / "log"
