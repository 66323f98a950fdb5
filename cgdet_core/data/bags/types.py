"""Message types in bags: names, the typestore that reads and writes them, stamps. No ROS needed.

rosbags carries the common interfaces of ROS 2 Jazzy; vision_msgs is not among them and is registered
here from its definitions (vision_msgs 4.1.1: humble, iron, jazzy). Types recorded in a bag go before
these; they serve bags that carry no definitions, such as sqlite3 bags before Iron.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cgdet_core.data.bags.damage import DamagedBag, bag_errors
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
    """The types of ROS 2 Jazzy with vision_msgs; one for the process, not to be changed."""
    from rosbags.typesys import Stores, get_types_from_msg, get_typestore

    store = get_typestore(Stores.ROS2_JAZZY)
    types = {}
    for name, definition in VISION_MSGS.items():
        types.update(get_types_from_msg(definition, name))
    store.register(types)
    return store


def embedded_types(connection: Connection, path: Path) -> Typestore | None:
    """The types of a recorded topic by the definition that the bag at `path` carries, None where it carries none.

    A definition is one .msg text with those it needs behind it, or IDL texts. DamagedBag for a definition that is none,
    or that does not match the type hash recorded with it (ROS 2 since Iron).
    """
    from rosbags.interfaces import MessageDefinitionFormat
    from rosbags.typesys import Stores, get_types_from_idl, get_types_from_msg, get_typestore

    form, text = connection.msgdef
    message_type = connection.msgtype
    if form == MessageDefinitionFormat.NONE or (not text.strip() and message_type in typestore().fielddefs):
        return None  # recorders leave the text empty where they did not find the definition
    types: dict[str, Any] = {}
    store = get_typestore(Stores.EMPTY)
    if form == MessageDefinitionFormat.MSG:
        with bag_errors(path):
            types = get_types_from_msg(text, message_type)
    else:
        for part in text.split("=" * 80 + "\n"):
            # rosbags parses no preprocessor lines; what they include stands in the other parts
            lines = [line for line in part.splitlines() if not line.lstrip().startswith(("#", "IDL: "))]
            if any(line.strip() for line in lines):
                with bag_errors(path):
                    types |= get_types_from_idl("\n".join(lines) + "\n")
    if message_type not in types:
        raise DamagedBag(f"{path}: the definition of {message_type} in it does not define it: record it again")
    with bag_errors(path):
        store.register(types)
        digest = store.hash_rihs01(message_type) if connection.digest.startswith("RIHS01_") else ""
    if digest and digest != connection.digest:
        raise DamagedBag(
            f"{path}: the definition of {message_type} does not match the hash recorded with it: record it again"
        )
    return store


def header(stamp_ns: int, frame_id: str) -> Any:
    """A std_msgs/Header."""
    types = typestore().types
    seconds, nanoseconds = divmod(stamp_ns, NANOSECONDS)
    stamp = types["builtin_interfaces/msg/Time"](sec=seconds, nanosec=nanoseconds)
    return types["std_msgs/msg/Header"](stamp=stamp, frame_id=frame_id)
