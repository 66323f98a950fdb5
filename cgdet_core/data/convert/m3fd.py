"""M3FD: 4,200 pairs of a vehicle, aligned pixel by pixel, six classes labelled (Liu et al., CVPR 2022).

    Ir/00000.png  Vis/00000.png  Annotation/00000.xml

The set names no split; `names` chooses one of somebody's list.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from pathlib import Path

from cgdet_core.data.convert.pictures import FieldSet, Picture, root_of
from cgdet_core.data.convert.voc import read_voc
from cgdet_core.errors import InputError

SET = FieldSet(
    ("person", "car"),
    {
        "People": "person",
        "Car": "car",
        "Bus": "ignore:car",
        "Truck": "ignore:car",
        "Motorcycle": None,
        "Lamp": None,
    },
)
_REMEDY = "give the folder of M3FD_Detection, with Ir, Vis and Annotation in it"


def pictures(folder: Path, names: Collection[str] | None = None) -> Iterator[Picture]:
    """The pairs, or those of `names` (00000 or 00000.png), in the order of their names."""
    root = root_of(folder, ("Ir", "Annotation"), _REMEDY)
    paths = {path.stem: path for path in sorted((root / "Ir").glob("*.png"))}
    chosen = paths if names is None else sorted({Path(name).stem for name in names})
    for stem in chosen:
        if stem not in paths:
            raise InputError(f"{root / 'Ir' / (stem + '.png')}: is missing, the list names it: {_REMEDY}")
        labels = read_voc(root / "Annotation" / f"{stem}.xml")
        yield Picture(paths[stem], labels, root / "Vis" / f"{stem}.png")
