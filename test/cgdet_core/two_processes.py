"""Two real processes that share a run, forked off the tests' own: nothing in them is torchrun's.

They find each other as those of torchrun do, by its environment and a store that somebody else holds. Where
torchrun itself is in question, test_processes.py starts it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from forked import Forked, forked
from torch.distributed import TCPStore


@contextmanager
def two_processes(do: Callable[[int], int | None], out: Path) -> Iterator[tuple[Forked, Forked]]:
    """`do(rank)` in each, whose value is the exit code. They share nothing but the group: results go into files."""
    store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)

    def start(rank: int) -> Forked:
        environment = {
            **dict.fromkeys(("RANK", "LOCAL_RANK"), str(rank)),
            **dict.fromkeys(("WORLD_SIZE", "LOCAL_WORLD_SIZE"), "2"),
            **{"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(store.port)},
            **{"TORCHELASTIC_USE_AGENT_STORE": "True", "TORCHELASTIC_RESTART_COUNT": "0"},
        }
        return forked(partial(do, rank), out / f"said.{rank}.txt", environment)

    with start(0) as first, start(1) as second:
        yield first, second


def in_two_processes(share: Callable[[str], None], out: Path) -> None:
    """Call `share(out)` in each, to its end; it writes what it found into files of `out`."""
    with two_processes(lambda rank: share(str(out)), out) as two:
        assert [process.wait() for process in two] == [0, 0], two[0].said() + two[1].said()
