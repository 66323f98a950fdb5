"""The detector beside a camera's driver.

ros2 launch cgdet_ros detector.launch.py image:=/flir/image_raw
ros2 launch cgdet_ros detector.launch.py image:=/flir/image_raw namespace:=front device:=cuda:0
ros2 launch cgdet_ros detector.launch.py image:=/flir/image_raw params_file:=my.yaml rviz:=true
"""

import os
from pathlib import Path

from launch.actions import DeclareLaunchArgument, OpaqueFunction
from launch.conditions import IfCondition
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterValue

from launch import LaunchDescription

# share/cgdet_ros once installed, the root of the sources before
SHARE = Path(__file__).resolve().parents[1]

ARGUMENTS = {
    "image": ("image", "topic of the thermal images (sensor_msgs/Image)"),
    "image_transport": ("", "raw, or compressed (JPEG, PNG) behind that topic; empty: what the parameter file says"),
    "namespace": ("", "namespace of the node and of its topics"),
    "name": ("thermal_detector", "name of the node"),
    "params_file": (str(SHARE / "config" / "detector.yaml"), "parameter file (YAML)"),
    "model": ("", "model file (.safetensors); empty: what the parameter file says"),
    "device": ("", "auto, cpu, cuda or cuda:N; empty: what the parameter file says"),
    "autostart": ("true", "true: drive the node to active; false: leave that to a lifecycle manager"),
    "log_level": ("info", "debug, info, warn, error or fatal"),
    "respawn": ("false", "true: start the node again when it ends"),
    "use_sim_time": ("false", "true: the clock of a simulation or of a bag"),
    "rviz": ("false", "true: show the overlay in RViz"),
}

# the arguments that are parameters of the same name
TEXTS = ("model", "device", "image_transport")

# An overlay is larger than the shared memory that Fast DDS has by default. A profile that is set already is kept.
PROFILE_VARIABLES = ("FASTRTPS_DEFAULT_PROFILES_FILE", "FASTDDS_DEFAULT_PROFILES_FILE")


def dds_profile():
    """What the node's environment gets in addition."""
    if any(os.environ.get(name) for name in PROFILE_VARIABLES):
        return {}
    return dict.fromkeys(PROFILE_VARIABLES, str(SHARE / "config" / "fastdds_large_frames.xml"))


def detector(context):
    """The node; arguments that are left empty do not override the parameter file."""

    def value(name):
        return LaunchConfiguration(name).perform(context)

    given = {name: ParameterValue(value(name), value_type=str) for name in TEXTS if value(name)}
    flags = {name: ParameterValue(value(name).lower() == "true") for name in ("autostart", "use_sim_time")}
    return [
        Node(
            package="cgdet_ros",
            executable="detector",
            name=value("name"),
            namespace=value("namespace"),
            parameters=[value("params_file"), {**flags, **given}],
            remappings=[("image", value("image"))],
            arguments=["--ros-args", "--log-level", value("log_level")],
            additional_env=dds_profile(),
            respawn=value("respawn").lower() == "true",
            output="screen",
            emulate_tty=True,
        )
    ]


def generate_launch_description():
    return LaunchDescription(
        [
            *(
                DeclareLaunchArgument(name, default_value=default, description=description)
                for name, (default, description) in ARGUMENTS.items()
            ),
            OpaqueFunction(function=detector),
            Node(
                package="rviz2",
                executable="rviz2",
                arguments=["-d", str(SHARE / "rviz" / "detector.rviz")],
                remappings=[("image", LaunchConfiguration("image"))],
                namespace=LaunchConfiguration("namespace"),
                condition=IfCondition(LaunchConfiguration("rviz")),
            ),
        ]
    )
