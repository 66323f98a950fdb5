"""Frames and labels out of bags, streamed: raw image messages, and frames with their labels.

Header stamps, not record times, say which labels belong to which image.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from cgdet_core.data.bag_images import (
    RawImage,
    decode_frame,
    first_image,
    raw_images,
    readable_frames,
)
from cgdet_core.data.bag_reader import BagMessage, BagReader, BagTopic, Damaged
from cgdet_core.data.bag_topics import choose_image_topic, choose_truth_topic, image_topics
from cgdet_core.data.bag_truth import FRAME_INFO_SUFFIX, FrameInfo, frame_info_from_message, truth_from_message
from cgdet_core.data.ros_types import FRAME_INFO
from cgdet_core.data.salvage_parts import Loss
from cgdet_core.errors import InputError
from cgdet_core.types import CLASS_NAMES, GroundTruth, Sample

__all__ = [
    "BagMessage",
    "BagReader",
    "BagTopic",
    "Damaged",
    "FrameInfo",
    "Loss",
    "RawImage",
    "choose_image_topic",
    "choose_truth_topic",
    "decode_frame",
    "first_image",
    "image_topics",
    "read_frame_info",
    "read_labelled_frames",
    "read_raw_images",
    "read_truth",
    "readable_frames",
]


def read_raw_images(path: Path | str, image_topic: str | None = None) -> Iterator[RawImage]:
    """The image messages of one topic in order of their record times, as they were recorded.

    InputError for anything wrong with the bag or the topic; the images themselves are not checked.
    """
    with BagReader(path) as bag:
        yield from raw_images(bag, choose_image_topic(bag, image_topic))


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


def read_labelled_frames(
    path: Path | str,
    image_topic: str | None = None,
    truth_topic: str | None = None,
    class_names: Sequence[str] = CLASS_NAMES,
    class_map: Mapping[str, str] | None = None,
    damaged: Damaged = "refuse",
    losses: list[Loss] | None = None,
) -> Iterator[Sample]:
    """Every image of one topic with its labels, matched by exact header stamp, in order of record times.

    A first pass reads the labels, which may have been recorded before or after their images; the
    images are then streamed. `truth` is None for an image without an array of its stamp, and for all
    of them where the bag has no topic of labels. `name` is the name in frame_info, else topic and
    stamp; a name that came before gets a number. `light` and `scene` come from frame_info.
    InputError for anything wrong with bag, topics, classes or an image, and, at the end, where there
    are labels but no image bears the stamp of any. damaged: as BagReader has it; what could not be read
    is added to `losses` at the end.
    """
    with BagReader(path, damaged) as bag:
        topic = choose_image_topic(bag, image_topic)
        labels = choose_truth_topic(bag, truth_topic)
        truth = read_truth(bag, labels, class_names, class_map) if labels else {}
        infos = read_frame_info(bag, labels) if labels else {}
        seen: dict[str, int] = {}
        matched = 0
        for image, frame in readable_frames(bag, topic):
            info = infos.get(image.stamp_ns, FrameInfo())
            name = info.name or f"{topic}@{image.stamp_ns}"
            seen[name] = seen.get(name, 0) + 1
            if seen[name] > 1:
                name = f"{name}#{seen[name]}"
            matched += image.stamp_ns in truth
            yield Sample(name, frame, truth.get(image.stamp_ns), light=info.light, scene=info.scene)
        if losses is not None:
            losses += bag.losses
        if truth and not matched:
            raise InputError(
                f"{bag.path}: none of the {len(truth)} label arrays of {labels} has the header stamp of an image of "
                f"{topic}: labels must bear the header of their image"
            )
