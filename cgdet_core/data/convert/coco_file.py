"""A published COCO JSON as it is: names that are no classes of ours, keys of the publisher's own."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cgdet_core.data.convert.pictures import Label
from cgdet_core.data.sets.coco import read_json_lists
from cgdet_core.errors import InputError


@dataclass(frozen=True)
class CocoFile:
    """images: as they stand in the file, each with an id and a name under `name_key`."""

    path: Path
    name_key: str
    category_names: tuple[str, ...]
    images: tuple[dict[str, Any], ...]
    labels: dict[Any, tuple[Label, ...]]

    def labels_of(self, image: dict[str, Any]) -> tuple[Label, ...]:
        return self.labels.get(image["id"], ())


def read_coco_file(path: Path, name_keys: Sequence[str] = ("file_name",)) -> CocoFile:
    """The images, names and boxes; InputError where it is missing or no COCO set.

    name_keys: what a file's name may stand under; the first that the first image has.
    """
    images, annotations, categories = read_json_lists(path)
    name_key = next((key for key in name_keys if images and key in images[0]), name_keys[-1])
    names: dict[Any, str] = {}
    for category in categories:
        if not isinstance(category.get("name"), str):
            raise InputError(f"{path}: category {category.get('id')} has no name: copy the set again")
        names[category.get("id")] = category["name"]
    known = set()
    for image in images:
        if not isinstance(image.get("id"), int | str) or not isinstance(image.get(name_key), str):
            raise InputError(f"{path}: image {image.get('id')!s:.40} has no id or {name_key}: copy the set again")
        known.add(image["id"])
    labels: dict[Any, list[Label]] = defaultdict(list)
    for annotation in annotations:
        where = f"{path}: annotation {annotation.get('id')!s:.40}"
        box, image_id = annotation.get("bbox"), annotation.get("image_id")
        name = names.get(annotation.get("category_id"))
        if name is None or not isinstance(image_id, int | str) or image_id not in known:
            raise InputError(f"{where} is of an image or category that is not listed: copy the set again")
        if not (isinstance(box, list) and len(box) == 4 and all(_is_number(value) for value in box)):
            raise InputError(f"{where} has no box [left, top, width, height]: copy the set again")
        left, top, width, height = box
        labels[image_id].append(Label(name, (left, top, width, height), bool(annotation.get("iscrowd", 0))))
    done = {image_id: tuple(found) for image_id, found in labels.items()}
    return CocoFile(path, name_key, tuple(names.values()), tuple(images), done)


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and math.isfinite(value)
