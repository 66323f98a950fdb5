"""FLIR ADAS: vehicles' thermal cameras; v1 brought onto its RGB by others, v2 as Teledyne FLIR publishes it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from cgdet_core.data.convert.published import Label, LabelledImage, Part, PublishedSet, read_list, root_of
from cgdet_core.data.convert.voc import read_voc
from cgdet_core.data.sets.coco_file import CocoDocument, CocoImage, Side, read_document
from cgdet_core.errors import InputError

_MARK = "_PreviewData"
_PUBLISHED = "thermal_annotations.json"
_REMEDY_V1 = (
    "give the folder of FLIR-aligned, with JPEGImages, Annotations and align_train.txt, or with annotations/train.json"
)
_REMEDY_V2 = "give the folder of FLIR_ADAS_v2, with images_thermal_train and so on in it"
_FOLDERS_V2 = {"train": "images_thermal_train", "val": "images_thermal_val", "video": "video_thermal_test"}


class _FlirImage(CocoImage):
    """Names of files stand under keys of the publisher's own."""

    file_name: str = ""
    height: Side = 1
    width: Side = 1
    file_name_IR: str | None = None
    file_name_RGB: str | None = None
    extra_info: Any = None


class _FlirDocument(CocoDocument):
    images: tuple[_FlirImage, ...]


def flir_v1(part: Part) -> Iterator[LabelledImage]:
    """FLIR-aligned: 5,142 pairs out of FLIR ADAS v1, brought pixel by pixel onto each other (Zhang et al., ICIP 2020).

    Two layouts go about. With Pascal VOC labels:

        [align/]JPEGImages/FLIR_00002_PreviewData.jpeg  [align/]JPEGImages/FLIR_00002_RGB.jpg
        [align/]Annotations/FLIR_00002_PreviewData.xml  [align/][ImageSets/Main/]align_{train,validation}.txt

    (AnnotatedImages holds pictures with boxes drawn into them, which are never read.) With COCO labels:

        annotations/{train,val}.json  {train,val}_thermal/...  {train,val}_RGB/...

    where an image is named by file_name_IR and file_name_RGB, or by file_name in both folders. FLIR ADAS 1.3 as
    published ({train,val}/thermal_annotations.json) is read too; its RGB is not aligned and not named.
    """
    words = ("train",) if part.split == "train" else ("val", "validation")
    for word in words:
        for name in (f"annotations/{word}.json", f"{word}.json", f"{word}/{_PUBLISHED}"):
            if (part.folder / name).is_file():
                return _v1_of_coco(part.folder / name, words)
    return _v1_of_voc(part.folder, part.split)


def _v1_of_voc(folder: Path, split: str) -> Iterator[LabelledImage]:
    root = root_of(folder, ("JPEGImages", "Annotations"), _REMEDY_V1)
    lights = {light: _stems(root, f"align_{split}_{light}.txt") or () for light in ("day", "night")}
    stems = _stems(root, f"align_{split}.txt")
    if stems is None:
        raise InputError(f"{root}: holds no align_{split}.txt: {_REMEDY_V1}")
    for stem in stems:
        path = root / "JPEGImages" / f"{stem}{_MARK}.jpeg"
        labels = read_voc(root / "Annotations" / f"{stem}{_MARK}.xml")
        light = next((light for light, found in lights.items() if stem in found), None)
        yield LabelledImage(path, labels, path.with_name(f"{stem}_RGB.jpg"), light)


def _stems(root: Path, name: str) -> list[str] | None:
    """FLIR_00002 and so on, of a list that may name them with or without _PreviewData; None without the list."""
    for path in (root / name, root / "ImageSets" / "Main" / name):
        if path.is_file():
            return [Path(line.split()[0]).stem.removesuffix(_MARK) for line in read_list(path)]
    return None


