"""What the launch files share. Imported by them only: ROS's launch is needed."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from launch.actions import DeclareLaunchArgument, OpaqueFunction
from launch.launch_description import LaunchDescription
from launch.logging import launch_config
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node

from cgdet_ros.cameras import NODE, check_words, large_frames, parameters_for

TRUTHS = ("true", "false", "True", "False")
COLOUR_MAPS = ("", "white_hot", "black_hot", "ironbow", "inferno", "cividis")
LOG_LEVELS = ("debug", "info", "warn", "error", "fatal")


def argument(name: str, default: str, description: str, choices: Sequence[str] | None = None) -> DeclareLaunchArgument:
    """Of a launch file."""
    if choices is not None:
        description = f"{description} ({', '.join(choice for choice in choices if choice.islower())})"
    return DeclareLaunchArgument(name, default_value=default, description=description, choices=choices)


def description(
    arguments: Sequence[DeclareLaunchArgument], processes: Callable[[dict[str, str]], list[Any]]
) -> LaunchDescription:
    """Of a launch file; processes: from the arguments' values to what is started. InputError for a word of the command
    that names none of the arguments, which launch itself would pass over."""

    def start(context: Any) -> list[Any]:
        # the words of another file that includes this one are that one's
        file = Path(context.locals.current_launch_file_path).resolve()
        if "cgdet_ros" in sys.argv or file in [Path(word).resolve() for word in sys.argv]:
            check_words(context.argv, [each.name for each in arguments], file.name)
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
    there; topics: own name -> other. Raises InputError for a parameter file that is not for this node.
    """
    full_name = "/" + "/".join([*namespace.strip("/").split("/"), name]).lstrip("/")
    values = parameters_for(params_file or share / "config" / f"{executable}.yaml", full_name) | dict(parameters)
    values |= {flag: is_true(given[flag]) for flag in ("autostart", "use_sim_time") if flag in given}
    file = Path(launch_config.log_dir) / f"{full_name.strip('/').replace('/', '_')}.yaml"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(yaml.safe_dump({"/**": {"ros__parameters": values}}, sort_keys=False), encoding="utf-8")
    return Node(
        package="cgdet_ros",
        executable=executable,
        name=name,
        namespace=namespace,
        parameters=[str(file)],
        remappings=list((topics or {}).items()),
        arguments=["--ros-args", "--log-level", given.get("log_level", "info")],
        additional_env=large_frames(share),
        respawn=is_true(given.get("respawn", "false")),
        respawn_delay=2.0,  # one that ends at once must not take a core
        sigterm_timeout="10",  # the frame in work is published and the network freed, on a busy machine too
        output="screen",
        emulate_tty=True,
    )


PROCESS = (  # of every node
    argument("log_level", "info", "of the node", LOG_LEVELS),
    argument("autostart", "true", "true: the node drives itself to active; false: a lifecycle manager does", TRUTHS),
    argument("respawn", "false", "true: start the node again, two seconds after it ended", TRUTHS),
    argument("use_sim_time", "false", "true: the clock of a simulation or of a bag", TRUTHS),
)
# of every node beside a camera's driver; what is left empty does not override the parameter file
COMMON = (
    argument("image", "image", "topic of the thermal images (sensor_msgs/Image)"),
    argument("image_transport", "", "compressed: JPEG, PNG on <image>/compressed", ("", "raw", "compressed")),
    argument("namespace", "", "namespace of the node and of its topics"),
    argument("params_file", "", "parameter file (YAML) for this node or /**; empty: the shipped one"),
    argument("camera", "", "what its frames look like, a name in config/cameras; empty: as in the parameter file"),
    argument("model", "", "model file (.onnx or .safetensors); empty: as in the parameter file"),
    argument("device", "", "auto, cpu, cuda or cuda:N; empty: as in the parameter file, which is auto"),
    argument("threads", "", "CPU threads of the arithmetic, 0: the backend chooses; empty: as in the parameter file"),
    argument("overlay", "overlay", "topic of the pictures of it; they are drawn only while somebody subscribes"),
    argument("colour_map", "", "colours of the overlay; empty: as in the parameter file", COLOUR_MAPS),
    argument("rviz", "false", "true: show the overlay in RViz", TRUTHS),
    *PROCESS,
)
PARAMETERS = {
    "region_xyxy_px": "region_xyxy_px",
    "image_transport": "image_transport",
    "camera": "camera",
    "model": "model",
    "device": "device",
    "threads": "threads",
    "colour_map": "overlay.colour_map",
}


def beside_a_driver(
    share: Path, executable: str, own: Sequence[DeclareLaunchArgument], topics: Sequence[str]
) -> LaunchDescription:
    """Of a launch file for one node, and RViz where it is asked for; own: its arguments besides COMMON; topics: names
    of those arguments that rename one."""

    def processes(given: dict[str, str]) -> list[Node]:
        parameters = {name: yaml.safe_load(given[word]) for word, name in PARAMETERS.items() if given.get(word)}
        renamed = {name: given[name] for name in ("image", *topics, "overlay")}
        file = Path(given["params_file"]).expanduser() if given["params_file"] else None
        name, namespace = given["name"], given["namespace"]
        started = [thermal_node(share, given, parameters, file, name, namespace, renamed, executable)]
        if is_true(given["rviz"]):
            rviz = Node(
                package="rviz2",
                executable="rviz2",
                arguments=["-d", str(share / "rviz" / "detector.rviz")],
                namespace=namespace,
                remappings=[(name, given[name]) for name in ("image", "overlay")],
                parameters=[{"use_sim_time": is_true(given["use_sim_time"])}],
                output="screen",
            )
            started.append(rviz)
        return started

    return description([*own, *COMMON], processes)


def is_true(text: str) -> bool:
    return text.lower() == "true"
