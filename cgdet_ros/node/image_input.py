"""Images in, and the faces that belong to them: the subscriptions, and what is malformed turned away at the door."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from rclpy.utilities import get_rmw_implementation_identifier
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import Header
from vision_msgs.msg import Detection2DArray

from cgdet_core.errors import InputError
from cgdet_core.images import decode_compressed
from cgdet_core.types import FloatArray, ImageArray, stamp_to_ns
from cgdet_ros.cameras import has_profile
from cgdet_ros.node import messages
from cgdet_ros.node.frame_log import LOG_THROTTLE, FrameLog, one_line
from cgdet_ros.node.qos import mismatches, overridable, published_by_others, quality_of_service

COMPRESSED_SUFFIX = "/compressed"  # image_transport's convention, behind the remapped name
_NAMED_TOPICS = 5
_SHARED_MEMORY_BYTES = 512 * 1024  # of Fast DDS by default; a frame that is larger goes by UDP, in pieces
_KEPT_STAMPS = 8  # of images and of boxes that wait for each other, and of images that went on
TYPE_NAMES = {"raw": "sensor_msgs/msg/Image", "compressed": "sensor_msgs/msg/CompressedImage"}


@dataclass(frozen=True)
class ReceivedFrame:
    """A checked image on its way to the worker; received_s: monotonic clock; kind: size and encoding, to read;
    faces_xyxy_px: boxes float32 [N, 4] of its faces, where they came with it."""

    header: Header
    image: ImageArray
    received_s: float
    topic: str
    kind: str
    faces_xyxy_px: FloatArray | None = None


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
                f"{self.topic}: {len(message.data)} bytes do not fit Fast DDS's shared memory ({_SHARED_MEMORY_BYTES}) "
                "and most images are lost: set FASTRTPS_DEFAULT_PROFILES_FILE=share/cgdet_ros/config/"
                "fastdds_large_frames.xml for the driver and this node"
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


class FacesInput(ImageInput):
    """Images and, on `faces`, the boxes of the faces in them, matched by equal header stamps, whichever comes first.

    Where the pipeline's inference follows faces already an image goes on at once; boxes that come after it are given
    for the next one. Else it waits for its boxes; where a later one goes on before it, it is overtaken.
    """

    def __init__(self, node: Any, transport: str, pipeline: Any, log: FrameLog) -> None:
        super().__init__(node, transport, self._match, log)
        self._pipeline = pipeline  # its inference changes where the CPU takes a GPU's place
        self._held: dict[int, ReceivedFrame] = {}
        self._early: dict[int, FloatArray] = {}  # boxes of images that are to come
        self._passed: deque[int] = deque(maxlen=_KEPT_STAMPS)
        self._faces_topic = str(node.resolve_topic_name("faces"))
        self._faces = node.create_subscription(
            Detection2DArray,
            self._faces_topic,
            self._take_faces,
            quality_of_service(depth=_KEPT_STAMPS, best_effort=True),
            qos_overriding_options=overridable(),
        )

    def close(self) -> None:
        self._node.destroy_subscription(self._faces)
        super().close()
        self._drop_before(None)

    def _match(self, frame: ReceivedFrame) -> None:
        stamp_ns = stamp_to_ns(frame.header.stamp)
        boxes = self._early.pop(stamp_ns, None)
        if boxes is not None or self._pipeline.inference.follows:
            self._drop_before(None)
            self._go_on(frame, stamp_ns, boxes)
            return
        if stamp_ns in self._held or len(self._held) == _KEPT_STAMPS:
            self._held.pop(stamp_ns if stamp_ns in self._held else next(iter(self._held)))
            self._log.overtaken()
        self._held[stamp_ns] = frame

    def _take_faces(self, message: Detection2DArray) -> None:
        if not self._open:
            return
        try:
            boxes = messages.boxes_from_message(message)
        except InputError as error:
            self._node.get_logger().warning(f"faces on {self._faces_topic} refused: {one_line(error)}", **LOG_THROTTLE)
            return
        stamp_ns = stamp_to_ns(message.header.stamp)
        if stamp_ns in self._held:
            self._drop_before(stamp_ns)
            self._go_on(self._held.pop(stamp_ns), stamp_ns, boxes)
        elif stamp_ns in self._passed:
            self._pipeline.inference.give(boxes)
        else:
            self._early[stamp_ns] = boxes
            if len(self._early) > _KEPT_STAMPS:
                del self._early[next(iter(self._early))]

    def _go_on(self, frame: ReceivedFrame, stamp_ns: int, boxes: FloatArray | None) -> None:
        self._passed.append(stamp_ns)
        self._pipeline.offer(replace(frame, faces_xyxy_px=boxes))

    def _drop_before(self, stamp_ns: int | None) -> None:
        """Those that came before it, an answer to which would come after its own; None: all."""
        while self._held and (oldest := next(iter(self._held))) != stamp_ns:
            del self._held[oldest]
            self._log.overtaken()

    def unheard(self) -> list[str]:
        lines = [*super().unheard(), *mismatches(self._node, self._faces_topic)]
        if self._node.count_publishers(self._faces_topic) == 0:
            lines.append(
                f"nobody publishes faces on {self._faces_topic}: start a face detector with its vision_msgs/"
                "Detection2DArray there, or give region_xyxy_px"
            )
        return lines


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
