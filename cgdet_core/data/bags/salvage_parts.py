"""What salvage of a bag file comes to: the messages found, by place, and the losses, by name."""

from __future__ import annotations

from abc import ABC, abstractmethod
from array import array
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from cgdet_core.data.bags.types import NANOSECONDS

if TYPE_CHECKING:
    from rosbags.interfaces import Connection

MAX_TIME_NS = (1 << 63) - 1
MAX_MESSAGE_BYTES = (1 << 31) - 1  # no camera's message comes near; a damaged length does


@dataclass(frozen=True)
class Loss:
    """A part of a bag that could not be read.

    where: file or topic; what: what is wrong there; size_bytes: bytes that gave nothing; messages: how
    many are lost, None where nothing says; first_ns, last_ns: the record times that the part spans,
    None where nothing says.
    """

    where: str
    what: str
    size_bytes: int = 0
    messages: int | None = None
    first_ns: int | None = None
    last_ns: int | None = None

    def __str__(self) -> str:
        facts = []
        if self.messages is not None:
            facts.append(f"{self.messages} message{'' if self.messages == 1 else 's'}")
        if self.size_bytes:
            facts.append(f"{self.size_bytes} bytes")
        if self.first_ns is not None and self.last_ns is not None:
            spans = f"{self.first_ns / NANOSECONDS:.3f} s"
            if self.last_ns > self.first_ns:
                spans += f" to {self.last_ns / NANOSECONDS:.3f} s"
            facts.append(f"recorded at {spans}")
        return f"{self.where}: {self.what}" + (f" ({', '.join(facts)})" if facts else "")


def merged(losses: Iterable[Loss]) -> list[Loss]:
    """Losses of single messages that are alike but for their times, as one; the others as they are."""
    together: dict[tuple[str, str, int | None], Loss] = {}
    for number, loss in enumerate(losses):
        single = loss.messages == 1 and not loss.size_bytes and loss.first_ns == loss.last_ns is not None
        key = (loss.where, loss.what, None if single else number)
        known = together.get(key)
        if known is None or known.messages is None or known.first_ns is None or loss.first_ns is None:
            together[key] = loss
        else:
            first_ns, last_ns = min(known.first_ns, loss.first_ns), max(known.last_ns or 0, loss.first_ns)
            together[key] = replace(known, messages=known.messages + 1, first_ns=first_ns, last_ns=last_ns)
    return list(together.values())


class Found:
    """Where a file's messages lie: 40 bytes each, whatever they hold.

    A place is (block, offset, size): what they mean is the file format's business.
    """

    def __init__(self) -> None:
        self._times_ns, self._channels = array("q"), array("q")
        self._blocks, self._offsets, self._sizes = array("q"), array("q"), array("q")

    def __len__(self) -> int:
        return len(self._times_ns)

    def add(self, time_ns: int, channel: int, block: int, offset: int, size_bytes: int) -> None:
        self._times_ns.append(time_ns)
        self._channels.append(channel)
        self._blocks.append(block)
        self._offsets.append(offset)
        self._sizes.append(size_bytes)

    def counts(self) -> dict[int, int]:
        """Channel -> messages."""
        channels, counts = np.unique(np.array(self._channels, np.int64), return_counts=True)
        return dict(zip(channels.tolist(), counts.tolist(), strict=True))

    def span_ns(self) -> tuple[int, int] | None:
        """The earliest and the latest record time; None without a message."""
        times_ns = np.array(self._times_ns, np.int64)
        return (int(times_ns.min()), int(times_ns.max())) if times_ns.size else None

    def in_order(self, channels: Collection[int]) -> Iterator[tuple[int, int, tuple[int, int, int]]]:
        """(channel, time in ns, place) of the messages of `channels`, by record time, then as they lie."""
        chosen = np.flatnonzero(np.isin(np.array(self._channels, np.int64), list(channels)))
        times_ns = np.array(self._times_ns, np.int64)[chosen]
        for index in chosen[np.argsort(times_ns, kind="stable")]:
            place = (self._blocks[index], self._offsets[index], self._sizes[index])
            yield self._channels[index], self._times_ns[index], place


class FileScan(ABC):
    """One storage file, read from its beginning to its end without its index.

    connections: by the file's own number of the channel; expected: channel -> messages that the file's
    index promises, empty without one.
    """

    def __init__(self, path: Path) -> None:
        self.connections: dict[int, Connection] = {}
        self.expected: dict[int, int] = {}
        self.found = Found()
        self.losses: list[Loss] = []
        self._name = path.name
        self._file = path.open("rb")
        self._size = path.stat().st_size

    @abstractmethod
    def scan(self) -> None:
        """Find all that can be read. Raises OSError where the file cannot be read at all."""

    @abstractmethod
    def data(self, place: tuple[int, int, int]) -> bytes:
        """The serialised message at a place; ValueError where it is damaged."""

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _at(self, at: int, size_bytes: int) -> bytes:
        """The bytes from `at` on, as many of them as there are."""
        self._file.seek(at)
        return self._file.read(size_bytes)

    def _lose(self, what: str, size_bytes: int = 0, **facts: int | None) -> None:
        self.losses.append(Loss(self._name, what, size_bytes, **facts))
