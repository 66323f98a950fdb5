"""COCO detection sets as the frames and labels that a model is trained on and measured by."""

from __future__ import annotations

import os.path
import shlex
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cgdet_core.boxes import area_xyxy, clip_xyxy, xywh_to_xyxy
from cgdet_core.data.sets.coco_file import CocoAnnotation, CocoDocument, CocoImage, read_coco
from cgdet_core.errors import InputError
from cgdet_core.images import read_image
from cgdet_core.types import BACKGROUND, CLASS_NAMES, IGNORE, BoolArray, Frame, GroundTruth, Sample


@dataclass(frozen=True)
class CocoRecord:
    """One image of a set and its labels, not yet read."""

    image_id: int | str
    file_name: str
    path: Path
    height_width_px: tuple[int, int]
    truth: GroundTruth
    rgb_path: Path | None
    light: str | None
    scene: str | None
    rgb_valid_path: Path | None = None


@dataclass(frozen=True)
class CocoSet:
    """A COCO set; images are read when a sample is asked for. warnings: what is odd and yet no error, a line each."""

    path: Path
    class_names: tuple[str, ...]
    records: tuple[CocoRecord, ...]
    warnings: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.records)

    def __iter__(self) -> Iterator[Sample]:
        return (self.sample(index) for index in range(len(self)))

    def sample(self, index: int, with_rgb: bool = False) -> Sample:
        """Sample `index` with its image read; with_rgb reads the partner too, where the set names one."""
        record = self.records[index]
        image = read_image(record.path)
        rgb_path = self.rgb_path(index) if with_rgb else None
        if image.shape[:2] != record.height_width_px:
            height, width = record.height_width_px
            raise InputError(
                f"{record.path}: is {image.shape[1]}x{image.shape[0]} pixels, {self.path.name} says {width}x{height}"
            )
        rgb = None if rgb_path is None else read_image(rgb_path)
        return Sample(
            record.file_name, Frame(image), truth=record.truth, rgb=rgb, light=record.light, scene=record.scene
        )

    def rgb_path(self, index: int) -> Path | None:
        """Of the picture of sample `index`'s RGB partner, None where none is named; InputError where it is missing."""
        record = self.records[index]
        if record.rgb_path is not None and not os.path.isfile(record.rgb_path):
            raise InputError(
                f"{record.rgb_path}: RGB partner of {record.file_name}, named by {self.path.name}, is missing: "
                "keep it beside the JSON, or leave out its rgb_file_name"
            )
        return record.rgb_path


def load_coco(
    path: Path, class_names: Sequence[str] = CLASS_NAMES, class_map: Mapping[str, str] | None = None
) -> CocoSet:
    """The set in `path`, all of it checked but the pixels.

    class_map: category name in the file -> class name, or "ignore": its boxes become regions to
    ignore of every class, or "background": they leave. A category that is neither mapped nor a class name is an error.
    Classes that no category of the file gives are unlabelled in every frame (GroundTruth.labelled).
    Raises InputError for a file that is no COCO set, a missing image, a label of an unknown image or
    category, and boxes that are no boxes.
    """
    document = read_coco(path)
    if not document.images:
        raise InputError(f"{path}: lists no image")
    names = tuple(class_names)
    records = tuple(
        _record(path, image, truth) for image, truth in labelled_images(document, path, names, class_map or {})
    )
    return CocoSet(path, names, records, tuple(f"{path}: {line}" for line in _warnings(document, records)))


def parse_class_map(words: Sequence[str]) -> dict[str, str]:
    """`load_coco`'s class_map from words such as truck=car; InputError for a word that is none."""
    mapping = {}
    for word in words:
        name, equals, target = word.partition("=")
        if not (name and equals and target):
            raise InputError(f"--class-map '{word}': give name=class, such as truck=car")
        mapping[name] = target
    return mapping


