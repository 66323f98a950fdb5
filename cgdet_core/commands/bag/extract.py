"""cgdet bag extract: a bag's frames as a COCO set."""

from __future__ import annotations

import argparse

from cgdet_core.commands import common
from cgdet_core.commands.bag.pairs import add_pair_arguments, paired_bag
from cgdet_core.commands.many import add_bags_argument
from cgdet_core.errors import InputError


def add(subparsers: common.Subparsers) -> None:
    parser = common.add_command(
        subparsers,
        "extract",
        "write a bag's frames and labels as a COCO set; it needs a bag, and for RGB a registration of its cameras",
        "cgdet bag extract street --out sets/street --labels labels.json --registration registration.yaml",
    )
    add_pair_arguments(parser)
    out = "folder to make; the set is DIR/set.json, of several bags DIR/NAME/set.json"
    parser.add_argument("--out", required=True, metavar="DIR", help=out)
    parser.add_argument(
        "--labels",
        metavar="L",
        help="a Detection2DArray topic, or a COCO JSON keyed by stamp, as `cgdet bag label` writes it, of several "
        "bags its folder (default: the bag's own topic of labels)",
    )
    common.add_class_map_argument(parser)
    parser.add_argument("--no-rgb", action="store_true", help="the thermal frames alone")
    parser.add_argument("--overwrite", action="store_true", help="replace a set that was extracted there")
    add_bags_argument(parser, run, marker="set.json")


def run(arguments: argparse.Namespace) -> int:
    from cgdet_core.data.convert.bag import SET_NAME, extract_bag

    if arguments.no_rgb and (arguments.rgb_topic or arguments.registration):
        raise InputError("--no-rgb cannot go with --rgb-topic or --registration: leave one of them out")
    bag = paired_bag(arguments, not arguments.no_rgb)
    if bag.pairs is not None:
        print(bag.pairs.to_text())
    counts = extract_bag(
        bag,
        arguments.out,
        arguments.labels,
        class_map=arguments.class_map,
        overwrite=arguments.overwrite,
    )
    unlabelled = counts.frames - counts.labelled
    print(
        f"{counts.frames} frames, {counts.with_rgb} with RGB: {counts.labelled} labelled, with {counts.objects} "
        f"objects; {unlabelled} unlabelled (no part of training or evaluation): {arguments.out / SET_NAME}"
    )
    return 0
