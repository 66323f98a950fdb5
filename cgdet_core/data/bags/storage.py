"""The files that hold a bag's messages, and what its metadata.yaml says of them: the files are believed."""

from __future__ import annotations

import shutil
import struct
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from contextlib import ExitStack
from itertools import product
from pathlib import Path, PurePath
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple, TypeAlias

import yaml

from cgdet_core.data.bags.damage import DamagedBag, bag_errors, check_whole, detail
from cgdet_core.data.bags.remote import StreamedFile

if TYPE_CHECKING:
    from mcap.records import Channel, Message, Schema
    from rosbags.interfaces import Connection
    from rosbags.rosbag1 import Reader as Rosbag1Reader
    from rosbags.rosbag2 import Reader as Rosbag2Reader

    FileReader: TypeAlias = "Rosbag1Reader | Rosbag2Reader | CutMcap"

INDEX_NAME = "metadata.yaml"
_ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"
_SUFFIXES = {"sqlite3": (".db3", ".db3.zstd"), "mcap": (".mcap", ".mcap.zstd"), "ros1": (".bag",)}


class BagIndex(NamedTuple):
    """Of a rosbag2's metadata.yaml. counts: (topic, type) -> messages."""

    storage: str
    file_names: list[str]
    counts: Counter[tuple[str, str]]


def read_index(folder: Path) -> BagIndex | None:
    """None where there is none, or one that is no index of a rosbag2."""
    counts: Counter[tuple[str, str]] = Counter()
    try:
        with bag_errors(folder):
            text = (folder / INDEX_NAME).read_text(encoding="utf-8")
        index = yaml.safe_load(text)["rosbag2_bagfile_information"]
        for topic in index["topics_with_message_count"]:
            counts[str(topic["topic_metadata"]["name"]), str(topic["topic_metadata"]["type"])] += topic["message_count"]
        # the first versions put a folder before the names
        names = [PurePath(path).name for path in index["relative_file_paths"]]
        return BagIndex(str(index["storage_identifier"]), names, counts)
    # not text, not YAML, nested too deep, without the key, with other values
    except (DamagedBag, yaml.YAMLError, RecursionError, TypeError, LookupError, ValueError):
        return None


def files_of(path: Path, index: BagIndex | None) -> tuple[str, list[Path]]:
    """The storage (mcap, sqlite3, ros1; "" without any) and its files that hold a bag's messages: not what macOS writes
    beside them (`._`), nor a compressed file beside itself unpacked."""
    if not path.is_dir():
        # a file that is compressed as a whole is read in its folder alone
        kinds = [kind for kind, suffixes in _SUFFIXES.items() if path.is_file() and path.suffix == suffixes[0]]
        return (kinds[0], [path]) if kinds else ("", [])
    files = sorted(file for file in path.iterdir() if file.is_file() and not file.name.startswith("._"))
    of_kind = {kind: [file for file in files if file.name.endswith(_SUFFIXES[kind])] for kind in ("mcap", "sqlite3")}
    named = index.storage if index else ""
    storage = named if named in of_kind else next((kind for kind, found in of_kind.items() if found), "")
    found = of_kind.get(storage, [])
    return storage, [file for file in found if file.suffix != ".zstd" or file.with_suffix("") not in found]


def open_file(file: Path, stack: ExitStack) -> FileReader:
    """One file opened, closed by `stack`; of a damaged MCAP what can be read. DamagedBag where nothing can be."""
    from rosbags.rosbag1 import Reader as Rosbag1Reader
    from rosbags.rosbag2 import Reader as Rosbag2Reader
    from rosbags.rosbag2.reader import zstd  # type: ignore[attr-defined]

    reader: FileReader
    try:
        check_whole(file)
        with bag_errors(file):
            unpacked = file
            if file.suffix == ".zstd":
                unpacked = Path(stack.enter_context(TemporaryDirectory()), file.stem)
                with zstd.open(file, "rb") as packed, unpacked.open("wb") as out:
                    shutil.copyfileobj(packed, out)
            reader = Rosbag1Reader(file) if file.suffix == ".bag" else Rosbag2Reader(unpacked)
            reader.open()
    except DamagedBag as error:
        if file.suffix != ".mcap":
            raise
        reader = CutMcap(file, error)
    stack.callback(reader.close)
    return reader


