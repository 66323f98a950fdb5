"""Sets of aligned pairs with labels in Pascal VOC's XML: LLVIP and M3FD.

Corners are taken as they stand, width = xmax - xmin: the tools that wrote these sets count from 0.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

from cgdet_core.data.convert.published import Label, LabelledImage, Part, PublishedSet, naming, root_of
from cgdet_core.data.sets.fields import box, flag

_CORNERS = ("xmin", "ymin", "xmax", "ymax")
_REMEDY_LLVIP = "give the folder of LLVIP, with infrared, visible and Annotations in it"
_REMEDY_M3FD = "give the folder of M3FD_Detection, with Ir, Vis and Annotation in it"


def llvip(part: Part) -> Iterator[LabelledImage]:
    """LLVIP: 15,488 pairs of a street camera, persons labelled (Jia et al., ICCVW 2021).

        infrared/{train,test}/010001.jpg  visible/{train,test}/010001.jpg  Annotations/010001.xml

    The first two digits of a name are the place, the others count frames.
    """
    root = root_of(part.folder, (f"infrared/{part.split}", "Annotations"), _REMEDY_LLVIP)
    for path in sorted((root / "infrared" / part.split).glob("[!.]*.jpg")):
        labels = read_voc(root / "Annotations" / f"{path.stem}.xml")
        rgb = root / "visible" / part.split / path.name
        yield LabelledImage(path, labels, rgb, scene=f"place {path.stem[:2]}")


def m3fd(part: Part) -> Iterator[LabelledImage]:
    """M3FD: 4,200 pairs of a vehicle, six classes labelled (Liu et al., CVPR 2022).

        Ir/00000.png  Vis/00000.png  Annotation/00000.xml

    The set names no split.
    """
    root = root_of(part.folder, ("Ir", "Annotation"), _REMEDY_M3FD)
    for path in sorted((root / "Ir").glob("[!.]*.png")):
        yield LabelledImage(path, read_voc(root / "Annotation" / f"{path.stem}.xml"), root / "Vis" / path.name)


def read_voc(path: Path) -> tuple[Label, ...]:
    """The labels in an XML file; InputError where it is missing, no VOC annotation, or has a box that is none."""
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
        flag(item.findtext("difficult") or None),
    )


LLVIP = PublishedSet("LLVIP", ("train", "test"), llvip, ("person",), {"person": "person"})
M3FD = PublishedSet(
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
)