def labelled_images(
    document: CocoDocument, path: Path, names: tuple[str, ...], class_map: Mapping[str, str]
) -> Iterator[tuple[CocoImage, GroundTruth]]:
    """Every entry of `images` of a COCO document, with its labels as `load_coco` reads them; no file is looked for.

    path: of the document, for messages; names and class_map: as `load_coco` has them.
    """
    targets = {category.id: class_map.get(category.name, category.name) for category in document.categories}
    known = (*names, IGNORE, BACKGROUND)
    for target in class_map.values():
        if target not in known:
            raise InputError(f"{path}: class_map names '{target}', which is none of {', '.join(known)}")
    unknown = [category.name for category in document.categories if targets[category.id] not in known]
    if unknown:
        # what is proposed can be copied and corrected
        same = {name.casefold(): name for name in names}
        words = shlex.join(f"{name}={same.get(name.casefold(), IGNORE)}" for name in unknown)
        raise InputError(
            f"{path}: the categories {', '.join(map(repr, unknown))} are none of the classes {', '.join(names)}: map "
            f"each to one of them, to {IGNORE} (neither for nor against) or to {BACKGROUND}, such as --class-map "
            f"{words} (class_map of a recipe's source)"
        )
    labelled: BoolArray = np.isin(names, list(targets.values()))
    annotations: dict[int | str, list[CocoAnnotation]] = {image.id: [] for image in document.images}
    for annotation in document.annotations:
        annotations[annotation.image_id].append(annotation)
    for image in document.images:
        labelled_here = labelled
        if image.labelled is not None:
            if not set(image.labelled) <= set(names):
                raise InputError(
                    f"{path}: image {image.id}: its labelled is {list(image.labelled)}: give a list of the classes "
                    f"{', '.join(names)}"
                )
            labelled_here = labelled & np.isin(names, image.labelled)
        boxes, class_ids, ignore = [], [], []
        for annotation in annotations[image.id]:
            target = targets[annotation.category_id]
            for class_id, name in enumerate(names):
                if target in (IGNORE, name):
                    boxes.append(annotation.bbox)
                    class_ids.append(class_id)
                    ignore.append(target == IGNORE or annotation.iscrowd)
        clipped = clip_xyxy(xywh_to_xyxy(np.array(boxes, np.float32)), *image.height_width_px)
        kept = area_xyxy(clipped) > 0
        yield (
            image,
            GroundTruth(
                clipped[kept],
                np.array(class_ids, np.int64)[kept],
                np.array(ignore, np.bool_)[kept],
                None if labelled_here.all() else labelled_here,
            ),
        )


def _record(path: Path, image: CocoImage, truth: GroundTruth) -> CocoRecord:
    image_path = path.parent / image.file_name
    if not os.path.isfile(image_path):
        raise InputError(
            f"{image_path}: image named by {path.name} is missing: file names are taken from the JSON's folder"
        )
    rgb, valid = image.rgb_file_name, image.rgb_valid_file_name
    return CocoRecord(
        image_id=image.id,
        file_name=image.file_name,
        path=image_path,
        height_width_px=image.height_width_px,
        truth=truth,
        rgb_path=path.parent / rgb if rgb else None,
        light=image.light,
        scene=image.scene,
        rgb_valid_path=path.parent / valid if rgb and valid else None,
    )


def _warnings(document: CocoDocument, records: Sequence[CocoRecord]) -> list[str]:
    """What is odd and yet no error: told, since it changes figures without a word otherwise."""
    lines = []
    off = _off_their_frame(document)
    if off:
        lines.append(f"{len(off)} boxes without an area within the frame are left out (the first in {off[0]})")
    repeated = [(record.file_name, number) for record in records if (number := _repeated(record.truth))]
    if repeated:
        lines.append(
            f"{sum(number for _, number in repeated)} boxes of the same class in the same place as another one (the "
            f"first in {repeated[0][0]}): each counts as an object that nothing can find, take it out"
        )
    listed = [name for name, times in Counter(record.file_name for record in records).items() if times > 1]
    if listed:
        lines.append(f"{len(listed)} files are listed more than once (the first is {listed[0]}): list each once")
    return lines


def _off_their_frame(document: CocoDocument) -> list[str]:
    """The file names of such boxes' images."""
    if not document.annotations:
        return []
    images = {image.id: image for image in document.images}
    of_boxes = [images[annotation.image_id] for annotation in document.annotations]
    boxes = xywh_to_xyxy(np.array([annotation.bbox for annotation in document.annotations], np.float32))
    height, width = np.array([image.height_width_px for image in of_boxes], np.float32).T
    sides = np.minimum(boxes[:, 2:], np.stack([width, height], 1)) - np.maximum(boxes[:, :2], 0)
    return [of_boxes[place].file_name for place in np.flatnonzero((sides <= 0).any(1))]


def _repeated(truth: GroundTruth) -> int:
    """How many objects are there once more."""
    objects = ~truth.ignore
    labels = np.column_stack([truth.class_ids[objects], truth.boxes_xyxy_px[objects]])
    return len(labels) - len(np.unique(labels, axis=0))
