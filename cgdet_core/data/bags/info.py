"""What a bag holds: topics, rates, stamps, image sizes, labels."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

from tqdm import tqdm

from cgdet_core.data.bags.messages import CAMERA_INFO, DETECTIONS, FRAME_INFO, IMAGE_TYPES, RawImage
from cgdet_core.data.bags.reader import BagReader
from cgdet_core.data.bags.topics import camera_info_topic, choose_image_topic, choose_truth_topic
from cgdet_core.data.bags.truth import FRAME_INFO_SUFFIX, frame_info_from_message, label_name
from cgdet_core.errors import InputError
from cgdet_core.types import NANOSECONDS


@dataclass
class TopicInfo:
    """One topic. Stamps, the earliest and the latest, are the headers', in nanoseconds; None without a header.

    stamps_backwards: stamps below the one before; stamps_repeated: of a message before; stamps_zero: not set by the
    driver; images: "640x512 mono16" -> count; duration_s: from the first to the last stamp; rate_hz: messages per
    second in between; unreadable: why the messages cannot be read.
    """

    name: str
    type: str
    count: int
    first_stamp_ns: int | None = None
    last_stamp_ns: int | None = None
    stamps_backwards: int = 0
    stamps_repeated: int = 0
    stamps_zero: int = 0
    images: dict[str, int] = field(default_factory=dict)
    duration_s: float | None = None
    rate_hz: float | None = None
    unreadable: str | None = None

    def add_stamps(self, stamps_ns: list[int]) -> None:
        """Those of all messages that were read."""
        self.count = len(stamps_ns)
        if not stamps_ns:
            return
        self.first_stamp_ns, self.last_stamp_ns = min(stamps_ns), max(stamps_ns)
        self.stamps_backwards = sum(after < before for before, after in pairwise(stamps_ns))
        self.stamps_repeated = len(stamps_ns) - len(set(stamps_ns))
        self.stamps_zero = stamps_ns.count(0)
        self.duration_s = (self.last_stamp_ns - self.first_stamp_ns) / NANOSECONDS
        self.rate_hz = (len(stamps_ns) - 1) / self.duration_s if self.duration_s else None


@dataclass
class BagInfo:
    """One bag. image_topic and truth_topic are those that evaluation would take, None where it would ask.

    frames: images of image_topic; frames_with_truth: those with an array of their header stamp; truth_without_frame:
    arrays whose stamp no image has; labels and ignored: class_id -> boxes; light: "day", "night" -> labelled frames;
    losses: what is not read; notes: what contradicts itself.
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
    truth_without_frame: int = 0
    labels: dict[str, int] = field(default_factory=dict)
    ignored: dict[str, int] = field(default_factory=dict)
    light: dict[str, int] = field(default_factory=dict)
    losses: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def to_text(self) -> str:
        """A few lines for a terminal."""
        rows = [("topic", "type", "messages", "Hz", "holds")]
        for topic in self.topics:
            rate = "-" if topic.rate_hz is None else f"{topic.rate_hz:.1f}"
            holds = ["not read"] if topic.unreadable else [*topic.images]
            odd = {"stamps going backwards": topic.stamps_backwards, "repeated stamps": topic.stamps_repeated}
            odd["stamps of zero"] = topic.stamps_zero
            holds += [f"{count} {what}" for what, count in odd.items() if count]
            rows.append((topic.name, topic.type or "several types", str(topic.count), rate, ", ".join(holds)))
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        has_images = any(topic.type in IMAGE_TYPES for topic in self.topics)
        lines = [
            f"{self.path}: {self.storage}, {self.size_bytes / 1e6:.1f} MB, {self.duration_s:.1f} s, "
            f"{self.messages} messages",
            *("  " + "  ".join(map(str.ljust, row, widths)) for row in rows),
            f"thermal images: {(self.image_topic or self.image_topic_reason) if has_images else 'none'}",
        ]
        if self.truth_topic is None:
            lines.append(f"labels: {self.truth_topic_reason or 'none'}")
        else:
            of = f" of {self.frames}" if self.image_topic else ""
            lines.append(f"labels: {self.truth_topic}: {self.frames_with_truth}{of} frames; {_counts(self.labels)}")
            lines += [f"labels of no image: {self.truth_without_frame}"] if self.truth_without_frame else []
            lines += [f"regions to ignore: {_counts(self.ignored)}"] if self.ignored else []
            lines += [f"light: {_counts(self.light)}"] if self.light else []
        lines += [f"note: {note}" for note in self.notes]
        lines += [f"DAMAGED: {loss}" for loss in self.losses]
        return "\n".join(line.rstrip() for line in lines)


