"""COCO detection sets as the frames and labels that a model is trained on and measured by."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

import numpy as np

from cgdet_core.boxes import area_xyxy, xywh_to_xyxy
from cgdet_core.data.sets.coco_file import CocoDocument, CocoImage, read_coco
from cgdet_core.data.sets.fields import folded, same_name
from cgdet_core.data.sets.plausible import check_plausible
from cgdet_core.errors import InputError, check_known, unknown
from cgdet_core.images import read_image, turned_by
from cgdet_core.tasks.landmarks.points import MIRROR, POINTS
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
        if image.shape[:2] != record.height_width_px:
            height, width = record.height_width_px
            turned = ": its pixels are read as stored, and the labels seem to be of the turned picture"
            raise InputError(
                f"{record.path}: is {image.shape[1]}x{image.shape[0]} pixels, {self.path.name} says {width}x{height}"
                f"{turned if image.shape[:2] == (width, height) else ''}"
            )
        rgb_path = self.rgb_path(index) if with_rgb else None
        rgb = None if rgb_path is None else read_image(rgb_path)
        return Sample(record.file_name, Frame(image), record.truth, rgb, record.light, record.scene, record.camera)

    def rgb_path(self, index: int) -> Path | None:
        """Of the picture of sample `index`'s RGB partner, None where none is named; InputError where it is missing."""
        record = self.records[index]
        if record.rgb_path is not None and not os.path.isfile(record.rgb_path):
            named = f"{self.path.name} names it as the RGB of {record.file_name}"
            raise InputError(f"{record.rgb_path}: is missing, {named}: copy it there, or leave out rgb_file_name")
        return record.rgb_path


def load_coco(
    path: Path, class_names: Sequence[str] = CLASS_NAMES, class_map: Mapping[str, str] | None = None
) -> CocoSet:
    """The set in `path`, all of it checked but the pixels.

    class_map: category name in the file -> class name, or "ignore": its boxes become regions to ignore of every class,
    or "background": they leave. Classes that no category of the file gives are unlabelled in every frame.
    InputError for a file that is no COCO set, a missing image, a category that means no class, boxes that are none.
    """
    document = read_coco(path)
    if not document.images:
        raise InputError(f"{path}: lists no image: give a set with images")
    truths, warnings = read_labels(document, path, class_names, class_map)
    records = tuple(_record(path, *each) for each in zip(document.images, truths, strict=True))
    # where a quarter's turn changes the size, that tells which picture the labels are of
    odd = {True: range(2, 9), False: (2, 3, 4)}
    turned = [each for each in records if turned_by(each.path) in odd[len({*each.height_width_px}) == 1]]
    if turned:
        found = f"{path}: {len(turned)} of {len(records)} pictures, the first {turned[0].file_name}"
        warnings.append(f"{found}, are turned by Exif in viewers: the labels must be of the pixels as stored")
    return CocoSet(path, tuple(class_names), records, tuple(warnings))


def parse_class_map(words: Sequence[str], before: Mapping[str, str] | None = None) -> dict[str, str]:
    """`load_coco`'s class_map from words such as truck=car, over `before`; InputError for a bad word, a name twice."""
    mapping = dict(before or {})
    for word in words:
        name, equals, target = word.partition("=")
        if not (name and equals and target):
            raise InputError(f"--class-map '{word}': give name=class, such as truck=car")
        if mapping.get(name, target) != target:
            raise InputError(f"--class-map '{word}': {name} is {mapping[name]} already: give it once")
        mapping[name] = target
    return mapping


def read_labels(
    document: CocoDocument, path: Path, class_names: Sequence[str], class_map: Mapping[str, str] | None = None
) -> tuple[list[GroundTruth], list[str]]:
    """The labels of a COCO document, of each entry of `images`, and warnings, as of a CocoSet. class_map: as of
    `load_coco`; path: for messages, no file is opened."""
    names, annotations = tuple(class_names), document.annotations
    targets = _targets(document, path, names, class_map or {})
    of_image = {image.id: image for image in document.images}
    images = [of_image[each.image_id] for each in annotations]
    target = [targets[each.category_id] for each in annotations]
    marked = [name == IGNORE or each.to_ignore for name, each in zip(target, annotations, strict=True)]
    ignored = np.array(marked, np.bool_)
    objects = np.array([name in names for name in target], np.bool_) & ~ignored
    xywh = np.array([each.bbox for each in annotations], np.float32).reshape(-1, 4)
    sizes = np.array([(image.width, image.height) for image in images], np.float32).reshape(-1, 2)
    places, known = _points(document, targets, path)
    warnings = check_plausible(path, xywh, sizes, [image.file_name for image in images], objects, places, known)
    alike: dict[tuple[str, str], list[str]] = {}
    for category in document.categories:
        alike.setdefault((folded(category.name), targets[category.id]), []).append(category.name)
    for same in alike.values():
        if len(same) > 1 and not set(same) <= set(class_map or {}):
            warnings.append(f"{path}: the categories {', '.join(map(repr, same))} differ by case alone: taken for one")
    held = {target[row] for row in np.flatnonzero(objects)}
    lacking = [name for name in names if name in targets.values() and name not in held]
    if held and lacking:
        warnings.append(f"{path}: holds no object of {', '.join(lacking)}")
    repeated = {
        "annotations": len(annotations) - len({(each.image_id, each.category_id, each.bbox) for each in annotations}),
        "images": len(document.images) - len({image.file_name for image in document.images}),
    }
    for what, count in repeated.items():
        if count:
            warnings.append(f"{path}: {count} {what} repeat another, and count again: is the set joined from several?")
    if scored := sum(each.score is not None for each in annotations):
        warnings.append(f"{path}: {scored} annotations have a score, as what a detector found has: are they labels?")
    boxes = xywh_to_xyxy(xywh)
    boxes = np.concatenate([np.maximum(boxes[:, :2], 0), np.minimum(boxes[:, 2:], sizes)], axis=1)
    rows_of: dict[int | str, list[int]] = {image.id: [] for image in document.images}
    for row in np.flatnonzero(area_xyxy(boxes) > 0).tolist():
        rows_of[annotations[row].image_id].append(row)
    labelled: BoolArray = np.isin(names, list(targets.values()))
    truths = []
    for number, image in enumerate(document.images):
        labelled_here = labelled
        if image.labelled is not None:
            given = [same_name(name, names) or name for name in image.labelled]
            check_known(f"{path}: images[{number}].labelled", "class", given, names)
            labelled_here = labelled & np.isin(names, given)
        # what is to be ignored is so for every class
        own = rows_of[image.id]
        meant = [(row, each) for row in own for each, name in enumerate(names) if target[row] in (IGNORE, name)]
        rows, class_ids = np.array(meant, np.int64).reshape(-1, 2).T
        of_points = (None, None) if places is None or known is None else (places[rows], known[rows])
        of_classes = None if labelled_here.all() else labelled_here
        truths.append(GroundTruth(boxes[rows], class_ids, ignored[rows], of_classes, *of_points))
    return truths, warnings + contradicted(truths, str(path))


