"""What a published set gives, pictures with their labels, and the COCO JSON that is written of them."""

from __future__ import annotations

import os.path
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from xml.etree.ElementTree import ParseError

import imagesize
import numpy as np
from tqdm import tqdm

from cgdet_core.data.sets.coco_file import CocoDraft, image_entry, keypoints
from cgdet_core.data.sets.fields import same_name
from cgdet_core.errors import InputError, unknown
from cgdet_core.types import FloatArray

IGNORE_PREFIX = "ignore:"  # as in labels of bags


@dataclass(frozen=True)
class Label:
    """One box of a set: its name there, left, top, width and height in pixels; ignore: the set says so itself;
    points_xy_px: float [68, 2] of a face, in iBUG's order, from the first pixel's centre; NaN: no label."""

    name: str
    box_xywh_px: tuple[float, float, float, float]
    ignore: bool = False
    points_xy_px: FloatArray | None = None


@dataclass(frozen=True)
class LabelledImage:
    """One thermal image; rgb: its partner, where the set claims that the two are aligned pixel by pixel;
    height_width_px: what its labels say, (0, 0) where they do not."""

    path: Path
    labels: tuple[Label, ...]
    rgb: Path | None = None
    light: str | None = None
    scene: str | None = None
    subject: str | None = None
    height_width_px: tuple[int, int] = (0, 0)


@dataclass(frozen=True)
class Part:
    """What is asked of a set. annotations: their folder, where it is none of the set's own."""

    folder: Path
    split: str
    annotations: Path | None = None


@dataclass(frozen=True)
class PublishedSet:
    """A set of the field.

    splits: the first is the default; images: reads a part of it, InputError where the folder is none of the set;
    classes: those that the set labels; names: a name of the set -> a class, "ignore:<class>" for what is neither right
    nor wrong to find, or None for what is dropped; drops_others: so are all names that are not among them; annotations:
    whether Part.annotations is of use; points: whether its boxes have iBUG's 68 points.
    """

    title: str
    splits: tuple[str, ...]
    images: Callable[[Part], Iterable[LabelledImage]]
    classes: tuple[str, ...]
    names: Mapping[str, str | None]
    drops_others: bool = False
    annotations: bool = False
    points: bool = False


@dataclass
class Summary:
    """What came of a set: class or name -> boxes; pairs: images with RGB; other_size: of another size than labelled."""

    images: int = 0
    pairs: int = 0
    objects: Counter[str] = field(default_factory=Counter)
    ignored: Counter[str] = field(default_factory=Counter)
    dropped: Counter[str] = field(default_factory=Counter)
    empty: int = 0
    other_size: int = 0

    def to_text(self) -> str:
        parts = [f"{self.images} images, {self.pairs} with RGB"]
        for name, counts in (("objects", self.objects), ("regions to ignore", self.ignored), ("dropped", self.dropped)):
            parts.append(f"{name}: " + (", ".join(f"{n} {what}" for what, n in sorted(counts.items())) or "none"))
        if self.other_size:
            parts.append(f"{self.other_size} images are of ANOTHER SIZE than their labels say")
        return "; ".join([*parts, f"boxes without area, dropped: {self.empty}"])


def write_coco_set(out: Path, of: PublishedSet, part: Part, every: int = 1, with_rgb: bool = True) -> Summary:
    """Write the COCO JSON `out`, whole or not at all; file names are relative to its folder.

    every: only each so many-th image. with_rgb: name the RGB partners, which must be there and of the same size.
    InputError for a missing or odd image, a name that the set does not have, and no image.
    """
    summary, draft = Summary(), CocoDraft(of.classes, of.points)
    chosen = islice(of.images(part), 0, None, every)
    for image in tqdm(chosen, "converting", unit="image", disable=None):
        size = _height_width_px(image.path, "copy the set again")
        if image.height_width_px not in ((0, 0), size):
            summary.other_size += 1
        more = {"light": image.light, "scene": image.scene, "subject": image.subject}
        entry = image_entry(_relative(image.path, out), size, **more)
        if with_rgb and image.rgb is not None:
            rgb_size = _height_width_px(image.rgb, "copy the set again, or give --no-rgb")
            if rgb_size != size:
                raise InputError(
                    f"{image.rgb}: has {rgb_size[1]}x{rgb_size[0]} pixels, {image.path.name} {size[1]}x{size[0]}: "
                    "give the aligned set, or --no-rgb"
                )
            entry["rgb_file_name"] = _relative(image.rgb, out)
            summary.pairs += 1
        draft.add_image(entry)
        for label in image.labels:
            _add_label(draft, label, of, image.path, summary)
    summary.images = len(draft.images)
    if not summary.images:
        raise InputError(f"{part.folder}: the split '{part.split}' has no image: check the folder")
    draft.write(out)
    return summary


def _add_label(draft: CocoDraft, label: Label, of: PublishedSet, where: Path, summary: Summary) -> None:
    name = same_name(label.name, of.names)
    if name is None and not of.drops_others:
        raise unknown(str(where), "label", label.name, sorted(of.names), "is it this set?")
    target = None if name is None else of.names[name]
    if target is None:
        summary.dropped[label.name] += 1
    elif min(label.box_xywh_px[2:]) <= 0:
        summary.empty += 1
    else:
        ignored = label.ignore or target.startswith(IGNORE_PREFIX)
        name = target.removeprefix(IGNORE_PREFIX)
        (summary.ignored if ignored else summary.objects)[name] += 1
        points = label.points_xy_px
        more = {} if points is None else keypoints(points, np.isfinite(points[:, 0]))
        draft.add_box(of.classes.index(name), label.box_xywh_px, ignored, **more)


def _height_width_px(path: Path, remedy: str) -> tuple[int, int]:
    """As the image is read, as stored; of its first bytes: sets have thousands, decoding them takes minutes."""
    if not path.is_file():
        raise InputError(f"{path}: is missing: {remedy}")
    width, height = imagesize.get(path, exif_rotation=False)
    if width < 1 or height < 1:
        raise InputError(f"{path}: is not an image that can be decoded: {remedy}")
    return height, width


def _relative(path: Path, out: Path) -> str:
    return Path(os.path.relpath(path.absolute(), out.absolute().parent)).as_posix()


@contextmanager
def naming(path: Path, wanted: str) -> Iterator[None]:
    """InputError that names `path`, whose labels are read within, for what keeps it from being what is wanted."""
    try:
        yield
    except OSError as error:
        raise InputError(f"{path}: the labels cannot be read ({error.strerror}): copy the set again") from None
    except (ParseError, ValueError, LookupError, TypeError) as error:
        raise InputError(f"{path}: is not {wanted} ({error!r:.80}): copy the set again") from None


def root_of(folder: Path, *marks: str) -> Path:
    """`folder`, or the one folder in it, that holds all of `marks`: archives often wrap a set in a folder."""
    candidates = [folder, *sorted(entry for entry in folder.iterdir() if entry.is_dir())] if folder.is_dir() else []
    for candidate in candidates:
        if all((candidate / mark).exists() for mark in marks):
            return candidate
    raise InputError(f"{folder}: holds no {' and '.join(marks)}: give the set's folder, as it was published")


def files_in(folder: Path, *suffixes: str) -> list[Path]:
    """Those with one of the suffixes, in whatever case, sorted; not the `._` files of macOS."""
    return sorted(path for path in folder.glob("[!.]*") if path.suffix.lower() in suffixes)
