"""A bag of any kind, opened and streamed; whatever is wrong with it becomes one line.

rosbag2 folders (sqlite3, mcap; split and zstd-compressed too), single .mcap and .db3 files, and
ROS 1 .bag files, through the rosbags library. Messages come one at a time, in order of their record
times; no more than the storage's own block is held.

A damaged or truncated bag is an InputError that names it: what a user evaluates or replays must not
silently be the first half of a recording. A bag whose storage holds fewer messages than its index
promises is damaged too.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from cgdet_core.data.bag_damage import bag_errors, check_index, check_length, expected_fields, remedy
from cgdet_core.data.ros_types import embedded_types, stamp_to_ns, typestore
from cgdet_core.errors import InputError

if TYPE_CHECKING:
    from rosbags.interfaces import Connection
    from rosbags.rosbag1 import Reader as Rosbag1Reader
    from rosbags.rosbag2 import Reader as Rosbag2Reader
    from rosbags.typesys.store import Typestore

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

    path: rosbag2 folder, .mcap, .db3 or .bag file. Raises InputError from the constructor (nothing
    there, not a bag), on entering (damaged index) and from the iterators (damaged contents).
    """

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        self.topics: dict[str, BagTopic] = {}
        self.duration_ns = 0
        self._stores: dict[str, Typestore | None] = {}
        self._reader = self._find()

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

    def _find(self) -> Rosbag1Reader | Rosbag2Reader:
        from rosbags.rosbag1 import Reader as Rosbag1Reader
        from rosbags.rosbag2 import Reader as Rosbag2Reader

        path = self.path
        if not path.exists():
            raise InputError(f"{path}: no such bag: {_GIVE}")
        if path.is_dir() and not (path / "metadata.yaml").is_file():
            parts = [entry.name for entry in self._files() if entry.suffix in STORAGE_SUFFIXES]
            if not parts:
                raise InputError(
                    f"{path}: is not a bag: a rosbag2 folder holds metadata.yaml and .mcap or .db3 files"
                    f"{_bags_within(path)}"
                )
            raise InputError(
                f"{path}: metadata.yaml is missing (recording cut short?): run `ros2 bag reindex {path}`, "
                f"or give the file in it, {parts[0]}"
            )
        if path.is_dir():
            check_index(path)
        if path.is_file() and path.suffix not in (*STORAGE_SUFFIXES, ".bag"):
            raise InputError(f"{path}: is not a bag: {_GIVE}")
        if self._holds(".db3") and any(character in str(path) for character in _URI_CHARACTERS):
            raise InputError(f"{path}: the path of a sqlite3 bag cannot hold any of {_URI_CHARACTERS}: rename it")
        with bag_errors(path):
            return Rosbag1Reader(path) if self._is_ros1 else Rosbag2Reader(path)

    def __enter__(self) -> BagReader:
        for file in self._files():
            if file.suffix == ".db3":
                check_length(file)
        with bag_errors(self.path):
            self._reader.open()
            self.topics = {
                name: BagTopic(name, info.msgtype or "", info.msgcount) for name, info in self._reader.topics.items()
            }
            self.duration_ns = max(0, self._reader.duration) if self._reader.message_count else 0
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._reader.close()

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
        for connection in self._reader.topics[self.topic(name).name].connections:
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
        than its index says.
        """
        names = {self.topic(name).name for name in topics}
        connections = [connection for connection in self._reader.connections if connection.topic in names]
        expected = sum(self.topics[name].count for name in names)
        if not expected:
            return
        read = 0
        with bag_errors(self.path):
            for connection, record_time_ns, data in self._reader.messages(connections=connections):
                message = self._deserialise(data, connection)
                read += 1
                yield BagMessage(connection.topic, connection.msgtype, record_time_ns, message)
        if read < expected:
            raise InputError(
                f"{self.path}: the bag is damaged: {read} of {expected} messages of {', '.join(sorted(names))} "
                f"can be read: {remedy(self.path)}"
            )

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

    def _deserialise(self, data: bytes, connection: Connection) -> Any:
        store = self._store(connection)
        if store is None:
            raise InputError(
                f"{self.path}: messages of type {connection.msgtype} cannot be read: the bag carries no definition of "
                "it; record it again as mcap, which does"
            )
        if self._is_ros1:
            return store.deserialize_ros1(data, connection.msgtype)
        return store.deserialize_cdr(data, connection.msgtype)


def _bags_within(path: Path) -> str:
    inner = sorted(entry.parent.name for entry in path.glob("*/metadata.yaml"))
    return f"; it holds the bags {', '.join(inner[:5])}: give one of them" if inner else ""
