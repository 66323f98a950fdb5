"""The processes that torchrun starts: they find each other, and whatever ends one of them ends all, with one line."""

from __future__ import annotations

import os
import socket
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist

from cgdet_core.errors import InputError, print_error
from cgdet_core.training.distributed import World, one_line

# the fastest process waits so long for the slowest, which may read its data from far away
PATIENCE = timedelta(minutes=30)
# a process that knows what ended the run waits so long for another one to say it
TELLING = timedelta(seconds=2)


@contextmanager
def processes() -> Iterator[World]:
    """This process among those that torchrun started; a run of one where none were.

    Within it an InputError of any process is printed by one of them, and each ends with exit code
    2 (SystemExit); torchrun ends those that still wait for the one that failed.
    """
    world = _world_of(os.environ)
    if world.size == 1:
        yield world
        return
    try:
        store, rank, size = next(dist.rendezvous("env://", timeout=PATIENCE))  # type: ignore[attr-defined]
        # a GPU run uses both: NCCL between GPUs, gloo for what lies on the CPU
        backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
        group_store = dist.PrefixStore("group", store)  # type: ignore[attr-defined]
        dist.init_process_group(backend, store=group_store, rank=rank, world_size=size, timeout=PATIENCE)
    except (RuntimeError, ValueError) as error:
        raise InputError(
            f"the {world.size} processes did not find each other ({one_line(error)}): see torchrun"
        ) from None
    spokesman = _Spokesman(store, world)
    try:
        yield world
    except InputError as error:
        message = str(error) if world.leads else f"{error} (process {world.rank}, {socket.gethostname()})"
        spokesman.tell(lambda: print_error(message))
        raise SystemExit(2) from None
    except KeyboardInterrupt:
        if not world.leads:
            raise SystemExit(130) from None
        raise
    except Exception:
        # a fault of the program: its traceback, once
        spokesman.tell(traceback.print_exc)
        raise SystemExit(1) from None
    dist.destroy_process_group()


class _Spokesman:
    """Sees to it that of all processes one says what ended the run: process 0 where it knows."""

    def __init__(self, store: Any, world: World) -> None:
        self._store = dist.PrefixStore("end", store)  # type: ignore[attr-defined]
        self._world = world

    def tell(self, speak: Callable[[], None]) -> None:
        """Call `speak`, unless another process spoke."""
        if not self._world.leads and self._told():
            return
        first = True
        # a store that is gone went with the machine it was on
        with suppress(RuntimeError):
            first = self._store.add("speakers", 1) == 1
        if not first:
            # torchrun ends all when one ends: the one that speaks shall finish its line
            self._told()
            return
        speak()
        with suppress(RuntimeError):
            self._store.set("told", "yes")

    def _told(self) -> bool:
        try:
            self._store.wait(["told"], TELLING)
        except RuntimeError:
            return False
        return True


def _world_of(environment: Mapping[str, str]) -> World:
    if "RANK" not in environment or "WORLD_SIZE" not in environment:
        return World()
    try:
        rank, size = int(environment["RANK"]), int(environment["WORLD_SIZE"])
        local_rank, local_size = int(environment.get("LOCAL_RANK", 0)), int(environment.get("LOCAL_WORLD_SIZE", 1))
    except ValueError:
        raise InputError("RANK and WORLD_SIZE in the environment are no numbers: start with torchrun") from None
    return World(rank, size, local_rank, local_size)
