"""A bag through the detector, by `cgdet-replay`, with a report at the end.

ros2 launch cgdet_ros replay.launch.py bag:=/data/drive topic:=/thermal/image_raw out:=results
ros2 launch cgdet_ros replay.launch.py bag:=/data/drive topic:=/thermal/image_raw rviz:=true
"""

import os
from pathlib import Path

from launch.actions import Shutdown
from launch_ros.actions import Node

from cgdet_ros.launching import TRUTHS, argument, description, is_true, rviz

SHARE = Path(__file__).resolve().parents[1]
NAMESPACE = "cgdet_replay"

ARGUMENTS = [
    argument("bag", None, "rosbag2 folder, .mcap, .db3 or .bag"),
    argument("topic", "", "image topic; empty: the most thermal-looking one"),
    argument("model", "", "model file (.onnx, .xml or .safetensors); empty: the shipped one"),
    argument("device", "", "auto, cpu, cuda or cuda:N; empty: auto"),
    argument("rate", "1.0", "speed; 1: real time; 0: each frame after the answer to the one before"),
    argument("out", "build/replay", "folder of the report"),
    argument("rviz", "false", "true: show the overlay in RViz", TRUTHS),
]


def processes(given):
    """The replay command, with the options that are not empty, and RViz; the launch ends with the replay."""
    for name in ("bag", "out", "model"):  # a shell leaves the ~ in bag:=~/drive as it is
        given[name] = os.path.expanduser(given[name])
    options = ("bag", "topic", "model", "device", "rate", "out")
    words = [word for name in options if given[name] for word in (f"--{name}", given[name])]
    environment = {}
    if is_true(given["rviz"]):
        # the replay takes a domain of its own where none is named, in which RViz would not see it
        words += ["--namespace", f"/{NAMESPACE}"]
        environment["ROS_DOMAIN_ID"] = os.environ.get("ROS_DOMAIN_ID") or "0"
    replay = Node(
        package="cgdet_ros",
        executable="replay",
        arguments=words,
        additional_env=environment,
        sigterm_timeout="600",  # from Ctrl-C to a harder signal: what was measured is judged, drawn and written
        output="screen",
        emulate_tty=True,
        on_exit=Shutdown(reason="the replay has ended"),
    )
    if not is_true(given["rviz"]):
        return [replay]
    # the replay brings the images to the node under its own name
    return [replay, rviz(SHARE / "rviz" / "detector.rviz", NAMESPACE, {}, False)]


def generate_launch_description():
    return description(ARGUMENTS, processes)
