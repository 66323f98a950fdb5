"""Sets with boxes: FLIR ADAS, LLVIP, KAIST and M3FD, as they are published (layouts: docs/reference/sets.md)."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Final
from xml.etree import ElementTree

from cgdet_core.data.convert.published import Label, LabelledImage, Part, PublishedSet, files_in, naming, root_of
from cgdet_core.data.sets.coco_file import read_coco
from cgdet_core.data.sets.fields import box, flag
from cgdet_core.errors import InputError

_MARK = "_PreviewData"
_FOLDERS_V2 = {"train": "images_thermal_train", "val": "images_thermal_val", "video": "video_thermal_test"}
_TRAIN_SETS = range(6)
_NIGHT_SETS = (3, 4, 5, 9, 10, 11)
_FRAME = re.compile(r"set(\d\d)[/_]V(\d\d\d)[/_](?:lwir[/_])?I(\d{5})")
_TEXTS = ("set??/V???/lwir/I?????.txt", "set??/V???/I?????.txt", "set??_V???_I?????.txt")
_CORNERS = ("xmin", "ymin", "xmax", "ymax")


def flir_v1(part: Part) -> Iterator[LabelledImage]:
    """FLIR-aligned: 5,142 pairs out of FLIR ADAS v1, brought pixel by pixel onto each other (Zhang et al., ICIP 2020).
    AnnotatedImages holds pictures with boxes drawn into them, which are never read.
    """
    split = part.split
    root = root_of(part.folder, "JPEGImages", "Annotations", f"align_{split}.txt")
    by_light = {light: root / f"align_{split}_{light}.txt" for light in ("day", "night")}
    lights = {stem: light for light, path in by_light.items() if path.is_file() for stem in _stems(path)}
    for stem in _stems(root / f"align_{split}.txt"):
        path = root / "JPEGImages" / f"{stem}{_MARK}.jpeg"
        labels = read_voc(root / "Annotations" / f"{stem}{_MARK}.xml")
        yield LabelledImage(path, labels, path.with_name(f"{stem}_RGB.jpg"), lights.get(stem))


def _stems(path: Path) -> list[str]:
    """FLIR_00002 and so on, of a list that may name them with or without _PreviewData."""
    return [Path(line.split()[0]).stem.removesuffix(_MARK) for line in _lines(path)]


def _lines(path: Path) -> list[str]:
    """The lines of a text file that are not empty; InputError where there are none."""
    with naming(path, "a text with a name a line"):
        if found := [line.strip() for line in path.read_text(encoding="utf-8-sig").splitlines() if line.strip()]:
            return found
        raise ValueError("it names nothing")


def flir_v2(part: Part) -> Iterator[LabelledImage]:
    """FLIR ADAS v2: 8-bit pictures, sixteen classes labelled (Teledyne FLIR, 2022). The RGB pictures come from
    another lens, and none is named as a partner."""
    folder = _FOLDERS_V2[part.split]
    path = root_of(part.folder, f"{folder}/coco.json") / folder / "coco.json"
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


def llvip(part: Part) -> Iterator[LabelledImage]:
    """LLVIP: 15,488 pairs of a street camera, persons labelled (Jia et al., ICCVW 2021). The first two digits of a name
    are the place, the others count frames."""
    root = root_of(part.folder, f"infrared/{part.split}", "Annotations")
    for path in files_in(root / "infrared" / part.split, ".jpg"):
        labels = read_voc(root / "Annotations" / f"{path.stem}.xml")
        rgb = root / "visible" / part.split / path.name
        yield LabelledImage(path, labels, rgb, scene=f"place {path.stem[:2]}")


def m3fd(part: Part) -> Iterator[LabelledImage]:
    """M3FD: 4,200 pairs of a vehicle, six classes labelled (Liu et al., CVPR 2022). The set names no split."""
    root = root_of(part.folder, "Ir", "Annotation")
    for path in files_in(root / "Ir", ".png"):
        yield LabelledImage(path, read_voc(root / "Annotation" / f"{path.stem}.xml"), root / "Vis" / path.name)


def read_voc(path: Path) -> tuple[Label, ...]:
    """The labels in Pascal VOC's XML; InputError where it is missing, no annotation, or has a box that is none. Corners
    are taken as they stand, width = xmax - xmin: the tools that wrote these sets count from 0."""
    with naming(path, "an <annotation> of an image in XML"):
        root = ElementTree.fromstring(path.read_bytes())
        if root.tag != "annotation":
            raise ValueError(f"a <{root.tag:.40}>")
        return tuple(_label(item) for item in root.iter("object"))


def _label(item: ElementTree.Element) -> Label:
    left, top, right, bottom = box(item.findtext(f"bndbox/{corner}") for corner in _CORNERS)
    # VOC's own evaluation counts a difficult object neither for nor against
    return Label(
        (item.findtext("name") or "").strip(),
        (left, top, right - left, bottom - top),
        flag(item.findtext("difficult")),
    )


def kaist(part: Part) -> Iterator[LabelledImage]:
    """KAIST: pairs of a vehicle, aligned by a beam splitter (Hwang et al., CVPR 2015); those that have a text file.

    Sets 00 to 05 train, 06 to 11 test; 03 to 05 and 09 to 11 are by night. The text files, the original, sanitised (Li
    et al., BMVC 2018), paired (Zhang et al., ICCV 2019) or improved test ones (Liu et al., BMVC 2016), are of Piotr
    Dollar's toolbox, "% bbGt version=3": name, box, occlusion, four numbers of the visible part, ignore, angle.
    """
    images = part.folder / "images" if (part.folder / "images").is_dir() else part.folder
    texts = _texts(part.annotations or _annotations(part.folder))
    seen = _frames(images, "set??/V???/lwir/I?????.jpg")
    if without := len(seen.keys() - texts.keys()):
        warnings.warn(f"{part.folder}: {without} of {len(seen)} pictures have no text and are left out", stacklevel=2)
    for number, video, frame in sorted(texts):
        if (int(number) in _TRAIN_SETS) == (part.split == "train"):
            folder = images / f"set{number}" / f"V{video}"
            yield LabelledImage(
                folder / "lwir" / f"I{frame}.jpg",
                read_bbgt(texts[number, video, frame]),
                folder / "visible" / f"I{frame}.jpg",
                "night" if int(number) in _NIGHT_SETS else "day",
                f"set{number}/V{video}",
            )


def read_bbgt(path: Path) -> tuple[Label, ...]:
    """The labels in a text file; InputError where it is none of "% bbGt version=3"."""
    with naming(path, "a text of '% bbGt version=3', with a name and a box a line"):
        head, *lines = path.read_text(encoding="utf-8-sig").splitlines() or [""]
        if not head.startswith("% bbGt version=3"):
            raise ValueError(f"it begins with {head:.30}")
        rows = [line.split() for line in lines if line.strip()]
        return tuple(Label(words[0], box(words[1:5]), flag(words[10] if len(words) > 10 else None)) for words in rows)


def _annotations(folder: Path) -> Path:
    found = sorted(entry for entry in folder.iterdir() if entry.is_dir() and "annotation" in entry.name.lower())
    if len(found) != 1:
        names = ", ".join(entry.name for entry in found) or "none"
        raise InputError(f"{folder}: name one of its folders of annotations ({names}) with --annotations")
    return found[0]


def _texts(folder: Path) -> dict[tuple[str, ...], Path]:
    """Thermal ones where there are two a frame."""
    for pattern in _TEXTS:
        if found := _frames(folder, pattern):
            return found
    raise InputError(f"{folder}: holds no set00/V000/I00000.txt and no set00_V000_I00000.txt: give KAIST's annotations")


def _frames(folder: Path, pattern: str) -> dict[tuple[str, ...], Path]:
    """(set, video, frame) -> file."""
    named = ((_FRAME.search(path.relative_to(folder).as_posix()), path) for path in folder.glob(pattern))
    return {match.groups(): path for match, path in named if match}


BOXES: Final = {
    "flir-v1": PublishedSet(
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
    ),
    "flir-v2": PublishedSet(
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
    ),
    "llvip": PublishedSet("LLVIP", ("train", "test"), llvip, ("person",), {"person": "person"}),
    "m3fd": PublishedSet(
        "M3FD",
        ("all",),
        m3fd,
        ("person", "car"),
        {
            "People": "person",
            "Car": "car",
            **dict.fromkeys(("Bus", "Truck"), "ignore:car"),
            **dict.fromkeys(("Motorcycle", "Lamp")),
        },
    ),
    "kaist": PublishedSet(
        "KAIST Multispectral Pedestrian, with text annotations",
        ("train", "test"),
        kaist,
        ("person",),
        {"person": "person", **dict.fromkeys(("person?", "person?a", "people", "cyclist"), "ignore:person")},
        annotations=True,
    ),
}
