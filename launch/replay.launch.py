"""A bag through the detector: with a report at the end, or by `ros2 bag play` to look at.

ros2 launch cgdet_ros replay.launch.py bag:=/data/drive topic:=/thermal/image_raw out:=results
ros2 launch cgdet_ros replay.launch.py bag:=/data/drive topic:=/thermal/image_raw rviz:=true
ros2 launch cgdet_ros replay.launch.py bag:=/data/drive topic:=/thermal/image_raw player:=ros2bag rviz:=true loop:=true
"""

import os
from pathlib import Path

from launch.actions import (
    DeclareLaunchArgument,
    ExecuteProcess,
    LogInfo,
    OpaqueFunction,
    RegisterEventHandler,
    Shutdown,
)
from launch.event_handlers import OnProcessExit
from launch_ros.actions import Node

from cgdet_ros import launch_checks as checks
from cgdet_ros import launching

SHARE = Path(__file__).resolve().parents[1]
NAMESPACE = "cgdet_replay"
# ros2 bag's clock ticks 40 times a second by default: ages would be wrong by as much as 25 ms
CLOCK_HZ = "200"

ARGUMENTS = {
    "topic": ("", "image topic; empty: the only or the most thermal-looking one (player:=ros2bag needs it)"),
    "player": (
        "cgdet",
        "cgdet: this package's replay, frame for frame by the header stamps, with a report at the end; "
        "ros2bag: `ros2 bag play` with its clock as simulated time, to look at",
    ),
    "model": ("", "model file (.safetensors, or an export); empty: the shipped one"),
    "device": ("", "auto, cpu, cuda or cuda:N; empty: auto"),
    "params_file": ("", "parameter file (YAML) of the node; player:=ros2bag only"),
    "rate": ("1.0", "speed; 1 is real time; 0, not with ros2bag: each frame after the answer to the one before"),
    "loop": ("false", "true: from the start again at the end of the bag; player:=ros2bag only"),
    "out": ("build/replay", "folder of the report; player:=cgdet only"),
    "rviz": ("false", "true: show the overlay in RViz"),
    "log_level": ("info", "of the node: debug, info, warn, error or fatal; player:=ros2bag only"),
}
# from Ctrl-C to a harder signal: what was measured is judged, drawn and written
WRITE_TIMEOUT_S = "600"

# arguments that the other player does not take
NOT_OF = {"cgdet": ("params_file", "loop", "log_level"), "ros2bag": ("out",)}


def processes(context):
    """The replay, or the node and ros2 bag."""
    given = launching.values_of(context, SHARE, "replay.launch.py", {"bag": "", **ARGUMENTS})
    checks.one_of("player", given["player"], ("cgdet", "ros2bag"))
    for name in NOT_OF[given["player"]]:
        if given[name] != ARGUMENTS[name][0]:
            raise checks.LaunchError(f"{name}:={given[name]}: player:={given['player']} does not take it")
    for name in ("bag", "out"):  # a shell leaves the ~ in bag:=~/drive as it is
        given[name] = os.path.expanduser(given[name])
    if not Path(given["bag"]).exists():
        raise checks.LaunchError(f"bag:={given['bag']}: there is no such file or folder ({Path.cwd() / given['bag']})")
    if given["model"]:
        given["model"] = str(checks.existing_file("model", given["model"]))
    if given["topic"]:
        checks.topic("topic", given["topic"])
    if given["device"]:
        checks.device(given["device"])
    rate = checks.number("rate", given["rate"])
    with_view = checks.flag("rviz", given["rviz"])
    from_ros2bag = given["player"] == "ros2bag"
    if from_ros2bag and not (given["topic"] and rate > 0):
        raise checks.LaunchError("player:=ros2bag needs topic:=, the thermal images of the bag, and a rate above 0")
    started = ros2bag(given) if from_ros2bag else report(given, with_view)
    if with_view:
        # the replay brings the images to the node under its own name
        topics = {"image": given["topic"]} if from_ros2bag else {}
        started.append(launching.rviz(SHARE / "rviz" / "detector.rviz", NAMESPACE, topics, from_ros2bag))
    return started


def report(given, with_view):
    """The replay command, with the options that are not empty; the launch ends with it."""
    words = [
        word
        for name in ("bag", "topic", "model", "device", "rate", "out")
        if given[name]
        for word in (f"--{name}", given[name])
    ]
    environment = {}
    if with_view:
        # the replay takes a domain of its own where none is named, in which RViz would not see it
        words += ["--namespace", f"/{NAMESPACE}"]
        environment["ROS_DOMAIN_ID"] = os.environ.get("ROS_DOMAIN_ID") or "0"
    return [
        Node(
            package="cgdet_ros",
            executable="replay",
            arguments=words,
            additional_env=environment,
            sigterm_timeout=WRITE_TIMEOUT_S,
            output="screen",
            emulate_tty=True,
            on_exit=Shutdown(reason="the replay has ended"),
        )
    ]


def ros2bag(given):
    """The node on simulated time, and the bag as soon as the node is active; the launch ends with either."""
    parameters = {"use_sim_time": True, "autostart": True}
    parameters |= {name: given[name] for name in ("model", "device") if given[name]}
    node = launching.detector(
        SHARE,
        name="thermal_detector",
        namespace=NAMESPACE,
        topics={"image": given["topic"]},
        params_file=checks.existing_file("params_file", given["params_file"]) if given["params_file"] else None,
        parameters=parameters,
        log_level=checks.one_of("log_level", given["log_level"], checks.LOG_LEVELS),
        respawn=False,
    )
    words = ["ros2", "bag", "play", given["bag"], "--clock", CLOCK_HZ, "--rate", given["rate"]]
    words += ["--disable-keyboard-controls", *(["--loop"] if checks.flag("loop", given["loop"]) else [])]
    bag = ExecuteProcess(
        cmd=[*words, "--topics", given["topic"]],
        additional_env=launching.large_frames(SHARE),
        output="screen",
        on_exit=Shutdown(reason="the bag has ended"),
    )
    reason = "the node could not be configured, see above: nothing is played"
    refused = [LogInfo(msg=reason), Shutdown(reason=reason)]  # a reason alone is not printed
    started = launching.once_started(f"/{NAMESPACE}/thermal_detector", [bag], refused)
    gone = OnProcessExit(target_action=node, on_exit=[OpaqueFunction(function=end)])
    return [RegisterEventHandler(gone), node, started]


def end(context):
    """Nothing, where the end has begun already: the node ends then too."""
    return [] if context.is_shutdown else [Shutdown(reason="the node has ended")]


def generate_launch_description():
    bag = DeclareLaunchArgument(
        "bag", description="rosbag2 folder or .mcap or .db3; with player:=cgdet a ROS 1 .bag too"
    )
    return launching.description(ARGUMENTS, processes, bag)
