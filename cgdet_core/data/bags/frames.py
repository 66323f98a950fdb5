"""Frames and labels out of bags, streamed: raw image messages, and frames with their labels.

Header stamps, not record times, say which labels belong to which image.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from cgdet_core.data.bags.images import RawImage, decode_frame, first_image, raw_images, readable_frames
from cgdet_core.data.bags.labels import NO_LABELS, bag_labels, read_frame_info, read_truth
from cgdet_core.data.bags.reader import BagMessage, BagReader, BagTopic, Damaged
from cgdet_core.data.bags.salvage_parts import Loss
from cgdet_core.data.bags.topics import choose_image_topic, choose_truth_topic, image_topics
from cgdet_core.data.bags.truth import FrameInfo
from cgdet_core.data.bags.types import DETECTIONS
from cgdet_core.errors import InputError
from cgdet_core.types import CLASS_NAMES, Sample

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


def read_labelled_frames(
    path: Path | str,
    image_topic: str | None = None,
    truth_topic: str | None = None,
    class_names: Sequence[str] = CLASS_NAMES,
    class_map: Mapping[str, str] | None = None,
    damaged: Damaged = "refuse",
    losses: list[Loss] | None = None,
    need_labels: bool = False,
) -> Iterator[Sample]:
    """Every image of one topic with its labels, matched by exact header stamp, in order of record times.

    truth_topic: the topic of the labels, or a COCO JSON keyed by stamp (stamped_labels.py). A first pass reads the
    labels, which may have been recorded before or after their images; the
    images are then streamed. `truth` is None for an image without an array of its stamp, and for all
    of them where the bag has no topic of labels. `name` is the name in frame_info, else topic and
    stamp; a name that came before gets a number. `light` and `scene` come from frame_info.
    need_labels: a bag without such a topic is refused before an image is read.
    InputError for anything wrong with bag, topics, classes or an image, and, at the end, where there
    are labels but no image bears the stamp of any. damaged: as BagReader has it; what could not be read
    is added to `losses` at the end.
    """
    with BagReader(path, damaged) as bag:
        topic = choose_image_topic(bag, image_topic)
        labels = bag_labels(bag, truth_topic, class_names, class_map)
        if need_labels and labels is NO_LABELS:
            raise InputError(f"{bag.path}: {_no_labels(bag)}")
        seen: dict[str, int] = {}
        matched = 0
        for image, frame in readable_frames(bag, topic):
            info = labels.infos.get(image.stamp_ns, FrameInfo())
            name = info.name or f"{topic}@{image.stamp_ns}"
            seen[name] = seen.get(name, 0) + 1
            if seen[name] > 1:
                name = f"{name}#{seen[name]}"
            truth = labels.of_frame(image.stamp_ns, frame.height_width_px)
            matched += truth is not None
            yield Sample(name, frame, truth, light=info.light, scene=info.scene)
        if losses is not None:
            losses += bag.losses
        labels.check_any(matched, topic)


def _no_labels(bag: BagReader) -> str:
    """Why a bag has no labels, and what can be done."""
    detections = [topic.name for topic in bag.topics.values() if topic.type == DETECTIONS]
    there = f" ({bag.listing(detections)}: named like a detector's output)" if detections else ""
    return (
        f"has no topic of labels{there}: name one, or a COCO JSON keyed by stamp, with --truth-topic; without labels "
        "cgdet-replay shows what is found"
    )
