"""Messages <-> the values of cgdet_core. Beside the node the only place that sees a message type."""

from __future__ import annotations

import array
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from builtin_interfaces.msg import Time as TimeMessage
from cv_bridge import CvBridge
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from rclpy.time import Time
from sensor_msgs.msg import Image
from std_msgs.msg import Header
from vision_msgs.msg import Detection2D, Detection2DArray, ObjectHypothesisWithPose

from cgdet_core.boxes import cxcywh_to_xyxy, xyxy_to_cxcywh
from cgdet_core.errors import InputError
from cgdet_core.thermal import decode_raw, plain_encoding
from cgdet_core.types import Detections, FloatArray, ImageArray

if TYPE_CHECKING:
    from cgdet_core.data.bags.messages import RawImage

_FARTHEST_PX = 1e6
_BRIDGE = CvBridge()  # made once: it builds its tables of encodings

# Bytes of a pixel in the encodings that cv_bridge reads right, unpadded and in this machine's byte order: version 1.13
# ignores the step, fails on big-endian data with NumPy 2, takes 16UC1 for 8 bits and (OpenCV 5) colour for 9 channels.
_BRIDGED = {"mono8": 1, "8UC1": 1, "mono16": 2}


def image_from_message(message: Image) -> ImageArray:
    """The pixels of an image message: uint8/uint16 [H, W] in native byte order, or uint8 [H, W, 3] in RGB order.

    A view of the message's data where no byte has to move. By cv_bridge what it reads right, else by
    `thermal.decode_raw`, which gives the same bits. Raises InputError for a message that is malformed.
    """
    row_bytes = _BRIDGED.get(message.encoding, 0) * message.width
    plain = row_bytes == message.step and len(message.data) == row_bytes * message.height > 0
    if plain and not message.is_bigendian:
        return np.asarray(_BRIDGE.imgmsg_to_cv2(message, "passthrough"))
    return decode_raw(
        message.data, message.height, message.width, message.step, message.encoding, bool(message.is_bigendian)
    )


def recorded_image_message(image: RawImage) -> Image:
    """A bag's image as its driver published it, unchecked; a compressed one unpacked; InputError where it cannot be."""
    header = Header(stamp=Time(nanoseconds=image.stamp_ns).to_msg(), frame_id=image.frame_id)
    if image.compressed_format is not None:
        pixels = image.decode()
        return image_to_message(header, pixels, plain_encoding(pixels))
    return Image(
        header=header,
        height=image.height_px,
        width=image.width_px,
        encoding=image.encoding,
        is_bigendian=int(image.is_bigendian),
        step=image.step_bytes,
        data=array.array("B", image.data.tobytes()),  # of another type each byte would be looked at
    )


def image_to_message(header: Header, image: ImageArray, encoding: str) -> Image:
    """uint8/uint16 [H, W] or uint8 [H, W, 3] in RGB order -> an image message with `header`, unpadded.

    encoding: mono8, mono16 or rgb8.
    """
    message = _BRIDGE.cv2_to_imgmsg(image, encoding)
    message.header = header
    return message


def detections_to_message(
    header: Header, detections: Detections, class_ids: Sequence[str], entries: list[Detection2D] | None = None
) -> Detection2DArray:
    """Detections in pixels of the image with `header` -> the array, best first; the header stands on every entry.

    class_ids: what is written for each class, by its number. entries: those of an array that is published already, to
    be written over: a Detection2D is nine Python objects, of whose numbers five say something.
    """
    entries = [] if entries is None else entries
    for _ in range(len(detections) - len(entries)):
        entries.append(Detection2D(results=[ObjectHypothesisWithPose()]))
    boxes = xyxy_to_cxcywh(detections.boxes_xyxy_px).astype(np.float64).tolist()
    scores = detections.scores.astype(np.float64).tolist()
    # entries of more detections than these are left for a later frame
    for entry, (x, y, width_px, height_px), score, class_id in zip(
        entries, boxes, scores, detections.class_ids.tolist(), strict=False
    ):
        entry.header = header
        hypothesis, box = entry.results[0].hypothesis, entry.bbox
        hypothesis.class_id, hypothesis.score = class_ids[class_id], score
        box.center.position.x, box.center.position.y = x, y
        box.size_x, box.size_y = width_px, height_px
    return Detection2DArray(header=header, detections=entries[: len(detections)])


def boxes_from_message(message: Detection2DArray) -> FloatArray:
    """The boxes of faces float32 [N, 4] in pixels of the image; InputError for one that is none."""
    places = [(each.bbox.center.position, each.bbox) for each in message.detections]
    boxes = np.array([(at.x, at.y, box.size_x, box.size_y) for at, box in places], np.float64).reshape(-1, 4)
    if not (np.isfinite(boxes).all() and (boxes[:, 2:] > 0).all() and (np.abs(boxes) < _FARTHEST_PX).all()):
        raise InputError("a box is not finite, has no area or lies far off the image")
    return cxcywh_to_xyxy(boxes.astype(np.float32))


def diagnostics_message(
    stamp: TimeMessage, name: str, hardware_id: str, level: int, message: str, values: dict[str, str]
) -> DiagnosticArray:
    """One status; level: 0 ok, 1 warning, 2 error, 3 stale."""
    status = DiagnosticStatus(
        level=bytes([level]),
        name=name,
        message=message,
        hardware_id=hardware_id,
        values=[KeyValue(key=key, value=value) for key, value in values.items()],
    )
    return DiagnosticArray(header=Header(stamp=stamp), status=[status])


def landmarks_to_message(header: Header, points_xy_px: FloatArray, confidences: FloatArray, image: ImageArray) -> Any:
    """The points of one face, float32 [68, 2] about the centres of pixels of `image`, -> hri_msgs/FacialLandmarks.

    As the message wants it: 70 in shares of width and height from the outer corner of the first pixel. Points off the
    image have confidence 0, and so have the pupils, which the network does not know.
    """
    from hri_msgs.msg import FacialLandmarks, NormalizedPointOfInterest2D  # of the landmarks node alone

    height, width = image.shape[:2]
    shares = (points_xy_px.astype(np.float64) + 0.5) / (width, height)
    inside = ((shares >= 0) & (shares <= 1)).all(axis=1)
    sure = np.where(inside, confidences, 0.0)
    landmarks = [
        NormalizedPointOfInterest2D(x=x, y=y, c=c)
        for (x, y), c in zip(shares.clip(0, 1).tolist(), sure.tolist(), strict=True)
    ]
    landmarks += [NormalizedPointOfInterest2D() for _ in range(70 - len(landmarks))]
    return FacialLandmarks(header=header, landmarks=landmarks, height=height, width=width)
