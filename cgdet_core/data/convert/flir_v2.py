"""FLIR ADAS v2: 8-bit pictures of vehicles, sixteen classes labelled (Teledyne FLIR, 2022).

    images_thermal_train/coco.json  images_thermal_train/data/video-<id>-frame-<number>-<id>.jpg
    images_thermal_val/...  video_thermal_test/...  images_rgb_train/... rgb_to_thermal_vid_map.json

The RGB pictures come from another lens and are of other moments (train, val) or of the same but not aligned
(video; rgb_to_thermal_vid_map.json says which is which), so none is named as a partner. Of the 80 names
that coco.json lists, those that no rule names are dropped.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from cgdet_core.data.convert.coco_file import read_coco_file
from cgdet_core.data.convert.pictures import FieldSet, Picture, existing, root_of
from cgdet_core.data.sets.coco import LIGHTS

_FOLDERS = {"train": "images_thermal_train", "val": "images_thermal_val", "video": "video_thermal_test"}
_RULES = {
    "person": "person",
    "bike": "bicycle",
    "car": "car",
    "motor": "ignore:bicycle",
    "scooter": "ignore:bicycle",
    "bus": "ignore:car",
    "truck": "ignore:car",
    "other vehicle": "ignore:car",
}
_REMEDY = "give the folder of FLIR_ADAS_v2, with images_thermal_train and so on in it"


def field_set(folder: Path, split: str) -> FieldSet:
    """The rules, and what else the split's coco.json names, which is dropped."""
    names = read_coco_file(_json(folder, split)).category_names
    return FieldSet(("person", "bicycle", "car"), {**dict.fromkeys(names), **_RULES})


def pictures(folder: Path, split: str) -> Iterator[Picture]:
    """The thermal pictures of a split in the order of coco.json. InputError where the folder is none of the set."""
    path = _json(folder, split)
    document = read_coco_file(path)
    for image in document.images:
        facts = image.get("extra_info")
        facts = facts if isinstance(facts, dict) else {}
        light = str(facts.get("hours", "")).lower()
        video = facts.get("video_id")
        yield Picture(
            path.parent / image["file_name"],
            document.labels_of(image),
            light=light if light in LIGHTS else None,  # dawn and dusk are neither
            scene=None if video is None else str(video),
        )


def _json(folder: Path, split: str) -> Path:
    root = root_of(folder, (_FOLDERS[split],), _REMEDY)
    return existing(root / _FOLDERS[split], "coco.json", remedy=_REMEDY)
