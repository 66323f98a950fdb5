"""Several cameras: a detector for each, with its own namespace, parameters and device, from one file.

ros2 launch cgdet_ros cameras.launch.py cameras:=my_cameras.yaml
ros2 launch cgdet_ros cameras.launch.py cameras:=my_cameras.yaml rviz:=true respawn:=true
"""

from pathlib import Path

from cgdet_ros import launch_checks as checks
from cgdet_ros import launching
from cgdet_ros.launch_cameras import NODE, read_cameras

SHARE = Path(__file__).resolve().parents[1]

ARGUMENTS = {
    "cameras": (
        str(SHARE / "config" / "cameras.yaml"),
        "file of the cameras (YAML); copy the shipped one, which says what it takes",
    ),
    "rviz": ("false", "true: show the overlays of all cameras in one RViz"),
    "log_level": ("info", "debug, info, warn, error or fatal"),
    "autostart": ("true", "true: the nodes drive themselves to active; false: a lifecycle manager does"),
    "respawn": ("false", "true: start a node again, two seconds after it ended; the others go on in any case"),
    "use_sim_time": ("false", "true: the clock of a simulation or of a bag"),
}


def processes(context):
    """A node for each camera, and RViz where it is asked for."""
    given = launching.values_of(context, SHARE, "cameras.launch.py", ARGUMENTS)
    sim_time = checks.flag("use_sim_time", given["use_sim_time"])
    common = {"autostart": checks.flag("autostart", given["autostart"]), "use_sim_time": sim_time}
    file = checks.existing_file("cameras", given["cameras"])
    cameras = read_cameras(file, launching.known_parameters(SHARE))
    started = [
        launching.detector(
            SHARE,
            name=NODE,
            namespace=camera.namespace,
            topics={"image": camera.image},
            params_file=camera.params_file,
            parameters={**common, **camera.parameters},
            log_level=checks.one_of("log_level", given["log_level"], checks.LOG_LEVELS),
            respawn=checks.flag("respawn", given["respawn"]),
        )
        for camera in cameras
    ]
    if checks.flag("rviz", given["rviz"]):
        view = launching.view_of(
            SHARE / "rviz" / "detector.rviz", {camera.namespace: camera.image for camera in cameras}
        )
        started.append(launching.rviz(view, "", {}, sim_time))
    return started


def generate_launch_description():
    return launching.description(ARGUMENTS, processes)
