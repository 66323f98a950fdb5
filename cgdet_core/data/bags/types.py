"""Message types in bags: names, the typestore that reads and writes them, stamps. No ROS needed.

rosbags carries the common interfaces of ROS 2 Jazzy; vision_msgs is not among them and is registered
here from its definitions (vision_msgs 4.1.1: humble, iron, jazzy; 3.0 has the same bytes). Types recorded in a bag go
before these; they serve bags that carry no definitions, such as sqlite3 bags before Iron.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cgdet_core.data.bags.damage import bag_errors
from cgdet_core.types import NANOSECONDS

if TYPE_CHECKING:
    from rosbags.interfaces import Connection
    from rosbags.typesys.store import Typestore

IMAGE = "sensor_msgs/msg/Image"
COMPRESSED_IMAGE = "sensor_msgs/msg/CompressedImage"
CAMERA_INFO = "sensor_msgs/msg/CameraInfo"
DETECTIONS = "vision_msgs/msg/Detection2DArray"
FRAME_INFO = "diagnostic_msgs/msg/DiagnosticArray"
IMAGE_TYPES = (IMAGE, COMPRESSED_IMAGE)

VISION_MSGS: dict[str, str] = {
    "vision_msgs/msg/Point2D": "float64 x\nfloat64 y",
    "vision_msgs/msg/Pose2D": "vision_msgs/Point2D position\nfloat64 theta",
    "vision_msgs/msg/BoundingBox2D": "vision_msgs/Pose2D center\nfloat64 size_x\nfloat64 size_y",
    "vision_msgs/msg/ObjectHypothesis": "string class_id\nfloat64 score",
    "vision_msgs/msg/ObjectHypothesisWithPose": (
        "vision_msgs/ObjectHypothesis hypothesis\ngeometry_msgs/PoseWithCovariance pose"
    ),
    "vision_msgs/msg/Detection2D": (
        "std_msgs/Header header\nvision_msgs/ObjectHypothesisWithPose[] results\n"
        "vision_msgs/BoundingBox2D bbox\nstring id"
    ),
    "vision_msgs/msg/Detection2DArray": "std_msgs/Header header\nvision_msgs/Detection2D[] detections",
}


@cache
def typestore() -> Typestore:
    """The types of ROS 2 Jazzy with vision_msgs 4; one for the process, not to be changed."""
    from rosbags.typesys import Stores, get_types_from_msg, get_typestore

    store = get_typestore(Stores.ROS2_JAZZY)
    types = {}
    for name, definition in VISION_MSGS.items():
        types.update(get_types_from_msg(definition, name))
    store.register(types)
    return store


def embedded_types(connection: Connection, path: Path) -> Typestore | None:
    """The types of a recorded topic by the .msg text that the bag at `path` carries, None where it carries none.

    DamagedBag for a text that does not define the type.
    """
    from rosbags.interfaces import MessageDefinitionFormat
    from rosbags.typesys import Stores, get_types_from_msg, get_typestore

    form, text = connection.msgdef
    if form != MessageDefinitionFormat.MSG or not text.strip():
        return None  # recorders leave the text empty where they did not find the definition
    store = get_typestore(Stores.EMPTY)
    with bag_errors(path):
        store.register(get_types_from_msg(text, connection.msgtype))
    return store


def header(stamp_ns: int, frame_id: str) -> Any:
    """A std_msgs/Header."""
    types = typestore().types
    seconds, nanoseconds = divmod(stamp_ns, NANOSECONDS)
    stamp = types["builtin_interfaces/msg/Time"](sec=seconds, nanosec=nanoseconds)
    return types["std_msgs/msg/Header"](stamp=stamp, frame_id=frame_id)
