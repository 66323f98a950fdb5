"""Images in: the subscription, raw or compressed, and what is malformed turned away at the door."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from rclpy.utilities import get_rmw_implementation_identifier
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import Header

from cgdet_core.images import decode_compressed
from cgdet_core.types import ImageArray
from cgdet_ros.cameras import has_profile
from cgdet_ros.node import messages
from cgdet_ros.node.frame_log import LOG_THROTTLE, FrameLog, one_line
from cgdet_ros.node.qos import mismatches, overridable, published_by_others, quality_of_service

COMPRESSED_SUFFIX = "/compressed"  # image_transport's convention, behind the remapped name
_NAMED_TOPICS = 5
_SHARED_MEMORY_BYTES = 512 * 1024  # of Fast DDS by default; a frame that is larger goes by UDP, in pieces
TYPE_NAMES = {"raw": "sensor_msgs/msg/Image", "compressed": "sensor_msgs/msg/CompressedImage"}


@dataclass(frozen=True)
class ReceivedFrame:
    """A checked image on its way to the worker; received_s: monotonic clock; kind: size and encoding, to read."""

    header: Header
    image: ImageArray
    received_s: float
    topic: str
    kind: str


class ImageInput:
    """The subscription of `node`, until `close`; transport: raw or compressed. What is whole goes to `offer`."""

    def __init__(self, node: Any, transport: str, offer: Callable[[ReceivedFrame], None], log: FrameLog) -> None:
        self._node, self._transport, self._offer, self._log = node, transport, offer, log
        self.topic = image_topic(node, transport)
        self._open = True
        self._told_size = not get_rmw_implementation_identifier().startswith("rmw_fastrtps") or has_profile()
        self._subscription = node.create_subscription(
            CompressedImage if transport == "compressed" else Image,
            self.topic,
            self._take,
            quality_of_service(depth=1, best_effort=True),  # that of sensor data
            qos_overriding_options=overridable(),
        )

    def close(self) -> None:
        """End the subscription."""
        self._open = False
        self._node.destroy_subscription(self._subscription)

    def _take(self, message: Any) -> None:
        received_s = time.monotonic()
        if not self._open:  # an executor of many threads had it in hand when the subscription ended
            return
        self._log.received()
        if len(message.data) > _SHARED_MEMORY_BYTES and not self._told_size:
            self._told_size = True
            self._node.get_logger().warning(
                f"images on {self.topic} have {len(message.data)} bytes, Fast DDS's shared memory has "
                f"{_SHARED_MEMORY_BYTES}: most are lost unless their publisher has "
                "FASTRTPS_DEFAULT_PROFILES_FILE=share/cgdet_ros/config/fastdds_large_frames.xml; set it for this node "
                "too, whose overlay is as large"
            )
        try:
            if self._transport == "compressed":
                image, encoding = decode_compressed(message.data, message.format), message.format
            else:
                image, encoding = messages.image_from_message(message), message.encoding
        except Exception as error:  # whatever a message holds, it does not end the node
            count, line = self._log.lost("refused", one_line(error)), one_line(error)
            self._node.get_logger().warning(f"image on {self.topic} refused ({count} so far): {line}", **LOG_THROTTLE)
            return
        kind = f"{image.shape[1]}x{image.shape[0]} {encoding}"
        self._offer(ReceivedFrame(message.header, image, received_s, self.topic, kind))

    def unheard(self) -> list[str]:
        """Who publishes images that do not arrive here, and what to start the node with to hear them."""
        lines, published = mismatches(self._node, self.topic), published_by_others(self._node, TYPE_NAMES.values())
        if (self.topic, TYPE_NAMES[self._transport]) in published:
            return lines
        own = [image_topic(self._node, transport) for transport in TYPE_NAMES]
        near = [each for each in published if each[0] in own] or published
        ways = [f"{topic} ({hint(topic, kind)})" for topic, kind in near[:_NAMED_TOPICS]]
        return [*lines, f"images are published on {', '.join(ways)}"] if ways else lines


def hint(topic: str, kind: str) -> str:
    """What the node hears images of that type on that topic with."""
    if kind == TYPE_NAMES["raw"]:
        return f"-r image:={topic} -p image_transport:=raw"
    base = topic.removesuffix(COMPRESSED_SUFFIX)
    name = "image" if base != topic else f"image{COMPRESSED_SUFFIX}"
    return f"-r {name}:={base} -p image_transport:=compressed"


def image_topic(node: Any, transport: str) -> str:
    """The full, remapped name."""
    base = str(node.resolve_topic_name("image"))
    return str(node.resolve_topic_name(base + COMPRESSED_SUFFIX)) if transport == "compressed" else base
