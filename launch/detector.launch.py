"""The detector beside a camera's driver.

ros2 launch cgdet_ros detector.launch.py image:=/flir/image_raw
ros2 launch cgdet_ros detector.launch.py image:=/flir/image_raw namespace:=front device:=cuda:0
ros2 launch cgdet_ros detector.launch.py image:=/flir/image_raw params_file:=my.yaml rviz:=true
"""

from pathlib import Path

from cgdet_ros import launch_checks as checks
from cgdet_ros import launching

# share/cgdet_ros once installed, the root of the sources before
SHARE = Path(__file__).resolve().parents[1]

# name: (default, description); what is left empty does not override the parameter file
ARGUMENTS = {
    "image": ("image", "topic of the thermal images (sensor_msgs/Image)"),
    "image_transport": ("", "raw, or compressed (JPEG, PNG on <image>/compressed); empty: as in the parameter file"),
    "namespace": ("", "namespace of the node and of its topics"),
    "name": ("thermal_detector", "name of the node"),
    "params_file": ("", "parameter file (YAML) for this node or for /**; empty: the shipped config/detector.yaml"),
    "model": (
        "",
        "model file (.safetensors, or an export); empty: as in the parameter file, which is the shipped model",
    ),
    "device": ("", "auto, cpu, cuda or cuda:N; empty: as in the parameter file, which is auto"),
    "threads": ("", "CPU threads of the arithmetic, 0: the backend chooses; empty: as in the parameter file"),
    "detections": ("detections", "topic of the answers (vision_msgs/Detection2DArray)"),
    "overlay": ("overlay", "topic of the pictures with boxes; they are drawn only while somebody subscribes"),
    "colour_map": (
        "",
        "colours of the overlay: white_hot, black_hot, ironbow, inferno or cividis; empty: as in the parameter file",
    ),
    "rviz": ("false", "true: show the overlay in RViz"),
    "log_level": ("info", "debug, info, warn, error or fatal"),
    "autostart": ("true", "true: the node drives itself to active; false: a lifecycle manager does"),
    "respawn": ("false", "true: start the node again, two seconds after it ended"),
    "use_sim_time": ("false", "true: the clock of a simulation or of a bag"),
}


def processes(context):
    """The node, and RViz where it is asked for."""
    given = launching.values_of(context, SHARE, "detector.launch.py", ARGUMENTS)
    sim_time = checks.flag("use_sim_time", given["use_sim_time"])
    parameters = {"autostart": checks.flag("autostart", given["autostart"]), "use_sim_time": sim_time}
    if given["image_transport"]:
        parameters["image_transport"] = checks.one_of("image_transport", given["image_transport"], checks.TRANSPORTS)
    if given["model"]:
        parameters["model"] = str(checks.existing_file("model", given["model"]))
    if given["device"]:
        parameters["device"] = checks.device(given["device"])
    if given["threads"]:
        parameters["threads"] = checks.whole_number("threads", given["threads"])
    if given["colour_map"]:
        parameters["overlay.colour_map"] = checks.one_of("colour_map", given["colour_map"], checks.COLOUR_MAPS)
    topics = {name: checks.topic(name, given[name]) for name in ("image", "detections", "overlay")}
    node = launching.detector(
        SHARE,
        name=given["name"],
        namespace=given["namespace"],
        topics=topics,
        params_file=checks.existing_file("params_file", given["params_file"]) if given["params_file"] else None,
        parameters=parameters,
        log_level=checks.one_of("log_level", given["log_level"], checks.LOG_LEVELS),
        respawn=checks.flag("respawn", given["respawn"]),
    )
    if not checks.flag("rviz", given["rviz"]):
        return [node]
    return [node, launching.rviz(SHARE / "rviz" / "detector.rviz", given["namespace"], topics, sim_time)]


def generate_launch_description():
    return launching.description(ARGUMENTS, processes)
