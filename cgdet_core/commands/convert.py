"""cgdet convert: sets of the field, as they are published, into COCO JSON."""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from cgdet_core.commands.common import Subparsers, add_command
from cgdet_core.errors import InputError

if TYPE_CHECKING:
    from cgdet_core.data.convert.pictures import FieldSet, Picture

# set -> (what it is, its splits; the first is the default)
_SETS = {
    "flir-v1": ("FLIR ADAS v1 aligned (FLIR-aligned), with VOC or COCO labels", ("train", "validation")),
    "flir-v2": ("FLIR ADAS v2, the thermal pictures", ("train", "val", "video")),
    "llvip": ("LLVIP", ("train", "test")),
    "kaist": ("KAIST Multispectral Pedestrian, with text annotations", ("train", "test")),
    "m3fd": ("M3FD", ("all",)),
}


def add(subparsers: Subparsers) -> None:
    convert = add_command(
        subparsers,
        "convert",
        "convert a published set to COCO JSON",
        "cgdet convert llvip LLVIP --out sets/llvip_train.json --split train",
    )
    commands = convert.add_subparsers(dest="set", required=True, metavar="SET")
    for name, (what, splits) in _SETS.items():
        parser = add_command(
            commands,
            name,
            f"convert {what}; docs/sets.md has the layout",
            f"cgdet convert {name} DIR --out sets/{name.replace('-', '_')}_{splits[0]}.json --split {splits[0]}",
        )
        parser.add_argument("folder", type=Path, metavar="DIR", help="folder of the set as it was unpacked")
        parser.add_argument("--out", type=Path, required=True, metavar="F.json", help="COCO JSON to write")
        parser.add_argument("--split", choices=splits, default=splits[0], help=f"part (default: {splits[0]})")
        parser.add_argument("--every", type=int, default=1, metavar="N", help="only each N-th picture (default: 1)")
        if name != "flir-v2":
            parser.add_argument("--no-rgb", action="store_true", help="do not name the RGB partners")
        if name in ("kaist", "m3fd"):
            parser.add_argument("--list", type=Path, metavar="F.txt", help="only the frames that this list names")
        if name == "kaist":
            parser.add_argument(
                "--annotations", type=Path, metavar="DIR", help="folder of the text files (default: DIR/annotations*)"
            )
        parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    from cgdet_core.data.convert.pictures import write_pictures
    from cgdet_core.files import check_can_write

    if arguments.every < 1:
        raise InputError(f"--every {arguments.every}: give 1 or more")
    check_can_write(arguments.out)
    found, of = _pictures(arguments)
    summary = write_pictures(
        arguments.out, found, of, arguments.every, with_rgb=not getattr(arguments, "no_rgb", False)
    )
    print(f"{arguments.out}: {summary.to_text()}")
    return 0


def _pictures(arguments: argparse.Namespace) -> tuple[Iterable[Picture], FieldSet]:
    from cgdet_core.data.convert import flir_v1, flir_v2, kaist, llvip, m3fd
    from cgdet_core.data.convert.pictures import read_list

    folder, split = arguments.folder, arguments.split
    if not folder.is_dir():
        raise InputError(f"{folder}: is no folder: give the folder of the set as it was unpacked")
    listed = read_list(arguments.list) if getattr(arguments, "list", None) is not None else None
    if arguments.set == "flir-v1":
        return flir_v1.pictures(folder, split), flir_v1.SET
    if arguments.set == "flir-v2":
        return flir_v2.pictures(folder, split), flir_v2.field_set(folder, split)
    if arguments.set == "llvip":
        return llvip.pictures(folder, split), llvip.SET
    if arguments.set == "kaist":
        return kaist.pictures(folder, split, arguments.annotations, listed), kaist.SET
    return m3fd.pictures(folder, listed), m3fd.SET
