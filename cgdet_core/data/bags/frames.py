"""Frames and their labels out of bags, streamed.

Header stamps, not record times, say which labels belong to which image. Labels stand in a topic of the bag (truth.py),
or in a COCO JSON in which an image states its frame's header stamp as `stamp_ns` (a whole number), or as its
`file_name` ("1700000000100000000", with any suffix). Frames that are not among `images` are unlabelled;
`unlabelled_images` may list them with a `reason`.
"""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from cgdet_core.boxes import area_xyxy, clip_xyxy
from cgdet_core.data.bags.damage import BagWarning
from cgdet_core.data.bags.messages import FRAME_INFO, RawImage, TimeBy
from cgdet_core.data.bags.reader import BagReader
from cgdet_core.data.bags.remote import local_file
from cgdet_core.data.bags.topics import choose_image_topic, choose_truth_topic
from cgdet_core.data.bags.truth import (
    FRAME_INFO_SUFFIX,
    FrameInfo,
    arrays_by_stamp,
    frame_info_from_message,
    label_name,
    label_rows,
    truth_from_message,
)
from cgdet_core.data.sets.coco import contradicted, read_labels
from cgdet_core.data.sets.coco_file import CocoImage, own_classes, read_coco
from cgdet_core.data.sets.fields import same_name
from cgdet_core.data.sets.plausible import check_frames_plausible
from cgdet_core.errors import InputError, check_known
from cgdet_core.types import BACKGROUND, CLASS_NAMES, IGNORE, GroundTruth, Sample

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
        """Cut to the frame as `load_coco` does; None: unlabelled. InputError where it is of another size."""
        stated = self.sizes.get(stamp_ns, height_width_px)
        if stated != height_width_px:
            raise InputError(
                f"{self.origin}: the frame of stamp {stamp_ns} ns has {height_width_px[1]}x{height_width_px[0]} "
                f"pixels, not {stated[1]}x{stated[0]}: give the labels of this topic"
            )
        truth = self.truth.get(stamp_ns)
        if truth is None or self.sizes:  # a COCO JSON's are cut
            return truth
        boxes = clip_xyxy(truth.boxes_xyxy_px, *height_width_px)
        kept = area_xyxy(boxes) > 0
        return GroundTruth(boxes[kept], truth.class_ids[kept], truth.ignore[kept], truth.labelled)

    def of_frames(self, sizes: Mapping[int, tuple[int, int]]) -> StampedLabels:
        """All of them cut as by `of_frame`, and looked at by `check_boxes`; sizes: stamp -> (height, width)."""
        cut = {stamp: truth for stamp, size in sizes.items() if (truth := self.of_frame(stamp, size)) is not None}
        self.check_boxes(sizes)
        return replace(self, truth={**self.truth, **cut}) if cut else self

    def check_boxes(self, sizes: Mapping[int, tuple[int, int]]) -> None:
        """Tell, or refuse, boxes that cannot be meant (of a COCO JSON, when it was read); sizes: as in `of_frames`."""
        whole = [(f"stamp {stamp} ns", size, self.truth[stamp]) for stamp, size in sizes.items() if stamp in self.truth]
        parts = ((name, size, truth.boxes_xyxy_px, ~truth.ignore) for name, size, truth in whole)
        for line in [] if self.sizes else check_frames_plausible(self.origin, parts):
            warnings.warn(line, BagWarning, stacklevel=1)

    def check_stamps(self, stamps_ns: Sequence[int], topic: str) -> None:
        """stamps_ns: of all images of `topic`. Raise InputError where there are labels, and none is of an image; warn
        of labels that are of none, and of images that share a stamp and so their labels."""
        images = set(stamps_ns)
        if self.truth and not images & self.truth.keys():
            raise InputError(
                f"{self.origin}: none of its {len(self.truth)} stamps belongs to an image of {topic}: each label needs "
                "the header stamp of its image"
            )
        if lost := len(self.truth.keys() - images):
            what = f"{lost} of its {len(self.truth)} stamps belong to no image of {topic} and are left out"
            warnings.warn(f"{self.origin}: {what}", BagWarning, stacklevel=1)
        if self.truth and (repeated := len(stamps_ns) - len(images)):
            what = f"{repeated} images of {topic} repeat the stamp of another and take its labels"
            warnings.warn(f"{self.origin}: {what}: see `cgdet bag info`, and --by record", BagWarning, stacklevel=1)


