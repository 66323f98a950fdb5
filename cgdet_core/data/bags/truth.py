"""Labels and detections in bags: vision_msgs/Detection2DArray <-> GroundTruth, and what else is known of a frame.

- One Detection2DArray per labelled image with the very header of that image; an empty array says that there is nothing
  to find, no array that the image is not labelled.
- `class_id` is the class name with score 1.0; a region to ignore has the class_id `ignore:<name>`, or `ignore` alone
  where it counts for no class at all.
- `<truth topic>/frame_info` (diagnostic_msgs/DiagnosticArray, same header) may hold one status `frame` with the values
  `name`, `light` (day, night), `scene` and `labelled` (the frame's labelled classes, by commas, where not all are).

Read besides: index numbers in place of names, and the older vision_msgs of ROS 1 and Foxy.
"""

from __future__ import annotations

import math
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from cgdet_core.boxes import cxcywh_to_xyxy, xyxy_to_cxcywh
from cgdet_core.data.bags.damage import expected_fields
from cgdet_core.data.bags.messages import DETECTIONS, FRAME_INFO, header, typestore
from cgdet_core.data.bags.reader import BagReader
from cgdet_core.data.bags.topics import named_as_labels
from cgdet_core.data.sets.fields import same_name
from cgdet_core.errors import InputError, unknown
from cgdet_core.types import BACKGROUND, IGNORE, Detections, GroundTruth

FRAME_INFO_SUFFIX = "/frame_info"
_STATUS_NAME = "frame"
Box = tuple[float, float, float, float]  # centre and size in pixels


@dataclass(frozen=True)
class FrameInfo:
    """What a set knows of a frame beside its boxes; `labelled` None means all classes."""

    name: str | None = None
    light: str | None = None
    scene: str | None = None
    labelled: tuple[str, ...] | None = None


def truth_message(truth: GroundTruth, class_names: Sequence[str], stamp_ns: int, frame_id: str) -> Any:
    """A vision_msgs/Detection2DArray with the labels of one frame."""
    types = typestore().types
    zero = types["geometry_msgs/msg/PoseWithCovariance"](
        pose=types["geometry_msgs/msg/Pose"](
            position=types["geometry_msgs/msg/Point"](x=0.0, y=0.0, z=0.0),
            orientation=types["geometry_msgs/msg/Quaternion"](x=0.0, y=0.0, z=0.0, w=1.0),
        ),
        covariance=np.zeros(36, np.float64),
    )
    detections: list[Any] = []
    boxes = xyxy_to_cxcywh(truth.boxes_xyxy_px).tolist()
    for (x, y, width, height), class_id, ignore in zip(boxes, truth.class_ids, truth.ignore, strict=True):
        name = class_names[class_id]
        hypothesis = types["vision_msgs/msg/ObjectHypothesis"](
            class_id=f"{IGNORE}:{name}" if ignore else name, score=1.0
        )
        centre = types["vision_msgs/msg/Pose2D"](position=types["vision_msgs/msg/Point2D"](x=x, y=y), theta=0.0)
        detections.append(
            types["vision_msgs/msg/Detection2D"](
                header=header(stamp_ns, frame_id),
                results=[types["vision_msgs/msg/ObjectHypothesisWithPose"](hypothesis=hypothesis, pose=zero)],
                bbox=types["vision_msgs/msg/BoundingBox2D"](center=centre, size_x=width, size_y=height),
                id="",
            )
        )
    return types["vision_msgs/msg/Detection2DArray"](header=header(stamp_ns, frame_id), detections=detections)


def arrays_by_stamp(bag: BagReader, topic: str) -> Iterator[tuple[int, Any, str]]:
    """(header stamp in ns, message, where it stands) of every Detection2DArray; InputError for two of one stamp."""
    seen = set[int]()
    for item in bag.messages([topic]):
        where = f"{bag.path}: {topic}, labels of stamp {item.stamp_ns} ns"
        if item.stamp_ns in seen:
            raise InputError(f"{where}: there are several: give a topic with one array per image")
        seen.add(item.stamp_ns)
        yield item.stamp_ns, item.message, where


def truth_from_message(
    message: Any, class_names: Sequence[str], class_map: Mapping[str, str], where: str
) -> GroundTruth:
    """The labels in a Detection2DArray, in pixels of its image.

    class_map: class_id in the message -> class name, "ignore" or "background" (it leaves). A rotated box becomes the
    upright box around it. InputError, beginning with `where`, for an unknown class, a label without one, and a bad box.
    """
    labels = [
        (box, class_id, ignore)
        for text, _, box in label_rows(message, where)
        for class_id, ignore in _classes(text, class_names, class_map, where)
    ]
    boxes, class_ids, ignored = zip(*labels, strict=True) if labels else ((), (), ())
    return GroundTruth(
        cxcywh_to_xyxy(np.array(boxes, np.float32)), np.array(class_ids, np.int64), np.array(ignored, np.bool_)
    )


def read_detections(path: Path, class_names: Sequence[str], topic: str | None = None) -> dict[int, Detections]:
    """What a detector published: header stamp in ns -> detections, best first.

    topic: needed where not just one Detection2DArray topic of the bag is not named as labels are. InputError for a bag
    or topic that is none, another class than `class_names` or their numbers, a bad box or score, a stamp twice.
    """
    with BagReader(path) as bag:
        names = [one.name for one in bag.topics.values() if one.type == DETECTIONS and not named_as_labels(one.name)]
        if topic is None and len(names) != 1:
            several = f"several topics of detections: name one of {', '.join(names)}"
            there = several if names else f"no {DETECTIONS} that is not named as labels"
            raise InputError(f"{path}: holds {there}")
        chosen = bag.topic(topic or names[0], "topic of detections", (DETECTIONS,)).name
        arrays = arrays_by_stamp(bag, chosen)
        return {stamp_ns: detections_from_message(message, class_names, where) for stamp_ns, message, where in arrays}


