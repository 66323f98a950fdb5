"""What the node publishes, and with what quality of service."""

from __future__ import annotations

import array
from collections.abc import Sequence
from typing import Any

import cv2
from builtin_interfaces.msg import Time
from diagnostic_msgs.msg import DiagnosticArray
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import Header
from vision_msgs.msg import Detection2DArray, LabelInfo, VisionClass, VisionInfo

from cgdet_core.config import ThermalConfig
from cgdet_core.drawing import draw
from cgdet_core.types import Detections, ImageArray
from cgdet_ros.config import OverlayConfig
from cgdet_ros.node import messages
from cgdet_ros.node.detection_bytes import DetectionWriter
from cgdet_ros.node.image_input import COMPRESSED_SUFFIX
from cgdet_ros.node.qos import mismatches, overridable, quality_of_service

# letters of the least readable size are then a sixtieth of the picture's height
_READABLE_ROWS = 480
_GREATEST_SCALE = 4


class Outputs:
    """The lifecycle publishers of `node`; they are made here and end with `destroy`.

    Raises, with none left, what rclpy raises for overrides of their quality of service that are none.
    """

    def __init__(self, node: Any) -> None:
        self._node = node
        self._publishers: list[Any] = []
        self._writer = DetectionWriter()
        overlay = str(node.resolve_topic_name("overlay"))
        try:
            self._detections = self._create(Detection2DArray, "detections", depth=5)
            self._label_info = self._create(LabelInfo, "label_info", depth=1, latched=True)
            self._vision_info = self._create(VisionInfo, "vision_info", depth=1, latched=True)
            self._overlay = self._create(Image, overlay, depth=1)
            self._overlay_jpeg = self._create(CompressedImage, overlay + COMPRESSED_SUFFIX, depth=1)
        except Exception:
            self.destroy()
            raise

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

    def publish_info(
        self, stamp: Time, class_names: Sequence[str], threshold: float, method: str, version: int
    ) -> None:
        """The class names by number, from 0, and the lowest score that is published; what detects (`version` grows when
        another model is configured); for all who listen now or later."""
        header = Header(stamp=stamp)
        classes = [VisionClass(class_id=number, class_name=name) for number, name in enumerate(class_names)]
        self._label_info.publish(LabelInfo(header=header, class_map=classes, threshold=threshold))
        self._vision_info.publish(
            VisionInfo(
                header=header,
                method=method,
                database_location=str(self._node.resolve_topic_name("label_info")),
                database_version=version,
            )
        )

    @property
    def overlay_is_watched(self) -> bool:
        """Whether anybody listens, to the raw or to the compressed picture."""
        return self._overlay.get_subscription_count() > 0 or self._overlay_jpeg.get_subscription_count() > 0

    def publish_overlay(self, header: Header, picture: ImageArray, jpeg_quality: int) -> None:
        """uint8 [H, W, 3] in RGB order, in the forms that somebody listens to."""
        if self._overlay.get_subscription_count() > 0:
            self._overlay.publish(messages.image_to_message(header, picture, "rgb8"))
        if self._overlay_jpeg.get_subscription_count() > 0:
            _, jpeg = cv2.imencode(".jpg", picture[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, jpeg_quality])
            data = array.array("B", jpeg.tobytes())
            self._overlay_jpeg.publish(CompressedImage(header=header, format="rgb8; jpeg compressed bgr8", data=data))

    def unheard(self) -> list[str]:
        """Who subscribes and cannot hear it, and why."""
        return [line for each in self._publishers for line in mismatches(self._node, each.topic_name)]


def diagnostics_publisher(node: Any) -> Any:
    """Of /diagnostics: it speaks in every state of the lifecycle."""
    return node.create_publisher(DiagnosticArray, "/diagnostics", 10)


def draw_overlay(
    image: ImageArray, detections: Detections, class_names: Sequence[str], thermal: ThermalConfig, style: OverlayConfig
) -> ImageArray:
    """uint8 [round(H * scale), round(W * scale), 3] in RGB order: the frame as the network sees it, with its boxes.

    A scale of 0 is the least whole number that gives `_READABLE_ROWS`, and not more than `_GREATEST_SCALE`.
    """
    scale = style.scale or min(_GREATEST_SCALE, -(-_READABLE_ROWS // image.shape[0]))
    shown = detections.above(style.min_score)
    return draw(image, shown, class_names, thermal=thermal, scale=scale, colour_map=style.colour_map)
