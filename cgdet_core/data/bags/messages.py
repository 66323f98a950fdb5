"""Messages in bags: their types, stamps and images, read and made without ROS.

rosbags carries the common interfaces of ROS 2 Jazzy; vision_msgs is registered here from its definitions (4.1.1:
humble, iron, jazzy; 3.0 has the same bytes). They serve bags without definitions, such as sqlite3 bags before Iron.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from cgdet_core.data.bags.damage import bag_errors, expected_fields
from cgdet_core.errors import InputError
from cgdet_core.images import decode_compressed
from cgdet_core.thermal import decode_raw
from cgdet_core.types import NANOSECONDS, Frame, ImageArray, stamp_to_ns

if TYPE_CHECKING:
    from rosbags.interfaces import Connection
    from rosbags.typesys.store import Typestore

IMAGE = "sensor_msgs/msg/Image"
COMPRESSED_IMAGE = "sensor_msgs/msg/CompressedImage"
CAMERA_INFO = "sensor_msgs/msg/CameraInfo"
DETECTIONS = "vision_msgs/msg/Detection2DArray"
FRAME_INFO = "diagnostic_msgs/msg/DiagnosticArray"
IMAGE_TYPES = (IMAGE, COMPRESSED_IMAGE)
TimeBy = Literal["stamp", "record"]

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
    """The types of a topic by the bag's .msg text, None without; DamagedBag where it does not define them."""
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


@dataclass(frozen=True)
class RawImage:
    """The fields of one image message, nothing decoded.

    data: uint8 [bytes]. A sensor_msgs/CompressedImage has its `format` in `compressed_format`, and
    0, 0, "", 0 and False for the fields that it lacks; for an Image `compressed_format` is None.
    """

    topic: str
    record_time_ns: int
    stamp_ns: int
    frame_id: str
    height_px: int
    width_px: int
    encoding: str
    step_bytes: int
    is_bigendian: bool
    data: ImageArray
    compressed_format: str | None = None

    def decode(self) -> ImageArray:
        """uint8/uint16 [H, W], or uint8 [H, W, 3] in RGB order; InputError where it is malformed."""
        if self.compressed_format is not None:
            return decode_compressed(self.data, self.compressed_format)
        return decode_raw(self.data, self.height_px, self.width_px, self.step_bytes, self.encoding, self.is_bigendian)

    def frame(self, bag: Path) -> Frame:
        """The decoded frame; InputError names bag, topic and stamp of a malformed one."""
        try:
            return Frame(self.decode(), self.stamp_ns, self.frame_id)
        except InputError as error:
            raise InputError(f"{bag}: {self.topic}, image of stamp {self.stamp_ns} ns: {error}") from None


@dataclass(frozen=True)
class BagMessage:
    """One message, deserialised: its fields are attributes, arrays are NumPy arrays."""

    topic: str
    type: str
    record_time_ns: int
    message: Any
    by: TimeBy = "stamp"

    @property
    def stamp_ns(self) -> int:
        """The header's stamp, or by "record" the record time; InputError for a message without a header."""
        with expected_fields(self.type, f"topic '{self.topic}'"):
            stamp_ns = stamp_to_ns(self.message.header.stamp)
        return self.record_time_ns if self.by == "record" else stamp_ns

    def raw_image(self) -> RawImage:
        """The fields of an Image or CompressedImage."""
        message = self.message
        with expected_fields(self.type, f"topic '{self.topic}'"):
            common = self.topic, self.record_time_ns, self.stamp_ns, str(message.header.frame_id)
            if self.type == COMPRESSED_IMAGE:
                return RawImage(*common, 0, 0, "", 0, False, message.data, str(message.format))
            height, width, step, big = message.height, message.width, message.step, bool(message.is_bigendian)
            return RawImage(*common, height, width, str(message.encoding), step, big, message.data)
