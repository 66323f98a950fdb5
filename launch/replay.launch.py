"""A bag through the detector, with a report at the end.

ros2 launch cgdet_ros replay.launch.py bag:=/data/drive topic:=/thermal/image_raw out:=replay_results
"""

from launch.actions import DeclareLaunchArgument, OpaqueFunction
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node

from launch import LaunchDescription

ARGUMENTS = {
    "topic": ("", "image topic; empty: the only or the most thermal-looking one"),
    "model": ("", "model file (.safetensors); empty: the shipped one"),
    "device": ("", "auto, cpu, cuda or cuda:N; empty: auto"),
    "rate": ("1.0", "speed; 1 is real time, 0 sends each frame after the answer to the one before"),
    "out": ("build/replay", "folder of the results"),
}


def replay(context):
    """The command, with the options that are not empty."""
    words = []
    for name in ("bag", *ARGUMENTS):
        value = LaunchConfiguration(name).perform(context)
        if value:
            words += [f"--{name}", value]
    return [Node(package="cgdet_ros", executable="replay", arguments=words, output="screen", emulate_tty=True)]


def generate_launch_description():
    return LaunchDescription(
        [
            DeclareLaunchArgument("bag", description="rosbag2 folder, .mcap, .db3 or .bag file"),
            *(
                DeclareLaunchArgument(name, default_value=default, description=description)
                for name, (default, description) in ARGUMENTS.items()
            ),
            OpaqueFunction(function=replay),
        ]
    )
