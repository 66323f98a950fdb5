"""Sets of faces with landmarks, in the 68 points of iBUG's order: 300W, SF-TL54, T-FAKE, CARL and EURECOM.

A point that a set does not have has no label (v = 0): it costs and counts nothing. Points come out in pixels from the
centre of the first pixel; where a set counts from elsewhere, its reader says from where. All have the class `face`.
Layouts: docs/reference/sets.md.
"""

from __future__ import annotations

import json
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence, Set
from pathlib import Path
from typing import Any, Final
from xml.etree import ElementTree

import numpy as np

from cgdet_core.data.convert.published import Label, LabelledImage, Part, PublishedSet, files_in, naming, root_of
from cgdet_core.data.sets.fields import box, numbers
from cgdet_core.tasks.landmarks.crop import box_of_points
from cgdet_core.tasks.landmarks.points import POINTS
from cgdet_core.types import FloatArray

# a set's points, in its own order or by its names -> iBUG's; -1: not among the 68
IN_ORDER: Final = tuple(range(POINTS))
WITH_PUPILS: Final = (*IN_ORDER, -1, -1)
OF_54: Final = (*range(48), 48, 51, 54, 57, 62, 66)
OF_6: Final = {  # the person's right is at the picture's left
    "righteye_outer": 36,
    "righteye_inner": 39,
    "lefteye_inner": 42,
    "lefteye_outer": 45,
    "mouthcorner_right": 48,
    "mouthcorner_left": 54,
}
_PARTS_300W = {
    "train": ("afw", "helen/trainset", "lfpw/trainset"),
    "full": ("helen/testset", "lfpw/testset", "ibug"),
    "common": ("helen/testset", "lfpw/testset"),
    "challenging": ("ibug",),
    "private": ("01_Indoor", "02_Outdoor"),
}
_FOLDERS_6 = {"thermal": {"thermal_bmp", "TH"}, "visible": {"classic", "VIS"}}


def ibug_300w(part: Part) -> Iterator[LabelledImage]:
    """300W: RGB faces with 68 points (Sagonas et al., ICCVW 2013), 3,148 to train, 689 in `full`, 600 in `private`.
    It counts as Matlab does, the first pixel's centre is (1, 1) (the publisher's page)."""
    folders = _PARTS_300W[part.split]
    root = root_of(part.folder, *folders)
    pictures, texts = (
        {path.with_suffix(""): path for folder in folders for path in files_in(root / folder, *suffixes)}
        for suffixes in ((".jpg", ".png"), (".pts",))
    )
    _tell_unlabelled(root, pictures.keys(), texts.keys())
    for name, path in sorted(texts.items()):
        with naming(path, "68 points of 'version: 1', in braces"):
            rows = path.read_text(encoding="utf-8-sig").partition("{")[2].partition("}")[0].split()
            points = _placed(rows, IN_ORDER, first_px=1)
        yield LabelledImage(pictures.get(name, path.with_suffix(".jpg")), (_face(points),))


def _tell_unlabelled(folder: Path, pictures: Set[Any], labelled: Set[Any]) -> None:
    if without := len(pictures - labelled):
        told = f"{folder}: {without} of {len(pictures)} pictures have no labels and are left out"
        warnings.warn(told, stacklevel=2)


def sf_tl54(part: Part) -> Iterator[LabelledImage]:
    """SF-TL54: 2,556 thermal faces of 142 persons with 54 points (Kuzdeuov et al., SII 2022), the grey pictures.

    The first number of a name is the person. The JSON is labelme's, which counts from the corner of the first pixel:
    the shape `face` is two corners, the others are the points, in the order of the publisher's figure: 48 as iBUG's,
    then of the mouth the left corner, top, right corner, bottom and both inner middles. No RGB is named as a partner.
    """
    folder = root_of(part.folder, f"gray/{part.split}/json") / "gray" / part.split
    pictures = {path.stem: path for path in files_in(folder / "images", ".png")}
    texts = {path.stem: path for path in files_in(folder / "json", ".json")}
    _tell_unlabelled(folder, pictures.keys(), texts.keys())
    for stem, path in texts.items():
        with naming(path, "labelme's JSON with a face and 54 points"):
            shapes = json.loads(path.read_bytes())["shapes"]
            x0, y0, x1, y1 = box(_flat(shape["points"] for shape in shapes if shape["label"] == "face"))
            points = _placed(_flat(shape["points"] for shape in shapes if shape["label"] != "face"), OF_54, 0.5)
            label = Label("face", (min(x0, x1), min(y0, y1), abs(x1 - x0), abs(y1 - y0)), points_xy_px=points)
        picture = pictures.get(stem, folder / "images" / f"{stem}.png")
        yield LabelledImage(picture, (label,), subject=stem.split("_")[0])


