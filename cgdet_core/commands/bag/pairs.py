"""Arguments of the commands that take pairs of frames out of a bag."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from cgdet_core.commands.common import add_by_argument

if TYPE_CHECKING:
    from cgdet_core.data.registration.pairs import PairedBag


def add_pair_arguments(parser: argparse.ArgumentParser) -> None:
    """For `paired_bag`."""
    parser.add_argument(
        "--thermal-topic", metavar="TOPIC", help="thermal images (default: the most thermal-looking one)"
    )
    parser.add_argument("--rgb-topic", metavar="TOPIC", help="RGB images (default: the only one in colour)")
    parser.add_argument(
        "--registration",
        metavar="F.yaml",
        help="what `cgdet bag register` wrote (default: pictures of one size are taken for registered)",
    )
    add_by_argument(parser)
    parser.add_argument("--every", type=int, default=1, metavar="N", help="only every N-th thermal frame (default: 1)")


def paired_bag(arguments: argparse.Namespace, with_rgb: bool = True) -> PairedBag:
    """The bag that the arguments name, looked through once; InputError as `open_paired`."""
    from cgdet_core.data.registration.pairs import open_paired

    return open_paired(
        arguments.bag,
        arguments.thermal_topic,
        arguments.rgb_topic,
        arguments.registration,
        with_rgb,
        arguments.every,
        arguments.by,
    )
