"""COCO detection sets as the frames and labels that a model is trained on and measured by."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cgdet_core.boxes import area_xyxy, clip_xyxy, xywh_to_xyxy
from cgdet_core.data.sets.coco_file import CocoAnnotation, CocoCategory, CocoDocument, CocoImage, read_coco
from cgdet_core.errors import InputError, check_known, unknown
from cgdet_core.images import read_image
from cgdet_core.types import BACKGROUND, CLASS_NAMES, IGNORE, BoolArray, FloatArray, Frame, GroundTruth, Sample


@dataclass(frozen=True)
class CocoRecord:
    """One image of a set and its labels, not yet read."""

    file_name: str
    path: Path
    height_width_px: tuple[int, int]
    truth: GroundTruth
    rgb_path: Path | None
    light: str | None
    scene: str | None
    rgb_valid_path: Path | None = None
    camera: str | None = None
    subject: str | None = None


@dataclass(frozen=True)
class CocoSet:
    """A COCO set; images are read when a sample is asked for.

    warnings: what is odd and yet no error, a line each. point_names: of the keypoints that the truth of each record
    has, empty where the set has none; flip_indices: the point that each becomes in a mirror, where the set says it.
    """

    path: Path
    class_names: tuple[str, ...]
    records: tuple[CocoRecord, ...]
    warnings: tuple[str, ...] = ()
    point_names: tuple[str, ...] = ()
    flip_indices: tuple[int, ...] | None = None

    def __len__(self) -> int:
        return len(self.records)

    def __iter__(self) -> Iterator[Sample]:
        return (self.sample(index) for index in range(len(self)))

    def sample(self, index: int, with_rgb: bool = False) -> Sample:
        """Sample `index` with its image read; with_rgb reads the partner too, where the set names one."""
        record = self.records[index]
        image = read_image(record.path)
        if image.shape[:2] != record.height_width_px:
            height, width = record.height_width_px
            raise InputError(
                f"{record.path}: is {image.shape[1]}x{image.shape[0]} pixels, {self.path.name} says {width}x{height}"
            )
        rgb_path = self.rgb_path(index) if with_rgb else None
        rgb = None if rgb_path is None else read_image(rgb_path)
        return Sample(record.file_name, Frame(image), record.truth, rgb, record.light, record.scene)

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
    labelled = list(labelled_images(document, path, names, class_map or {}))
    records = tuple(_record(path, image, truth) for image, truth, _ in labelled)
    off_frame = {image.file_name: boxes for image, _, boxes in labelled if boxes}
    warnings: tuple[str, ...] = ()
    if off_frame:
        what = f"{sum(off_frame.values())} boxes without an area within the frame are left out"
        warnings = (f"{path}: {what} (the first in {next(iter(off_frame))})",)
    with_points = _with_points(document, _targets(document, path, names, class_map or {}), path)
    if with_points is None:
        return CocoSet(path, names, records, warnings)
    return CocoSet(path, names, records, warnings, with_points.keypoints, with_points.flip_indices)


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
) -> Iterator[tuple[CocoImage, GroundTruth, int]]:
    """Every entry of `images` of a COCO document, its labels as `load_coco` reads them, and how many boxes were left
    out for having no area within the frame. path: of the document, for messages; no file is looked for."""
    targets = _targets(document, path, names, class_map)
    with_points = _with_points(document, targets, path)
    labelled: BoolArray = np.isin(names, list(targets.values()))
    annotations: dict[int | str, list[CocoAnnotation]] = {image.id: [] for image in document.images}
    for annotation in document.annotations:
        annotations[annotation.image_id].append(annotation)
    for image in document.images:
        labelled_here = labelled
        if image.labelled is not None:
            check_known(f"{path}: image {image.id}: labelled", "class", image.labelled, names)
            labelled_here = labelled & np.isin(names, image.labelled)
        mine = annotations[image.id]
        boxes = xywh_to_xyxy(np.array([annotation.bbox for annotation in mine], np.float32))
        clipped = clip_xyxy(boxes, *image.height_width_px)
        shown = area_xyxy(clipped) > 0
        rows = [
            (place, class_id, targets[mine[place].category_id] == IGNORE or mine[place].iscrowd)
            for place in np.flatnonzero(shown)
            for class_id, name in enumerate(names)
            if targets[mine[place].category_id] in (IGNORE, name)
        ]
        places, class_ids, ignore = np.array(rows, np.int64).reshape(-1, 3).T
        truth = GroundTruth(
            clipped[places],
            class_ids,
            ignore.astype(np.bool_),
            None if labelled_here.all() else labelled_here,
            *_points([mine[place] for place in places], with_points),
        )
        yield image, truth, int((~shown).sum())


def _targets(
    document: CocoDocument, path: Path, names: tuple[str, ...], class_map: Mapping[str, str]
) -> dict[int | str, str]:
    """Of each category's id what its boxes are: a class, IGNORE or BACKGROUND."""
    targets = {category.id: class_map.get(category.name, category.name) for category in document.categories}
    known = (*names, IGNORE, BACKGROUND)
    check_known(f"{path}: class_map", "category", class_map, [each.name for each in document.categories])
    check_known(f"{path}: class_map", "class", class_map.values(), known)
    others = [category.name for category in document.categories if targets[category.id] not in known]
    if others:
        # what is proposed can be copied and corrected
        same = {name.casefold(): name for name in names}
        words = shlex.join(f"{name}={same.get(name.casefold(), IGNORE)}" for name in others)
        raise InputError(
            f"{path}: the categories {', '.join(map(repr, others))} are none of the classes {', '.join(names)}: map "
            f"each to one of them, to {IGNORE} (neither for nor against) or to {BACKGROUND}, such as --class-map "
            f"{words} (class_map of a recipe's source)"
        )
    return targets


