"""What the node publishes while it is active, and with what quality of service."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from builtin_interfaces.msg import Time
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import Header
from vision_msgs.msg import Detection2DArray, LabelInfo, VisionInfo

from cgdet_core.config import ThermalConfig
from cgdet_core.types import Detections, ImageArray
from cgdet_ros.config import OverlayConfig
from cgdet_ros.node import messages
from cgdet_ros.node.detection_bytes import DetectionWriter
from cgdet_ros.node.image_input import COMPRESSED_SUFFIX
from cgdet_ros.node.overlay import draw_overlay, encode_jpeg
from cgdet_ros.node.qos import deaf_subscribers, overridable, quality_of_service


class Outputs:
    """The lifecycle publishers of `node`; they are made here and end with `destroy`.

    Raises, with none left, what rclpy raises for overrides of their quality of service that are none.
    """

    def __init__(self, node: Any) -> None:
        self._node = node
        self._publishers: list[Any] = []
        self._writer = DetectionWriter()
        try:
            self._create_all()
        except Exception:
            self.destroy()
            raise

    def _create_all(self) -> None:
        self._detections = self._create(Detection2DArray, "detections", depth=5)
        self._label_info = self._create(LabelInfo, "label_info", depth=1, latched=True)
        self._vision_info = self._create(VisionInfo, "vision_info", depth=1, latched=True)
        overlay = str(self._node.resolve_topic_name("overlay"))
        self._overlay = self._create(Image, overlay, depth=1)
        self._overlay_jpeg = self._create(CompressedImage, overlay + COMPRESSED_SUFFIX, depth=1)

    def _create(self, kind: Any, topic: str, depth: int, latched: bool = False) -> Any:
        publisher = self._node.create_lifecycle_publisher(
            kind, topic, quality_of_service(depth, latched=latched), qos_overriding_options=overridable()
        )
        self._publishers.append(publisher)
        return publisher

    def destroy(self) -> None:
        """End all publishers."""
        while self._publishers:
            self._node.destroy_lifecycle_publisher(self._publishers.pop())

    def publish_detections(self, header: Header, detections: Detections, class_ids: Sequence[str]) -> None:
        """The answer to the image with `header`; class_ids: what is written for each class, by its number.

        For one thread: the bytes are written in one place.
        """
        self._detections.publish(self._writer.write(header, detections, class_ids))

    @property
    def topics(self) -> tuple[str, ...]:
        """Full names, in the order of creation."""
        return tuple(publisher.topic_name for publisher in self._publishers)

    def publish_info(
        self, stamp: Time, class_names: Sequence[str], threshold: float, method: str, version: int
    ) -> None:
        """label_info and vision_info, for all who listen now or later."""
        self._label_info.publish(messages.label_info_message(stamp, class_names, threshold))
        label_topic = str(self._node.resolve_topic_name("label_info"))
        self._vision_info.publish(messages.vision_info_message(stamp, method, label_topic, version))

    @property
    def overlay_is_watched(self) -> bool:
        """Whether anybody listens, to the raw or to the compressed picture."""
        return self._overlay.get_subscription_count() > 0 or self._overlay_jpeg.get_subscription_count() > 0

    def publish_overlay(
        self,
        header: Header,
        image: ImageArray,
        detections: Detections,
        class_names: Sequence[str],
        thermal: ThermalConfig,
        style: OverlayConfig,
    ) -> None:
        """The picture, drawn once and published in the forms that somebody listens to."""
        picture = draw_overlay(image, detections, class_names, thermal, style)
        if self._overlay.get_subscription_count() > 0:
            self._overlay.publish(messages.image_to_message(header, picture, "rgb8"))
        if self._overlay_jpeg.get_subscription_count() > 0:
            jpeg = encode_jpeg(picture, style.jpeg_quality)
            self._overlay_jpeg.publish(messages.compressed_to_message(header, jpeg, "rgb8; jpeg compressed bgr8"))

    def deaf(self) -> list[str]:
        """Who subscribes and cannot hear it, and why."""
        return [line for topic in self.topics for line in deaf_subscribers(self._node, topic)]
