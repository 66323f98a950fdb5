"""KAIST Multispectral Pedestrian: pairs of a vehicle, aligned by a beam splitter (Hwang et al., CVPR 2015).

    [images/]set00/V000/lwir/I00001.jpg  [images/]set00/V000/visible/I00001.jpg
    annotations*/set00/V000/[lwir/]I00001.txt or annotations*/set00_V000_I00001.txt

Sets 00 to 05 train, 06 to 11 test; 03 to 05 and 09 to 11 are by night. The text files, the original ones,
the sanitised (Li et al., BMVC 2018), the paired (Zhang et al., ICCV 2019) or the improved test ones (Liu
et al., BMVC 2016), are of Piotr Dollar's toolbox, "% bbGt version=3": name, left, top, width, height,
occlusion, four numbers of the visible part, ignore, angle. Only frames with a text file are taken.
"""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Iterator
from pathlib import Path

from cgdet_core.data.convert.pictures import FieldSet, Label, Picture, existing
from cgdet_core.errors import InputError

SET = FieldSet(
    ("person",),
    {
        "person": "person",
        "person?": "ignore:person",
        "person?a": "ignore:person",
        "people": "ignore:person",
        "cyclist": "ignore:person",
    },
)
_TRAIN_SETS = range(6)
_NIGHT_SETS = (3, 4, 5, 9, 10, 11)
_FRAME = re.compile(r"set(\d\d)[/_]V(\d\d\d)[/_](?:lwir[/_])?I(\d{5})")
_NESTED = ("set??/V???/lwir/I?????.txt", "set??/V???/I?????.txt")
_FLAT = "set??_V???_I?????.txt"
_REMEDY = "give the folder of KAIST, with set00 and so on, or images, and the text annotations in it"


def pictures(
    folder: Path, split: str, annotations: Path | None = None, names: Collection[str] | None = None
) -> Iterator[Picture]:
    """The pairs of a split that are annotated, by set, video and frame.

    annotations: the folder of the text files, by default the one in `folder` whose name begins with
    annotations. names: only these frames, as the set's lists name them (set06/V000/I00019).
    """
    images = _images(folder)
    texts = _texts(annotations if annotations is not None else _annotations(folder))
    chosen = None if names is None else {_frame(name, "the list") for name in names}
    if chosen is not None and (missing := sorted(chosen - texts.keys())):
        raise InputError(f"{folder}: set{missing[0][0]}/V{missing[0][1]}/I{missing[0][2]} has no annotation: {_REMEDY}")
    for key, text in sorted(texts.items()):
        number, video, frame = key
        in_train = int(number) in _TRAIN_SETS
        if in_train != (split == "train") or (chosen is not None and key not in chosen):
            continue
        video_folder = images / f"set{number}" / f"V{video}"
        yield Picture(
            video_folder / "lwir" / f"I{frame}.jpg",
            read_bbgt(text),
            video_folder / "visible" / f"I{frame}.jpg",
            "night" if int(number) in _NIGHT_SETS else "day",
            f"set{number}/V{video}",
        )


def read_bbgt(path: Path) -> tuple[Label, ...]:
    """The labels in a text file; InputError where it is none of "% bbGt version=3"."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: the labels cannot be read ({error}): copy the set again") from None
    if not lines or not lines[0].startswith("% bbGt version=3"):
        raise InputError(f"{path}: does not begin with '% bbGt version=3': give KAIST's annotations as text files")
    labels = []
    for number, line in enumerate(lines[1:], 2):
        words = line.split()
        if not words:
            continue
        try:
            left, top, width, height = (float(word) for word in words[1:5])
            ignore = len(words) > 10 and float(words[10]) != 0
        except ValueError:
            raise InputError(f"{path}: line {number} is no label of name and box: mend the file") from None
        if not all(math.isfinite(value) for value in (left, top, width, height)):
            raise InputError(f"{path}: line {number} is no label of name and box: mend the file")
        labels.append(Label(words[0], (left, top, width, height), ignore))
    return tuple(labels)


def _images(folder: Path) -> Path:
    return folder / "images" if (folder / "images").is_dir() else folder


def _annotations(folder: Path) -> Path:
    existing(folder, ".", remedy=_REMEDY)
    found = sorted(entry for entry in folder.iterdir() if entry.is_dir() and "annotation" in entry.name.lower())
    if not found:
        raise InputError(f"{folder}: holds no folder of annotations: name it with --annotations, or {_REMEDY}")
    if len(found) > 1:
        names = ", ".join(entry.name for entry in found)
        raise InputError(f"{folder}: holds several folders of annotations, {names}: name one with --annotations")
    return found[0]


def _texts(folder: Path) -> dict[tuple[str, str, str], Path]:
    """(set, video, frame) -> text file; thermal ones where there are two a frame."""
    existing(folder, ".", remedy=_REMEDY)
    for pattern in (*_NESTED, _FLAT):
        found = {_frame(path.relative_to(folder).as_posix(), str(folder)): path for path in folder.glob(pattern)}
        if found:
            return found
    raise InputError(f"{folder}: holds no set00/V000/I00000.txt and no set00_V000_I00000.txt: {_REMEDY}")


def _frame(name: str, where: str) -> tuple[str, str, str]:
    match = _FRAME.search(name)
    if match is None:
        raise InputError(f"{where}: '{name:.60}' names no frame such as set06/V000/I00019: correct it")
    return match[1], match[2], match[3]
