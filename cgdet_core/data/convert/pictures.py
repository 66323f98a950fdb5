"""What every converter gives, a row of pictures with their labels, and how a COCO JSON comes of it."""

from __future__ import annotations

import os.path
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from tqdm import tqdm

from cgdet_core.data.convert.image_size import image_height_width_px
from cgdet_core.data.sets.coco_write import CocoDraft, image_entry
from cgdet_core.errors import InputError

IGNORE_PREFIX = "ignore:"  # as in labels of bags


@dataclass(frozen=True)
class Label:
    """One box of a set: its name there, left, top, width and height in pixels; ignore: the set says so itself."""

    name: str
    box_xywh_px: tuple[float, float, float, float]
    ignore: bool = False


@dataclass(frozen=True)
class Picture:
    """One thermal picture; rgb: its partner, where the set claims that the two are aligned pixel by pixel."""

    path: Path
    labels: tuple[Label, ...]
    rgb: Path | None = None
    light: str | None = None
    scene: str | None = None


@dataclass(frozen=True)
class FieldSet:
    """How a set's names become classes.

    classes: those that the set labels, the only ones that are learnt from it. names: a name of the set ->
    a class, "ignore:<class>" for what looks so much like the class that finding it is neither right nor
    wrong, or None for what is dropped.
    """

    classes: tuple[str, ...]
    names: Mapping[str, str | None]


@dataclass
class Summary:
    """What came of a set: class or name -> boxes; pairs: pictures with an RGB partner."""

    images: int = 0
    pairs: int = 0
    objects: Counter[str] = field(default_factory=Counter)
    ignored: Counter[str] = field(default_factory=Counter)
    dropped: Counter[str] = field(default_factory=Counter)
    empty: int = 0

    def to_text(self) -> str:
        parts = [f"{self.images} images, {self.pairs} with RGB", f"objects: {_counts(self.objects)}"]
        if self.ignored:
            parts.append(f"regions to ignore: {_counts(self.ignored)}")
        if self.dropped:
            parts.append(f"dropped: {_counts(self.dropped)}")
        if self.empty:
            parts.append(f"boxes without area, dropped: {self.empty}")
        return "; ".join(parts)


def _counts(counts: Counter[str]) -> str:
    return ", ".join(f"{count} {name}" for name, count in sorted(counts.items())) or "none"


def write_pictures(
    out: Path, pictures: Iterable[Picture], of: FieldSet, every: int = 1, with_rgb: bool = True, progress: bool = True
) -> Summary:
    """Write the COCO JSON `out`, whole or not at all; file names are relative to its folder.

    every: only each so many-th picture. with_rgb: name the RGB partners, which must be there and of the
    same size. InputError for a missing or odd picture, a name that the set does not have, and no picture.
    """
    summary = Summary()
    draft = CocoDraft(of.classes)
    chosen = islice(pictures, 0, None, every)
    for picture in tqdm(chosen, "converting", unit="image", disable=None if progress else True):
        height, width = image_height_width_px(picture.path)
        image = image_entry(_relative(picture.path, out), (height, width))
        if with_rgb and picture.rgb is not None:
            _check_partner(picture, (height, width))
            image["rgb_file_name"] = _relative(picture.rgb, out)
            summary.pairs += 1
        image |= {key: value for key in ("light", "scene") if (value := getattr(picture, key)) is not None}
        draft.add_image(image)
        for label in picture.labels:
            annotation = _annotation(label, of, picture.path, summary)
            if annotation is not None:
                name, ignored = annotation
                draft.add_box(of.classes.index(name), label.box_xywh_px, ignored)
    if not draft.images:
        raise InputError(f"{out}: no picture is left to write: check the folder and the split")
    summary.images = len(draft.images)
    draft.write(out)
    return summary


def _annotation(label: Label, of: FieldSet, where: Path, summary: Summary) -> tuple[str, bool] | None:
    """(class, whether to ignore it); None for what is dropped."""
    if label.name not in of.names:
        raise InputError(
            f"{where}: has a label '{label.name:.40}', which is none of the set's {', '.join(sorted(of.names))}: "
            "is it this set?"
        )
    target = of.names[label.name]
    if target is None:
        summary.dropped[label.name] += 1
        return None
    if label.box_xywh_px[2] <= 0 or label.box_xywh_px[3] <= 0:
        summary.empty += 1
        return None
    ignored = label.ignore or target.startswith(IGNORE_PREFIX)
    name = target.removeprefix(IGNORE_PREFIX)
    (summary.ignored if ignored else summary.objects)[name] += 1
    return name, ignored


def _check_partner(picture: Picture, height_width_px: tuple[int, int]) -> None:
    assert picture.rgb is not None
    size = image_height_width_px(picture.rgb, "copy the set again, or give --no-rgb")
    if size != height_width_px:
        (rgb_height, rgb_width), (height, width) = size, height_width_px
        raise InputError(
            f"{picture.rgb}: is {rgb_width}x{rgb_height} pixels, {picture.path.name} is {width}x{height}: the two are "
            "not aligned: give the aligned set, or --no-rgb"
        )


def _relative(path: Path, out: Path) -> str:
    return Path(os.path.relpath(path.absolute(), out.absolute().parent)).as_posix()


def existing(folder: Path, *names: str, remedy: str) -> Path:
    """The first of folder/name that is there; InputError names the first where none is."""
    if not folder.is_dir():
        raise InputError(f"{folder}: is no folder: {remedy}")
    for name in names:
        if (folder / name).exists():
            return folder / name
    others = f" (nor {', '.join(names[1:])})" if len(names) > 1 else ""
    raise InputError(f"{folder}: holds no {names[0]}{others}: {remedy}")


def root_of(folder: Path, marks: Sequence[str], remedy: str) -> Path:
    """`folder`, or the one folder in it, that holds all of `marks`: archives often wrap a set in a folder."""
    candidates = [folder, *sorted(entry for entry in folder.iterdir() if entry.is_dir())] if folder.is_dir() else []
    for candidate in candidates:
        if all((candidate / mark).exists() for mark in marks):
            return candidate
    raise InputError(f"{folder}: holds no {' and '.join(marks)}: {remedy}")


def read_list(path: Path) -> list[str]:
    """The lines of a text file that are not empty; InputError where there are none."""
    try:
        lines = [line.strip() for line in path.read_text(encoding="utf-8").splitlines()]
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read as a list ({error}): give a text file with a name a line") from None
    found = [line for line in lines if line]
    if not found:
        raise InputError(f"{path}: names nothing: give a text file with a name a line")
    return found
