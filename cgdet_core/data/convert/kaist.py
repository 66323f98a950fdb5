"""KAIST Multispectral Pedestrian: pairs of a vehicle, aligned by a beam splitter (Hwang et al., CVPR 2015).

    [images/]set00/V000/lwir/I00001.jpg  [images/]set00/V000/visible/I00001.jpg
    annotations*/set00/V000/[lwir/]I00001.txt or annotations*/set00_V000_I00001.txt

Sets 00 to 05 train, 06 to 11 test; 03 to 05 and 09 to 11 are by night. The text files, the original, sanitised (Li et
al., BMVC 2018), paired (Zhang et al., ICCV 2019) or improved test ones (Liu et al., BMVC 2016), are of Piotr Dollar's
toolbox, "% bbGt version=3": name, left, top, width, height, occlusion, four numbers of the visible part, ignore, angle.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator
from pathlib import Path

from cgdet_core.data.convert.published import Label, LabelledImage, Part, PublishedSet, naming
from cgdet_core.data.sets.fields import box, flag
from cgdet_core.errors import InputError

_TRAIN_SETS = range(6)
_NIGHT_SETS = (3, 4, 5, 9, 10, 11)
_FRAME = re.compile(r"set(\d\d)[/_]V(\d\d\d)[/_](?:lwir[/_])?I(\d{5})")
_TEXTS = ("set??/V???/lwir/I?????.txt", "set??/V???/I?????.txt", "set??_V???_I?????.txt")
_REMEDY = "give the folder of KAIST, with set00 and so on, or images, and the text annotations in it"


def kaist(part: Part) -> Iterator[LabelledImage]:
    """The pairs of a split that have a text file, by set, video and frame. part.annotations: the folder of these, by
    default the only one of that name in the set's."""
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
        return tuple(Label(words[0], box(words[1:5]), len(words) > 10 and flag(words[10])) for words in rows)


def _annotations(folder: Path) -> Path:
    found = sorted(entry for entry in folder.iterdir() if entry.is_dir() and "annotation" in entry.name.lower())
    if len(found) != 1:
        names = ", ".join(entry.name for entry in found) or "none"
        raise InputError(f"{folder}: of its folders of annotations ({names}) name one with --annotations, or {_REMEDY}")
    return found[0]


def _texts(folder: Path) -> dict[tuple[str, ...], Path]:
    """Thermal ones where there are two a frame."""
    for pattern in _TEXTS:
        if found := _frames(folder, pattern):
            return found
    raise InputError(f"{folder}: holds no set00/V000/I00000.txt and no set00_V000_I00000.txt: {_REMEDY}")


def _frames(folder: Path, pattern: str) -> dict[tuple[str, ...], Path]:
    """(set, video, frame) -> file."""
    named = ((_FRAME.search(path.relative_to(folder).as_posix()), path) for path in folder.glob(pattern))
    return {match.groups(): path for match, path in named if match}


KAIST = PublishedSet(
    "KAIST Multispectral Pedestrian, with text annotations",
    ("train", "test"),
    kaist,
    ("person",),
    {"person": "person", **dict.fromkeys(("person?", "person?a", "people", "cyclist"), "ignore:person")},
    annotations=True,
)
