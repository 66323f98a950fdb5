"""Many bags: which they are, and one function over each of them, on this machine's cores or on a Ray cluster.

A bag that fails, and a worker that is killed, cost their own bag alone. A single bag is worked on in this process.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import multiprocessing
import os
import re
import signal
import sys
import threading
import time
import traceback
from argparse import Namespace
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from functools import partial
from glob import has_magic
from pathlib import Path, PurePosixPath
from typing import Any, Literal

from cgdet_core import __version__
from cgdet_core.data.bags import remote
from cgdet_core.data.bags.storage import INDEX_NAME
from cgdet_core.errors import CgdetError, InputError, RunError, plain_warnings

ATTEMPTS = 3  # at a bag whose worker is killed
# of a command's arguments, what leaves the result of a bag as it is
_APART = {"bags", "data", "out", "overwrite", "json", "report", "run", "run_one", "check", "command_line"}
_APART |= {"workers", "ray", "fates", "resume", "cache"}
_SUFFIXES = (".mcap", ".db3", ".bag", ".mcap.zstd", ".db3.zstd")


@dataclass(frozen=True)
class Bag:
    """place: path or URL; name: what its results are called below an output folder, "" of one that is named alone."""

    place: str
    name: str = ""

    def own(self, place: str) -> str:
        """The file for all bags, or of a folder of files (PLACE/NAME.json) this bag's."""
        folder = remote.is_url(place) or os.path.isdir(place)
        return remote.below(place, self.name, ".json") if folder and not place.endswith(".json") else place


# the settings, the bag on this machine, which it is -> a few lines for the user, and what else came of it
Work = Callable[[Namespace, Path, Bag], tuple[str, Any]]


@dataclass(frozen=True)
class Outcome:
    """What became of a bag; kept: done by an earlier run. told: the work's lines, or the error; said: on stderr."""

    fate: Literal["done", "kept", "failed"]
    told: str
    result: Any = None
    seconds: float = 0.0
    said: str = ""
    error: CgdetError | None = None


def bags_in(words: Sequence[str | Path]) -> list[Bag]:
    """The bags that paths, folders of bags, patterns and URLs lead to, each once, in their order.

    A word that leads to none is a bag: reading it tells what is wrong. Names are paths from the word on, without
    suffix. InputError for a pattern that nothing fits, and where two bags would have one name.
    """
    found: dict[str, str] = {}  # name -> place
    for word in map(str, words):
        pattern = has_magic(word) and not remote.is_there(word)
        root = re.split(r"[^/]*[*?\[]", word)[0] if pattern else word
        inside = [bag for top in (remote.matches(word) if pattern else [word]) for bag in _bags_below(top)]
        if pattern and not inside:
            raise InputError(f"{remote.masked(word)}: no bag is called so: check the pattern")
        for place in [each for each in inside or [word] if each not in found.values()]:
            name = place.removeprefix(root.rstrip("/")).strip("/") or PurePosixPath(place).name
            name = name.removesuffix(next((each for each in _SUFFIXES if name.endswith(each)), ""))
            if found.setdefault(name, place) != place:
                both = remote.masked(f"{found[name]} and {place}")
                raise InputError(f"{both}: the results of both would be called {name}: name them in two runs")
    if len(words) == 1 and [*found.values()] == [str(words[0])]:
        return [Bag(str(words[0]))]
    return [Bag(place, name) for name, place in found.items()]


def _bags_below(top: str) -> list[str]:
    """A folder with a metadata.yaml, or with the files of one bag alone, is a bag; else each file is."""
    names: dict[str, list[str]] = defaultdict(list)
    files = sorted(remote.files_below(top))
    for file in files:
        name = file.rpartition("/")[2]
        if name == INDEX_NAME or (name.endswith(_SUFFIXES) and not name.startswith(".")):
            names[file.removesuffix(name)].append(name)
    bags = []
    for folder, inside in names.items():
        at_top = folder.rstrip("/") == top.rstrip("/")
        stems = {re.sub(r"_\d+$", "", name.split(".")[0]) for name in inside}
        # rosbag2 calls the files of a bag by its folder
        whole = INDEX_NAME in inside or stems == {PurePosixPath(folder).name}
        if (whole or (at_top and len(names) == len(inside) == 1)) and top not in files:
            bags.append(top if at_top else folder.rstrip("/"))
        else:
            bags += [folder + name for name in inside]
    return bags


def each_bag(
    work: Work, settings: Namespace, bags: Sequence[Bag], workers: int = 0, ray: str | None = None, gpu: bool = False
) -> Iterator[tuple[Bag, Outcome]]:
    """What became of each bag, as soon as it has.

    workers: processes, 0: as many as this machine has cores; ray: address of a cluster, "local" or "auto"; gpu: whether
    a task takes one where the cluster has any.
    """
    alone = ray is None and [bag.name for bag in bags] == [""]
    attempt = partial(_attempt, work, settings, None if alone else os.getcwd())
    if alone:
        return ((bag, attempt(bag)) for bag in bags)
    return _on_this_machine(attempt, bags, workers) if ray is None else _on_ray(attempt, bags, ray, gpu)


