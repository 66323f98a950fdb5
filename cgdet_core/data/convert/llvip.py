"""LLVIP: 15,488 pairs of a street camera, aligned pixel by pixel, persons labelled (Jia et al., ICCVW 2021).

    infrared/{train,test}/010001.jpg  visible/{train,test}/010001.jpg  Annotations/010001.xml

The first two digits of a name are the place, the others count frames.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from cgdet_core.data.convert.pictures import FieldSet, Picture, existing, root_of
from cgdet_core.data.convert.voc import read_voc

SET = FieldSet(("person",), {"person": "person"})
_REMEDY = "give the folder of LLVIP, with infrared, visible and Annotations in it"


def pictures(folder: Path, split: str) -> Iterator[Picture]:
    """The pairs of a split in the order of their names. InputError where the folder is none of the set."""
    root = root_of(folder, ("infrared", "Annotations"), _REMEDY)
    thermal = existing(root / "infrared", split, remedy=_REMEDY)
    for path in sorted(thermal.glob("*.jpg")):
        labels = read_voc(root / "Annotations" / f"{path.stem}.xml")
        yield Picture(path, labels, root / "visible" / split / path.name, scene=f"place {path.stem[:2]}")
