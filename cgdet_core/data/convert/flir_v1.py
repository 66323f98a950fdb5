"""FLIR-aligned: 5,142 pairs out of FLIR ADAS v1, brought pixel by pixel onto each other (Zhang et al., ICIP 2020).

Two layouts go about. With Pascal VOC labels:

    [align/]JPEGImages/FLIR_00002_PreviewData.jpeg  [align/]JPEGImages/FLIR_00002_RGB.jpg
    [align/]Annotations/FLIR_00002_PreviewData.xml  [align/][ImageSets/Main/]align_{train,validation}.txt

(AnnotatedImages holds pictures with boxes drawn into them, which are never read.) With COCO labels:

    annotations/{train,val}.json  {train,val}_thermal/...  {train,val}_RGB/...

where an image is named by file_name_IR and file_name_RGB, or by file_name in both folders. FLIR ADAS 1.3 as
published ({train,val}/thermal_annotations.json) is read too; its RGB is not aligned and not named.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from cgdet_core.data.convert.coco_file import read_coco_file
from cgdet_core.data.convert.pictures import FieldSet, Picture, read_list, root_of
from cgdet_core.data.convert.voc import read_voc
from cgdet_core.errors import InputError

SET = FieldSet(
    ("person", "bicycle", "car"),
    {
        **dict.fromkeys(("person", "people"), "person"),
        **dict.fromkeys(("bicycle", "bike"), "bicycle"),
        "car": "car",
        "dog": None,
        **dict.fromkeys(("other vehicle", "other", "othervehicle"), "ignore:car"),
    },
)
_REMEDY = (
    "give the folder of FLIR-aligned, with JPEGImages, Annotations and align_train.txt, or with annotations/train.json"
)
_MARK = "_PreviewData"
_PUBLISHED = "thermal_annotations.json"


def pictures(folder: Path, split: str) -> Iterator[Picture]:
    """The pairs of a split, in the order of its list. InputError where the folder has neither layout."""
    json_path = _json(folder, split)
    return _of_coco(json_path, split) if json_path is not None else _of_voc(folder, split)


def _of_voc(folder: Path, split: str) -> Iterator[Picture]:
    root = root_of(folder, ("JPEGImages", "Annotations"), _REMEDY)
    lights = {light: _stems(root, f"align_{split}_{light}.txt") or () for light in ("day", "night")}
    stems = _stems(root, f"align_{split}.txt")
    if stems is None:
        raise InputError(f"{root}: holds no align_{split}.txt: {_REMEDY}")
    for stem in stems:
        path = root / "JPEGImages" / f"{stem}{_MARK}.jpeg"
        labels = read_voc(root / "Annotations" / f"{stem}{_MARK}.xml")
        light = next((light for light, found in lights.items() if stem in found), None)
        yield Picture(path, labels, path.with_name(f"{stem}_RGB.jpg"), light)


def _stems(root: Path, name: str) -> list[str] | None:
    """FLIR_00002 and so on, of a list that may name them with or without _PreviewData; None without the list."""
    for path in (root / name, root / "ImageSets" / "Main" / name):
        if path.is_file():
            return [Path(line.split()[0]).stem.removesuffix(_MARK) for line in read_list(path)]
    return None


def _json(folder: Path, split: str) -> Path | None:
    words = ("train",) if split == "train" else ("val", "validation")
    for word in words:
        for name in (f"annotations/{word}.json", f"{word}.json", f"{word}/{_PUBLISHED}"):
            if (folder / name).is_file():
                return folder / name
    return None


def _of_coco(path: Path, split: str) -> Iterator[Picture]:
    published = path.name == _PUBLISHED
    root = path.parent.parent if published or path.parent.name == "annotations" else path.parent
    words = ("train",) if split == "train" else ("val", "validation")
    document = read_coco_file(path, ("file_name",) if published else ("file_name_IR", "file_name"))
    thermal_folders = _folders(root, words, ("thermal", "infrared", "ir", "lwir"))
    rgb_folders = _folders(root, words, ("RGB", "rgb", "visible", "vis"))
    for image in document.images:
        thermal = _found(image[document.name_key], [path.parent, *thermal_folders], path)
        rgb = None if published else _partner(image, thermal, rgb_folders)
        yield Picture(thermal, document.labels_of(image), rgb)


def _folders(root: Path, words: Sequence[str], kinds: Sequence[str]) -> list[Path]:
    """Where pictures of a kind may lie, those that are there."""
    names = [
        name for word in words for kind in kinds for name in (f"{word}_{kind}", f"{kind}/{word}", f"{word}/{kind}")
    ]
    return [root / name for name in names if (root / name).is_dir()] + [root / "JPEGImages", root]


def _found(name: str, folders: Sequence[Path], path: Path) -> Path:
    for folder in folders:
        if (folder / name).is_file():
            return folder / name
    raise InputError(f"{folders[0] / name}: is missing, {path.name} names it: {_REMEDY}")


def _partner(image: dict[str, Any], thermal: Path, folders: Sequence[Path]) -> Path | None:
    """The RGB picture by its own name, by FLIR's, or by the same name in a folder of RGB; None where there is none."""
    own = image.get("file_name_RGB")
    stem = thermal.stem.removesuffix(_MARK)
    names = [own] if isinstance(own, str) else [thermal.name, f"{stem}_RGB.jpg", f"{stem}.jpg"]
    for folder in (*folders, thermal.parent):
        for name in names:
            if (folder / name).is_file() and folder / name != thermal:
                return folder / name
    return None
