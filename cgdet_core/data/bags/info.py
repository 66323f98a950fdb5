"""What a bag holds: topics, rates, stamps, image sizes, labels."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from tqdm import tqdm

from cgdet_core.data.bags.images import RawImage, raw_image
from cgdet_core.data.bags.reader import BagReader
from cgdet_core.data.bags.topics import choose_image_topic, choose_truth_topic
from cgdet_core.data.bags.truth import FRAME_INFO_SUFFIX, frame_info_from_message, label_name
from cgdet_core.data.bags.types import DETECTIONS, FRAME_INFO, IMAGE_TYPES
from cgdet_core.errors import InputError
from cgdet_core.types import NANOSECONDS


@dataclass
class TopicInfo:
    """One topic. Stamps, the earliest and the latest, are the headers', in nanoseconds; None without a header.

    rate_hz: messages per second between first and last stamp; stamps_backwards: stamps below the one
    before; images: "640x512 mono16" -> count.
    """

    name: str
    type: str
    count: int
    first_stamp_ns: int | None = None
    last_stamp_ns: int | None = None
    stamps_backwards: int = 0
    images: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self._previous_ns = 0

    @property
    def duration_s(self) -> float | None:
        """From the earliest to the latest stamp, in seconds."""
        if self.first_stamp_ns is None or self.last_stamp_ns is None:
            return None
        return (self.last_stamp_ns - self.first_stamp_ns) / NANOSECONDS

    @property
    def rate_hz(self) -> float | None:
        duration = self.duration_s
        return (self.count - 1) / duration if duration is not None and duration > 0 else None

    def to_json(self) -> dict[str, Any]:
        values = {each.name: getattr(self, each.name) for each in fields(self)}
        return {**values, "duration_s": self.duration_s, "rate_hz": self.rate_hz}

    def add_stamp(self, stamp_ns: int) -> None:
        self.stamps_backwards += stamp_ns < self._previous_ns
        self._previous_ns = stamp_ns
        self.first_stamp_ns = stamp_ns if self.first_stamp_ns is None else min(stamp_ns, self.first_stamp_ns)
        self.last_stamp_ns = stamp_ns if self.last_stamp_ns is None else max(stamp_ns, self.last_stamp_ns)

    def add_image(self, image: RawImage) -> None:
        if image.compressed_format is None:
            self.images[f"{image.width_px}x{image.height_px} {image.encoding}"] += 1
        elif not self.images:  # of compressed ones the first stands for all: they would have to be decoded one by one
            try:
                height, width = image.decode().shape[:2]
                self.images[f"{width}x{height} {image.compressed_format}"] += 1
            except InputError:
                self.images[f"undecodable {image.compressed_format}"] += 1


@dataclass
class BagInfo:
    """One bag. image_topic and truth_topic are those that evaluation would take, None where it would ask.

    frames: images of image_topic; frames_with_truth: those with an array of their header stamp; labels
    and ignored: class_id -> boxes; light: "day", "night" -> labelled frames; losses: what of a damaged
    MCAP is not read.
    """

    path: str
    storage: str
    size_bytes: int
    duration_s: float = 0.0
    messages: int = 0
    topics: list[TopicInfo] = field(default_factory=list)
    image_topic: str | None = None
    image_topic_reason: str | None = None
    truth_topic: str | None = None
    truth_topic_reason: str | None = None
    frames: int = 0
    frames_with_truth: int = 0
    labels: Counter[str] = field(default_factory=Counter)
    ignored: Counter[str] = field(default_factory=Counter)
    light: Counter[str] = field(default_factory=Counter)
    losses: list[str] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        """All of it, for json.dumps."""
        return {**vars(self), "topics": [topic.to_json() for topic in self.topics]}

    def to_text(self) -> str:
        """A few lines for a terminal."""
        lines = [
            f"{self.path}: {self.storage}, {self.size_bytes / 1e6:.1f} MB, {self.duration_s:.1f} s, "
            f"{self.messages} messages"
        ]
        rows = [("topic", "type", "messages", "Hz", "holds")]
        for topic in self.topics:
            rate = "-" if topic.rate_hz is None else f"{topic.rate_hz:.1f}"
            holds = ", ".join(topic.images)
            if topic.stamps_backwards:
                holds += f"{', ' if holds else ''}{topic.stamps_backwards} stamps going backwards"
            rows.append((topic.name, topic.type or "several types", str(topic.count), rate, holds))
        widths = [max(len(row[column]) for row in rows) for column in range(5)]
        lines += ["  " + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows]
        has_images = any(topic.type in IMAGE_TYPES for topic in self.topics)
        lines.append(f"thermal images: {(self.image_topic or self.image_topic_reason) if has_images else 'none'}")
        if self.truth_topic is None:
            lines.append(f"labels: {self.truth_topic_reason or 'none'}")
        else:
            of = f" of {self.frames}" if self.image_topic else ""
            lines.append(f"labels: {self.truth_topic}: {self.frames_with_truth}{of} frames; {_counts(self.labels)}")
            if self.ignored:
                lines.append(f"regions to ignore: {_counts(self.ignored)}")
            if self.light:
                lines.append(f"light: {_counts(self.light)}")
        lines += [f"DAMAGED: {loss}" for loss in self.losses]
        return "\n".join(line.rstrip() for line in lines)


def bag_info(path: Path | str, progress: bool = False) -> BagInfo:
    """Reads the whole bag, streamed. InputError for a missing bag, and for a damaged one that is no MCAP."""
    with BagReader(path) as bag:
        info = BagInfo(str(bag.path), bag.storage, bag.size_bytes)
        try:
            info.image_topic = choose_image_topic(bag)
        except InputError as error:
            info.image_topic_reason = str(error).removeprefix(f"{bag.path}: ")
        try:
            info.truth_topic = choose_truth_topic(bag)
        except InputError as error:
            info.truth_topic_reason = str(error).removeprefix(f"{bag.path}: ")
        _scan(bag, info, progress)
        info.duration_s = bag.duration_ns / NANOSECONDS
        info.messages = sum(topic.count for topic in info.topics)
        info.losses = bag.losses
    return info


def _scan(bag: BagReader, info: BagInfo, progress: bool) -> None:
    topics = {topic.name: TopicInfo(topic.name, topic.type, topic.count) for topic in bag.topics.values()}
    readable = [name for name in topics if bag.has_header(name)]
    total = sum(topics[name].count for name in readable)
    for name in readable:
        topics[name].count = 0
    image_stamps: list[int] = []
    truth_stamps: set[int] = set()
    frame_info_topic = f"{info.truth_topic}{FRAME_INFO_SUFFIX}"
    for item in tqdm(bag.messages(readable), total=total, unit="message", disable=None if progress else True):
        topic, stamp_ns = topics[item.topic], item.stamp_ns
        topic.count += 1
        topic.add_stamp(stamp_ns)
        if item.type in IMAGE_TYPES:
            topic.add_image(raw_image(item.message, item.type, item.topic, 0))
        if item.topic == info.image_topic:
            image_stamps.append(stamp_ns)
        elif item.topic == info.truth_topic and item.type == DETECTIONS:
            truth_stamps.add(stamp_ns)
            for detection in item.message.detections:
                name, ignored = label_name(detection)
                (info.ignored if ignored else info.labels)[name] += 1
        elif item.topic == frame_info_topic and item.type == FRAME_INFO:
            info.light.update(filter(None, [frame_info_from_message(item.message).light]))
    info.topics = list(topics.values())
    info.frames = len(image_stamps)
    info.frames_with_truth = sum(stamp in truth_stamps for stamp in image_stamps)


def _counts(counts: Counter[str]) -> str:
    return ", ".join(f"{count} {name}" for name, count in sorted(counts.items())) or "no boxes"
