"""Several cameras: a detector for each, with its own namespace, parameters and device, from one file.

ros2 launch cgdet_ros cameras.launch.py cameras:=my_cameras.yaml
ros2 launch cgdet_ros cameras.launch.py cameras:=my_cameras.yaml respawn:=true
"""

from pathlib import Path

from cgdet_ros.cameras import read_cameras
from cgdet_ros.launching import LOG_LEVELS, TRUTHS, argument, description, thermal_node

SHARE = Path(__file__).resolve().parents[1]

ARGUMENTS = [
    argument("cameras", str(SHARE / "config" / "cameras.yaml"), "file of the cameras (YAML), like the shipped one"),
    argument("log_level", "info", "of the nodes", LOG_LEVELS),
    argument("autostart", "true", "true: nodes drive themselves to active; false: a lifecycle manager does", TRUTHS),
    argument("respawn", "false", "true: start a node again, two seconds after it ended; the others go on", TRUTHS),
    argument("use_sim_time", "false", "true: the clock of a simulation or of a bag", TRUTHS),
]


def processes(given):
    """A node for each camera."""
    return [thermal_node(SHARE, given, **camera) for camera in read_cameras(Path(given["cameras"]).expanduser())]


def generate_launch_description():
    return description(ARGUMENTS, processes)
