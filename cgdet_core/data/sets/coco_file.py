"""COCO detection sets as files: a document read and checked by its fields, and one written.

`file_name` is relative to the JSON's folder. An image may name its registered RGB partner (`rgb_file_name`) and where
that shows what the frame shows (`rgb_valid_file_name`, an 8-bit PNG, 0 where it does not), its `light` (day, night),
its `scene` (as Teledyne FLIR writes it, `video`), `camera` and `subject`, and the classes that are `labelled` in it,
where not all are. Keypoints are COCO's triples x, y, v, v = 0 for no label, counted from the first pixel's centre.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import AliasChoices, BaseModel, ConfigDict, Field, ValidationError

from cgdet_core.boxes import xyxy_to_xywh
from cgdet_core.data.sets.fields import Box, Flag, Identity, Light, Name, Places, Side, Stamp, Text
from cgdet_core.errors import InputError, check_known
from cgdet_core.files import write_text
from cgdet_core.tasks.landmarks.points import MIRROR, POINTS
from cgdet_core.types import BACKGROUND, CLASS_NAMES, IGNORE, BoolArray, Detections, FloatArray, GroundTruth


class Entry(BaseModel):
    """An entry of a JSON document: its values as fields.py reads them, other keys left alone."""

    model_config = ConfigDict(frozen=True)


class CocoImage(Entry):
    """One of `images`. stamp_ns: of a set keyed by header stamps (data/bags/frames.py); extra_info: FLIR's."""

    id: Identity
    file_name: str
    height: Side
    width: Side
    light: Light = None
    scene: Name = Field(None, validation_alias=AliasChoices("scene", "video"))
    camera: Name = None
    subject: Name = None
    rgb_file_name: str | None = None
    rgb_valid_file_name: str | None = None
    labelled: tuple[str, ...] | None = None
    stamp_ns: Stamp | None = None
    extra_info: Any = None

    @property
    def height_width_px(self) -> tuple[int, int]:
        return self.height, self.width


class CocoAnnotation(Entry):
    """One of `annotations`. bbox: left, top, width, height in pixels, so bbox_mode of Detectron2; keypoints: x, y in
    pixels and v (0: no label) of each of its category's points; iscrowd, ignore, difficult: of a region to ignore."""

    image_id: Identity
    category_id: Identity
    bbox: Box
    bbox_mode: Literal[1, "XYWH_ABS"] | None = None
    iscrowd: Flag = False
    ignore: Flag = False
    difficult: Flag = False
    keypoints: Places = ()
    num_keypoints: int | None = None
    score: Any = None

    @property
    def to_ignore(self) -> bool:
        return self.iscrowd or self.ignore or self.difficult


class CocoCategory(Entry):
    """One of `categories`. keypoints: names of its points; flip_indices: which of them each point is in a mirror."""

    id: Identity
    name: Text
    keypoints: tuple[Text, ...] = ()
    flip_indices: tuple[int, ...] | None = None


class CocoDocument(Entry):
    images: tuple[CocoImage, ...]
    annotations: tuple[CocoAnnotation, ...]
    categories: tuple[CocoCategory, ...]


def read_coco(path: Path) -> CocoDocument:
    """The document in `path`; InputError names the file, and the entry that is none or contradicts another."""
    try:
        data = path.read_bytes()
        # PowerShell writes UTF-16, other programs of Windows a mark before UTF-8
        text = data.decode(json.detect_encoding(data))
        document = CocoDocument.model_validate_json(text)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}): give a COCO JSON file") from None
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: is not text ({error.reason}): give a COCO JSON file") from None
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in first["loc"])
        found = "" if first["type"] in ("missing", "json_invalid") else f", found {first['input']!r:.60}"
        said = first["msg"].removeprefix("Value error, ")
        raise InputError(f"{path}: {f'{where}: '.lstrip('.: ')}{said}{found}: give a COCO JSON file") from None
    known = {key for each in (CocoImage, CocoAnnotation, CocoCategory) for key in each.model_fields}
    for key in sorted(_keys(path, text) - known):
        for meant in get_close_matches(key, known, 1, 0.85):
            warnings.warn(f"{path}: the key '{key}' is not read: did you mean '{meant}'?", stacklevel=2)
    image_ids, category_ids = _ids(path, "images", document.images), _ids(path, "categories", document.categories)
    points = {category.id: len(category.keypoints) for category in document.categories}
    for number, category in enumerate(document.categories):
        flip, count = category.flip_indices, len(category.keypoints)
        if flip is not None and (sorted(flip) != [*range(count)] or any(flip[flip[i]] != i for i in range(count))):
            wanted = f"for each of its {count} keypoints the number, from 0, of its mirror image"
            raise InputError(f"{path}: categories[{number}].flip_indices: give {wanted}")
    for number, annotation in enumerate(document.annotations):
        if annotation.image_id not in image_ids or annotation.category_id not in category_ids:
            named = f"image {annotation.image_id!r} or category {annotation.category_id!r}"
            raise InputError(f"{path}: annotations[{number}]: {named} is not listed: correct it or take it out")
        places, count = annotation.keypoints, 3 * points[annotation.category_id]
        if places and (len(places) != count or not {0, 1, 2}.issuperset(places[2::3])):
            wanted = f"x, y and v (0, 1 or 2) of each of its category's {count // 3} keypoints"
            raise InputError(f"{path}: annotations[{number}].keypoints: give {wanted}")
        labelled = sum(v > 0 for v in places[2::3])
        if annotation.num_keypoints not in (None, labelled):
            stated = f"{annotation.num_keypoints}, {labelled} of its keypoints have a v above 0"
            raise InputError(f"{path}: annotations[{number}].num_keypoints is {stated}: correct the one or the other")
    return document


