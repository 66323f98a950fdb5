"""A bag of any kind, opened and streamed; whatever is wrong with it becomes one line.

rosbag2 folders (sqlite3, mcap; split and zstd-compressed too), single .mcap and .db3 files, and
ROS 1 .bag files, through the rosbags library. Messages come one at a time, in order of their record
times; no more than the storage's own block is held.

A damaged or truncated bag is an InputError that names it: what a user evaluates or replays must not
silently be the first half of a recording. A bag whose storage holds fewer messages than its index
promises is damaged too. Who asks for damaged="read" gets what can be read, and in `losses` the rest.
"""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Collection, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal

from cgdet_core.data.bags.damage import bag_errors, expected_fields, remedy
from cgdet_core.data.bags.files import BagFiles
from cgdet_core.data.bags.salvage import Salvage
from cgdet_core.data.bags.salvage_parts import MAX_TIME_NS, Loss, merged
from cgdet_core.data.bags.types import embedded_types, stamp_to_ns, typestore
from cgdet_core.errors import InputError

if TYPE_CHECKING:
    from rosbags.interfaces import Connection
    from rosbags.rosbag1 import Reader as Rosbag1Reader
    from rosbags.rosbag2 import Reader as Rosbag2Reader
    from rosbags.typesys.store import Typestore

Damaged = Literal["refuse", "read"]


@dataclass(frozen=True)
class BagTopic:
    """One topic; `type` is the message type with /msg/ in it, "" where the topic mixes types."""

    name: str
    type: str
    count: int


@dataclass(frozen=True)
class BagMessage:
    """One message, deserialised: its fields are attributes, arrays are NumPy arrays."""

    topic: str
    type: str
    record_time_ns: int
    message: Any

    @property
    def stamp_ns(self) -> int:
        """The header's stamp; InputError for a message without one."""
        with expected_fields(self.type, f"topic '{self.topic}'"):
            return stamp_to_ns(self.message.header.stamp)


