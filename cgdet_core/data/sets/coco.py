"""COCO detection sets: read, checked, as samples.

`file_name` is relative to the JSON's folder. An image may name its registered RGB partner
(`rgb_file_name`) and where that shows what the frame shows (`rgb_valid_file_name`, an 8-bit PNG, 0 where it does
not), its `light` (day, night), its `scene`, and the classes that are `labelled` in it, where not all are.
"""

from __future__ import annotations

import json
import os.path
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from cgdet_core.boxes import clip_xyxy, xywh_to_xyxy
from cgdet_core.data.sets.coco_oddities import oddities, within_frame
from cgdet_core.errors import InputError
from cgdet_core.types import BACKGROUND, CLASS_NAMES, IGNORE, BoolArray, Frame, GroundTruth, ImageArray, Sample

# OpenCV prints warnings about damaged files of its own; what is wrong is said once, by the error that is raised
cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_ERROR)

LIGHTS = ("day", "night")
_MAX_SIDE_PX = 1_000_000


@dataclass(frozen=True)
class CocoRecord:
    """One image of a set and its labels, not yet read."""

    image_id: int
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
    """A COCO set; images are read when a sample is asked for. oddities: what is odd about it, a line each."""

    path: Path
    class_names: tuple[str, ...]
    records: tuple[CocoRecord, ...]
    oddities: tuple[str, ...] = ()

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


def parse_class_map(words: Sequence[str]) -> dict[str, str]:
    """`load_coco`'s class_map from words such as truck=car; InputError for a word that is none."""
    mapping = {}
    for word in words:
        name, equals, target = word.partition("=")
        if not (name and equals and target):
            raise InputError(f"--class-map '{word}': give name=class, such as truck=car")
        mapping[name] = target
    return mapping


def read_image(path: Path) -> ImageArray:
    """uint8/uint16 [H, W], or uint8 [H, W, 3] in RGB order; InputError where it is none."""
    return decode_image(read_encoded(path), path)


def read_encoded(path: Path) -> NDArray[np.uint8]:
    """The bytes of an image file: uint8 [N]."""
    try:
        return np.fromfile(path, dtype=np.uint8)
    except OSError as error:
        raise InputError(f"{path}: the image cannot be read ({error.strerror}): check the path") from None


def decode_image(data: NDArray[np.uint8], path: Path) -> ImageArray:
    """The image whose file `path` holds `data`, as `read_image` gives it."""
    try:
        image = cv2.imdecode(data, cv2.IMREAD_ANYCOLOR | cv2.IMREAD_ANYDEPTH) if data.size else None
    except cv2.error:
        # a header that promises more pixels than OpenCV takes
        image = None
    if image is None:
        raise InputError(f"{path}: is not an image that can be decoded: give a JPEG, PNG or TIFF file")
    if image.ndim == 3 and image.shape[2] == 3:
        if image.dtype != np.uint8:
            raise InputError(f"{path}: a colour image of type {image.dtype} is not supported: give 8 bits per channel")
        image = cv2.cvtColor(image, cv2.COLOR_BGR2RGB)
    if image.dtype not in (np.uint8, np.uint16):
        raise InputError(f"{path}: an image of type {image.dtype} is not supported: give 8 or 16 bits per pixel")
    return np.asarray(image)


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
    document = read_coco_json(path)
    names = tuple(class_names)
    records = tuple(
        _record(path, image, truth) for image, truth in labelled_images(document, path, names, dict(class_map or {}))
    )
    if not records:
        raise InputError(f"{path}: lists no image")
    found = oddities(document, ((record.file_name, record.truth) for record in records))
    return CocoSet(path, names, records, tuple(f"{path}: {line}" for line in found))


def labelled_images(
    document: dict[str, Any], path: Path, names: tuple[str, ...], mapping: Mapping[str, str]
) -> Iterator[tuple[dict[str, Any], GroundTruth]]:
    """Every entry of `images` of a COCO document, with its labels as `load_coco` reads them; no file is looked for.

    path: of the document, for messages; names and mapping: `load_coco`'s class_names and class_map.
    """
    for target in mapping.values():
        if target not in (*names, IGNORE, BACKGROUND):
            raise InputError(
                f"{path}: class_map names '{target}', which is none of the classes {', '.join(names)}, nor {IGNORE} or "
                f"{BACKGROUND}"
            )
    categories = {category["id"]: str(category.get("name")) for category in _numbered(document, "categories", path)}
    unknown = [name for name in categories.values() if mapping.get(name, name) not in (*names, IGNORE, BACKGROUND)]
    if unknown:
        raise InputError(_unmapped(path, unknown, names))
    targets = {number: mapping.get(name, name) for number, name in categories.items()}
    labelled = np.isin(names, list(targets.values()))

    images = {image["id"]: image for image in _numbered(document, "images", path)}
    labels: dict[int, list[dict[str, Any]]] = {image_id: [] for image_id in images}
    for annotation in _list(document, "annotations", path):
        image_id, category_id = annotation.get("image_id"), annotation.get("category_id")
        if not isinstance(image_id, int) or image_id not in images:
            raise InputError(f"{path}: annotation {annotation.get('id')} is of image {image_id}, which is not listed")
        if not isinstance(category_id, int) or category_id not in targets:
            raise InputError(
                f"{path}: annotation {annotation.get('id')} is of category {category_id}, which is not listed"
            )
        labels[image_id].append(annotation)
    for image_id, image in images.items():
        yield image, _truth(path, image, labels[image_id], targets, names, labelled)