def bag_info(path: Path | str) -> BagInfo:
    """Reads the whole bag, streamed. InputError for a missing bag, and for a damaged one that is no MCAP."""
    with BagReader(path) as bag:
        info = BagInfo(str(bag.path), bag.storage, bag.size_bytes, bag.duration_ns / NANOSECONDS)
        info.image_topic, info.image_topic_reason = _chosen(bag, choose_image_topic)
        info.truth_topic, info.truth_topic_reason = _chosen(bag, choose_truth_topic)
        info.topics = [TopicInfo(topic.name, topic.type, topic.count) for topic in bag.topics.values()]
        _scan(bag, info)
        info.messages = sum(topic.count for topic in info.topics)
        info.losses = bag.losses
        info.notes = [*bag.notes, *info.notes]
    return info


def _chosen(bag: BagReader, choose: Callable[[BagReader], str | None]) -> tuple[str | None, str | None]:
    """The topic, or why there is none to take."""
    try:
        return choose(bag), None
    except InputError as error:
        return None, str(error).removeprefix(f"{bag.path}: ")


def _scan(bag: BagReader, info: BagInfo) -> None:
    topics = {topic.name: topic for topic in info.topics}
    stamps: dict[str, list[int]] = {name: [] for name, topic in topics.items() if _has_header(bag, topic)}
    camera_sizes: dict[str, set[str]] = {}
    total = sum(bag.topics[name].count for name in stamps)
    for item in tqdm(bag.messages(stamps), total=total, unit="message", disable=None):
        stamps[item.topic].append(item.stamp_ns)
        if item.type in IMAGE_TYPES:
            _add_image(topics[item.topic].images, item.raw_image())
        elif item.type == CAMERA_INFO:
            camera_sizes.setdefault(item.topic, set()).add(f"{item.message.width}x{item.message.height}")
        elif item.topic == info.truth_topic and item.type == DETECTIONS:
            for detection in item.message.detections:
                name, to_ignore = label_name(detection)
                _add(info.ignored if to_ignore else info.labels, name)
        elif item.topic == f"{info.truth_topic}{FRAME_INFO_SUFFIX}" and item.type == FRAME_INFO:
            for light in filter(None, [frame_info_from_message(item.message).light]):
                _add(info.light, light)
    for topic in info.topics:
        if topic.name in stamps:
            topic.add_stamps(stamps[topic.name])
        if topic.unreadable and topic.type in (*IMAGE_TYPES, DETECTIONS):
            info.notes.append(topic.unreadable)
        sizes, camera = {image.split()[0] for image in topic.images} - {"undecodable"}, camera_info_topic(topic.name)
        seen = camera_sizes.get(camera, set())
        if seen and sizes and not sizes & seen:
            told = f"{camera} is of {', '.join(sorted(seen))} pixels, the images of {topic.name} are "
            info.notes.append(told + ", ".join(sorted(sizes)))
    if any(topic.stamps_repeated or topic.stamps_zero for topic in info.topics if topic.type in IMAGE_TYPES):
        info.notes.append(
            "frames and labels are matched by header stamps, which repeat or are zero: let the driver set them, or go "
            "by the record times with --by record (cgdet evaluate, bag extract, label, register; cgdet-replay)"
        )
    frames, labelled = stamps.get(info.image_topic or "", []), {*stamps.get(info.truth_topic or "", [])}
    info.frames, info.frames_with_truth = len(frames), sum(stamp in labelled for stamp in frames)
    info.truth_without_frame = len(labelled - {*frames}) if info.image_topic else 0


def _has_header(bag: BagReader, topic: TopicInfo) -> bool:
    """Whether its messages have a std_msgs/Header; where the first one cannot be read, the topic is unreadable."""
    try:
        first = next(iter(bag.messages([topic.name])), None)
    except InputError as error:
        topic.unreadable = str(error).removeprefix(f"{bag.path}: ")
        return False
    header = getattr(first.message, "header", None) if first else None
    return getattr(header, "__msgtype__", "") == "std_msgs/msg/Header"


def _add_image(counts: dict[str, int], image: RawImage) -> None:
    if image.compressed_format is not None and counts:
        return  # the first stands for all: they would have to be decoded one by one
    form = image.compressed_format or image.encoding
    try:
        height, width = image.decode().shape[:2]
        _add(counts, f"{width}x{height} {form}")
    except InputError as error:
        _add(counts, f"undecodable {form} ({error})")


def _add(counts: dict[str, int], key: str) -> None:
    counts[key] = counts.get(key, 0) + 1


def _counts(counts: dict[str, int]) -> str:
    return ", ".join(f"{count} {name}" for name, count in sorted(counts.items())) or "no boxes"
