"""Labels in Pascal VOC's XML, as LLVIP, M3FD and FLIR-aligned have them.

Their corners are taken as they stand, width = xmax - xmin: the tools that wrote these sets count from 0.
"""

from __future__ import annotations

import math
from pathlib import Path
from xml.etree import ElementTree

from cgdet_core.data.convert.pictures import Label
from cgdet_core.errors import InputError

_CORNERS = ("xmin", "ymin", "xmax", "ymax")
_MAX_BYTES = 10_000_000


def read_voc(path: Path) -> tuple[Label, ...]:
    """The labels in an XML file; InputError where it is missing, no VOC annotation, or has a box that is none."""
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise InputError(f"{path}: is too large for the labels of one picture: copy the set again")
        data = path.read_bytes()
        # entities could expand without bound, and no set has any
        if b"<!ENTITY" in data:
            raise InputError(f"{path}: defines entities, which labels do not: copy the set again")
        root = ElementTree.fromstring(data)
    except OSError as error:
        raise InputError(f"{path}: the labels cannot be read ({error.strerror}): copy the set again") from None
    except (ElementTree.ParseError, ValueError, LookupError) as error:
        raise InputError(f"{path}: is no XML ({error}): copy the set again") from None
    if root.tag != "annotation":
        raise InputError(f"{path}: is a <{root.tag:.40}>, not the <annotation> of a picture: copy the set again")
    return tuple(_label(item, path) for item in root.iter("object"))


def _label(item: ElementTree.Element, path: Path) -> Label:
    name = (item.findtext("name") or "").strip()
    try:
        left, top, right, bottom = (float(item.findtext(f"bndbox/{corner}") or "") for corner in _CORNERS)
    except ValueError:
        raise InputError(f"{path}: an object '{name:.40}' has no bndbox of four numbers: mend the file") from None
    if not name or not all(math.isfinite(value) and abs(value) < 1e6 for value in (left, top, right, bottom)):
        raise InputError(f"{path}: an object '{name:.40}' has no name, or a box that is none: mend the file")
    return Label(name, (left, top, right - left, bottom - top))