def _keys(path: Path, text: str) -> set[str]:
    """Of all objects of a JSON; InputError for one that stands twice, of which readers take the last without a word."""
    keys = set[str]()

    def look(pairs: list[tuple[str, Any]]) -> None:
        found = dict(pairs)
        if len(found) < len(pairs):
            names = [name for name, _ in pairs]
            twice = next(name for name in names if names.count(name) > 1)
            raise InputError(f"{path}: the key '{twice}' stands twice in one object: is the file joined from several?")
        keys.update(found)

    json.loads(text, object_pairs_hook=look, parse_int=str, parse_float=str)
    return keys


def own_classes(categories: Iterable[str], class_map: Mapping[str, str], where: str) -> tuple[str, ...]:
    """The classes of labels with these categories, in their order, or CLASS_NAMES where these hold all of them;
    InputError, beginning with `where`, for a class that only the class map names."""
    names = tuple(dict.fromkeys(categories))
    known = dict.fromkeys((*names, *CLASS_NAMES, IGNORE, BACKGROUND))
    check_known(f"{where}: class_map", "class", class_map.values(), known)
    classes = tuple(dict.fromkeys(class_map.get(name, name) for name in names))
    classes = tuple(name for name in classes if name not in (IGNORE, BACKGROUND))
    return CLASS_NAMES if set(classes) <= set(CLASS_NAMES) else classes


def _ids(path: Path, key: str, entries: Sequence[CocoImage | CocoCategory]) -> set[int | str]:
    seen: set[int | str] = set()
    for number, entry in enumerate(entries):
        if entry.id in seen:
            raise InputError(f"{path}: {key}[{number}] repeats the id {entry.id!r}: give each one its own")
        seen.add(entry.id)
    return seen


def image_entry(file_name: str, height_width_px: tuple[int, int], **more: Any) -> dict[str, Any]:
    """What a set states of an image, without its number; more: None is not stated."""
    height, width = height_width_px
    stated = {key: value for key, value in more.items() if value is not None}
    return {"file_name": file_name, "height": height, "width": width, **stated}


def keypoints(points_xy_px: FloatArray, labelled: BoolArray) -> dict[str, Any]:
    """What an annotation states of its points: float [P, 2], in thousandths of a pixel, and bool [P]."""
    xy = np.where(labelled[:, None], points_xy_px.astype(np.float64).round(3), 0)
    triples = np.column_stack([xy, 2.0 * labelled])
    return {"keypoints": triples.ravel().tolist(), "num_keypoints": int(labelled.sum())}


@dataclass
class CocoDraft:
    """A set in the making: `add_image`, then the boxes of that image, then the next one. Images, boxes and classes are
    numbered from 1. faces: whether its classes have iBUG's 68 points."""

    class_names: Sequence[str] = CLASS_NAMES
    faces: bool = False
    images: list[dict[str, Any]] = field(default_factory=list)
    annotations: list[dict[str, Any]] = field(default_factory=list)

    def add_image(self, entry: Mapping[str, Any]) -> None:
        """See image_entry."""
        self.images.append({"id": len(self.images) + 1, **entry})

    def add_box(self, class_id: int, box_xywh_px: Sequence[float], ignore: bool = False, **more: Any) -> None:
        """A box of the last image; ignore: a region to ignore; more: what else the annotation states."""
        self.annotations.append(
            {
                "id": len(self.annotations) + 1,
                "image_id": self.images[-1]["id"],
                "category_id": class_id + 1,
                "bbox": list(box_xywh_px),
                "area": round(box_xywh_px[2] * box_xywh_px[3], 6),
                "iscrowd": int(ignore),
                **more,
            }
        )

    def add_detections(self, found: Detections) -> None:
        """What was found in the last image, with its `score`; category_id is that of this file's categories."""
        boxes = xyxy_to_xywh(found.boxes_xyxy_px).astype(np.float64).round(2)
        for box, score, class_id in zip(boxes.tolist(), found.scores, found.class_ids, strict=True):
            self.add_box(int(class_id), box, score=round(float(score), 5))

    def add_truth(self, truth: GroundTruth) -> None:
        """The labels of the last image, in thousandths of a pixel."""
        boxes = xyxy_to_xywh(truth.boxes_xyxy_px).astype(np.float64).round(3)
        points: list[dict[str, Any]] = [{}] * len(truth)
        if truth.points_xy_px is not None and truth.points_labelled is not None:
            points = list(map(keypoints, truth.points_xy_px, truth.points_labelled))
        for box, class_id, ignore, more in zip(boxes.tolist(), truth.class_ids, truth.ignore, points, strict=True):
            self.add_box(int(class_id), box, bool(ignore), **more)

    def to_json(self, **more: Any) -> str:
        """The document; more: further keys of it, such as `info`."""
        points = {"keypoints": [f"p{place}" for place in range(POINTS)], "flip_indices": MIRROR.tolist()}
        points = points if self.faces else {}
        categories = [{"id": number, "name": name, **points} for number, name in enumerate(self.class_names, 1)]
        document = {**more, "images": self.images, "annotations": self.annotations, "categories": categories}
        return json.dumps(document)

    def write(self, path: Path, **more: Any) -> None:
        """Write the document, whole or not at all; InputError where the disk refuses."""
        write_text(path, self.to_json(**more))
