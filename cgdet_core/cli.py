"""The command `cgdet`. Errors are one line on standard error; exit code 2 for bad input."""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Sequence

from cgdet_core import __version__
from cgdet_core.commands import (
    bench,
    compare,
    convert,
    detect,
    evaluate,
    export,
    info,
    teacher,
    thresholds,
    train,
)
from cgdet_core.commands.bag import group as bag
from cgdet_core.commands.common import Subparsers
from cgdet_core.errors import run_command

_GROUPS = {  # by what people want
    "train and judge": (train, evaluate, compare, thresholds),
    "use": (detect,),
    "bags": (bag,),
    "deploy": (export, bench, info),
    "data sets and teachers": (convert, teacher),
}


def parse(words: Sequence[str] | None = None) -> argparse.Namespace:
    """The arguments of one command, whose `run` runs it; SystemExit, after a usage message, where they are wrong."""
    parser = argparse.ArgumentParser(
        prog="cgdet",
        epilog="example:\n  cgdet detect frames/*.png --out found/\n\nEach command has its own --help.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"cgdet {__version__}")
    subparsers: Subparsers = parser.add_subparsers(
        dest="command", required=True, metavar="COMMAND", help=argparse.SUPPRESS
    )
    lines = ["Find persons, bicycles, cars and the landmarks of faces in thermal images."]
    for group, commands in _GROUPS.items():
        known = len(subparsers.choices)
        for command in commands:
            command.add(subparsers)
        added = list(subparsers.choices.items())[known:]
        lines += ["", f"{group}:", *(f"    {name:<10}  {each.description.split('.')[0]}" for name, each in added)]
    parser.description = "\n".join(lines)
    parser.usage = "cgdet [-h] [--version] COMMAND ..."  # argparse leaves out what has no help of its own
    arguments, rest = parser.parse_known_args(words)
    arguments.command_line = shlex.join(["cgdet", *(sys.argv[1:] if words is None else words)])
    # argparse leaves positional words that follow options unread
    settings = [word for word in rest if not word.startswith("-") and hasattr(arguments, "settings")]
    if unknown := [word for word in rest if word not in settings]:
        parser.error(f"unrecognized arguments: {' '.join(unknown)}")
    if settings:
        arguments.settings += settings
    return arguments


def main(words: Sequence[str] | None = None) -> int:
    """Run one command; the exit code."""

    def run() -> int:
        arguments = parse(words)
        return int(arguments.run(arguments))

    return run_command("cgdet", run)


if __name__ == "__main__":
    sys.exit(main())
