"""The ROS 2 side of cgdet: thin. Convert, predict, publish; everything else is in cgdet_core."""

from __future__ import annotations

import sys
from functools import partial
from importlib import import_module


def _run(module: str) -> int:
    """The exit code of the program in `module`."""
    try:
        main = import_module(module).main
    except ModuleNotFoundError as error:
        missing = (error.name or "cgdet").partition(".")[0]
        if missing.startswith("cgdet"):
            raise
        print(
            f"cgdet: error: ROS 2 is missing here (no {missing}): source one, such as /opt/ros/jazzy/setup.bash, "
            "or run `make setup` in cgdet's folder",
            file=sys.stderr,
        )
        return 2
    return int(main() or 0)


# the programs `cgdet-detector`, `cgdet-landmarks` and `cgdet-replay`; they give their exit codes
detector = partial(_run, "cgdet_ros.node.detector_node")
landmarks = partial(_run, "cgdet_ros.node.landmarks_node")
replay = partial(_run, "cgdet_ros.replay.cli")
