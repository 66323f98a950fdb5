"""What a node publishes, and with what quality of service."""

from __future__ import annotations

import array
import os
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

from builtin_interfaces.msg import Time
from diagnostic_msgs.msg import DiagnosticArray
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import Header
from vision_msgs.msg import Detection2D, Detection2DArray, LabelInfo, VisionClass, VisionInfo

from cgdet_core.config import ThermalConfig
from cgdet_core.drawing import draw
from cgdet_core.errors import RunError
from cgdet_core.images import encode_jpeg
from cgdet_core.tasks.landmarks.draw import draw_landmarks
from cgdet_core.types import Detections, ImageArray, Landmarks
from cgdet_ros.config import OverlayConfig
from cgdet_ros.node import messages
from cgdet_ros.node.image_input import COMPRESSED_SUFFIX, ReceivedFrame
from cgdet_ros.node.qos import mismatches, overridable, quality_of_service

# letters of the least readable size are then a sixtieth of the picture's height
_READABLE_ROWS = 480
_GREATEST_SCALE = 4


class Outputs(ABC):
    """The lifecycle publishers of `node`: here those of the overlay, besides what the type of node publishes. They are
    made here and end with `destroy`. For one thread.

    Raises, with none left, what rclpy raises for overrides of their quality of service that are none.
    """

    def __init__(self, node: Any, thermal: ThermalConfig) -> None:
        self._node, self._thermal = node, thermal
        self._publishers: list[Any] = []
        overlay = str(node.resolve_topic_name("overlay"))
        try:
            self._open()
            self._overlay = self._create(Image, overlay, depth=1)
            self._overlay_jpeg = self._create(CompressedImage, overlay + COMPRESSED_SUFFIX, depth=1)
        except Exception:
            self.destroy()
            raise

    @abstractmethod
    def _open(self) -> None:
        """Make the publishers of the type of node."""

    @abstractmethod
    def publish(self, frame: ReceivedFrame, found: Any) -> None:
        """The answer to the image."""

    @abstractmethod
    def draw(self, image: ImageArray, found: Any, style: OverlayConfig) -> ImageArray:
        """uint8 [H, W, 3] in RGB order: the frame as the network sees it, with what was found."""

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

    @property
    def overlay_is_watched(self) -> bool:
        """Whether anybody listens, to the raw or to the compressed picture."""
        return self._overlay.get_subscription_count() > 0 or self._overlay_jpeg.get_subscription_count() > 0

    def publish_overlay(self, frame: ReceivedFrame, found: Any, style: OverlayConfig) -> None:
        """Draw what was found, in the forms that somebody listens to."""
        picture = self.draw(frame.image, found, style)
        if self._overlay.get_subscription_count() > 0:
            self._overlay.publish(messages.image_to_message(frame.header, picture, "rgb8"))
        if self._overlay_jpeg.get_subscription_count() > 0:
            data = array.array("B", encode_jpeg(picture, style.jpeg_quality))
            message = CompressedImage(header=frame.header, format="rgb8; jpeg compressed bgr8", data=data)
            self._overlay_jpeg.publish(message)

    def unheard(self) -> list[str]:
        """Who subscribes and cannot hear it, and why."""
        return [line for each in self._publishers for line in mismatches(self._node, each.topic_name)]


def overlay_scale(image: ImageArray, style: OverlayConfig) -> float:
    """Size of an overlay, in sizes of the frame.

    A scale of 0 is the least whole number that gives `_READABLE_ROWS`, and not more than `_GREATEST_SCALE`.
    """
    return style.scale or min(_GREATEST_SCALE, -(-_READABLE_ROWS // image.shape[0]))


class DetectionOutputs(Outputs):
    """Of the detector; class_ids: what is written for each class, by its number."""

    def __init__(self, node: Any, thermal: ThermalConfig, class_names: Sequence[str], class_ids: Sequence[str]) -> None:
        self._class_names, self._class_ids = class_names, class_ids
        self._entries: list[Detection2D] = []
        super().__init__(node, thermal)

    def _open(self) -> None:
        self._detections = self._create(Detection2DArray, "detections", depth=5)
        self._label_info = self._create(LabelInfo, "label_info", depth=1, latched=True)
        self._vision_info = self._create(VisionInfo, "vision_info", depth=1, latched=True)

    def publish(self, frame: ReceivedFrame, found: Detections) -> None:
        message = messages.detections_to_message(frame.header, found, self._class_ids, self._entries)
        self._detections.publish(message)

    def draw(self, image: ImageArray, found: Detections, style: OverlayConfig) -> ImageArray:
        shown, scale = found.above(style.min_score), overlay_scale(image, style)
        return draw(image, shown, self._class_names, thermal=self._thermal, scale=scale, colour_map=style.colour_map)

    def publish_info(self, stamp: Time, threshold: float, method: str, version: int) -> None:
        """The class names by number, from 0, and the lowest score that is published; what detects (`version` grows when
        another model is configured); for all who listen now or later."""
        header = Header(stamp=stamp)
        classes = [VisionClass(class_id=number, class_name=name) for number, name in enumerate(self._class_names)]
        self._label_info.publish(LabelInfo(header=header, class_map=classes, threshold=threshold))
        self._vision_info.publish(
            VisionInfo(
                header=header,
                method=method,
                database_location=str(self._node.resolve_topic_name("label_info")),
                database_version=version,
            )
        )


class LandmarkOutputs(Outputs):
    """Of the node of landmarks: a message for each face."""

    def _open(self) -> None:
        try:
            from hri_msgs.msg import FacialLandmarks
        except ImportError as error:
            distribution = os.environ.get("ROS_DISTRO", "DISTRO")
            raise RunError(
                f"{error}: sudo apt install ros-{distribution}-hri-msgs, or build interfaces/hri_msgs "
                "(docs/guides/install.md)"
            ) from None
        self._landmarks = self._create(FacialLandmarks, "landmarks", depth=20)  # some frames of several faces

    def publish(self, frame: ReceivedFrame, found: Landmarks) -> None:
        for points, confidences in zip(found.points_xy_px, found.confidences, strict=True):
            self._landmarks.publish(messages.landmarks_to_message(frame.header, points, confidences, frame.image))

    def draw(self, image: ImageArray, found: Landmarks, style: OverlayConfig) -> ImageArray:
        scale = overlay_scale(image, style)
        return draw_landmarks(image, found, style.min_score, scale, self._thermal, style.colour_map)


def diagnostics_publisher(node: Any) -> Any:
    """Of /diagnostics: it speaks in every state of the lifecycle."""
    return node.create_publisher(DiagnosticArray, "/diagnostics", 10)
