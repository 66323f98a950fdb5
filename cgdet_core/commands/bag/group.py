"""cgdet bag: make and look into recorded bags."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from cgdet_core.commands import common
from cgdet_core.commands.bag import extract, label, register
from cgdet_core.commands.many import add_bags_argument
from cgdet_core.errors import InputError

_OF_THE_STREET = ("seed", "seconds", "bit_depth", "light", "no_rgb")


def add(subparsers: common.Subparsers) -> None:
    bag = common.add_command(
        subparsers,
        "bag",
        "make, look into, register, label and extract bags; each of its commands has its own --help",
        "cgdet bag info street",
    )
    commands = bag.add_subparsers(dest="bag_command", required=True, metavar="COMMAND")

    make = common.add_command(
        commands,
        "make",
        "make a bag with labels; it renders a street, or takes a COCO set (--coco)",
        "cgdet bag make --out street --seconds 20",
    )
    make.argument_default = argparse.SUPPRESS  # what is not given is no attribute
    make.add_argument("--out", type=Path, required=True, metavar="BAG", help="folder of the bag (rosbag2)")
    make.add_argument("--coco", type=Path, metavar="F", help="COCO JSON; without it the synthetic street is rendered")
    common.add_class_map_argument(make)
    make.add_argument("--seed", type=int, help="seed of the street (default: 0)")
    make.add_argument("--seconds", type=float, help="length of the street's bag (default: 20)")
    fps = "frames per second (default: 10, of a COCO set 5)"
    make.add_argument("--fps", type=float, dest="frames_per_second", help=fps)
    make.add_argument("--bit-depth", type=int, help="bits of the street's thermal frames, 8 or 16 (default: 16)")
    make.add_argument("--light", help="light of the street: mixed, day or night (default: mixed)")
    make.add_argument("--no-rgb", action="store_true", help="the street's thermal frames alone")
    make.add_argument("--overwrite", action="store_true", help="replace a bag that is there")
    make.set_defaults(run=run_make)

    info = common.add_command(
        commands,
        "info",
        "show a bag's topics, rates, image sizes, labels and damage; it needs a bag",
        "cgdet bag info street",
    )
    info.add_argument("--json", action="store_true", dest="as_json", help="as JSON")
    add_bags_argument(info, run_info)

    for command in (register, label, extract):
        command.add(commands)


def run_make(arguments: argparse.Namespace) -> int:
    from cgdet_core.config import SyntheticConfig, settings_from_mapping
    from cgdet_core.data.synthetic.bag import COCO_FRAMES_PER_SECOND, make_coco_bag, make_synthetic_bag

    given: dict[str, Any] = vars(arguments)
    coco, overwrite = given.get("coco"), "overwrite" in given
    of_the_other = _OF_THE_STREET if coco else ("class_map",)
    wrong = [name for name in of_the_other if given.get(name) not in (None, {})]
    if wrong:
        named, kind = ", ".join("--" + name.replace("_", "-") for name in wrong), "a COCO set (--coco)"
        raise InputError(f"{named}: of {'the synthetic street' if coco else kind}: leave it out")
    words = {name: given[name] for name in SyntheticConfig.model_fields if name in given}
    street = settings_from_mapping(SyntheticConfig, words | {"with_rgb": "no_rgb" not in given}, "cgdet bag make")
    if coco:
        rate = given.get("frames_per_second", COCO_FRAMES_PER_SECOND)
        frames = make_coco_bag(
            arguments.out, coco, frames_per_second=rate, class_map=arguments.class_map, overwrite=overwrite
        )
    else:
        frames = make_synthetic_bag(arguments.out, street, seed=given.get("seed", 0), overwrite=overwrite)
    print(f"{frames} frames: {arguments.out}")
    return 0


def run_info(arguments: argparse.Namespace) -> int:
    from cgdet_core.data.bags.info import bag_info

    info = bag_info(arguments.bag)
    print(json.dumps(asdict(info), indent=2) if arguments.as_json else info.to_text())
    return 0