def contradicted(truths: Iterable[GroundTruth], where: str) -> list[str]:
    """A line, beginning with `where`, where frames show objects of classes that are not labelled in them."""
    marked = [(truth, truth.labelled[truth.class_ids]) for truth in truths if truth.labelled is not None]
    count = sum(int((~truth.ignore & ~labelled).sum()) for truth, labelled in marked)
    return [f"{where}: {count} objects are of classes that `labelled` leaves out: they do not count"] if count else []


def _targets(
    document: CocoDocument, path: Path, names: tuple[str, ...], class_map: Mapping[str, str]
) -> dict[int | str, str]:
    """Of each category's id what its boxes are: a class, IGNORE or BACKGROUND."""
    known = (*names, IGNORE, BACKGROUND)
    listed = [category.name for category in document.categories]
    check_known(f"{path}: class_map", "category", [same_name(name, listed) or name for name in class_map], listed)
    check_known(f"{path}: class_map", "class", class_map.values(), known)
    used = {annotation.category_id for annotation in document.annotations}
    targets: dict[int | str, str] = {}
    others: list[str] = []
    for category in document.categories:
        of_map = same_name(category.name, class_map)
        meant = same_name(category.name, known) if of_map is None else class_map[of_map]
        # a category that nothing is of, such as the root of a tree of them, needs no class
        targets[category.id] = meant or BACKGROUND
        if meant is None and category.id in used:
            others.append(category.name)
    if others:
        # what is proposed can be copied and corrected
        near = {name: get_close_matches(name.casefold(), names, 1, 0.8) for name in others}
        words = shlex.join(f"{name}={(near[name] or [IGNORE])[0]}" for name in others)
        raise InputError(
            f"{path}: unknown categories {', '.join(map(repr, others))}: map each to {', '.join(names)}, {IGNORE} or "
            f"{BACKGROUND}, such as --class-map {words} (in a recipe: class_map)"
        )
    return targets


def _points(
    document: CocoDocument, targets: Mapping[int | str, str], path: Path
) -> tuple[FloatArray | None, BoolArray | None]:
    """float32 [N, P, 2] in pixels and bool [N, P]: the points and which are labelled; None where there are none."""
    shown = [each for each in document.categories if each.keypoints and targets[each.id] not in (IGNORE, BACKGROUND)]
    if len({(each.keypoints, each.flip_indices) for each in shown}) > 1:
        names = " and ".join(repr(each.name) for each in shown[:2])
        raise InputError(f"{path}: the categories {names} have other keypoints: map all but one to {BACKGROUND}")
    flip = shown[0].flip_indices if shown else None
    if flip is not None and len(flip) == POINTS and flip != tuple(MIRROR):
        raise InputError(f"{path}: flip_indices of its {POINTS} points are not iBUG's: give them in that order")
    if not shown:
        return None, None
    count = len(shown[0].keypoints)
    none = (0.0,) * (3 * count)
    # an object to ignore may be of a category with other points
    rows = [each.keypoints if len(each.keypoints) == len(none) else none for each in document.annotations]
    points = np.array(rows, np.float32).reshape(-1, count, 3)
    return points[..., :2], points[..., 2] > 0


def _beside(path: Path, file_name: str) -> str:
    """A file that `path` names; the backslashes of a path of Windows are read as slashes where no file has them."""
    return file_name if os.path.lexists(path.parent / file_name) else file_name.replace("\\", "/")


def _record(path: Path, image: CocoImage, truth: GroundTruth) -> CocoRecord:
    file_name = _beside(path, image.file_name)
    image_path = path.parent / file_name
    if not os.path.isfile(image_path):
        there = sorted(os.listdir(image_path.parent)) if os.path.isdir(image_path.parent) else []
        remedy = f"{path.name} names it, from the JSON's folder on"
        raise unknown(str(image_path), "image", image_path.name, there, remedy)
    rgb, valid = image.rgb_file_name, image.rgb_valid_file_name
    return CocoRecord(
        file_name=file_name,
        path=image_path,
        height_width_px=image.height_width_px,
        truth=truth,
        rgb_path=path.parent / _beside(path, rgb) if rgb else None,
        light=image.light,
        # faces of one person are as near to each other as frames of one scene
        scene=image.scene or image.subject,
        rgb_valid_path=path.parent / _beside(path, valid) if rgb and valid else None,
        camera=image.camera,
    )
