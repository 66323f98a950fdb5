"""FLIR ADAS: vehicles' thermal cameras; v1 brought onto its RGB by others, v2 as Teledyne FLIR publishes it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from cgdet_core.data.convert.published import Label, LabelledImage, Part, PublishedSet, read_list, root_of
from cgdet_core.data.convert.voc import read_voc
from cgdet_core.data.sets.coco_file import read_coco

_MARK = "_PreviewData"
_REMEDY_V1 = "give the folder of FLIR-aligned, with JPEGImages, Annotations and align_train.txt in it"
_REMEDY_V2 = "give the folder of FLIR_ADAS_v2, with images_thermal_train and so on in it"
_FOLDERS_V2 = {"train": "images_thermal_train", "val": "images_thermal_val", "video": "video_thermal_test"}


def flir_v1(part: Part) -> Iterator[LabelledImage]:
    """FLIR-aligned: 5,142 pairs out of FLIR ADAS v1, brought pixel by pixel onto each other (Zhang et al., ICIP 2020).

        [align/]JPEGImages/FLIR_00002_PreviewData.jpeg  [align/]JPEGImages/FLIR_00002_RGB.jpg
        [align/]Annotations/FLIR_00002_PreviewData.xml  [align/]align_{train,validation}.txt

    AnnotatedImages holds pictures with boxes drawn into them, which are never read.
    """
    root, split = root_of(part.folder, ("JPEGImages", "Annotations", f"align_{part.split}.txt"), _REMEDY_V1), part.split
    by_light = {light: root / f"align_{split}_{light}.txt" for light in ("day", "night")}
    lights = {stem: light for light, path in by_light.items() if path.is_file() for stem in _stems(path)}
    for stem in _stems(root / f"align_{split}.txt"):
        path = root / "JPEGImages" / f"{stem}{_MARK}.jpeg"
        labels = read_voc(root / "Annotations" / f"{stem}{_MARK}.xml")
        yield LabelledImage(path, labels, path.with_name(f"{stem}_RGB.jpg"), lights.get(stem))


def _stems(path: Path) -> list[str]:
    """FLIR_00002 and so on, of a list that may name them with or without _PreviewData."""
    return [Path(line.split()[0]).stem.removesuffix(_MARK) for line in read_list(path)]


def flir_v2(part: Part) -> Iterator[LabelledImage]:
    """FLIR ADAS v2: 8-bit pictures, sixteen classes labelled (Teledyne FLIR, 2022).

        images_thermal_train/coco.json  images_thermal_train/data/video-<id>-frame-<number>-<id>.jpg
        images_thermal_val/...  video_thermal_test/...  images_rgb_train/... rgb_to_thermal_vid_map.json

    The RGB pictures come from another lens and are of other moments (train, val) or of the same but not aligned
    (video; rgb_to_thermal_vid_map.json says which is which), so none is named as a partner.
    """
    folder = _FOLDERS_V2[part.split]
    path = root_of(part.folder, (f"{folder}/coco.json",), _REMEDY_V2) / folder / "coco.json"
    document = read_coco(path)
    names = {category.id: category.name for category in document.categories}
    labels: dict[int | str, list[Label]] = {image.id: [] for image in document.images}
    for each in document.annotations:
        labels[each.image_id].append(Label(names[each.category_id], each.bbox, each.to_ignore))
    for image in document.images:
        facts = image.extra_info if isinstance(image.extra_info, dict) else {}
        light, video = facts.get("hours"), facts.get("video_id")
        yield LabelledImage(
            path.parent / image.file_name,
            tuple(labels[image.id]),
            light=light if light in ("day", "night") else None,  # dawn and dusk are neither
            scene=None if video is None else str(video),
            height_width_px=image.height_width_px,
        )


FLIR_V1 = PublishedSet(
    "FLIR ADAS v1 aligned (FLIR-aligned)",
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
