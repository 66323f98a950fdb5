"""Commands over many bags: what they are given, and what is told of each bag."""

from __future__ import annotations

import argparse
import gzip
import io
import json
import sys
import zlib
from base64 import b64decode, b64encode
from collections.abc import Callable, Sequence
from contextlib import ExitStack, redirect_stdout, suppress
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cgdet_core.commands.common import count
from cgdet_core.errors import CgdetError, InputError
from cgdet_core.files import check_can_write

if TYPE_CHECKING:
    from pydantic import TypeAdapter

    from cgdet_core.data.bags.fleet import Bag, Outcome, Work


def add_bags_argument(parser: argparse.ArgumentParser, run_one: Callable[..., int], **more: Any) -> None:
    """For `run_each`. run_one: what the command does with one `bag` and its `out`. more, of a command with `--out`:
    suffix, of a bag's result below it; marker, the file that makes it whole; check, of what is wrong with every bag."""
    bags = "rosbag2 folder, .mcap, .db3 or ROS 1 .bag file; or several, folders of bags, patterns, URLs (s3://)"
    parser.add_argument("bags", nargs="+", metavar="BAG", help=bags)
    add_many_arguments(parser)
    parser.set_defaults(run=run_each, run_one=run_one, **{"suffix": "", "marker": "", "check": None, **more})


def add_many_arguments(parser: argparse.ArgumentParser) -> None:
    """For `run_bags`."""
    many = parser.add_argument_group("many bags")
    many.add_argument("--workers", type=count, default=0, metavar="N", help="processes (default: one for each core)")
    ray = "work on a Ray cluster: its address, auto for the one this machine is of, local for one begun here"
    many.add_argument("--ray", metavar="ADDRESS", help=ray)
    many.add_argument("--fates", metavar="F.json", help="write what became of each bag (default: fates.json in --out)")
    many.add_argument("--resume", action="store_true", help="keep what a run with the same fates has finished")


def run_each(arguments: argparse.Namespace) -> int:
    from cgdet_core.data.bags.fleet import bags_in

    if arguments.check is not None:
        arguments.check(arguments)
    bags = bags_in(arguments.bags)
    done, error = run_bags(arguments, _one, bags)
    told = [outcome.told for bag, outcome in done.items() if not bag.name or "out" not in arguments]
    if getattr(arguments, "as_json", False) and bags[0].name:
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
    arguments: argparse.Namespace, work: Work, bags: Sequence[Bag], kind: Any = None
) -> tuple[dict[Bag, Outcome], CgdetError | None]:
    """What came of the bags that are done, in their order, and the error to end with once it is used.

    work: gets these arguments; kind: type of its results, of JSON's values, dataclasses and arrays.
    """
    from pydantic import ConfigDict, TypeAdapter
    from tqdm import tqdm

    from cgdet_core.data.bags.fleet import each_bag, key_of
    from cgdet_core.data.bags.remote import below, is_there, is_url, masked, put_bytes

    alone = not bags[0].name
    fates = arguments.fates or (None if alone or "out" not in arguments else below(arguments.out, "fates.json"))
    if fates is not None and not is_url(fates):
        check_can_write(Path(fates))
    if arguments.resume and fates is None:
        raise InputError("--resume: what is finished is kept beside the fates: give their file with --fates")
    if not alone and vars(arguments).get("threads") == 0:
        arguments.threads = 1  # there is a worker for each core, and their number must not change a result
    kept: dict[Bag, Outcome] = {}
    results: TypeAdapter[Any] = TypeAdapter(kind, config=ConfigDict(arbitrary_types_allowed=True))
    files = {bag: f"{fates}.kept/{key_of(arguments, bag)}.json.gz" for bag in bags if fates is not None}
    for bag in bags if arguments.resume else ():
        known = _kept(files[bag], results)
        wrote = "out" in arguments and below(below(arguments.out, bag.name, arguments.suffix), arguments.marker)
        if known is not None and (not wrote or is_there(wrote)):
            kept[bag] = known
    left = [bag for bag in bags if bag not in kept]
    running = each_bag(work, arguments, left, arguments.workers, arguments.ray, gpu="device" in arguments)
    outcomes: dict[Bag, Outcome] = {}
    try:
        for bag, outcome in tqdm(chain(kept.items(), running), "bags", len(bags), disable=alone or None):
            outcomes[bag] = outcome
            if bag in files and outcome.fate == "done":
                _keep(files[bag], outcome, results)
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
            text = json.dumps({"bags": len(bags), "fates": told}, indent=2)
            put_bytes(fates, f"{text}\n".encode())
    done = {bag: outcomes[bag] for bag in bags if outcomes[bag].error is None}
    errors = [outcome.error for outcome in outcomes.values() if outcome.error is not None]
    if errors and not alone:
        where = f" and told in {masked(fates)}" if fates else ""
        return done, InputError(f"{len(errors)} of {len(bags)} bags failed, as said above{where}")
    return done, errors[0] if errors else None


def _keep(file: str, outcome: Outcome, results: TypeAdapter[Any]) -> None:
    """Write what `_kept` reads: JSON, whose checksum is gzip's."""
    from cgdet_core.data.bags.remote import put_bytes

    document = {**vars(outcome), "fate": "kept", "result": results.dump_python(outcome.result)}
    text = json.dumps([Path(file).name, document], default=_array_to_json)
    put_bytes(file, gzip.compress(text.encode(), 1))


def _kept(file: str, results: TypeAdapter[Any]) -> Outcome | None:
    """None where there is none, or not a whole one of this name and this cgdet: the bag is done again."""
    from cgdet_core.data.bags.fleet import Outcome
    from cgdet_core.data.bags.remote import local

    with suppress(InputError, OSError, EOFError, ValueError, TypeError, zlib.error), local(file) as path:
        name, document = json.loads(gzip.decompress(path.read_bytes()), object_hook=_array_of_json)
        if name == Path(file).name:
            return Outcome(**{**document, "result": results.validate_python(document["result"])})
    return None


def _array_to_json(array: Any) -> dict[str, Any]:
    return {"bytes": b64encode(array.tobytes()).decode(), "dtype": array.dtype.str, "shape": array.shape}


def _array_of_json(found: dict[str, Any]) -> Any:
    import numpy as np

    if "bytes" in found:
        return np.frombuffer(b64decode(found["bytes"]), found["dtype"]).reshape(found["shape"])
    return found