def _v1_of_coco(path: Path, words: Sequence[str]) -> Iterator[LabelledImage]:
    published = path.name == _PUBLISHED
    root = path.parent.parent if published or path.parent.name == "annotations" else path.parent
    thermal_folders = _folders(root, words, ("thermal", "infrared", "ir", "lwir"))
    rgb_folders = _folders(root, words, ("RGB", "rgb", "visible", "vis"))
    for image, labels in _of_json(path):
        name = image.file_name if published else image.file_name_IR or image.file_name
        thermal = _first(name, [path.parent, *thermal_folders])
        if not name or thermal is None:
            raise InputError(f"{thermal_folders[0] / name}: is missing, {path.name} names it: {_REMEDY_V1}")
        # by its own name, by FLIR's, or by the same name in a folder of RGB
        stem = thermal.stem.removesuffix(_MARK)
        names = [image.file_name_RGB] if image.file_name_RGB else [thermal.name, f"{stem}_RGB.jpg", f"{stem}.jpg"]
        found = (_first(name, [*rgb_folders, thermal.parent], thermal) for name in names)
        yield LabelledImage(thermal, labels, None if published else next(filter(None, found), None))


def _folders(root: Path, words: Sequence[str], kinds: Sequence[str]) -> list[Path]:
    """Where images of a kind may lie, those that are there."""
    names = [
        name for word in words for kind in kinds for name in (f"{word}_{kind}", f"{kind}/{word}", f"{word}/{kind}")
    ]
    return [root / name for name in names if (root / name).is_dir()] + [root / "JPEGImages", root]


def _first(name: str, folders: Sequence[Path], but: Path | None = None) -> Path | None:
    return next((folder / name for folder in folders if (folder / name).is_file() and folder / name != but), None)


def flir_v2(part: Part) -> Iterator[LabelledImage]:
    """FLIR ADAS v2: 8-bit pictures, sixteen classes labelled (Teledyne FLIR, 2022).

        images_thermal_train/coco.json  images_thermal_train/data/video-<id>-frame-<number>-<id>.jpg
        images_thermal_val/...  video_thermal_test/...  images_rgb_train/... rgb_to_thermal_vid_map.json

    The RGB pictures come from another lens and are of other moments (train, val) or of the same but not aligned
    (video; rgb_to_thermal_vid_map.json says which is which), so none is named as a partner.
    """
    folder = _FOLDERS_V2[part.split]
    path = root_of(part.folder, (f"{folder}/coco.json",), _REMEDY_V2) / folder / "coco.json"
    for image, labels in _of_json(path):
        facts = image.extra_info if isinstance(image.extra_info, dict) else {}
        light, video = facts.get("hours"), facts.get("video_id")
        yield LabelledImage(
            path.parent / image.file_name,
            labels,
            light=light if light in ("day", "night") else None,  # dawn and dusk are neither
            scene=None if video is None else str(video),
        )


def _of_json(path: Path) -> Iterator[tuple[_FlirImage, tuple[Label, ...]]]:
    document = read_document(path, _FlirDocument)
    names = {category.id: category.name for category in document.categories}
    labels: dict[int | str, list[Label]] = {image.id: [] for image in document.images}
    for each in document.annotations:
        labels[each.image_id].append(Label(names[each.category_id], each.bbox, each.iscrowd))
    return ((image, tuple(labels[image.id])) for image in document.images)


FLIR_V1 = PublishedSet(
    "FLIR ADAS v1 aligned (FLIR-aligned), with VOC or COCO labels",
    ("train", "validation"),
    flir_v1,
    ("person", "bicycle", "car"),
    {
        **dict.fromkeys(("person", "people"), "person"),
        **dict.fromkeys(("bicycle", "bike"), "bicycle"),
        "car": "car",
        "dog": None,
        **dict.fromkeys(("other vehicle", "other", "othervehicle"), "ignore:car"),
    },
)
FLIR_V2 = PublishedSet(
    "FLIR ADAS v2, the thermal pictures",
    ("train", "val", "video"),
    flir_v2,
    ("person", "bicycle", "car"),
    {
        "person": "person",
        "bike": "bicycle",
        "car": "car",
        **dict.fromkeys(("motor", "scooter"), "ignore:bicycle"),
        **dict.fromkeys(("bus", "truck", "other vehicle"), "ignore:car"),
    },
    drops_others=True,
)