def _with_points(document: CocoDocument, targets: Mapping[int | str, str], path: Path) -> CocoCategory | None:
    """The category that says what the keypoints of the set are, None where it has none."""
    shown = [each for each in document.categories if each.keypoints and targets[each.id] not in (IGNORE, BACKGROUND)]
    if len({(each.keypoints, each.flip_indices) for each in shown}) > 1:
        names = " and ".join(repr(each.name) for each in shown[:2])
        raise InputError(f"{path}: the categories {names} have other keypoints: map all but one to {BACKGROUND}")
    return shown[0] if shown else None


def _points(
    annotations: Sequence[CocoAnnotation], category: CocoCategory | None
) -> tuple[FloatArray | None, BoolArray | None]:
    """float32 [N, P, 2] in pixels and bool [N, P]: the points of the annotations, and which of them are labelled."""
    if category is None:
        return None, None
    count = len(category.keypoints)
    none = (0.0,) * (3 * count)
    # an object to ignore may be of a category with other points
    rows = [each.keypoints if len(each.keypoints) == len(none) else none for each in annotations]
    points = np.array(rows, np.float32).reshape(-1, count, 3)
    return points[..., :2], points[..., 2] > 0


def _record(path: Path, image: CocoImage, truth: GroundTruth) -> CocoRecord:
    image_path = path.parent / image.file_name
    if not os.path.isfile(image_path):
        there = sorted(os.listdir(image_path.parent)) if os.path.isdir(image_path.parent) else []
        remedy = f"{path.name} names it, from the JSON's folder on"
        raise unknown(str(image_path), "image", image_path.name, there, remedy)
    rgb, valid = image.rgb_file_name, image.rgb_valid_file_name
    return CocoRecord(
        file_name=image.file_name,
        path=image_path,
        height_width_px=image.height_width_px,
        truth=truth,
        rgb_path=path.parent / rgb if rgb else None,
        light=image.light,
        scene=image.scene,
        rgb_valid_path=path.parent / valid if rgb and valid else None,
        camera=image.camera,
        subject=image.subject,
    )
