"""Several cameras: a detector for each, with its own namespace, parameters and device, from one file.

ros2 launch cgdet_ros cameras.launch.py cameras:=my_cameras.yaml
ros2 launch cgdet_ros cameras.launch.py cameras:=my_cameras.yaml rviz:=true respawn:=true
"""

from pathlib import Path

from cgdet_ros.cameras import read_cameras
from cgdet_ros.launching import LOG_LEVELS, TRUTHS, argument, description, is_true, rviz, thermal_node, view_of

SHARE = Path(__file__).resolve().parents[1]

ARGUMENTS = [
    argument("cameras", str(SHARE / "config" / "cameras.yaml"), "file of the cameras (YAML), like the shipped one"),
    argument("rviz", "false", "true: show the overlays of all cameras in one RViz", TRUTHS),
    argument("log_level", "info", "of the nodes", LOG_LEVELS),
    argument("autostart", "true", "true: nodes drive themselves to active; false: a lifecycle manager does", TRUTHS),
    argument("respawn", "false", "true: start a node again, two seconds after it ended; the others go on", TRUTHS),
    argument("use_sim_time", "false", "true: the clock of a simulation or of a bag", TRUTHS),
]


def processes(given):
    """A node for each camera, and RViz where it is asked for."""
    cameras = read_cameras(Path(given["cameras"]).expanduser())
    started = [
        thermal_node(
            SHARE,
            given,
            camera.parameters,
            camera.params_file,
            namespace=camera.namespace,
            topics={"image": camera.image},
        )
        for camera in cameras
    ]
    if is_true(given["rviz"]):
        view = view_of(SHARE / "rviz" / "detector.rviz", {camera.namespace: camera.image for camera in cameras})
        started.append(rviz(view, "", {}, is_true(given["use_sim_time"])))
    return started


def generate_launch_description():
    return description(ARGUMENTS, processes)