NO_LABELS = StampedLabels("", {}, {}, {})


def read_raw_images(path: Path | str, image_topic: str | None = None, by: TimeBy = "stamp") -> Iterator[RawImage]:
    """The images of one topic in order of their record times, unchecked; InputError for a wrong bag or topic."""
    with BagReader(path, by) as bag:
        yield from bag.images(choose_image_topic(bag, image_topic))


def read_labelled_frames(
    path: Path | str,
    image_topic: str | None = None,
    truth_topic: str | None = None,
    class_names: Sequence[str] = CLASS_NAMES,
    class_map: Mapping[str, str] | None = None,
    losses: list[str] | None = None,
    need_labels: bool = False,
    by: TimeBy = "stamp",
) -> Iterator[Sample]:
    """Every image of one topic with its labels, matched by exact stamp, in order of record times.

    truth_topic: the topic of the labels, or a COCO JSON keyed by stamp. The labels are read first, then the images are
    streamed. `truth` is None for an image without labels of its stamp. `name` is the name in frame_info, else topic
    and stamp; a name that came before gets a number. losses: what of a damaged MCAP was not read is added to it at
    the end. need_labels: a bag without labels is refused; by: as of BagReader.
    InputError for anything wrong with bag, topics, classes or an image, and, at the end, where no image bears the stamp
    of any label, and for labels that cannot be meant.
    """
    with BagReader(path, by) as bag:
        topic = choose_image_topic(bag, image_topic)
        labels = bag_labels(bag, truth_topic, class_names, class_map)
        if need_labels and labels is NO_LABELS:
            raise InputError(
                f"{bag.path}: no topic of labels was found ({bag.listing()}): name one, or a COCO JSON, with "
                "--truth-topic; without labels use cgdet-replay"
            )
        seen = Counter[str]()
        stamps_ns: list[int] = []
        sizes: dict[int, tuple[int, int]] = {}
        for image in bag.images(topic):
            frame = image.frame(bag.path)
            stamps_ns.append(image.stamp_ns)
            info = labels.infos.get(image.stamp_ns, FrameInfo())
            name = info.name or f"{topic}@{image.stamp_ns}"
            seen[name] += 1
            numbered = f"{name}#{seen[name]}" if seen[name] > 1 else name
            sizes[image.stamp_ns] = frame.height_width_px
            truth = labels.of_frame(image.stamp_ns, frame.height_width_px)
            yield Sample(numbered, frame, truth, light=info.light, scene=info.scene)
        if losses is not None:
            losses += bag.losses
        labels.check_stamps(stamps_ns, topic)
        labels.check_boxes(sizes)


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

    InputError as `load_stamped_labels`, for an unknown class, a class map without labels, and two arrays of one stamp.
    """
    if labels is not None and is_json(labels):
        return load_stamped_labels(local_file(labels), class_names, class_map)
    topic = choose_truth_topic(bag, labels)
    if topic is None:
        if class_map:
            raise InputError(
                f"{bag.path}: --class-map needs labels, and no topic of them was found: name one, or leave it out"
            )
        return NO_LABELS
    mapping, seen = dict(class_map or {}), set[str]()
    check_known(f"{bag.path}: class_map", "class", mapping.values(), (*class_names, IGNORE, BACKGROUND))
    truth: dict[int, GroundTruth] = {}
    scored = 0
    for stamp_ns, message, where in arrays_by_stamp(bag, topic):
        scored += sum(0 < score < 1 for _, score, _ in label_rows(message, where))
        truth[stamp_ns] = truth_from_message(message, class_names, mapping, where)
        seen.update(label_name(each)[0] for each in message.detections)
    infos = _frame_infos(bag, topic)
    seen.update(*(info.labelled or () for info in infos.values()))
    check_known(f"{bag.path}: class_map: {topic}", "class", mapping, sorted(seen))
    for stamp_ns, info in infos.items():
        if stamp_ns in truth and info.labelled is not None:
            targets = {same_name(mapping.get(name, name), class_names) for name in info.labelled}
            labelled = np.array([name in targets for name in class_names], np.bool_)
            truth[stamp_ns] = replace(truth[stamp_ns], labelled=None if labelled.all() else labelled)
    lines = contradicted(truth.values(), f"{bag.path}: {topic}")
    lines += [f"{bag.path}: {topic}: {scored} have a score, as detections: are they labels?"] if scored else []
    for line in lines:
        warnings.warn(line, BagWarning, stacklevel=2)
    return StampedLabels(f"{bag.path}: {topic}", truth, infos, {})


def _frame_infos(bag: BagReader, truth_topic: str) -> dict[int, FrameInfo]:
    """By stamp, what is recorded beside the labels."""
    beside = bag.topics.get(truth_topic + FRAME_INFO_SUFFIX)
    items = bag.messages([beside.name]) if beside is not None and beside.type == FRAME_INFO else ()
    return {item.stamp_ns: frame_info_from_message(item.message) for item in items}


def label_classes(bag: BagReader, labels: str | None, class_map: Mapping[str, str]) -> tuple[str, ...]:
    """The classes of a bag's labels (`labels` as of `bag_labels`): see own_classes. Numbers are of CLASS_NAMES."""
    names: list[str] = []
    if labels is not None and is_json(labels):
        names = [category.name for category in read_coco(local_file(labels)).categories]
    elif (topic := choose_truth_topic(bag, labels)) is not None:
        names = [name for info in _frame_infos(bag, topic).values() for name in info.labelled or ()]
        for item in bag.messages([topic]):
            names += dict.fromkeys(label_name(detection)[0] for detection in item.message.detections)
    return own_classes((name for name in names if not name.isdigit()), class_map, f"{bag.path}")


