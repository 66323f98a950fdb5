"""A bag of any kind, opened and streamed through rosbags: rosbag2 folders (sqlite3, mcap; split, compressed), single
.mcap and .db3 files, and ROS 1 .bag files. Messages come one at a time, in order of their record times.

What the storage files hold is read; where a folder's metadata.yaml says otherwise, a BagWarning tells it. A damaged
MCAP is read up to its last whole chunk; a BagWarning, and `losses`, say what is missing. Any other damaged bag is
refused with the command that repairs it.
"""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Collection, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from cgdet_core.data.bags import storage
from cgdet_core.data.bags.damage import BagWarning, DamagedBag, bag_errors, detail, remedy
from cgdet_core.data.bags.messages import BagMessage, RawImage, TimeBy, embedded_types, typestore
from cgdet_core.data.bags.remote import streamed
from cgdet_core.errors import InputError, unknown

if TYPE_CHECKING:
    from rosbags.interfaces import Connection
    from rosbags.typesys.store import Typestore

_URI_CHARACTERS = "?#%"  # rosbags opens sqlite3 files by an unescaped URI


@dataclass(frozen=True)
class BagTopic:
    """One topic; `type` is the message type with /msg/ in it, "" where the topic mixes types."""

    name: str
    type: str
    count: int


class BagReader:
    """Reads one bag; a context manager.

    path: rosbag2 folder, .mcap, .db3 or .bag file; by: what counts as a message's stamp. storage: mcap, sqlite3 or
    ros1; size_bytes: of all its files; losses: what was not read so far, notes: what contradicts itself, a line each.
    Raises InputError from the constructor where there is no bag, on entering and from the iterators for damage.
    """

    def __init__(self, path: Path | str, by: TimeBy = "stamp") -> None:
        self.path, self.by = Path(path), by
        self._index = storage.read_index(self.path) if self.path.is_dir() else None
        self.storage, files = storage.files_of(self.path, self._index)
        self._files = [streamed(file) for file in files]
        if not self._files and self._index is None:
            what = "is not a bag" if self.path.exists() else "there is no such file or folder"
            raise InputError(f"{path}: {what}: give a rosbag2 folder, an .mcap, .db3 or ROS 1 .bag file")
        if self.storage == "sqlite3" and any(character in str(path) for character in _URI_CHARACTERS):
            raise InputError(f"{path}: the path of a sqlite3 bag cannot hold any of {_URI_CHARACTERS}: rename it")
        all_files = self.path.iterdir() if self.path.is_dir() else files
        self.size_bytes = sum(file.stat().st_size for file in all_files if file.is_file())
        self.topics: dict[str, BagTopic] = {}
        self.losses: list[str] = []
        self.notes: list[str] = []
        self.duration_ns = 0
        self._stores: dict[str, Typestore | None] = {}
        self._stack = ExitStack()
        self._readers: list[tuple[Path, storage.FileReader]] = []

    def __enter__(self) -> BagReader:
        with ExitStack() as stack:
            for file in self._files:
                try:
                    reader = storage.open_file(file, stack)
                except DamagedBag as error:
                    if file.suffix != ".mcap" or len(self._files) == 1:
                        raise
                    self._tell(str(error), self.losses)  # the other files are read all the same
                    continue
                if isinstance(reader, storage.CutMcap):
                    self._tell(reader.loss, self.losses)
                self._readers.append((file, reader))
            self._readers.sort(key=lambda opened: opened[1].start_time)
            counts: Counter[tuple[str, str]] = Counter()
            for _, reader in self._readers:
                for connection in reader.connections:
                    counts[connection.topic, connection.msgtype] += connection.msgcount
            if self.path.is_dir():
                self._compare_with_index(counts)
            if not self._readers:
                raise DamagedBag(f"{self.path}: nothing in the bag can be read: copy or record it again")
            self._stack = stack.pop_all()
        for name in sorted({topic for topic, _ in counts}):
            of_type = {kind: count for (topic, kind), count in counts.items() if topic == name}
            kind = next(iter(of_type)) if len(of_type) == 1 else ""
            self.topics[name] = BagTopic(name, kind, sum(of_type.values()))
        spans = [(reader.start_time, reader.end_time) for _, reader in self._readers if reader.message_count]
        self.duration_ns = max(end for _, end in spans) - min(start for start, _ in spans) if spans else 0
        return self

    def _compare_with_index(self, held: Counter[tuple[str, str]]) -> None:
        """Tell what metadata.yaml says otherwise than the files."""
        again, where = f"`ros2 bag reindex {self.path}` writes it anew", self.path / storage.INDEX_NAME
        if self._index is None:
            self._tell(f"{where}: is missing or no index of a rosbag2: the bag is read without it; {again}", self.notes)
            return
        there, named, promised = {file.name for file in self._files}, self._index.file_names, self._index.counts
        more = [f"{name} is missing" for name in named if name not in there]
        less = [f"{name} is not named" for name in sorted(there - {*named})]
        for topic, kind in sorted(promised.keys() | held.keys()):
            said, found = promised[topic, kind], held[topic, kind]
            if found < said:
                more.append(f"{found} of {said} messages of {topic} ({kind}) are there")
            elif found > said:
                less.append(f"{topic} ({kind}) has {found} messages, not {said}")
        if more:
            self._tell(f"{where}: names more than the bag holds: {', '.join(more)}", self.losses)
        if less:
            self._tell(f"{where}: names less than the bag holds: {', '.join(less)}: all is read; {again}", self.notes)

    def _tell(self, line: str, lines: list[str]) -> None:
        if line not in lines:
            lines.append(line)
            warnings.warn(line, BagWarning, stacklevel=1)

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def topic(self, name: str, kind: str = "topic", types: Collection[str] = ()) -> BagTopic:
        """The topic `name`; InputError lists those of the `types` that a topic of this `kind` has (none: of all)."""
        fitting = {each.name: each.type for each in self.topics.values() if not types or each.type in types}
        if name not in fitting:
            known, held = self.topics.get(name), "" if fitting else f"the bag holds {self.listing()}"
            raise unknown(str(self.path), kind, name, fitting, held if known is None else f"it is of type {known.type}")
        return self.topics[name]

    def listing(self, names: Collection[str] | None = None) -> str:
        """Topics with their types, for messages to the user."""
        chosen = [self.topics[name] for name in (self.topics if names is None else names)]
        return ", ".join(f"{topic.name} ({topic.type or 'several types'})" for topic in chosen) or "no topics"

    def images(self, topic: str) -> Iterator[RawImage]:
        """The images of `topic`, as `messages` gives them; they are not checked."""
        return (item.raw_image() for item in self.messages([topic]))

    def first_image(self, topic: str) -> RawImage:
        """InputError where `topic` holds none."""
        image = next(self.images(topic), None)
        if image is None:
            raise InputError(f"{self.path}: topic '{topic}' holds no message that can be read: give another one")
        return image

    def messages(self, topics: Collection[str]) -> Iterator[BagMessage]:
        """The messages of `topics` in order of their record times.

        A damaged MCAP ends where it is damaged. InputError for any other damaged bag, also after the last message
        where a file held fewer than it says itself, and for a type that nothing defines.
        """
        names = {self.topic(name).name for name in topics}
        for file, reader in self._readers:
            connections = [connection for connection in reader.connections if connection.topic in names]
            if connections:  # rosbags takes none for all
                yield from self._messages_of(file, reader, connections)

    def _messages_of(
        self, file: Path, reader: storage.FileReader, connections: list[Connection]
    ) -> Iterator[BagMessage]:
        expected = sum(connection.msgcount for connection in connections)
        read, items = 0, storage.messages_of(file, reader, connections)
        topics = ", ".join(sorted({connection.topic for connection in connections}))
        while True:
            try:
                with bag_errors(file):
                    item = next(items, None)
                if item is None and read < expected:
                    raise DamagedBag(f"{file}: the bag is damaged, it ends too soon: {remedy(file)}")
            except DamagedBag as error:
                what = f"{read} of {expected} messages of {topics} can be read"
                if self.storage != "mcap":
                    raise DamagedBag(f"{error} ({what})") from error
                self._tell(f"{file}: is damaged: {what}, up to the damage", self.losses)
                return
            if item is None:
                if read > expected:
                    what = f"says that it holds {expected} messages of {topics}, and holds {read}"
                    self._tell(f"{file}: {what}: all are read", self.notes)
                return
            read += 1
            yield self._deserialised(file, *item)

    def _deserialised(self, file: Path, connection: Connection, record_time_ns: int, data: bytes) -> BagMessage:
        kind = connection.msgtype
        if kind not in self._stores:  # only the types that are read are parsed: an odd one elsewhere does not matter
            known = typestore() if self.storage != "ros1" and kind in typestore().fielddefs else None
            self._stores[kind] = embedded_types(connection, self.path) or known
        store = self._stores[kind]
        if store is None:
            raise InputError(
                f"{self.path}: messages of type {kind} cannot be read: the bag has no definition of it: record it "
                "again as mcap"
            )
        try:
            with bag_errors(file):
                if self.storage == "ros1":
                    message = store.deserialize_ros1(data, kind)
                else:
                    message = store.deserialize_cdr(storage.unpacked_message(data), kind)
        except DamagedBag as error:
            if store is not typestore():
                raise
            raise InputError(
                f"{self.path}: {connection.topic} cannot be read as {kind} ({detail(error.__cause__ or error)}), and "
                "the bag has no definition of it: is it of an older release (vision_msgs of Foxy)? Record it as mcap"
            ) from error
        return BagMessage(connection.topic, kind, record_time_ns, message, self.by)
