"""A bag of any kind, opened and streamed; whatever is wrong with it becomes one line.

rosbag2 folders (sqlite3, mcap; split and zstd-compressed too), single .mcap and .db3 files, and
ROS 1 .bag files, through the rosbags library. Messages come one at a time, in order of their record
times; no more than the storage's own block is held.

A damaged MCAP is read up to its last whole chunk; a DamagedBagWarning, and `losses`, say what is missing. Any other
damaged bag is refused with the command that repairs it, also where its storage holds fewer messages than its index
promises.
"""

from __future__ import annotations

import warnings
from collections.abc import Collection, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cgdet_core.data.bags.damage import (
    CutMcap,
    DamagedBag,
    DamagedBagWarning,
    bag_errors,
    check_index,
    check_whole,
    expected_fields,
    remedy,
)
from cgdet_core.data.bags.types import embedded_types, typestore
from cgdet_core.errors import InputError
from cgdet_core.types import stamp_to_ns

if TYPE_CHECKING:
    from rosbags.interfaces import Connection
    from rosbags.rosbag1 import Reader as Rosbag1Reader
    from rosbags.rosbag2 import Reader as Rosbag2Reader
    from rosbags.typesys.store import Typestore

URI_CHARACTERS = "?#%"  # rosbags opens sqlite3 files by an unescaped URI
_STORAGE_SUFFIXES = {".mcap", ".db3"}
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

    path: rosbag2 folder, .mcap, .db3 or .bag file. storage: mcap, sqlite3 or ros1; size_bytes: of all its files;
    losses: what of a damaged MCAP was not read so far, a line each. Raises InputError from the constructor where there
    is no bag, on entering for a damaged index, and from the iterators for damaged contents.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        folder = self.path.is_dir()
        self._files = sorted(file for file in self.path.iterdir() if file.is_file()) if folder else [self.path]
        # storage files that are compressed as a whole have a suffix more
        suffixes = {suffix for file in self._files for suffix in file.suffixes[-2:]}
        if folder:
            is_bag = (self.path / "metadata.yaml").is_file() or bool(suffixes & _STORAGE_SUFFIXES)
        else:
            is_bag = self.path.is_file() and self.path.suffix in (*_STORAGE_SUFFIXES, ".bag")
        if not is_bag:
            raise InputError(f"{path}: is no bag: {_GIVE}")
        if ".db3" in suffixes and any(character in str(path) for character in URI_CHARACTERS):
            raise InputError(f"{path}: the path of a sqlite3 bag cannot hold any of {URI_CHARACTERS}: rename it")
        self._is_ros1 = not folder and self.path.suffix == ".bag"  # a rosbag2 folder may be named something.bag
        self.storage = "ros1" if self._is_ros1 else "mcap" if ".mcap" in suffixes else "sqlite3"
        self.size_bytes = sum(file.stat().st_size for file in self._files)
        self.topics: dict[str, BagTopic] = {}
        self.losses: list[str] = []
        self.duration_ns = 0
        self._stores: dict[str, Typestore | None] = {}
        self._promised: object = None  # messages by metadata.yaml
        self._stack = ExitStack()
        self._reader: Rosbag1Reader | Rosbag2Reader | CutMcap

    def __enter__(self) -> BagReader:
        try:
            reader = self._by_index()
        except DamagedBag as error:
            reader = CutMcap(self.path)
            if not reader.files:
                raise
            reader.open()
            # where all messages came, the index alone is damaged
            for loss in reader.losses if reader.message_count != self._promised else ():
                self._lose(loss)
            promised = f" of {self._promised}" if self._promised is not None else ""
            if promised or not reader.losses:
                self._lose(f"{error}; {reader.message_count}{promised} messages are read without index")
        self._reader = reader
        self._stack.callback(reader.close)
        for name in sorted({connection.topic for connection in reader.connections}):
            alike = [connection for connection in reader.connections if connection.topic == name]
            types = {connection.msgtype for connection in alike}
            count = sum(connection.msgcount for connection in alike)
            self.topics[name] = BagTopic(name, types.pop() if len(types) == 1 else "", count)
        self.duration_ns = max(0, reader.duration) if reader.message_count else 0
        return self

    def _by_index(self) -> Rosbag1Reader | Rosbag2Reader | CutMcap:
        """Opened by rosbags; DamagedBag where the bag has no index, or one that is damaged."""
        from rosbags.rosbag1 import Reader as Rosbag1Reader
        from rosbags.rosbag2 import Reader as Rosbag2Reader

        if self.path.is_dir():
            self._promised = check_index(self.path)
        for file in self._files:
            if file.suffix in _STORAGE_SUFFIXES:
                check_whole(file)
        with bag_errors(self.path):
            reader = Rosbag1Reader(self.path) if self._is_ros1 else Rosbag2Reader(self.path)
            reader.open()
        return reader

    def _lose(self, loss: str) -> None:
        if loss not in self.losses:
            self.losses.append(loss)
            warnings.warn(loss, DamagedBagWarning, stacklevel=1)

    def __exit__(self, *_: object) -> None:
        self._stack.close()

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
        for connection in self._connections([name]):
            try:
                store = self._store(connection)
            except InputError:  # a vendor's type that cannot be parsed
                return False
            fields = {} if store is None else dict(store.fielddefs[connection.msgtype][1])
            if "header" not in fields or fields["header"][1] != "std_msgs/msg/Header":
                return False
        return True

    def messages(self, topics: Collection[str]) -> Iterator[BagMessage]:
        """The messages of `topics` in order of their record times.

        A damaged MCAP ends where it is damaged. InputError for any other damaged bag, also after the last message
        where the storage held fewer than its index says, and for a type that nothing defines.
        """
        connections = self._connections(topics)
        expected = sum(self.topics[name].count for name in {*topics})
        if not expected:
            return
        read, items = 0, iter(self._reader.messages(connections=connections))
        while True:
            try:
                with bag_errors(self.path):
                    item = next(items, None)
                if item is None and read < expected:
                    raise DamagedBag(f"{self.path}: the bag is damaged, it ends too soon: {remedy(self.path)}")
            except DamagedBag as error:
                what = f"{read} of {expected} messages of {', '.join(sorted({*topics}))} can be read"
                if self.storage != "mcap":
                    raise DamagedBag(f"{error} ({what})") from error
                self._lose(f"{self.path}: is damaged: {what}, up to the damage")
                return
            if item is None:
                return
            read += 1
            yield self._deserialised(*item)

    def _connections(self, topics: Collection[str]) -> list[Connection]:
        names = {self.topic(name).name for name in topics}
        return [connection for connection in self._reader.connections if connection.topic in names]

    def _deserialised(self, connection: Connection, record_time_ns: int, data: bytes) -> BagMessage:
        store = self._store(connection)
        if store is None:
            raise InputError(
                f"{self.path}: messages of type {connection.msgtype} cannot be read: the bag carries no definition "
                "of it; record it again as mcap, which does"
            )
        deserialise = store.deserialize_ros1 if self._is_ros1 else store.deserialize_cdr
        with bag_errors(self.path):
            message = deserialise(data, connection.msgtype)
        return BagMessage(connection.topic, connection.msgtype, record_time_ns, message)

    def _store(self, connection: Connection) -> Typestore | None:
        """The types to read a connection with: the bag's own definition, else what cgdet knows; None without either.

        Only the types that are read are parsed: a vendor's odd definition elsewhere does not matter. (rosbags'
        AnyReader parses all of a bag, and refuses it for one that is odd.)
        """
        message_type = connection.msgtype
        if message_type not in self._stores:
            store = embedded_types(connection, self.path)
            if store is None and not self._is_ros1 and message_type in typestore().fielddefs:
                store = typestore()
            self._stores[message_type] = store
        return self._stores[message_type]
