"""Several cameras: a detector for each, with its own namespace, parameters and device, from one file.

ros2 launch cgdet_ros cameras.launch.py cameras:=my_cameras.yaml
ros2 launch cgdet_ros cameras.launch.py cameras:=my_cameras.yaml respawn:=true
"""

from pathlib import Path

from cgdet_ros.cameras import read_cameras
from cgdet_ros.launching import PROCESS, argument, description, thermal_node

SHARE = Path(__file__).resolve().parents[1]

CAMERAS = argument(
    "cameras", str(SHARE / "config" / "cameras.yaml"), "file of the cameras (YAML), like the shipped one"
)


def processes(given):
    """A node for each camera."""
    return [thermal_node(SHARE, given, **camera) for camera in read_cameras(Path(given["cameras"]).expanduser())]


def generate_launch_description():
    return description([CAMERAS, *PROCESS], processes)
