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

from cgdet_core.data.bag_damage import bag_errors, check_index, check_length, check_no_log, expected_fields, remedy
from cgdet_core.data.ros_types import embedded_types, stamp_to_ns, typestore
from cgdet_core.data.salvage import Salvage
from cgdet_core.data.salvage_parts import Loss, merged
from cgdet_core.errors import InputError

if TYPE_CHECKING:
    from rosbags.interfaces import Connection
    from rosbags.rosbag1 import Reader as Rosbag1Reader
    from rosbags.rosbag2 import Reader as Rosbag2Reader
    from rosbags.typesys.store import Typestore

Damaged = Literal["refuse", "read"]
STORAGE_SUFFIXES = (".mcap", ".db3")
_URI_CHARACTERS = "?#%"  # rosbags opens sqlite3 files by an unescaped URI
_GIVE = "give a rosbag2 folder, an .mcap or .db3 file, or a ROS 1 .bag file"


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
        self._check_is_bag()
        self._reader: Rosbag1Reader | Rosbag2Reader | Salvage | None = None
        if damaged == "refuse":
            self._reader = self._find()

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
        if self._is_ros1:
            return "ros1"
        return "mcap" if self._holds(".mcap") else "sqlite3"

    @property
    def _is_ros1(self) -> bool:
        return self.path.suffix == ".bag" and self.path.is_file()  # a rosbag2 folder may be named something.bag

    @property
    def size_bytes(self) -> int:
        """Bytes of all its files."""
        return sum(entry.stat().st_size for entry in self._files())

    def _holds(self, suffix: str) -> bool:
        """Whether a file of the bag is of that kind; compressed ones have a suffix more."""
        return any(suffix in entry.suffixes for entry in self._files())

    def _files(self) -> list[Path]:
        if self.path.is_dir():
            return sorted(entry for entry in self.path.iterdir() if entry.is_file())
        return [self.path]

    def _check_is_bag(self) -> None:
        """Raise InputError where there is nothing that could be a bag, be it damaged."""
        path = self.path
        if not path.exists():
            raise InputError(f"{path}: no such bag: {_GIVE}")
        if path.is_dir() and not (path / "metadata.yaml").is_file() and not self._storage_files():
            raise InputError(
                f"{path}: is not a bag: a rosbag2 folder holds metadata.yaml and .mcap or .db3 files"
                f"{_bags_within(path)}"
            )
        if path.is_file() and path.suffix not in (*STORAGE_SUFFIXES, ".bag"):
            raise InputError(f"{path}: is not a bag: {_GIVE}")

    def _storage_files(self) -> list[Path]:
        return [entry for entry in self._files() if {*entry.suffixes[-2:]} & {*STORAGE_SUFFIXES}]

    def _find(self) -> Rosbag1Reader | Rosbag2Reader:
        from rosbags.rosbag1 import Reader as Rosbag1Reader
        from rosbags.rosbag2 import Reader as Rosbag2Reader

        path = self.path
        if path.is_dir() and not (path / "metadata.yaml").is_file():
            raise InputError(
                f"{path}: metadata.yaml is missing (recording cut short?): run `ros2 bag reindex {path}`, "
                f"or give the file in it, {self._storage_files()[0].name}"
            )
        if path.is_dir():
            check_index(path)
        if self._holds(".db3") and any(character in str(path) for character in _URI_CHARACTERS):
            raise InputError(f"{path}: the path of a sqlite3 bag cannot hold any of {_URI_CHARACTERS}: rename it")
        with bag_errors(path):
            return Rosbag1Reader(path) if self._is_ros1 else Rosbag2Reader(path)

    def __enter__(self) -> BagReader:
        try:
            reader = self._reader if self._reader is not None else self._find()
            for file in self._files():
                if file.suffix == ".db3":
                    check_length(file)
                    check_no_log(file)
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
        else:
            before = Counter()
        yield from self._found(names & self.topics.keys(), before)

    def _indexed(self, names: Collection[str], given: dict[str, array[int]]) -> Iterator[BagMessage]:
        """The messages by the bag's index; notes the record times of those that it gave."""
        reader = self._opened()
        connections = [connection for connection in reader.connections if connection.topic in names]
        expected = sum(self.topics[name].count for name in names)
        if not expected:
            return
        self._check_types(connections)
        read = 0
        items = iter(reader.messages(connections=connections))
        while True:
            with bag_errors(self.path):
                item = next(items, None)
            if item is None:
                break
            read += 1
            connection, record_time_ns, data = item
            message = self._message(connection, record_time_ns, data)
            given[connection.topic].append(record_time_ns)
            if message is not None:
                yield message
        if read < expected:
            raise InputError(
                f"{self.path}: the bag is damaged: {read} of {expected} messages of {', '.join(sorted(names))} "
                f"can be read: {remedy(self.path)}"
            )

    def _found(self, names: Collection[str], before: Counter[tuple[str, int]]) -> Iterator[BagMessage]:
        """The messages that were found without an index, but for those given before."""
        salvage = self._salvaged()
        connections = [connection for connection in salvage.connections if connection.topic in names]
        self._check_types(connections)
        for connection, record_time_ns, data in salvage.messages(connections):
            key = (connection.topic, record_time_ns)
            if before[key] > 0:
                before[key] -= 1
            elif (message := self._message(connection, record_time_ns, data)) is not None:
                yield message

    def _opened(self) -> Rosbag1Reader | Rosbag2Reader | Salvage:
        if self._reader is None:
            raise RuntimeError("the bag is not open: use it as a context manager")
        return self._reader

    def _check_types(self, connections: Collection[Connection]) -> None:
        for connection in connections:
            if self._store(connection) is None:
                raise InputError(
                    f"{self.path}: messages of type {connection.msgtype} cannot be read: the bag carries no definition "
                    "of it; record it again as mcap, which does"
                )

    def _message(self, connection: Connection, record_time_ns: int, data: bytes) -> BagMessage | None:
        """One message, deserialised; None for a damaged one, named, where damaged bags are to be read."""
        store = self._store(connection)
        assert store is not None  # see _check_types
        deserialise = store.deserialize_ros1 if self._is_ros1 else store.deserialize_cdr
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
            if store is None and not self._is_ros1 and message_type in typestore().fielddefs:
                store = typestore()
            self._stores[message_type] = store
        return self._stores[message_type]


def _bags_within(path: Path) -> str:
    inner = sorted(entry.parent.name for entry in path.glob("*/metadata.yaml"))
    return f"; it holds the bags {', '.join(inner[:5])}: give one of them" if inner else ""