class BagReader:
    """Reads one bag; a context manager.

    path: rosbag2 folder, .mcap, .db3 or .bag file. damaged: "refuse" raises InputError from the
    constructor (nothing there, not a bag), on entering (damaged index) and from the iterators (damaged
    contents). "read" reads such a bag without its index as far as it can be read; `losses` then says
    what was not, once all messages have been iterated over; InputError where nothing can be read.
    """

    def __init__(self, path: Path | str, damaged: Damaged = "refuse") -> None:
        self.path = Path(path)
        self.damaged: Damaged = damaged
        self.topics: dict[str, BagTopic] = {}
        self.expected: dict[str, int] = {}  # topic -> messages that the index of a damaged bag promises
        self.duration_ns = 0
        self._stores: dict[str, Typestore | None] = {}
        self._losses: dict[tuple[str, str, int | None], Loss] = {}
        self._salvage: Salvage | None = None
        self._open_readers = ExitStack()
        self._files = BagFiles(self.path)
        self._reader: Rosbag1Reader | Rosbag2Reader | Salvage | None = None
        if damaged == "refuse":
            self._reader = self._files.reader()

    @property
    def losses(self) -> list[Loss]:
        """What could not be read so far; alike losses of one topic as one. Empty for a whole bag."""
        found = self._salvage.losses if self._salvage is not None else []
        return merged([*found, *self._losses.values()])

    def lose(self, topic: str, what: str, record_time_ns: int) -> None:
        """Name a message that is damaged, such as an image that cannot be decoded; naming it again changes nothing."""
        loss = Loss(topic, what, 0, 1, record_time_ns, record_time_ns)
        self._losses[topic, what, record_time_ns] = loss

    @property
    def storage(self) -> str:
        """mcap, sqlite3 or ros1."""
        return self._files.storage

    @property
    def size_bytes(self) -> int:
        """Bytes of all its files."""
        return self._files.size_bytes

    def __enter__(self) -> BagReader:
        try:
            reader = self._reader if self._reader is not None else self._files.reader()
            self._files.check_whole()
            with bag_errors(self.path):
                reader.open()
                self._open_readers.callback(reader.close)
                self._use(reader)
        except InputError:
            if self.damaged == "refuse":
                raise
            self._use(self._salvaged())
        return self

    def _use(self, reader: Rosbag1Reader | Rosbag2Reader | Salvage) -> None:
        self._reader = reader
        self.topics = {name: BagTopic(name, info.msgtype or "", info.msgcount) for name, info in reader.topics.items()}
        self.duration_ns = max(0, reader.duration) if reader.message_count else 0

    def _salvaged(self) -> Salvage:
        """The bag read without its index; iterators that use the index may still be at work."""
        if self._salvage is None:
            salvage = Salvage(self.path)
            salvage.open()
            self._open_readers.callback(salvage.close)
            self._salvage, self.expected = salvage, salvage.expected
        return self._salvage

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._open_readers.close()

    def topic(self, name: str) -> BagTopic:
        """The topic `name`; InputError lists the bag's topics where it is not in the bag."""
        if name not in self.topics:
            raise InputError(f"{self.path}: has no topic '{name}'; it holds {self.listing()}")
        return self.topics[name]

    def listing(self, names: Collection[str] | None = None) -> str:
        """Topics with their types, for messages to the user."""
        chosen = [self.topics[name] for name in (self.topics if names is None else names)]
        return ", ".join(f"{topic.name} ({topic.type or 'several types'})" for topic in chosen) or "no topics"

    def has_header(self, name: str) -> bool:
        """Whether the topic's messages begin with a std_msgs/Header and can be read."""
        for connection in self._opened().topics[self.topic(name).name].connections:
            try:
                store = self._store(connection)
            except InputError:  # a vendor's type that cannot be parsed
                return False
            if store is None:
                return False
            fields = dict(store.fielddefs[connection.msgtype][1])
            if "header" not in fields or fields["header"][1] != "std_msgs/msg/Header":
                return False
        return True

    def messages(self, topics: Collection[str]) -> Iterator[BagMessage]:
        """The messages of `topics` in order of their record times.

        Raises InputError for a damaged bag, also after the last message where the storage held fewer
        than its index says. Where damaged bags are to be read, damaged messages are left out, and where
        the index leads no further, all that was not given yet follows in the order of record times.
        """
        names = {self.topic(name).name for name in topics}
        for connection, record_time_ns, data in self.serialised(names):
            message = self.deserialised(connection, record_time_ns, data)
            if message is not None:
                yield message

    def serialised(self, topics: Collection[str]) -> Iterator[tuple[Connection, int, bytes]]:
        """(connection, record time in ns, message as it was recorded), as `messages` gives them, of any type."""
        names = {self.topic(name).name for name in topics}
        before: Counter[tuple[str, int]] = Counter()
        if self._salvage is None:
            given = {name: array("q") for name in names}
            try:
                yield from self._indexed(names, given)
                return
            except InputError:
                if self.damaged == "refuse":
                    raise
            self._use(self._salvaged())
            before = Counter((name, time_ns) for name, times_ns in given.items() for time_ns in times_ns)
            del given
        salvage = self._salvaged()
        connections = [connection for connection in salvage.connections if connection.topic in names]
        for connection, record_time_ns, data in salvage.messages(connections):
            key = (connection.topic, record_time_ns)
            if before[key] > 0:
                before[key] -= 1
            else:
                yield connection, record_time_ns, data

    def _indexed(self, names: Collection[str], given: dict[str, array[int]]) -> Iterator[tuple[Connection, int, bytes]]:
        """The messages by the bag's index; notes the record times of those that it gave."""
        reader = self._opened()
        connections = [connection for connection in reader.connections if connection.topic in names]
        expected = sum(self.topics[name].count for name in names)
        if not expected:
            return
        read = 0
        items = iter(reader.messages(connections=connections))
        while True:
            with bag_errors(self.path):
                item = next(items, None)
            if item is None:
                break
            read += 1
            if self.damaged == "read":
                given[item[0].topic].append(min(item[1], MAX_TIME_NS))
            yield item
        if read < expected:
            raise InputError(
                f"{self.path}: the bag is damaged: {read} of {expected} messages of {', '.join(sorted(names))} "
                f"can be read: {remedy(self.path)}"
            )

    def _opened(self) -> Rosbag1Reader | Rosbag2Reader | Salvage:
        if self._reader is None:
            raise RuntimeError("the bag is not open: use it as a context manager")
        return self._reader

    def deserialised(self, connection: Connection, record_time_ns: int, data: bytes) -> BagMessage | None:
        """One message that `serialised` gave; None for a damaged one, named, where damaged bags are to be read.

        InputError for a damaged one where they are refused, and for a type that nothing defines.
        """
        store = self._store(connection)
        if store is None:
            raise InputError(
                f"{self.path}: messages of type {connection.msgtype} cannot be read: the bag carries no definition "
                "of it; record it again as mcap, which does"
            )
        deserialise = store.deserialize_ros1 if self._files.is_ros1 else store.deserialize_cdr
        try:
            with bag_errors(self.path):
                message = deserialise(data, connection.msgtype)
        except InputError:
            if self.damaged == "refuse":
                raise
            self.lose(connection.topic, f"holds bytes that are no {connection.msgtype}", record_time_ns)
            return None
        return BagMessage(connection.topic, connection.msgtype, record_time_ns, message)

    def _store(self, connection: Connection) -> Typestore | None:
        """The types to read a connection with: the bag's own definition, else what cgdet knows; None without either.

        Only the types that are read are parsed: a vendor's odd definition elsewhere does not matter.
        """
        message_type = connection.msgtype
        if message_type not in self._stores:
            with bag_errors(self.path):
                store = embedded_types(connection)
            if store is None and not self._files.is_ros1 and message_type in typestore().fielddefs:
                store = typestore()
            self._stores[message_type] = store
        return self._stores[message_type]
