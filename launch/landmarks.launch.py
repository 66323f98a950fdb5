"""The node of facial landmarks beside a camera's driver, with faces from a topic or from a fixed region.

ros2 launch cgdet_ros landmarks.launch.py image:=/cabin/image_raw faces:=/cabin/faces
ros2 launch cgdet_ros landmarks.launch.py image:=/cabin/image_raw region_xyxy_px:='[100, 20, 420, 340]' rviz:=true
"""

from pathlib import Path

import yaml

from cgdet_ros.launching import LOG_LEVELS, TRUTHS, argument, description, is_true, rviz, thermal_node

SHARE = Path(__file__).resolve().parents[1]

# what is left empty does not override the parameter file
ARGUMENTS = [
    argument("image", "image", "topic of the thermal images (sensor_msgs/Image)"),
    argument("faces", "faces", "topic of the faces' boxes (vision_msgs/Detection2DArray)"),
    argument("region_xyxy_px", "", "where one face is looked for, '[left, top, right, bottom]'; empty: as in the file"),
    argument("image_transport", "", "compressed: JPEG, PNG on <image>/compressed", ("", "raw", "compressed")),
    argument("namespace", "", "namespace of the node and of its topics"),
    argument("name", "thermal_landmarks", "name of the node"),
    argument("params_file", "", "parameter file (YAML) for this node or /**; empty: the shipped config/landmarks.yaml"),
    argument("model", "", "model file (.onnx, .xml or .safetensors); empty: as in the parameter file"),
    argument("device", "", "auto, cpu, cuda or cuda:N; empty: as in the parameter file, which is auto"),
    argument("threads", "", "CPU threads of the arithmetic, 0: the backend chooses; empty: as in the parameter file"),
    argument("landmarks", "landmarks", "topic of the answers (hri_msgs/FacialLandmarks), one for each face"),
    argument("overlay", "overlay", "topic of the pictures with points; they are drawn only while somebody subscribes"),
    argument("rviz", "false", "true: show the overlay in RViz", TRUTHS),
    argument("log_level", "info", "of the node", LOG_LEVELS),
    argument("autostart", "true", "true: the node drives itself to active; false: a lifecycle manager does", TRUTHS),
    argument("respawn", "false", "true: start the node again, two seconds after it ended", TRUTHS),
    argument("use_sim_time", "false", "true: the clock of a simulation or of a bag", TRUTHS),
]
PARAMETERS = {
    "region_xyxy_px": "region_xyxy_px",
    "image_transport": "image_transport",
    "model": "model",
    "device": "device",
    "threads": "threads",
}


def processes(given):
    """The node, and RViz where it is asked for."""
    parameters = {name: yaml.safe_load(given[word]) for word, name in PARAMETERS.items() if given[word]}
    topics = {name: given[name] for name in ("image", "faces", "landmarks", "overlay")}
    file = Path(given["params_file"]).expanduser() if given["params_file"] else None
    name, namespace = given["name"], given["namespace"]
    started = [thermal_node(SHARE, given, parameters, file, name, namespace, topics, "landmarks")]
    if is_true(given["rviz"]):
        shown = {name: given[name] for name in ("image", "overlay")}
        started.append(rviz(SHARE / "rviz" / "detector.rviz", namespace, shown, is_true(given["use_sim_time"])))
    return started


def generate_launch_description():
    return description(ARGUMENTS, processes)
