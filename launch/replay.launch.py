"""A bag through the detector: with a report at the end, or by `ros2 bag play` to look at.

ros2 launch cgdet_ros replay.launch.py bag:=/data/drive topic:=/thermal/image_raw out:=results
ros2 launch cgdet_ros replay.launch.py bag:=/data/drive topic:=/thermal/image_raw rviz:=true
ros2 launch cgdet_ros replay.launch.py bag:=/data/drive topic:=/thermal/image_raw player:=ros2bag rviz:=true loop:=true
"""

import os
from pathlib import Path

from launch.actions import ExecuteProcess, LogInfo, OpaqueFunction, RegisterEventHandler, Shutdown
from launch.event_handlers import OnProcessExit
from launch_ros.actions import Node

from cgdet_ros.cameras import NODE, LaunchError
from cgdet_ros.launching import (
    LOG_LEVELS,
    TRUTHS,
    argument,
    description,
    detector,
    is_true,
    large_frames,
    once_started,
    rviz,
)

SHARE = Path(__file__).resolve().parents[1]
NAMESPACE = "cgdet_replay"

ARGUMENTS = [
    argument("bag", None, "rosbag2 folder or .mcap or .db3; with player:=cgdet a ROS 1 .bag too"),
    argument("topic", "", "image topic; empty: the most thermal-looking one (player:=ros2bag needs it)"),
    argument(
        "player",
        "cgdet",
        "cgdet: this package's replay, frame for frame by the header stamps, with a report at the end; "
        "ros2bag: `ros2 bag play` with its clock as simulated time, to look at",
        ("cgdet", "ros2bag"),
    ),
    argument("model", "", "model file (.onnx, .xml or .safetensors); empty: the shipped one"),
    argument("device", "", "auto, cpu, cuda or cuda:N; empty: auto"),
    argument("params_file", "", "parameter file (YAML) of the node; player:=ros2bag only"),
    argument("rate", "1.0", "speed; 1: real time; 0, not with ros2bag: each frame after the answer to the one before"),
    argument("loop", "false", "true: from the start again at the end of the bag; player:=ros2bag only", TRUTHS),
    argument("out", "build/replay", "folder of the report; player:=cgdet only"),
    argument("rviz", "false", "true: show the overlay in RViz", TRUTHS),
    argument("log_level", "info", "of the node; player:=ros2bag only", LOG_LEVELS),
]


def processes(given):
    """The replay, or the node and ros2 bag."""
    for name in ("bag", "out", "model"):  # a shell leaves the ~ in bag:=~/drive as it is
        given[name] = os.path.expanduser(given[name])
    by_ros2bag = given["player"] == "ros2bag"
    if by_ros2bag and not given["topic"]:
        raise LaunchError("player:=ros2bag needs topic:=, the thermal images of the bag")
    started = ros2bag(given) if by_ros2bag else report(given)
    if is_true(given["rviz"]):
        # the replay brings the images to the node under its own name
        topics = {"image": given["topic"]} if by_ros2bag else {}
        started.append(rviz(SHARE / "rviz" / "detector.rviz", NAMESPACE, topics, by_ros2bag))
    return started


def report(given):
    """The replay command, with the options that are not empty; the launch ends with it."""
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
    return [replay]


def ros2bag(given):
    """The node on simulated time, and the bag as soon as the node is active; the launch ends with either."""
    parameters = {"use_sim_time": True, "autostart": True}
    parameters |= {name: given[name] for name in ("model", "device") if given[name]}
    file = Path(given["params_file"]).expanduser() if given["params_file"] else None
    node = detector(SHARE, given, parameters, file, namespace=NAMESPACE, topics={"image": given["topic"]})
    # ros2 bag's clock ticks 40 times a second by default: ages would be wrong by as much as 25 ms
    words = ["ros2", "bag", "play", given["bag"], "--clock", "200", "--rate", given["rate"]]
    words += ["--disable-keyboard-controls", *(["--loop"] if is_true(given["loop"]) else [])]
    bag = ExecuteProcess(
        cmd=[*words, "--topics", given["topic"]],
        additional_env=large_frames(SHARE),
        output="screen",
        on_exit=Shutdown(reason="the bag has ended"),
    )
    reason = "the node could not be configured, see above: nothing is played"
    refused = [LogInfo(msg=reason), Shutdown(reason=reason)]  # a reason alone is not printed
    started = once_started(f"/{NAMESPACE}/{NODE}", [bag], refused)
    gone = OnProcessExit(target_action=node, on_exit=[OpaqueFunction(function=end)])
    return [RegisterEventHandler(gone), node, started]


def end(context):
    """Nothing, where the end has begun already: the node ends then too."""
    return [] if context.is_shutdown else [Shutdown(reason="the node has ended")]


def generate_launch_description():
    return description(__file__, ARGUMENTS, processes)