def detections_from_message(message: Any, class_names: Sequence[str], where: str) -> Detections:
    """Of a Detection2DArray, by rosbags or by rclpy: as `read_detections`; where: what an error names."""
    rows = sorted(label_rows(message, where), key=lambda row: -row[1])  # stable: equal scores keep their order
    numbers = [_class_number(text, class_names) for text, _, _ in rows]
    for (text, score, _), number in zip(rows, numbers, strict=True):
        if number is None:
            raise unknown(where, "class", text, class_names)
        if not 0 <= score <= 1:
            raise InputError(f"{where}: a detection has the score {score}")
    boxes, scores = np.array([row[2] for row in rows], np.float32), np.array([row[1] for row in rows], np.float32)
    return Detections(cxcywh_to_xyxy(boxes), scores, np.array(numbers, np.int64))


def label_rows(message: Any, where: str) -> list[tuple[str, float, Box]]:
    """class_id and score of the best hypothesis, and the box, of everything in a Detection2DArray."""
    with expected_fields(DETECTIONS, where):
        return [(*_best(each, where), _box_cxcywh(each.bbox, where)) for each in message.detections]


def _box_cxcywh(box: Any, where: str) -> Box:
    """Centre and size; of a rotated box those of the upright box around it."""
    centre = getattr(box.center, "position", box.center)  # geometry_msgs/Pose2D before Humble
    x, y, width, height = float(centre.x), float(centre.y), float(box.size_x), float(box.size_y)
    theta = float(box.center.theta)
    if not all(map(math.isfinite, (x, y, width, height, theta))) or width < 0 or height < 0:
        raise InputError(f"{where}: a box is none (centre {x}, {y}, size {width} x {height}): correct the labels")
    if theta:
        cosine, sine = abs(math.cos(theta)), abs(math.sin(theta))
        width, height = width * cosine + height * sine, width * sine + height * cosine
    return x, y, width, height


def _best(detection: Any, where: str) -> tuple[str, float]:
    """The class_id of the best hypothesis, and its score."""
    if not detection.results:
        raise InputError(f"{where}: a label has no class (empty results): correct the labels")
    # before Humble a result is its own hypothesis
    hypotheses = [getattr(result, "hypothesis", result) for result in detection.results]
    best = max(hypotheses, key=lambda hypothesis: float(hypothesis.score))
    return str(best.class_id if hasattr(best, "class_id") else best.id), float(best.score)


def label_name(detection: Any) -> tuple[str, bool]:
    """The class_id of one label as it stands in the bag, and whether it is a region to ignore."""
    with expected_fields(DETECTIONS, "a label"):
        text = _best(detection, "")[0] if detection.results else "without a class"
    return _without_ignore(text)


def _without_ignore(text: str) -> tuple[str, bool]:
    """What stands behind `ignore:` (nothing: `ignore`), and whether it stands there."""
    prefix, _, rest = text.partition(":")
    return (rest or prefix, True) if prefix == IGNORE else (text, False)


def _classes(text: str, class_names: Sequence[str], class_map: Mapping[str, str], where: str) -> list[tuple[int, bool]]:
    """(class index, ignore) pairs: one, or one for every class where a region counts for none; none of background."""
    mapped = class_map.get(text, text)
    if mapped == IGNORE:
        return [(index, True) for index in range(len(class_names))]
    name, ignore = _without_ignore(mapped)
    name = class_map.get(name, name) if ignore else name
    if name == BACKGROUND:
        return []
    number = _class_number(name, class_names)
    if number is not None:
        return [(number, ignore)]
    remedy = f"map it to one of them, to {IGNORE} or to {BACKGROUND}, such as --class-map {shlex.quote(name)}={IGNORE}"
    raise unknown(where, "class", name, class_names, remedy)


def _class_number(text: str, class_names: Sequence[str]) -> int | None:
    """Of a class given by its name or its number."""
    if (name := same_name(text, class_names)) is not None:
        return list(class_names).index(name)
    return int(text) if text.isascii() and text.isdigit() and int(text) < len(class_names) else None


def frame_info_message(info: FrameInfo, stamp_ns: int, frame_id: str) -> Any:
    """A diagnostic_msgs/DiagnosticArray with what is known of a frame."""
    types = typestore().types
    values = {**vars(info), "labelled": None if info.labelled is None else ",".join(info.labelled)}
    key_value = types["diagnostic_msgs/msg/KeyValue"]
    pairs = [key_value(key=key, value=value) for key, value in values.items() if value is not None]
    status = types["diagnostic_msgs/msg/DiagnosticStatus"](
        level=0, name=_STATUS_NAME, message="", hardware_id="", values=pairs
    )
    return types["diagnostic_msgs/msg/DiagnosticArray"](header=header(stamp_ns, frame_id), status=[status])


def frame_info_from_message(message: Any) -> FrameInfo:
    """What a DiagnosticArray of `frame_info_message` says; other statuses say nothing."""
    with expected_fields(FRAME_INFO, "frame_info"):
        statuses = [status for status in message.status if status.name == _STATUS_NAME]
        values = {value.key: value.value for status in statuses for value in status.values}
    labelled = values.get("labelled")
    names = None if labelled is None else tuple(name for name in labelled.split(",") if name)
    light = values.get("light", "").strip().casefold() or None  # as of a set
    return FrameInfo(values.get("name"), light, values.get("scene"), names)
