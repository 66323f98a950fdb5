"""Bags written with rosbags alone, so that what cgdet reads does not come from what cgdet writes."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rosbags.typesys import Stores, get_types_from_msg, get_typestore

# for the tests of this folder, which the import mode leaves without it
sys.path.insert(0, str(Path(__file__).parent))

# vision_msgs 4.1.1, written down once more: one file as a recorder would embed it
_DETECTIONS = """std_msgs/Header header
vision_msgs/Detection2D[] detections
================================================================================
MSG: vision_msgs/Detection2D
std_msgs/Header header
vision_msgs/ObjectHypothesisWithPose[] results
vision_msgs/BoundingBox2D bbox
string id
================================================================================
MSG: vision_msgs/ObjectHypothesisWithPose
vision_msgs/ObjectHypothesis hypothesis
geometry_msgs/PoseWithCovariance pose
================================================================================
MSG: vision_msgs/ObjectHypothesis
string class_id
float64 score
================================================================================
MSG: vision_msgs/BoundingBox2D
vision_msgs/Pose2D center
float64 size_x
float64 size_y
================================================================================
MSG: vision_msgs/Pose2D
vision_msgs/Point2D position
float64 theta
================================================================================
MSG: vision_msgs/Point2D
float64 x
float64 y
"""

Row = tuple[str, str, int, Any]


class Messages:
    """Makes messages of one ROS distribution and writes them with plain rosbags calls."""

    def __init__(self, ros1: bool = False) -> None:
        self.ros1 = ros1
        self.store = get_typestore(Stores.ROS1_NOETIC if ros1 else Stores.ROS2_JAZZY)
        self.store.register(get_types_from_msg(_DETECTIONS, "vision_msgs/msg/Detection2DArray"))
        self.types = self.store.types

    def header(self, stamp_ns: int, frame_id: str = "camera") -> Any:
        time = self.types["builtin_interfaces/msg/Time"](sec=stamp_ns // 10**9, nanosec=stamp_ns % 10**9)
        sequence = {"seq": 0} if self.ros1 else {}
        return self.types["std_msgs/msg/Header"](stamp=time, frame_id=frame_id, **sequence)

    def image(self, pixels: Any, encoding: str, stamp_ns: int, **fields: Any) -> Any:
        """A sensor_msgs/Image; `fields` replaces any of its fields."""
        values = {
            "header": self.header(stamp_ns),
            "height": pixels.shape[0],
            "width": pixels.shape[1],
            "encoding": encoding,
            "is_bigendian": 0,
            "step": pixels.shape[1] * pixels.dtype.itemsize * (pixels.shape[2] if pixels.ndim == 3 else 1),
            "data": np.frombuffer(pixels.tobytes(), np.uint8),
        }
        return self.types["sensor_msgs/msg/Image"](**{**values, **fields})

    def compressed(self, data: bytes, form: str, stamp_ns: int) -> Any:
        return self.types["sensor_msgs/msg/CompressedImage"](
            header=self.header(stamp_ns), format=form, data=np.frombuffer(data, np.uint8)
        )

    def truth(self, labels: Sequence[tuple[str, float, float, float, float]], stamp_ns: int, theta: float = 0.0) -> Any:
        """A Detection2DArray of (class_id, centre x, centre y, width, height)."""
        types = self.types
        pose = types["geometry_msgs/msg/PoseWithCovariance"](
            pose=types["geometry_msgs/msg/Pose"](
                position=types["geometry_msgs/msg/Point"](x=0.0, y=0.0, z=0.0),
                orientation=types["geometry_msgs/msg/Quaternion"](x=0.0, y=0.0, z=0.0, w=1.0),
            ),
            covariance=np.zeros(36),
        )
        detections = [
            types["vision_msgs/msg/Detection2D"](
                header=self.header(stamp_ns),
                results=[
                    types["vision_msgs/msg/ObjectHypothesisWithPose"](
                        hypothesis=types["vision_msgs/msg/ObjectHypothesis"](class_id=class_id, score=1.0), pose=pose
                    )
                ],
                bbox=types["vision_msgs/msg/BoundingBox2D"](
                    center=types["vision_msgs/msg/Pose2D"](
                        position=types["vision_msgs/msg/Point2D"](x=x, y=y), theta=theta
                    ),
                    size_x=width,
                    size_y=height,
                ),
                id="",
            )
            for class_id, x, y, width, height in labels
        ]
        return types["vision_msgs/msg/Detection2DArray"](header=self.header(stamp_ns), detections=detections)

    def write(self, path: Path, rows: Sequence[Row], storage: str = "mcap") -> Path:
        """Rows of (topic, message type, record time in ns, message); storage ros1, mcap or sqlite3."""
        if storage == "ros1":
            from rosbags.rosbag1 import Writer as Writer1

            writer: Any = Writer1(path)
        else:
            from rosbags.rosbag2 import StoragePlugin, Writer

            writer = Writer(path, version=9, storage_plugin=StoragePlugin[storage.upper()])
        with writer:
            connections = {
                (topic, message_type): writer.add_connection(topic, message_type, typestore=self.store)
                for topic, message_type in dict.fromkeys((row[0], row[1]) for row in rows)
            }
            for topic, message_type, record_ns, message in rows:
                serialise = self.store.serialize_ros1 if self.ros1 else self.store.serialize_cdr
                writer.write(connections[topic, message_type], record_ns, serialise(message, message_type))
        return path


@pytest.fixture(scope="session")
def ros2() -> Messages:
    """Messages of ROS 2 Jazzy."""
    return Messages()


@pytest.fixture(scope="session")
def ros1() -> Messages:
    """Messages of ROS 1 Noetic."""
    return Messages(ros1=True)


IMAGE = "sensor_msgs/msg/Image"
DETECTIONS = "vision_msgs/msg/Detection2DArray"


@pytest.fixture
def thermal_bag(tmp_path: Path, ros2: Messages) -> Callable[..., Path]:
    """Writes a bag of `frames` 16-bit images at 10 Hz, each with one person, to tmp_path/name."""

    def write(name: str = "bag", storage: str = "mcap", frames: int = 5, height_px: int = 48) -> Path:
        rng = np.random.default_rng(7)
        rows: list[Row] = []
        for index in range(frames):
            stamp_ns = 1_000_000_000 + index * 100_000_000
            pixels = rng.integers(0, 65536, (height_px, 64), dtype=np.uint16)
            rows.append(("/thermal/image_raw", IMAGE, stamp_ns, ros2.image(pixels, "mono16", stamp_ns)))
            labels = [("person", 20.0, 24.0, 8.0, 16.0)]
            rows.append(("/ground_truth", DETECTIONS, stamp_ns, ros2.truth(labels, stamp_ns)))
        return ros2.write(tmp_path / name, rows, storage)

    return write
