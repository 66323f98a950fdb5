"""cgdet convert: sets of the field, as they are published, into COCO JSON."""

from __future__ import annotations

import argparse
from pathlib import Path

from cgdet_core.commands import common
from cgdet_core.errors import InputError, check_known


def add(subparsers: common.Subparsers) -> None:
    parser = common.add_command(
        subparsers,
        "convert",
        "convert a published data set to COCO JSON; it needs a copy of the set (layouts: docs/reference/sets.md)",
        "cgdet convert llvip LLVIP --out sets/llvip_train.json --split train",
    )
    parser.add_argument(
        "set",
        metavar="SET",
        help="name of the set: flir-v1, flir-v2, llvip, kaist, m3fd; faces: 300w, sf-tl54, t-fake, carl-eurecom",
    )
    parser.add_argument("folder", type=Path, metavar="DIR", help="folder of the set as it was unpacked")
    parser.add_argument("--out", type=common.writable, required=True, metavar="F.json", help="COCO JSON to write")
    parser.add_argument("--split", help="part, as the set names it (default: its part for training)")
    parser.add_argument("--every", type=int, default=1, metavar="N", help="only each N-th image (default: 1)")
    parser.add_argument("--no-rgb", action="store_true", help="do not name the RGB partners")
    parser.add_argument(
        "--annotations", type=Path, metavar="DIR", help="kaist, t-fake, carl-eurecom: folder of the labels, where apart"
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    from cgdet_core.data.convert import SETS
    from cgdet_core.data.convert.published import Part, write_coco_set

    check_known("", "set", [arguments.set], {name: each.title for name, each in SETS.items()})
    of = SETS[arguments.set]
    split = arguments.split or of.splits[0]
    check_known(arguments.set, "split", [split], of.splits)
    if arguments.annotations is not None and not of.annotations:
        raise InputError(f"--annotations: not used for {arguments.set}: leave it out")
    if arguments.every < 1:
        raise InputError(f"--every {arguments.every}: give 1 or more")
    if not arguments.folder.is_dir():
        raise InputError(f"{arguments.folder}: is not a folder: give the folder of the unpacked set")
    part = Part(arguments.folder, split, arguments.annotations)
    summary = write_coco_set(arguments.out, of, part, arguments.every, with_rgb=not arguments.no_rgb)
    print(f"{arguments.out}: {summary.to_text()}")
    return 0
