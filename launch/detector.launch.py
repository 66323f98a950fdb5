"""The detector beside a camera's driver.

ros2 launch cgdet_ros detector.launch.py image:=/flir/image_raw
ros2 launch cgdet_ros detector.launch.py image:=/flir/image_raw namespace:=front device:=cuda:0
ros2 launch cgdet_ros detector.launch.py image:=/flir/image_raw params_file:=my.yaml rviz:=true
"""

from pathlib import Path

import yaml

from cgdet_ros.launching import LOG_LEVELS, TRUTHS, argument, description, is_true, rviz, thermal_node

# share/cgdet_ros once installed, the root of the sources before
SHARE = Path(__file__).resolve().parents[1]
COLOUR_MAPS = ("", "white_hot", "black_hot", "ironbow", "inferno", "cividis")

# what is left empty does not override the parameter file
ARGUMENTS = [
    argument("image", "image", "topic of the thermal images (sensor_msgs/Image)"),
    argument("image_transport", "", "compressed: JPEG, PNG on <image>/compressed", ("", "raw", "compressed")),
    argument("namespace", "", "namespace of the node and of its topics"),
    argument("name", "thermal_detector", "name of the node"),
    argument("params_file", "", "parameter file (YAML) for this node or /**; empty: the shipped config/detector.yaml"),
    argument("model", "", "model file (.onnx, .xml or .safetensors); empty: as in the parameter file"),
    argument("device", "", "auto, cpu, cuda or cuda:N; empty: as in the parameter file, which is auto"),
    argument("threads", "", "CPU threads of the arithmetic, 0: the backend chooses; empty: as in the parameter file"),
    argument("detections", "detections", "topic of the answers (vision_msgs/Detection2DArray)"),
    argument("overlay", "overlay", "topic of the pictures with boxes; they are drawn only while somebody subscribes"),
    argument("colour_map", "", "colours of the overlay; empty: as in the parameter file", COLOUR_MAPS),
    argument("rviz", "false", "true: show the overlay in RViz", TRUTHS),
    argument("log_level", "info", "of the node", LOG_LEVELS),
    argument("autostart", "true", "true: the node drives itself to active; false: a lifecycle manager does", TRUTHS),
    argument("respawn", "false", "true: start the node again, two seconds after it ended", TRUTHS),
    argument("use_sim_time", "false", "true: the clock of a simulation or of a bag", TRUTHS),
]
PARAMETERS = {
    "image_transport": "image_transport",
    "model": "model",
    "device": "device",
    "threads": "threads",
    "colour_map": "overlay.colour_map",
}


def processes(given):
    """The node, and RViz where it is asked for."""
    parameters = {name: yaml.safe_load(given[word]) for word, name in PARAMETERS.items() if given[word]}
    topics = {name: given[name] for name in ("image", "detections", "overlay")}
    file = Path(given["params_file"]).expanduser() if given["params_file"] else None
    started = [thermal_node(SHARE, given, parameters, file, given["name"], given["namespace"], topics)]
    if is_true(given["rviz"]):
        sim_time = is_true(given["use_sim_time"])
        started.append(rviz(SHARE / "rviz" / "detector.rviz", given["namespace"], topics, sim_time))
    return started


def generate_launch_description():
    return description(ARGUMENTS, processes)
