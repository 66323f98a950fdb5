"""What the launch files share. Imported by them only: ROS's launch is needed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from launch.actions import DeclareLaunchArgument, OpaqueFunction
from launch.launch_description import LaunchDescription
from launch.logging import launch_config
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node

from cgdet_ros.cameras import NODE, large_frames, parameters_for, read_yaml

TRUTHS = ("true", "false", "True", "False")
LOG_LEVELS = ("debug", "info", "warn", "error", "fatal")


def argument(
    name: str, default: str | None, description: str, choices: Sequence[str] | None = None
) -> DeclareLaunchArgument:
    """Of a launch file; default None: it has to be given."""
    if choices is not None:
        description = f"{description} ({', '.join(choice for choice in choices if choice.islower())})"
    return DeclareLaunchArgument(name, default_value=default, description=description, choices=choices)


def description(
    arguments: Sequence[DeclareLaunchArgument], processes: Callable[[dict[str, str]], list[Any]]
) -> LaunchDescription:
    """Of a launch file; processes: from the arguments' values to what is started."""

    def start(context: Any) -> list[Any]:
        return processes({each.name: LaunchConfiguration(each.name).perform(context) for each in arguments})

    return LaunchDescription([*arguments, OpaqueFunction(function=start)])


def thermal_node(
    share: Path,
    given: Mapping[str, str],
    parameters: Mapping[str, Any],
    params_file: Path | None = None,
    name: str = NODE,
    namespace: str = "",
    topics: Mapping[str, str] | None = None,
    executable: str = "detector",
) -> Node:
    """The node with a file's parameters, by default the shipped one's, and `parameters` before them.

    given: values of the arguments, of which log_level, autostart, respawn and use_sim_time are taken where they are
    there; topics: own name -> other. Raises LaunchError for a parameter file that is not for this node.
    """
    full_name = "/" + "/".join([*namespace.strip("/").split("/"), name]).lstrip("/")
    values = parameters_for(params_file or share / "config" / f"{executable}.yaml", full_name) | dict(parameters)
    values |= {flag: is_true(given[flag]) for flag in ("autostart", "use_sim_time") if flag in given}
    return Node(
        package="cgdet_ros",
        executable=executable,
        name=name,
        namespace=namespace,
        parameters=[
            str(_written(f"{full_name.strip('/').replace('/', '_')}.yaml", {"/**": {"ros__parameters": values}}))
        ],
        remappings=list((topics or {}).items()),
        arguments=["--ros-args", "--log-level", given.get("log_level", "info")],
        additional_env=large_frames(share),
        respawn=is_true(given.get("respawn", "false")),
        respawn_delay=2.0,  # one that ends at once must not take a core
        sigterm_timeout="10",  # the frame in work is published and the network freed, on a busy machine too
        output="screen",
        emulate_tty=True,
    )


def is_true(text: str) -> bool:
    return text.lower() == "true"


def _written(name: str, content: Any) -> Path:
    """A YAML file in the launch's log folder."""
    path = Path(launch_config.log_dir) / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")
    return path


def rviz(config: Path, namespace: str, topics: Mapping[str, str], use_sim_time: bool) -> Node:
    """RViz with the topics of the node in `namespace`."""
    return Node(
        package="rviz2",
        executable="rviz2",
        arguments=["-d", str(config)],
        namespace=namespace,
        remappings=list(topics.items()),
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
    return _written("cameras.rviz", view)


def _moved(display: Mapping[str, Any], namespace: str, image: str) -> dict[str, Any]:
    """The display with its name and topic below a namespace."""
    topic = display["Topic"]
    own = image if topic["Value"] == "image" else topic["Value"]
    full = own if own.startswith("/") else f"/{namespace}/{own}"
    return {**display, "Name": f"{namespace}: {display['Name']}", "Topic": {**topic, "Value": full}}
