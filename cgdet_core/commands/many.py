"""Commands over many bags: what they are given, and what is told of each bag."""

from __future__ import annotations

import argparse
import io
import json
import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack, redirect_stdout
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cgdet_core.errors import CgdetError, InputError
from cgdet_core.files import check_can_write

if TYPE_CHECKING:
    from cgdet_core.data.bags.fleet import Bag, Outcome, Work


def add_bags_argument(parser: argparse.ArgumentParser, run_one: Callable[..., int], **more: Any) -> None:
    """For `run_each`. run_one: what the command does with one `bag` and its `out`. more, of a command with `--out`:
    suffix, of a bag's result below it; marker, the file that is in it once it is whole; check, of what would be wrong
    with every bag."""
    bags = "rosbag2 folder, .mcap, .db3 or ROS 1 .bag file; or several, folders of bags, patterns, URLs (s3://)"
    parser.add_argument("bags", nargs="+", metavar="BAG", help=bags)
    many = add_many_arguments(parser)
    if more:
        many.add_argument("--resume", action="store_true", help="keep what a run with the same fates has finished")
    parser.set_defaults(run=run_each, run_one=run_one, **{"suffix": "", "marker": "", "check": None, **more})


def add_many_arguments(parser: argparse.ArgumentParser) -> argparse._ArgumentGroup:
    """For `run_bags`; their group."""
    parser.set_defaults(resume=False)
    many = parser.add_argument_group("many bags")
    many.add_argument("--workers", type=int, default=0, metavar="N", help="processes (default: one for each core)")
    ray = "work on a Ray cluster: its address, auto for the one this machine is of, local for one begun here"
    many.add_argument("--ray", metavar="ADDRESS", help=ray)
    many.add_argument("--fates", metavar="F.json", help="write what became of each bag (default: fates.json in --out)")
    return many


def run_each(arguments: argparse.Namespace) -> int:
    from cgdet_core.data.bags.fleet import bags_in
    from cgdet_core.data.bags.remote import below

    if arguments.check is not None:
        arguments.check(arguments)
    bags, out = bags_in(arguments.bags), getattr(arguments, "out", None)

    def wrote(bag: Bag) -> str:
        return below(below(str(out), bag.name, arguments.suffix), arguments.marker)

    done, error = run_bags(arguments, _one, bags, None if out is None else wrote)
    told = [outcome.told for bag, outcome in done.items() if not bag.name or out is None]
    if getattr(arguments, "json", False) and bags[0].name:
        told = [json.dumps([json.loads(each) for each in told], indent=2)]
    print("\n".join(told), end="\n" if told else "")
    if error is not None:
        raise error
    return 0


def _one(arguments: argparse.Namespace, path: Path, bag: Bag) -> tuple[str, None]:
    """The command on one bag; what it prints."""
    from cgdet_core.data.bags.remote import below, is_there, is_url, written

    given, said = argparse.Namespace(**{**vars(arguments), "bag": path}), io.StringIO()
    place = ""
    with ExitStack() as stack:
        if "out" in given:
            place = below(given.out, bag.name, given.suffix)
            # what is begun again may have been written, and not yet told
            given.overwrite = vars(given).get("overwrite") or given.resume
            if is_url(place) and given.marker and not given.overwrite and is_there(below(place, given.marker)):
                raise InputError(f"{place}: exists already: choose another folder, or overwrite it with --overwrite")
            given.out = stack.enter_context(written(place))
            if given.suffix:
                check_can_write(given.out)
            if vars(given).get("labels"):
                given.labels = bag.own(given.labels)
        with redirect_stdout(said):
            given.run_one(given)
    return said.getvalue().rstrip().replace(str(vars(given).get("out", place)), place), None


def run_bags(
    arguments: argparse.Namespace, work: Work, bags: Sequence[Bag], wrote: Callable[[Bag], str] | None = None
) -> tuple[dict[Bag, Outcome], CgdetError | None]:
    """What came of the bags that are done, in their order, and the error to end with once it is used.

    work: gets these arguments; wrote: the file in their `out` that is there once a bag is done.
    """
    from tqdm import tqdm

    from cgdet_core.data.bags.fleet import Outcome, each_bag, key_of
    from cgdet_core.data.bags.remote import below, is_there, local_file, masked, put_text

    alone = not bags[0].name
    fates = arguments.fates or (None if alone or wrote is None else below(arguments.out, "fates.json"))
    if arguments.resume and fates is None:
        raise InputError("--resume: what is finished is kept beside the fates: give their file with --fates")
    if not alone and vars(arguments).get("threads") == 0:
        arguments.threads = 1  # there is a worker for each core, and their number must not change a result
    files: dict[Bag, str] = {}  # of what is finished
    kept: dict[Bag, Outcome] = {}
    if wrote is not None and fates is not None:
        files = {bag: f"{fates.removesuffix('.json')}/{key_of(arguments, bag)}.json" for bag in bags}
        for bag in bags if arguments.resume else ():
            if is_there(files[bag]) and is_there(wrote(bag)):
                kept[bag] = Outcome("kept", **json.loads(local_file(files[bag]).read_bytes()))
    left = [bag for bag in bags if bag not in kept]
    running = each_bag(work, arguments, left, arguments.workers, arguments.ray, gpu="device" in arguments)
    outcomes: dict[Bag, Outcome] = {}
    try:
        for bag, outcome in tqdm(chain(kept.items(), running), "bags", len(bags), disable=alone or None):
            outcomes[bag] = outcome
            if bag in files and outcome.fate == "done":
                put_text(files[bag], json.dumps({"told": outcome.told, "seconds": outcome.seconds}))
            line = f"{outcome.fate} {len(outcomes)}/{len(bags)} {bag.name}: {outcome.told.splitlines()[-1]}\n"
            tqdm.write(outcome.said + ("" if alone else line), sys.stderr, end="")
    finally:
        if fates is not None:
            told = [
                {"bag": masked(bag.place), "name": bag.name}
                | {key: getattr(outcomes[bag], key) for key in ("fate", "told", "seconds")}
                for bag in bags
                if bag in outcomes
            ]
            put_text(fates, json.dumps({"bags": len(bags), "fates": told}, indent=2) + "\n")
    done = {bag: outcomes[bag] for bag in bags if outcomes[bag].error is None}
    errors = [outcome.error for outcome in outcomes.values() if outcome.error is not None]
    if errors and not alone:
        where = f" and told in {masked(fates)}" if fates else ""
        return done, InputError(f"{len(errors)} of {len(bags)} bags failed, as said above{where}; the others are done")
    return done, errors[0] if errors else None
