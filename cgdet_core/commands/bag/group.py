"""cgdet bag: make and look into recorded bags."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from cgdet_core.commands.bag import extract, label, register
from cgdet_core.commands.common import Subparsers, add_class_map_argument, add_command
from cgdet_core.errors import InputError


def add(subparsers: Subparsers) -> None:
    bag = add_command(
        subparsers,
        "bag",
        "make recorded bags, look into them, register them",
        "cgdet bag make --out street --seconds 20",
    )
    commands = bag.add_subparsers(dest="bag_command", required=True, metavar="COMMAND")

    make = add_command(
        commands,
        "make",
        "make a labelled bag: of the synthetic street, or of a COCO set",
        "cgdet bag make --out street --seed 7\n  cgdet bag make --out recorded --coco msrs/thermal_test.json",
    )
    make.add_argument("--out", type=Path, required=True, metavar="BAG", help="folder of the bag (rosbag2)")
    make.add_argument("--coco", type=Path, metavar="F", help="COCO JSON; without it the synthetic street is rendered")
    add_class_map_argument(make)
    make.add_argument("--seed", type=int, help="of the street (default: 0)")
    make.add_argument("--seconds", type=float, help="length of the street's bag (default: 20)")
    make.add_argument("--fps", type=float, help="frames per second (default: 10, of a COCO set 5)")
    make.add_argument("--bit-depth", type=int, choices=(8, 16), help="of the street's thermal frames (default: 16)")
    make.add_argument("--light", choices=("mixed", "day", "night"), help="of the street (default: mixed)")
    make.add_argument("--no-rgb", action="store_true", help="the street's thermal frames alone")
    make.add_argument("--storage", choices=("mcap", "sqlite3"), default="mcap", help="file format (default: mcap)")
    make.add_argument("--overwrite", action="store_true", help="replace a bag that is there")
    make.set_defaults(run=run_make)

    info = add_command(
        commands,
        "info",
        "show a bag's topics, rates, image sizes and labels",
        "cgdet bag info street",
    )
    info.add_argument("bag", type=Path, metavar="BAG", help="rosbag2 folder, .mcap, .db3 or ROS 1 .bag file")
    info.add_argument("--json", action="store_true", help="as JSON")
    info.set_defaults(run=run_info)

    for command in (register, label, extract):
        command.add(commands)


def run_make(arguments: argparse.Namespace) -> int:
    from cgdet_core.config import BagConfig, SyntheticConfig, settings_from_mapping
    from cgdet_core.data.sets.coco import parse_class_map
    from cgdet_core.data.synthetic.bag import make_coco_bag, make_synthetic_bag

    def given(*words: str) -> dict[str, Any]:
        values = {word: getattr(arguments, word) for word in words}
        return {
            word: value for word, value in values.items() if value is not None and value is not False and value != []
        }

    of_the_street, of_a_set = given("seed", "seconds", "bit_depth", "light", "no_rgb"), given("class_map")
    wrong = of_a_set if arguments.coco is None else of_the_street
    if wrong:
        named, kind = ", ".join("--" + word.replace("_", "-") for word in wrong), "a COCO set (--coco)"
        raise InputError(f"{named}: of {kind if arguments.coco is None else 'the synthetic street'}: leave it out")
    words = {**given("storage", "seconds"), "frames_per_second": arguments.fps, "with_rgb": not arguments.no_rgb}
    config = settings_from_mapping(BagConfig, words, "cgdet bag make")
    if arguments.coco is not None:
        class_map = parse_class_map(arguments.class_map)
        frames = make_coco_bag(
            arguments.out,
            arguments.coco,
            config,
            class_map=class_map,
            overwrite=arguments.overwrite,
        )
    else:
        street = settings_from_mapping(SyntheticConfig, given("bit_depth", "light"), "cgdet bag make")
        frames = make_synthetic_bag(
            arguments.out, config, street, seed=arguments.seed or 0, overwrite=arguments.overwrite
        )
    print(f"{frames} frames: {arguments.out}")
    return 0


def run_info(arguments: argparse.Namespace) -> int:
    from cgdet_core.data.bags.info import bag_info

    info = bag_info(arguments.bag, progress=True)
    print(json.dumps(info.to_json(), indent=2) if arguments.json else info.to_text())
    return 0