def t_fake(part: Part) -> Iterator[LabelledImage]:
    """T-FAKE: 100,000 faces of Microsoft's FaceSynthetics, made thermal (Flotho et al., 2024), 16 bits.

    part.annotations: FaceSynthetics. The points are iBUG's 68, projected from 3D, hidden ones too, and two pupils,
    which are left out. Neither publisher says whether they count from the first pixel's corner or its centre: they are
    taken as they stand.
    """
    labels = part.annotations or part.folder
    for path in sorted(part.folder.rglob("[!.]*_thermal.png")):
        number = path.name.partition("_")[0]
        text = labels / f"{number}_ldmks.txt"
        with naming(text, "70 lines of x and y"):
            points = _placed(text.read_text(encoding="utf-8-sig").split(), WITH_PUPILS)
        yield LabelledImage(path, (_face(points),), labels / f"{number}.png")


def six_points(part: Part) -> Iterator[LabelledImage]:
    """CARL or EURECOM VIS-TH with six points (Kantarci and Ekenel, BIOSIG 2019): corners of eyes and mouth.

    part.annotations is the folder of their XML, dlib's, one a person, which name pictures from the set's folder on. A
    point that a face lacks, or names twice, has no label. The two cameras are not aligned.
    """
    folders = _FOLDERS_6[part.split]
    for path in files_in(part.annotations or part.folder, ".xml"):
        with naming(path, "a <dataset> of dlib with parts named righteye_outer and so on"):
            pictures = [
                (Path(image.attrib["file"]), tuple(_six(each) for each in image.iter("box")))
                for image in ElementTree.fromstring(path.read_bytes()).iter("image")
            ]
        for file, labels in pictures:
            if folders.intersection(file.parts):
                yield LabelledImage(part.folder / file, labels, subject=file.parts[0])


def _placed(values: Sequence[Any], order: Sequence[int], first_px: float = 0) -> FloatArray:
    """x, y, x, y ... of points in a set's order, where the centre of the first pixel is (first_px, first_px)."""
    points, places = np.full((POINTS, 2), np.nan, np.float32), np.array(order, np.int64)
    xy = np.reshape(numbers(values, 2 * len(order)), (-1, 2)) - first_px
    points[places[places >= 0]] = xy[places >= 0]
    return points


def _flat(shapes: Iterable[Sequence[Sequence[Any]]]) -> list[Any]:
    return [value for points in shapes for point in points for value in point]


def _six(item: ElementTree.Element) -> Label:
    parts = [each.attrib for each in item.findall("part")]
    named = Counter(part["name"] for part in parts)
    once = [part for part in parts if named[part["name"]] == 1]
    points = _placed([part[axis] for part in once for axis in "xy"], [OF_6[part["name"]] for part in once])
    return Label("face", box(item.attrib[key] for key in ("left", "top", "width", "height")), points_xy_px=points)


def _face(points: FloatArray) -> Label:
    """A face by its points, which the box is drawn about."""
    left, top, right, bottom = box_of_points(points).tolist()
    return Label("face", (left, top, right - left, bottom - top), points_xy_px=points)


def _faces(
    title: str, splits: tuple[str, ...], images: Callable[[Part], Iterator[LabelledImage]], annotations: bool = False
) -> PublishedSet:
    return PublishedSet(title, splits, images, ("face",), {"face": "face"}, annotations=annotations, points=True)


FACES: Final = {
    "300w": _faces("300W, RGB faces with 68 points", tuple(_PARTS_300W), ibug_300w),
    "sf-tl54": _faces("SF-TL54, thermal faces with 54 points", ("train", "val", "test"), sf_tl54),
    "t-fake": _faces("T-FAKE, rendered faces made thermal, with 68 points", ("all",), t_fake, annotations=True),
    "carl-eurecom": _faces("CARL or EURECOM VIS-TH, with six points", tuple(_FOLDERS_6), six_points, annotations=True),
}
