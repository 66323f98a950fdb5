"""cgdet convert: sets of the field, as they are published, into COCO JSON."""

from __future__ import annotations

import argparse
from pathlib import Path

from cgdet_core.commands.common import Subparsers, add_command
from cgdet_core.errors import InputError, check_known


def add(subparsers: Subparsers) -> None:
    parser = add_command(
        subparsers,
        "convert",
        "convert a published set (flir-v1, flir-v2, llvip, kaist, m3fd; docs/sets.md has the layouts) to COCO JSON",
        "cgdet convert llvip LLVIP --out sets/llvip_train.json --split train",
    )
    parser.add_argument("set", metavar="SET", help="which: flir-v1, flir-v2, llvip, kaist or m3fd")
    parser.add_argument("folder", type=Path, metavar="DIR", help="folder of the set as it was unpacked")
    parser.add_argument("--out", type=Path, required=True, metavar="F.json", help="COCO JSON to write")
    parser.add_argument("--split", help="part, as the set names it (default: its part for training)")
    parser.add_argument("--every", type=int, default=1, metavar="N", help="only each N-th image (default: 1)")
    parser.add_argument("--no-rgb", action="store_true", help="do not name the RGB partners")
    parser.add_argument(
        "--list", type=Path, metavar="F.txt", dest="frames", help="kaist, m3fd: only the frames that this list names"
    )
    parser.add_argument(
        "--annotations", type=Path, metavar="DIR", help="kaist: folder of the text files (default: DIR/annotations*)"
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    from cgdet_core.data.convert import SETS
    from cgdet_core.data.convert.published import Part, read_list, write_coco_set
    from cgdet_core.files import check_can_write

    check_known("", "set", [arguments.set], {name: each.title for name, each in SETS.items()})
    of = SETS[arguments.set]
    split = arguments.split or of.splits[0]
    check_known(arguments.set, "split", [split], of.splits)
    for option, flag in (("frames", "--list"), ("annotations", "--annotations")):
        if getattr(arguments, option) is not None and option not in of.options:
            raise InputError(f"{flag}: {arguments.set} has no use for it: leave it out")
    if arguments.every < 1:
        raise InputError(f"--every {arguments.every}: give 1 or more")
    if not arguments.folder.is_dir():
        raise InputError(f"{arguments.folder}: is no folder: give the folder of the set as it was unpacked")
    check_can_write(arguments.out)
    frames = None if arguments.frames is None else read_list(arguments.frames)
    part = Part(arguments.folder, split, frames, arguments.annotations)
    summary = write_coco_set(arguments.out, of, part, arguments.every, with_rgb=not arguments.no_rgb)
    print(f"{arguments.out}: {summary.to_text()}")
    return 0