def load_stamped_labels(
    path: Path, class_names: Sequence[str] = CLASS_NAMES, class_map: Mapping[str, str] | None = None
) -> StampedLabels:
    """A COCO JSON keyed by stamp; InputError as `load_coco` (pictures are not looked for), and for an image without a
    stamp, or with one that another image has."""
    document = read_coco(path)
    truth: dict[int, GroundTruth] = {}
    infos: dict[int, FrameInfo] = {}
    sizes: dict[int, tuple[int, int]] = {}
    truths, lines = read_labels(document, path, class_names, class_map)
    for line in lines:
        warnings.warn(line, stacklevel=2)
    for image, of_image in zip(document.images, truths, strict=True):
        stamp_ns = _stamp(image, path)
        if stamp_ns in truth:
            raise InputError(f"{path}: two images have the stamp {stamp_ns} ns: keep one of them")
        truth[stamp_ns] = of_image
        infos[stamp_ns] = FrameInfo(light=image.light, scene=image.scene)
        sizes[stamp_ns] = image.height_width_px
    if not truth:
        raise InputError(f"{path}: has no labelled frame: give a file with labels")
    return StampedLabels(str(path), truth, infos, sizes)


def _stamp(image: CocoImage, path: Path) -> int:
    if image.stamp_ns is not None:
        return image.stamp_ns
    stem = Path(image.file_name).stem
    if stem.isascii() and stem.isdigit():
        return int(stem)
    raise InputError(
        f"{path}: image {image.id} has no stamp: give its frame's header stamp in nanoseconds, as stamp_ns or as "
        "file_name"
    )
