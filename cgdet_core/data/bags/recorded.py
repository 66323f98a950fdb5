"""What a detector published, out of a bag: its Detection2DArrays by the header stamp of their images."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from cgdet_core.boxes import cxcywh_to_xyxy
from cgdet_core.data.bags.damage import expected_fields
from cgdet_core.data.bags.reader import BagReader
from cgdet_core.data.bags.types import DETECTIONS
from cgdet_core.errors import InputError
from cgdet_core.types import Detections


def read_detections(path: Path, class_names: Sequence[str], topic: str | None = None) -> dict[int, Detections]:
    """Header stamp in ns -> detections, best first. topic: needed where the bag has several Detection2DArray topics.

    class_ids are names or numbers of `class_names`. Raises InputError for a bag or topic that is none, another class,
    a box or score that is none, and two arrays of one stamp.
    """
    found: dict[int, Detections] = {}
    with BagReader(path) as bag:
        chosen = _choose_topic(bag, topic)
        for item in bag.messages([chosen]):
            where = f"{path}: {chosen}, detections of stamp {item.stamp_ns} ns"
            if item.stamp_ns in found:
                raise InputError(f"{where}: there are several: give a topic with one array per image")
            with expected_fields(DETECTIONS, where):
                found[item.stamp_ns] = _detections(item.message, class_names, where)
    return found


def _choose_topic(bag: BagReader, topic: str | None) -> str:
    names = [each.name for each in bag.topics.values() if each.type == DETECTIONS]
    if topic is not None:
        if bag.topic(topic).type != DETECTIONS:
            raise InputError(f"{bag.path}: topic '{topic}' is of type {bag.topics[topic].type}: give a {DETECTIONS}")
        return topic
    if len(names) != 1:
        there = (
            f"several topics of detections: name one of {', '.join(names)}" if names else f"no topic of {DETECTIONS}"
        )
        raise InputError(f"{bag.path}: holds {there}")
    return names[0]


def _detections(message: Any, class_names: Sequence[str], where: str) -> Detections:
    numbers = {str(number): number for number in range(len(class_names))}
    numbers.update({name: number for number, name in enumerate(class_names)})
    rows: list[tuple[float, int, tuple[float, float, float, float]]] = []
    for detection in message.detections:
        if not detection.results:
            raise InputError(f"{where}: a detection has no class (empty results)")
        best = max((result.hypothesis for result in detection.results), key=lambda each: float(each.score))
        if best.class_id not in numbers:
            raise InputError(f"{where}: class '{best.class_id}' is none of {', '.join(class_names)}")
        centre, score = detection.bbox.center.position, float(best.score)
        box = (float(centre.x), float(centre.y), float(detection.bbox.size_x), float(detection.bbox.size_y))
        if not (all(map(math.isfinite, box)) and min(box[2:]) >= 0 and 0 <= score <= 1):
            raise InputError(f"{where}: a detection is none (centre and size {box}, score {score})")
        rows.append((score, numbers[best.class_id], box))
    rows.sort(key=lambda row: -row[0])  # stable: equal scores keep their order
    boxes = np.array([box for _, _, box in rows], np.float32).reshape(-1, 4)
    return Detections(
        cxcywh_to_xyxy(boxes),
        np.array([score for score, _, _ in rows], np.float32),
        np.array([number for _, number, _ in rows], np.int64),
    )
