"""The processes that the launch files start. Imported by them only: ROS's launch is needed."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import yaml
from launch.actions import DeclareLaunchArgument, OpaqueFunction, TimerAction
from launch.launch_description import LaunchDescription
from launch.logging import launch_config
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node
from launch_ros.ros_adapters import get_ros_node
from lifecycle_msgs.srv import GetState

from cgdet_ros.launch_checks import check_arguments, overriding, read_yaml

# An overlay is larger than the shared memory that Fast DDS has by default. A profile that is set already is kept.
_PROFILE_VARIABLES = ("FASTRTPS_DEFAULT_PROFILES_FILE", "FASTDDS_DEFAULT_PROFILES_FILE")
# between the end of a node and its next start: one that ends at once must not take a core
_RESPAWN_DELAY_S = 2.0
# from Ctrl-C to a harder signal: the frame in work is published and the network freed, on a busy machine too
_STOP_TIMEOUT_S = "10"
_LOOK_S = 0.1
_LOOKS_PER_QUESTION = 30


def description(
    arguments: Mapping[str, tuple[str, str]], processes: Callable[[Any], list[Any]], *before: DeclareLaunchArgument
) -> LaunchDescription:
    """Of a launch file. arguments: name -> its default and its description; before: those that have no default."""
    declared = (
        DeclareLaunchArgument(name, default_value=default, description=words)
        for name, (default, words) in arguments.items()
    )
    return LaunchDescription([*before, *declared, OpaqueFunction(function=processes)])


def values_of(context: Any, share: Path, launch_file: str, arguments: Mapping[str, Any]) -> dict[str, str]:
    """What each argument of a launch file is; LaunchError for words on its command line that are none."""
    check_arguments(launch_file, context.argv, arguments, known_parameters(share))
    return {name: LaunchConfiguration(name).perform(context) for name in arguments}


def known_parameters(share: Path) -> tuple[str, ...]:
    """Names of the node's parameters: the shipped parameter file holds each of them."""
    values = read_yaml(share / "config" / "detector.yaml")["/**"]["ros__parameters"]
    return tuple(
        full
        for name, value in values.items()
        for full in ([f"{name}.{key}" for key in value] if isinstance(value, dict) else [name])
    )


def large_frames(share: Path) -> dict[str, str]:
    """What a process that sends images gets in its environment in addition."""
    if any(os.environ.get(name) for name in _PROFILE_VARIABLES):
        return {}
    return dict.fromkeys(_PROFILE_VARIABLES, str(share / "config" / "fastdds_large_frames.xml"))


def detector(
    share: Path,
    *,
    name: str,
    namespace: str,
    topics: Mapping[str, str],
    params_file: Path | None,
    parameters: Mapping[str, Any],
    log_level: str,
    respawn: bool,
) -> Node:
    """The node with a file's parameters, by default the shipped one's, and `parameters` before them.

    topics: own name -> other. Raises LaunchError for a parameter file that is not for this node.
    """
    file = params_file or share / "config" / "detector.yaml"
    full_name = "/" + "/".join([*namespace.strip("/").split("/"), name]).lstrip("/")
    given = overriding(file, full_name, parameters)
    written = Path(launch_config.log_dir) / f"{full_name.strip('/').replace('/', '_')}.yaml"
    written.parent.mkdir(parents=True, exist_ok=True)
    written.write_text(yaml.safe_dump(given, sort_keys=False), encoding="utf-8")
    return Node(
        package="cgdet_ros",
        executable="detector",
        name=name,
        namespace=namespace,
        parameters=[str(file), str(written)] if parameters else [str(file)],
        remappings=[(own, other) for own, other in topics.items() if own != other],
        arguments=["--ros-args", "--log-level", log_level],
        additional_env=large_frames(share),
        respawn=respawn,
        respawn_delay=_RESPAWN_DELAY_S,
        sigterm_timeout=_STOP_TIMEOUT_S,
        output="screen",
        emulate_tty=True,
    )


def once_started(full_name: str, if_active: list[Any], if_not: list[Any]) -> OpaqueFunction:
    """What follows the start of a node that drives itself to active, whether it got there or not.

    Such a node answers no service before. The events of its transitions are no help: they may be over before the
    launch hears of the node.
    """

    def ask(context: Any) -> list[Any]:
        client = get_ros_node(context).create_client(GetState, f"{full_name}/get_state")
        asked: list[Any] = []

        def look(context: Any) -> list[Any]:
            if context.is_shutdown:
                return []
            answer = next((future.result() for future in asked if future.done()), None)
            if answer is not None:
                return if_active if answer.current_state.label == "active" else if_not
            # an answer may be lost where its way is not known yet to the node
            if client.service_is_ready() and (not asked or looks[0] % _LOOKS_PER_QUESTION == 0):
                asked.append(client.call_async(GetState.Request()))
            looks[0] += 1
            return [TimerAction(period=_LOOK_S, actions=[OpaqueFunction(function=look)])]

        looks = [0]
        return look(context)

    return OpaqueFunction(function=ask)


def rviz(config: Path, namespace: str, topics: Mapping[str, str], use_sim_time: bool) -> Node:
    """RViz with the topics of the node in `namespace`."""
    return Node(
        package="rviz2",
        executable="rviz2",
        arguments=["-d", str(config)],
        namespace=namespace,
        remappings=[(own, other) for own, other in topics.items() if own != other],
        parameters=[{"use_sim_time": use_sim_time}],
        output="screen",
    )


def view_of(config: Path, images: Mapping[str, str]) -> Path:
    """A copy of an RViz file in the launch's log folder, with its displays for each namespace and its image topic."""
    view = read_yaml(config)
    displays = view["Visualization Manager"]["Displays"]
    view["Visualization Manager"]["Displays"] = [
        _moved(display, namespace, image) for namespace, image in images.items() for display in displays
    ]
    written = Path(launch_config.log_dir) / "cameras.rviz"
    written.parent.mkdir(parents=True, exist_ok=True)
    written.write_text(yaml.safe_dump(view, sort_keys=False), encoding="utf-8")
    return written


def _moved(display: Mapping[str, Any], namespace: str, image: str) -> dict[str, Any]:
    """The display with its name and topic below a namespace."""
    topic = display["Topic"]
    own = image if topic["Value"] == "image" else topic["Value"]
    full = own if own.startswith("/") else f"/{namespace}/{own}"
    return {**display, "Name": f"{namespace}: {display['Name']}", "Topic": {**topic, "Value": full}}
