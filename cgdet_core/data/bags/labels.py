"""Labels of a bag's frames by header stamp: out of a topic of the bag, or a COCO JSON.

In the JSON an image states its frame's header stamp as `stamp_ns` (a whole number), or as its `file_name`
("1700000000100000000", with any suffix). Frames that are not among `images` are unlabelled; `unlabelled_images`
may list them with a `reason`. That list is never taken for frames without objects, by no reader of COCO.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from cgdet_core.data.bags.reader import BagReader
from cgdet_core.data.bags.topics import choose_truth_topic
from cgdet_core.data.bags.truth import (
    FRAME_INFO_SUFFIX,
    FrameInfo,
    check_class_map,
    frame_info_from_message,
    truth_from_message,
)
from cgdet_core.data.bags.types import FRAME_INFO
from cgdet_core.data.sets.coco import LIGHTS, labelled_images, read_coco_json
from cgdet_core.errors import InputError
from cgdet_core.types import CLASS_NAMES, GroundTruth

UNLABELLED = "unlabelled_images"


@dataclass(frozen=True)
class StampedLabels:
    """truth and infos: header stamp in ns -> labels, and what else is known of the frame (of unlabelled ones too);
    sizes: stamp -> (height, width) in pixels, where stated; origin: where they were read, for messages."""

    origin: str
    truth: Mapping[int, GroundTruth]
    infos: Mapping[int, FrameInfo]
    sizes: Mapping[int, tuple[int, int]]

    def of_frame(self, stamp_ns: int, height_width_px: tuple[int, int]) -> GroundTruth | None:
        """None where the frame is unlabelled; InputError where the labels are of a frame of another size."""
        stated = self.sizes.get(stamp_ns, height_width_px)
        if stated != height_width_px:
            raise InputError(
                f"{self.origin}: says {stated[1]}x{stated[0]} pixels of the frame of stamp {stamp_ns} ns, which has "
                f"{height_width_px[1]}x{height_width_px[0]}: give the labels of this topic"
            )
        return self.truth.get(stamp_ns)

    def check_any(self, matched: int, topic: str) -> None:
        """Raise InputError where there are labels, but none bears the stamp of an image of `topic`."""
        if self.truth and not matched:
            raise InputError(
                f"{self.origin}: none of its {len(self.truth)} labelled stamps is the header stamp of an image of "
                f"{topic}: labels must bear the header stamp of their image"
            )


NO_LABELS = StampedLabels("", {}, {}, {})


def is_json(labels: str | None) -> bool:
    """Whether the words name a file of labels, not a topic."""
    return labels is not None and labels.endswith(".json")


def bag_labels(
    bag: BagReader,
    labels: str | None = None,
    class_names: Sequence[str] = CLASS_NAMES,
    class_map: Mapping[str, str] | None = None,
) -> StampedLabels:
    """The labels of a bag's frames: of the COCO JSON or the topic named, else of the bag's own topic of labels, if any.

    Raises InputError as `load_stamped_labels` and `read_truth` do.
    """
    if labels is not None and is_json(labels):
        return load_stamped_labels(Path(labels), class_names, class_map)
    topic = choose_truth_topic(bag, labels)
    if topic is None:
        return NO_LABELS
    truth = read_truth(bag, topic, class_names, class_map)
    return StampedLabels(f"{bag.path}: {topic}", truth, read_frame_info(bag, topic), {})


def load_stamped_labels(
    path: Path, class_names: Sequence[str] = CLASS_NAMES, class_map: Mapping[str, str] | None = None
) -> StampedLabels:
    """A COCO JSON keyed by stamp; InputError as `load_coco` (pictures are not looked for), and for an image without a
    stamp, or with one that another image has."""
    document = read_coco_json(path)
    truth: dict[int, GroundTruth] = {}
    infos: dict[int, FrameInfo] = {}
    sizes: dict[int, tuple[int, int]] = {}
    for image, of_image in labelled_images(document, path, tuple(class_names), dict(class_map or {})):
        stamp_ns = _stamp(image, path)
        if stamp_ns in truth:
            raise InputError(f"{path}: two images have the stamp {stamp_ns} ns: keep one of them")
        truth[stamp_ns] = of_image
        light = image.get("light")
        scene = image.get("scene")
        infos[stamp_ns] = FrameInfo(
            light=light if light in LIGHTS else None, scene=scene if isinstance(scene, str) else None
        )
        sizes[stamp_ns] = (int(image["height"]), int(image["width"]))
    if not truth:
        raise InputError(f"{path}: labels no frame: give the labels of some")
    return StampedLabels(str(path), truth, infos, sizes)


def _stamp(image: dict[str, Any], path: Path) -> int:
    stamp = image.get("stamp_ns")
    if type(stamp) is int and stamp >= 0:
        return stamp
    stem = Path(str(image["file_name"])).stem
    if stamp is None and stem.isascii() and stem.isdigit():
        return int(stem)
    raise InputError(
        f"{path}: image {image['id']} has no stamp: give it stamp_ns, the whole nanoseconds of its frame's header "
        "stamp, or that number as its file_name"
    )


def read_truth(
    bag: BagReader,
    truth_topic: str,
    class_names: Sequence[str] = CLASS_NAMES,
    class_map: Mapping[str, str] | None = None,
) -> dict[int, GroundTruth]:
    """Header stamp in ns -> labels, of the whole bag (labels are small; the images are not touched).

    The classes that `<truth_topic>/frame_info` leaves out are marked as unlabelled. InputError for an
    unknown class, and for two arrays of one stamp.
    """
    truth: dict[int, GroundTruth] = {}
    mapping = dict(class_map or {})
    check_class_map(mapping, class_names)
    for item in bag.messages([truth_topic]):
        stamp_ns = item.stamp_ns
        where = f"{bag.path}: {truth_topic}, labels of stamp {stamp_ns} ns"
        if stamp_ns in truth:
            raise InputError(f"{where}: there are several: give a topic with one array per image")
        truth[stamp_ns] = truth_from_message(item.message, class_names, mapping, where)
    for stamp_ns, info in read_frame_info(bag, truth_topic).items():
        if stamp_ns in truth and info.labelled is not None:
            targets = {mapping.get(name, name) for name in info.labelled}
            labelled = np.array([name in targets for name in class_names], np.bool_)
            truth[stamp_ns] = replace(truth[stamp_ns], labelled=None if labelled.all() else labelled)
    return truth


def read_frame_info(bag: BagReader, truth_topic: str) -> dict[int, FrameInfo]:
    """Header stamp in ns -> what `<truth_topic>/frame_info` says of the frame; empty without that topic."""
    topic = bag.topics.get(truth_topic + FRAME_INFO_SUFFIX)
    if topic is None or topic.type != FRAME_INFO:
        return {}
    return {item.stamp_ns: frame_info_from_message(item.message) for item in bag.messages([topic.name])}
