"""Every field of a COCO JSON with every wrong type and value: read as what it must mean, or refused by its place."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
from numpy.typing import NDArray

from cgdet_core.data.sets.coco import load_coco
from cgdet_core.data.sets.coco_file import read_coco
from cgdet_core.errors import InputError

POINTS = {"keypoints": ["left", "right"], "flip_indices": [1, 0], "skeleton": []}
DOCUMENT: dict[str, Any] = {
    "info": {},
    "images": [
        {
            "id": 1,
            "file_name": "1.png",
            "height": 60,
            "width": 80,
            "license": 0,
            "light": "night",
            "scene": "a",
            "camera": "b",
            "subject": "c",
            "rgb_file_name": "rgb.png",
            "rgb_valid_file_name": "valid.png",
            "labelled": ["person", "car"],
            "stamp_ns": 1700000000123456789,
        },
        {"id": 2, "file_name": "2.png", "height": 60, "width": 80, "scene": 7},
    ],
    "annotations": [
        {
            "id": 1,
            "image_id": 1,
            "category_id": 3,
            "bbox": [1, 2, 30, 40.5],
            "area": 1215,
            "segmentation": [],
            "iscrowd": 0,
            "ignore": 0,
            "difficult": 0,
            "keypoints": [5, 6, 2, 0, 0, 0],
            "num_keypoints": 1,
        },
        {"id": 2, "image_id": 2, "category_id": 7, "bbox": [11, 12, 20, 21], "iscrowd": 1},
        {"id": 3, "image_id": 2, "category_id": 7, "bbox": [11, 12, 22, 21], "iscrowd": 0},
    ],
    "categories": [{"id": 3, "name": "person", "supercategory": "x", **POINTS}, {"id": 7, "name": "car"}],
}
UNREAD = {"info", "license", "area", "segmentation", "supercategory", "skeleton"}
FLAGS = {"iscrowd", "ignore", "difficult"}
WHOLE = {"height", "width", "stamp_ns", "num_keypoints", "flip_indices"}
NUMBERS = {"bbox", "keypoints"}
NAMES = {"scene", "camera", "subject", "light", "name", "labelled"}
VALUES = [
    None,
    True,
    False,
    0,
    1,
    -1,
    2,
    0.5,
    7.0,
    math.nan,
    math.inf,
    -math.inf,
    1e300,
    10**400,
    [],
    {},
    [1],
    {"a": 1},
]
VALUES += ["", " ", "0", "1", "1.0", "-1", "true", "FALSE", "no", "nan", "1e999", "1,5", "0x10", "abc", "Person", "\0"]
GONE = object()

Place = tuple[str | int, ...]


def leaves(value: Any, place: Place = ()) -> Iterator[Place]:
    """The place of each value, those that hold others too."""
    if place:
        yield place
    parts = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, part in parts:
        yield from leaves(part, (*place, key))


def written(place: Place) -> str:
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in place).lstrip(".")


def with_value(place: Place, value: Any) -> dict[str, Any]:
    document = deepcopy(DOCUMENT)
    holder: Any = document
    for part in place[:-1]:
        holder = holder[part]
    if value is GONE:
        del holder[place[-1]]
    else:
        holder[place[-1]] = value
    return document


def meaning(kind: str, value: Any) -> Any:
    """What a person would say that `value` means in a field of this kind; GONE: nothing, so it must be refused."""
    if kind in FLAGS:
        table = {"0": 0, "1": 1, "true": 1, "FALSE": 0, "no": 0}
        found = 0 if value is None or value is GONE else table.get(value, GONE) if isinstance(value, str) else value
        return int(found) if isinstance(found, int | float) and found in (0, 1) else GONE
    if kind in WHOLE | NUMBERS:
        try:
            found = json.loads(value) if isinstance(value, str) else value
        except ValueError:
            return GONE
        if not isinstance(found, int | float) or not abs(found) < 1e19:
            return GONE
        return found if kind in NUMBERS else int(found) if found == int(found) else GONE
    if kind == "id":
        if isinstance(value, str):
            return int(value) if value in ("0", "1", "-1") else value.strip() or GONE
        return int(value) if isinstance(value, int | float) and abs(value) < 1e16 and value == int(value) else GONE
    if kind in NAMES:
        return str(value) if type(value) is int else value.strip() or GONE if isinstance(value, str) else GONE
    return value


def read(path: Path, document: dict[str, Any]) -> list[Any]:
    """All that is read of a set."""
    path.write_text(json.dumps(document))
    coco = load_coco(path, ("person", "car"))
    document = read_coco(path)
    found: list[Any] = [(each.keypoints, each.flip_indices) for each in document.categories[:1]]
    for record, image in zip(coco.records, document.images, strict=True):
        truth = record.truth
        arrays = truth.boxes_xyxy_px, truth.class_ids, truth.ignore, truth.points_xy_px, truth.points_labelled
        labelled = [True, True] if truth.labelled is None else truth.labelled.tolist()
        facts = record.light, record.scene, record.camera, image.subject, record.rgb_path, record.rgb_valid_path
        found.append([record.path, record.height_width_px, image.stamp_ns, labelled, facts, *map(_listed, arrays)])
    return found


def _listed(array: NDArray[Any] | None) -> Any:
    return None if array is None else array.tolist()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    for name in ("1.png", "2.png"):
        (tmp_path / name).touch()
    return tmp_path / "set.json"


def at(place: Place) -> tuple[Any, str]:
    """The value there in DOCUMENT, and of which kind its field is."""
    value: Any = DOCUMENT
    for part in place:
        value = value[part]
    key = next(part for part in reversed(place) if isinstance(part, str))
    if key == "id" and place[0] == "annotations":
        key = "info"  # of labels it is unread
    if key == "keypoints" and place[0] == "categories":
        key = "name"
    return value, "id" if key in ("image_id", "category_id") else key


PLACES = list(leaves(DOCUMENT))


def test_a_number_written_as_text_or_float_and_a_flag_as_a_truth_value_are_read_the_same(path: Path) -> None:
    before = read(path, DOCUMENT)
    for place in PLACES:
        value, kind = at(place)
        if type(value) in (int, float) and kind not in NAMES:
            others: list[Any] = [str(value)]
            others += [float(value)] if abs(value) < 1e9 else []
            others += [bool(value), str(bool(value))] if kind in FLAGS else [f" {value}"]
            for other in others:
                assert read(path, with_value(place, other)) == before, (place, other)


@pytest.mark.parametrize("place", PLACES, ids=written)
def test_a_wrong_value_is_read_as_what_it_must_mean_or_refused_by_its_place(path: Path, place: Place) -> None:
    before = read(path, DOCUMENT)
    original, kind = at(place)
    for value in [*VALUES, GONE]:
        document = with_value(place, value)
        try:
            found = read(path, document)
        except InputError as error:
            said = str(error)
            # a changed id or name is missed where it is referred to
            entry = re.search(r"(images|annotations|categories)\[\d\]", said)
            if str(path.parent) not in said or "\n" in said or not (written(place) in said or entry or of_set(place)):
                raise AssertionError(value) from error
            continue
        if kind in UNREAD:
            assert found == before, value
        elif isinstance(original, list | dict):
            # in the place of a list only another list, or what says that there is none
            assert value in (None, GONE, []) or (isinstance(place[-1], int) and value is GONE) or value == [1], value
        elif isinstance(place[-1], int) and value is GONE:
            continue  # a list of another length that may be one, such as that of the labelled classes
        elif (meant := meaning(kind, value)) is GONE:
            # what may be left out may be null or blank
            assert value in (None, "", " ", GONE), value
            assert found == read(path, with_value(place, GONE)), value
        else:
            assert found == read(path, with_value(place, meant)), value


def test_a_key_that_stands_twice_is_refused_not_the_last_of_two_taken(path: Path) -> None:
    text = json.dumps(DOCUMENT)
    changes = (('"iscrowd": 0', '"iscrowd": 0, "iscrowd": 1'), ('"categories"', '"annotations": [], "categories"'))
    for found, changed in changes:
        path.write_text(text.replace(found, changed, 1))
        with pytest.raises(InputError, match=rf"set\.json: the key {changed.split(chr(34))[1]!r} stands twice"):
            read_coco(path)


def of_set(place: Place) -> bool:
    """Whether what is odd may be told of the set, its classes or a file, without the field's place."""
    return not {"bbox", "keypoints", "file_name", "height", "width", "name"}.isdisjoint(place)