def _truth(
    path: Path,
    image: dict[str, Any],
    annotations: list[dict[str, Any]],
    targets: Mapping[int, str],
    names: tuple[str, ...],
    labelled: BoolArray,
) -> GroundTruth:
    where = f"{path}: image {image['id']}"
    height, width = _side(image.get("height")), _side(image.get("width"))
    if not _text(image, "file_name", where) or height is None or width is None:
        raise InputError(f"{where} lacks a file_name, or a height and a width in whole pixels (1 to {_MAX_SIDE_PX})")
    own = image.get("labelled")
    if own is not None:
        if not isinstance(own, list) or not all(name in names for name in own):
            raise InputError(f"{where}: its labelled is {own!r:.60}: give a list of the classes {', '.join(names)}")
        labelled = labelled & np.isin(names, own)
    boxes, class_ids, ignore = [], [], []
    for annotation in annotations:
        box = annotation.get("bbox")
        if not _is_box(box):
            raise InputError(f"{path}: annotation {annotation.get('id')} has no box [left, top, width, height]: {box}")
        target = targets[annotation["category_id"]]
        if target == BACKGROUND:
            continue
        for class_id in range(len(names)) if target == IGNORE else (names.index(target),):
            boxes.append(box)
            class_ids.append(class_id)
            ignore.append(target == IGNORE or bool(annotation.get("iscrowd", 0)))
    within = clip_xyxy(xywh_to_xyxy(np.array(boxes, np.float32)), height, width)
    kept = within_frame(within)
    return GroundTruth(
        within[kept],
        np.array(class_ids, np.int64)[kept],
        np.array(ignore, np.bool_)[kept],
        None if labelled.all() else labelled,
    )


def _unmapped(path: Path, unknown: Sequence[str], names: tuple[str, ...]) -> str:
    """The line that refuses categories which are no classes; what it proposes can be copied and corrected."""
    one = len(unknown) == 1
    same = {name.casefold(): name for name in names}
    words = [f"{name}={same.get(name.casefold(), IGNORE)}" for name in unknown]
    return (
        f"{path}: {'category' if one else 'categories'} {', '.join(map(repr, unknown))} {'is' if one else 'are'} none "
        f"of the classes {', '.join(names)}: map {'it' if one else 'each'} to one of them, to {IGNORE} (neither for "
        f"nor against) or to {BACKGROUND}, such as --class-map {shlex.join(words)} (class_map of a recipe's source)"
    )


def _record(path: Path, image: dict[str, Any], truth: GroundTruth) -> CocoRecord:
    where = f"{path}: image {image['id']}"
    file_name, light = image["file_name"], _text(image, "light", where)
    if light not in (*LIGHTS, None):
        raise InputError(f"{where} has the light '{light}': give {' or '.join(LIGHTS)}, or null")
    image_path = path.parent / file_name
    if not os.path.isfile(image_path):
        raise InputError(
            f"{image_path}: image named by {path.name} is missing: file names are taken from the JSON's folder"
        )
    rgb_name, valid_name = _text(image, "rgb_file_name", where), _text(image, "rgb_valid_file_name", where)
    return CocoRecord(
        image_id=image["id"],
        file_name=file_name,
        path=image_path,
        height_width_px=(int(image["height"]), int(image["width"])),
        truth=truth,
        rgb_path=path.parent / rgb_name if rgb_name else None,
        light=light,
        scene=_text(image, "scene", where),
        rgb_valid_path=path.parent / valid_name if rgb_name and valid_name else None,
    )


def _text(image: dict[str, Any], key: str, where: str) -> str | None:
    value = image.get(key)
    if not (value is None or isinstance(value, str)):
        raise InputError(f"{where}: its {key} is {value!r:.60}: give a text, or leave it out")
    return value


def _side(value: Any) -> int | None:
    """Whole pixels, also written as 640.0; None for what is no side of an image."""
    if type(value) not in (int, float) or not 1 <= value <= _MAX_SIDE_PX or value != int(value):
        return None
    return int(value)


def read_coco_json(path: Path) -> dict[str, Any]:
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}): give a COCO JSON file") from None
    except (ValueError, RecursionError) as error:  # not JSON, not text, too deep or a number too long
        raise InputError(f"{path}: is not JSON ({error}): give a COCO JSON file") from None
    if not isinstance(document, dict):
        raise InputError(f"{path}: holds {type(document).__name__}, not a COCO set with images and annotations")
    return document


def read_json_lists(path: Path) -> tuple[list[dict[str, Any]], list[dict[str, Any]], list[dict[str, Any]]]:
    """The images, annotations and categories of a COCO JSON as they stand, unchecked; InputError without them."""
    document = read_coco_json(path)
    images, annotations, categories = (_list(document, key, path) for key in ("images", "annotations", "categories"))
    return images, annotations, categories


def _list(document: dict[str, Any], key: str, path: Path) -> list[dict[str, Any]]:
    value = document.get(key)
    if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
        raise InputError(f"{path}: has no list '{key}': give a COCO JSON file with images, annotations and categories")
    return value


def _numbered(document: dict[str, Any], key: str, path: Path) -> list[dict[str, Any]]:
    """The items of a list, each with an `id` of its own."""
    items = _list(document, key, path)
    seen: set[int] = set()
    for item in items:
        number = item.get("id")
        if not isinstance(number, int) or number in seen:
            raise InputError(f"{path}: an item of '{key}' has the id {number!r}: give each a whole number of its own")
        seen.add(number)
    return items


def _is_box(box: Any) -> bool:
    """Whether this is [left, top, width, height] in numbers that a float32 of pixels can hold."""
    if not (isinstance(box, list) and len(box) == 4 and all(type(value) in (int, float) for value in box)):
        return False
    return all(abs(value) < 1e9 for value in box) and box[2] >= 0 and box[3] >= 0
