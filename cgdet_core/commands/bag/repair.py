"""cgdet bag repair: a whole bag of what can be read of a damaged one."""

from __future__ import annotations

import argparse
from pathlib import Path

from cgdet_core.commands.common import Subparsers, add_command, print_losses


def add(commands: Subparsers) -> None:
    parser = add_command(
        commands,
        "repair",
        "write what can be read of a damaged bag to a new one, and name the rest",
        "cgdet bag repair drive --out drive_repaired",
    )
    parser.add_argument("bag", type=Path, metavar="BAG", help="rosbag2 folder, .mcap, .db3 or .bag file")
    parser.add_argument(
        "--out", type=Path, required=True, metavar="NEW", help="folder of the new bag; of a ROS 1 bag a .bag file"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace a bag that is there")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    from cgdet_core.data.bags.repair import repair_bag

    written, losses = repair_bag(arguments.bag, arguments.out, arguments.overwrite)
    print_losses(losses)
    topics = ", ".join(f"{count} of {topic}" for topic, count in written.items())
    print(f"{arguments.out}: {sum(written.values())} messages: {topics}")
    return 0
