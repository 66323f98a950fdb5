"""Images in: the subscription, raw or compressed, and what is malformed turned away at the door."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any

from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import Header

from cgdet_core.types import ImageArray
from cgdet_ros.node import messages
from cgdet_ros.node.qos import overridable, quality_of_service, unheard_publishers

COMPRESSED_SUFFIX = "/compressed"  # image_transport's convention, behind the remapped name


@dataclass(frozen=True)
class ReceivedFrame:
    """A checked image on its way to the worker; received_s: monotonic clock; kind: size and encoding, to read."""

    header: Header
    image: ImageArray
    received_s: float
    topic: str
    kind: str


class ImageInput:
    """Subscribes for a node from `open` to `close`.

    on_frame gets what is whole, on_refused the error of what is not; on_received is called before either.
    """

    def __init__(
        self,
        node: Any,
        on_received: Callable[[], None],
        on_frame: Callable[[ReceivedFrame], None],
        on_refused: Callable[[Exception], None],
    ) -> None:
        self._node = node
        self._on_received = on_received
        self._on_frame = on_frame
        self._on_refused = on_refused
        self._subscription: Any = None
        self._open_topic: str | None = None

    def open(self, transport: str) -> None:
        """Subscribe, unless that is done already; transport: raw or compressed."""
        if self._subscription is None:
            self._subscription = self._node.create_subscription(
                message_type(transport),
                self.topic(transport),
                self._on_compressed if transport == "compressed" else self._on_raw,
                quality_of_service(depth=1, best_effort=True),  # that of sensor data
                qos_overriding_options=overridable(),
            )
            self._open_topic = str(self._subscription.topic_name)

    def close(self) -> None:
        """End the subscription, where there is one."""
        if self._subscription is not None:
            self._open_topic = None
            self._node.destroy_subscription(self._subscription)
            self._subscription = None

    def topic(self, transport: str) -> str:
        """The full, remapped name."""
        base = str(self._node.resolve_topic_name("image"))
        return str(self._node.resolve_topic_name(base + COMPRESSED_SUFFIX)) if transport == "compressed" else base

    @property
    def topics(self) -> tuple[str, ...]:
        """The full names for every transport."""
        return self.topic("raw"), self.topic("compressed")

    def unheard(self, transport: str) -> list[str]:
        """Who publishes images that do not arrive here, and why."""
        if self._subscription is None:
            return []
        topic = self.topic(transport)
        lines = unheard_publishers(self._node, topic, type_name(transport))
        other = "raw" if transport == "compressed" else "compressed"
        if not self._node.count_publishers(topic) and self._node.count_publishers(self.topic(other)):
            lines.append(f"images come on {self.topic(other)} only: set image_transport to {other}")
        return lines

    def elsewhere(self, transport: str, own: Collection[str]) -> list[str]:
        """Topics on which images of the same type are published, those in `own` left out: the right name, perhaps."""
        wanted, passed_over = type_name(transport), {self.topic(transport), *own}
        return [
            topic
            for topic, types in sorted(self._node.get_topic_names_and_types())
            if wanted in types and topic not in passed_over and self._node.count_publishers(topic)
        ]

    def _on_raw(self, message: Image) -> None:
        self._take(message.header, message.encoding, lambda: messages.image_from_message(message))

    def _on_compressed(self, message: CompressedImage) -> None:
        self._take(message.header, message.format, lambda: messages.image_from_compressed(message))

    def _take(self, header: Header, encoding: str, decode: Callable[[], ImageArray]) -> None:
        received_s, topic = time.monotonic(), self._open_topic
        if topic is None:  # an executor of many threads had it in hand when the subscription ended
            return
        self._on_received()
        try:
            image = decode()
        except Exception as error:  # whatever a message holds, it does not end the node
            self._on_refused(error)
            return
        kind = f"{image.shape[1]}x{image.shape[0]} {encoding}"
        self._on_frame(ReceivedFrame(header, image, received_s, topic, kind))


def message_type(transport: str) -> Any:
    """The type of the messages of a transport."""
    return CompressedImage if transport == "compressed" else Image


def type_name(transport: str) -> str:
    """The same as ROS writes it."""
    return f"sensor_msgs/msg/{message_type(transport).__name__}"