def messages_of(file: Path, reader: Any, connections: Sequence[Connection]) -> Iterator[tuple[Connection, int, bytes]]:
    """(connection, record time in ns, serialised message), in order of the record times. What is streamed is read
    message by message, where chunks are not compressed: by their message indexes. Source: mcap.dev/spec, Chunk
    (op=0x06), Message Index (op=0x07), Message (op=0x05)."""
    chunks = reader.storage.chunks if isinstance(file, StreamedFile) and not isinstance(reader, CutMcap) else ()
    if not chunks or any(chunk.compression for chunk in chunks):
        yield from reader.messages(connections=connections)
        return
    stream: BinaryIO = reader.storage.bio
    places: list[tuple[int, int, Connection]] = []
    for chunk, connection in product(chunks, connections):
        if index := chunk.message_index_offsets.get(connection.id):
            stream.seek(index + 11)
            entries = struct.iter_unpack("<QQ", stream.read(*struct.unpack("<I", stream.read(4))))
            places += [(when, chunk.chunk_start_offset + 9 + 40 + at, connection) for when, at in entries]
    for when, at, connection in sorted(places, key=lambda each: each[:2]):
        stream.seek(at + 1)
        yield connection, when, stream.read(*struct.unpack("<Q", stream.read(8)))[22:]


def unpacked_message(data: bytes) -> bytes:
    """A message in CDR, which rosbag2 may have compressed by itself: CDR begins with a zero."""
    if data[:4] != _ZSTD_MAGIC:
        return data
    from rosbags.rosbag2.reader import zstd  # type: ignore[attr-defined]

    return bytes(zstd.decompress(data))


class CutMcap:
    """A damaged .mcap file, read from its beginning up to its last whole chunk, with what BagReader uses of rosbags'
    readers. loss: what is said of the file. DamagedBag from the constructor where no message can be read."""

    def __init__(self, path: Path, error: DamagedBag) -> None:
        from rosbags import interfaces

        self.path = path
        self._damage = ""
        counts: Counter[tuple[str, str]] = Counter()
        schemas: dict[tuple[str, str], Schema] = {}
        self.start_time, self.end_time = 1 << 63, 0
        for schema, channel, message in self._read():
            counts[channel.topic, schema.name] += 1
            schemas.setdefault((channel.topic, schema.name), schema)
            self.start_time = min(self.start_time, message.log_time)
            self.end_time = max(self.end_time, message.log_time + 1)
        if not counts:
            why = self._damage or "no message of ROS 2"
            raise DamagedBag(f"{path}: nothing in the bag can be read ({why}): copy or record it again")
        self.message_count = counts.total()
        read = f"{self.message_count} messages are read"
        self.loss = f"{error}; {read} without its index"
        if self._damage:
            self.loss = f"{path}: is damaged or cut short ({self._damage}): {read}, up to its last whole chunk"
        self.connections: list[Connection] = []
        for number, (key, schema) in enumerate(schemas.items()):
            form = interfaces.MessageDefinitionFormat["MSG" if schema.encoding == "ros2msg" else "NONE"]
            definition = interfaces.MessageDefinition(form, schema.data.decode(errors="replace"))
            extra = interfaces.ConnectionExtRosbag2("cdr", [])
            self.connections.append(interfaces.Connection(number, *key, definition, "", counts[key], extra, self))

    def close(self) -> None:
        """The file is open only while it is read."""

    def messages(self, connections: Collection[Connection]) -> Iterator[tuple[Connection, int, bytes]]:
        """(connection, record time in ns, serialised message)."""
        wanted = {(connection.topic, connection.msgtype): connection for connection in connections}
        for schema, channel, message in self._read():
            if (channel.topic, schema.name) in wanted:
                yield wanted[channel.topic, schema.name], message.log_time, message.data

    def _read(self) -> Iterator[tuple[Schema, Channel, Message]]:
        """The messages up to the damage, which is noted."""
        from mcap.reader import NonSeekingReader

        with self.path.open("rb") as opened:
            stream: Any = _WholeReads(opened)
            reader = NonSeekingReader(stream, validate_crcs=True, record_size_limit=self.path.stat().st_size)
            items = iter(reader.iter_messages(log_time_order=False))
            while True:
                try:
                    with bag_errors(self.path):
                        item = next(items, None)
                except DamagedBag as error:
                    self._damage = detail(error.__cause__ or error)
                    return
                if item is None:
                    return
                schema, channel, message = item
                if schema is not None and channel.message_encoding == "cdr":
                    yield schema, channel, message


class _WholeReads:
    """A file for mcap, which takes what is left of a file that ends too soon for all that it asked for."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file

    def read(self, size_bytes: int) -> bytes:
        data = self._file.read(size_bytes)
        if len(data) < size_bytes:
            raise EOFError("the file ends within a record")
        return data