def key_of(settings: Namespace, bag: Bag) -> str:
    """Hexadecimal, of all that a bag's result depends on; files are told by their size and time."""
    given = {name: str(value) for name, value in vars(settings).items() if name not in _APART}
    words = [*{**given, "labels": bag.own(given.get("labels", ""))}.values()]
    words += [word.partition("=")[2] for word in vars(settings).get("settings", ())]
    files = [sorted(remote.files_below(word).values()) for word in words]
    bag_files = sorted(remote.files_below(bag.place).items())
    identity = [__version__, given, files, bag.name, bag_files]
    return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:24]


def _attempt(work: Work, settings: Namespace, folder: str | None, bag: Bag) -> Outcome:
    """One bag. folder: that relative paths start from, in a process of its own; None: in the user's own, where a fault
    of ours is an exception as everywhere."""
    started, said = time.perf_counter(), io.StringIO()
    path: Path | str = bag.place
    told, result = "", None
    error: CgdetError | None = None
    with contextlib.ExitStack() as stack:
        if folder is not None:
            with contextlib.suppress(OSError):  # another machine may lack it, and URLs need none
                os.chdir(folder)
            plain_warnings()
            stack.enter_context(contextlib.redirect_stderr(said))
        try:
            path = stack.enter_context(remote.local(bag.place))
            told, result = work(settings, path, bag)
        except CgdetError as raised:
            error = raised
        except Exception as fault:
            if folder is None:
                raise
            traceback.print_exc()
            error = RunError(f"{path}: {type(fault).__name__}: {fault}: a fault of cgdet or of a library: report it")

    def shown(text: str) -> str:
        return remote.masked(text.replace(str(path), bag.place))

    seconds = round(time.perf_counter() - started, 3)
    if error is None:
        return Outcome("done", shown(told), result, seconds, shown(said.getvalue()))
    error = (InputError if isinstance(error, InputError) else RunError)(shown(str(error)))
    return Outcome("failed", str(error), None, seconds, shown(said.getvalue()), error)


def _lost(bag: Bag, why: str) -> Outcome:
    told = f"{remote.masked(bag.place)}: its worker was ended {ATTEMPTS} times ({why}): is there too little memory?"
    return Outcome("failed", told, error=RunError(told))


def _on_this_machine(attempt: partial[Outcome], bags: Sequence[Bag], workers: int) -> Iterator[tuple[Bag, Outcome]]:
    """Each worker is a process of its own, so that one that is killed takes no other with it."""
    mine = threading.local()
    pools: list[ProcessPoolExecutor] = []
    stopping = threading.Event()

    def run(bag: Bag) -> Outcome:
        for _ in range(ATTEMPTS):
            if stopping.is_set():
                break
            if getattr(mine, "pool", None) is None:
                mine.pool = ProcessPoolExecutor(1, multiprocessing.get_context("spawn"), _begin_worker)
                pools.append(mine.pool)
            try:
                return mine.pool.submit(attempt, bag).result()  # type: ignore[no-any-return]
            except BrokenProcessPool:
                mine.pool = None
        return _lost(bag, "killed")

    threads = ThreadPoolExecutor(workers or len(os.sched_getaffinity(0)))
    try:
        futures = {threads.submit(run, bag): bag for bag in bags}
        for future in as_completed(futures):
            yield futures[future], future.result()
    except BaseException:
        stopping.set()
        threads.shutdown(wait=False, cancel_futures=True)
        for child in multiprocessing.active_children():
            child.terminate()
        raise
    finally:
        for pool in pools:
            pool.shutdown(cancel_futures=True)


def _begin_worker() -> None:
    """A worker ends with its parent, and cleans up where it is told to end; a Ctrl-C is for the parent."""

    def end_with_parent() -> None:
        parent = multiprocessing.parent_process()
        if parent is not None:
            parent.join()
        os.kill(os.getpid(), signal.SIGTERM)

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    threading.Thread(target=end_with_parent, daemon=True).start()


def _on_ray(attempt: partial[Outcome], bags: Sequence[Bag], address: str, gpu: bool) -> Iterator[tuple[Bag, Outcome]]:
    try:
        import ray
    except ImportError:
        raise InputError("--ray needs Ray: pip install ray") from None
    try:
        ray.init(address, log_to_driver=False, logging_level="ERROR")
    except (ConnectionError, ValueError) as error:
        raise InputError(f"--ray {address}: no cluster answers ({error}): see `ray status`, or give local") from None
    try:
        gpus = 1 if gpu and ray.cluster_resources().get("GPU") else 0
        task = ray.remote(num_cpus=1, num_gpus=gpus, max_retries=ATTEMPTS - 1)(attempt.func)
        waiting = {task.remote(*attempt.args, bag): bag for bag in bags}
        while waiting:
            (done,), _ = ray.wait([*waiting], num_returns=1)
            bag = waiting.pop(done)
            try:
                yield bag, ray.get(done)
            except ray.exceptions.RayError as error:
                yield bag, _lost(bag, type(error).__name__)
    finally:
        ray.shutdown()
