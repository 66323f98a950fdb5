"""Commands over many bags: what they are given, and what is told of each bag."""

from __future__ import annotations

import argparse
import io
import json
import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack, redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cgdet_core.errors import CgdetError, InputError
from cgdet_core.files import check_can_write

if TYPE_CHECKING:
    from cgdet_core.data.bags.fleet import Bag, Outcome, Work


def add_bags_argument(parser: argparse.ArgumentParser, run_one: Callable[..., int], **more: Any) -> None:
    """For `run_each`. run_one: what the command does with one `bag` and its `out`. more: suffix, of a bag's result
    below `--out`; marker, the file that is in it once it is whole; check, of what would be wrong with every bag."""
    bags = "rosbag2 folder, .mcap, .db3 or ROS 1 .bag file; or several, folders of bags, patterns, URLs (s3://)"
    parser.add_argument("bags", nargs="+", metavar="BAG", help=bags)
    add_many_arguments(parser)
    parser.set_defaults(run=run_each, run_one=run_one, **{"suffix": "", "marker": "", "check": None, **more})


def add_many_arguments(parser: argparse.ArgumentParser) -> None:
    """For `run_bags`."""
    many = parser.add_argument_group("many bags")
    many.add_argument("--workers", type=int, default=0, metavar="N", help="processes (default: one for each core)")
    ray = "work on a Ray cluster: its address, auto for the one this machine is of, local for one begun here"
    many.add_argument("--ray", metavar="ADDRESS", help=ray)
    many.add_argument("--fates", metavar="F.json", help="write what became of each bag (default: fates.json in --out)")
    many.add_argument("--resume", action="store_true", help="keep what a run with the same fates has finished")
    bound = "the largest bag that is taken from object storage, as much as a worker may keep on disk (default: 50)"
    many.add_argument("--cache-gb", type=float, default=50.0, metavar="GB", help=bound)


def run_each(arguments: argparse.Namespace) -> int:
    from cgdet_core.data.bags.fleet import bags_in
    from cgdet_core.data.bags.remote import below

    if arguments.check is not None:
        arguments.check(arguments)
    bags, out = bags_in(arguments.bags), getattr(arguments, "out", None)

    def wrote(bag: Bag) -> str | None:
        return None if out is None else below(below(out, bag.name, arguments.suffix), arguments.marker)

    done, error = run_bags(arguments, _one, bags, out, wrote)
    told = [outcome.told for bag, outcome in done if not bag.name or out is None]
    if getattr(arguments, "json", False) and bags[0].name:
        told = [json.dumps([json.loads(each) for each in told], indent=2)]
    print("\n".join(told), end="\n" if told else "")
    if error is not None:
        raise error
    return 0


def _one(arguments: argparse.Namespace, path: Path, bag: Bag) -> dict[str, Any]:
    """The command on one bag; what it prints."""
    from cgdet_core.data.bags.remote import below, is_there, is_url, local_file, written

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
            if given.registration is not None:
                given.registration = local_file(given.registration)
            if (labels := bag.own(vars(given).get("labels") or "")).endswith(".json"):
                given.labels = str(local_file(labels))
        with redirect_stdout(said):
            given.run_one(given)
    return {"told": said.getvalue().rstrip().replace(str(vars(given).get("out", place)), place)}


def run_bags(
    arguments: argparse.Namespace,
    work: Work,
    bags: Sequence[Bag],
    out: str | None = None,
    wrote: Callable[[Bag], str | None] = lambda _: None,
) -> tuple[list[tuple[Bag, Outcome]], CgdetError | None]:
    """The bags that are done, in their order, and the error to end with once their results are used.

    work: gets these arguments; out: folder of the results; wrote: as of `each_bag`.
    """
    from tqdm import tqdm

    from cgdet_core.data.bags.fleet import Spread, each_bag
    from cgdet_core.data.bags.remote import below, masked

    alone = len(bags) == 1 and not bags[0].name
    fates = arguments.fates or (None if alone or out is None else below(out, "fates.json"))
    if arguments.resume and fates is None:
        raise InputError("--resume: what is finished is kept beside the fates: give their file with --fates")
    if not alone and vars(arguments).get("threads") == 0:
        arguments.threads = 1  # there is a worker for each core, and their number must not change a result
    gpu = "device" in arguments
    spread = Spread(arguments.workers, arguments.ray, gpu, fates, arguments.resume, arguments.cache_gb)
    outcomes: dict[Bag, Outcome] = {}
    progress = tqdm(each_bag(work, arguments, bags, spread, wrote), "bags", len(bags), disable=alone or None)
    for bag, outcome in progress:
        outcomes[bag] = outcome
        line = f"{outcome.fate} {len(outcomes)}/{len(bags)} {bag.name}: {outcome.told.splitlines()[-1]}\n"
        progress.write(outcome.said + ("" if alone else line), sys.stderr, end="")
    done = [(bag, outcomes[bag]) for bag in bags if outcomes[bag].error is None]
    errors = [outcome.error for outcome in outcomes.values() if outcome.error is not None]
    if errors and not alone:
        told = f" and told in {masked(fates)}" if fates else ""
        return done, InputError(f"{len(errors)} of {len(bags)} bags failed, as said above{told}; the others are done")
    return done, errors[0] if errors else None
