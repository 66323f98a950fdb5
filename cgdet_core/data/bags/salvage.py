"""Reads what can be read of a damaged bag, and names the rest.

Every storage file is read once from its beginning to its end, without index; what lies where is kept
(40 bytes a message), and messages are read again from there in order of their record times, file by
file. Nothing is written but the unpacked copies of storage files that were compressed as a whole, as
for whole bags.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from contextlib import ExitStack
from pathlib import Path, PurePath
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from cgdet_core.data.bags.damage import read_index
from cgdet_core.data.bags.salvage_mcap import McapScan
from cgdet_core.data.bags.salvage_parts import FileScan, Loss
from cgdet_core.data.bags.salvage_ros1 import Ros1Scan
from cgdet_core.data.bags.salvage_sqlite3 import Sqlite3Scan
from cgdet_core.errors import InputError

if TYPE_CHECKING:
    from rosbags.interfaces import Connection, TopicInfo

_SCANS: dict[str, type[FileScan]] = {
    ".mcap": McapScan,
    ".db3": Sqlite3Scan,
    ".bag": Ros1Scan,
}
_ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"  # no CDR message begins so: its first byte is 0
_COPY_BYTES = 1 << 20


class Salvage:
    """A damaged bag, with the interface of rosbags' readers as far as BagReader uses it.

    path: a rosbag2 folder, with or without metadata.yaml, or a storage file. losses: what could not be
    read; more come to it while messages are read. expected: topic -> messages that the bag's index
    promises, empty without one.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.losses: list[Loss] = []
        self.expected: dict[str, int] = {}
        self.connections: list[Connection] = []
        self.duration = 0
        self._stack = ExitStack()
        self._scans: list[FileScan] = []

    @property
    def message_count(self) -> int:
        return sum(connection.msgcount for connection in self.connections)

    @property
    def topics(self) -> dict[str, TopicInfo]:
        """By name, in the order of names, as rosbags has them."""
        from rosbags.interfaces import MessageDefinition, MessageDefinitionFormat, TopicInfo

        topics = {}
        nothing = MessageDefinition(MessageDefinitionFormat.NONE, "")
        for name in sorted({connection.topic for connection in self.connections}):
            of_topic = [connection for connection in self.connections if connection.topic == name]
            types = {connection.msgtype for connection in of_topic}
            count = sum(connection.msgcount for connection in of_topic)
            topics[name] = TopicInfo(types.pop() if len(types) == 1 else None, nothing, count, of_topic)
        return topics

    def open(self) -> None:
        """Find all messages. InputError where not one can be read."""
        for file in self._files():
            self._scan(file)
        merged: dict[tuple[str, str], Connection] = {}
        spans = []
        for scan in self._scans:
            self.losses += scan.losses
            for connection in scan.connections.values():
                key = (connection.topic, connection.msgtype)
                known = merged.get(key)
                count = connection.msgcount + (known.msgcount if known else 0)
                chosen = known if known is not None and known.msgdef.data else connection
                merged[key] = chosen._replace(msgcount=count)
            if (span := scan.found.span_ns()) is not None:
                spans.append(span)
        self.connections = list(merged.values())
        if not self.connections:
            self.close()
            why = "; ".join(str(loss) for loss in self.losses[:3]) or "it holds no message"
            raise InputError(f"{self.path}: nothing in the bag can be read: {why}: copy or record it again")
        self.duration = max(last for _, last in spans) - min(first for first, _ in spans)
        self._set_expected()

    def close(self) -> None:
        self._stack.close()

    def messages(self, connections: Collection[Connection]) -> Iterator[tuple[Connection, int, bytes]]:
        """(connection, record time in ns, serialised message), file by file in order of record times."""
        wanted = {(connection.topic, connection.msgtype): connection for connection in connections}
        for scan in self._scans:
            chosen = {
                number: wanted[connection.topic, connection.msgtype]
                for number, connection in scan.connections.items()
                if (connection.topic, connection.msgtype) in wanted
            }
            for number, time_ns, place in scan.found.in_order(chosen):
                try:
                    data = _uncompressed(scan.data(place))
                except ValueError as error:
                    what = f"a message is damaged ({error})"
                    self.losses.append(Loss(chosen[number].topic, what, 0, 1, time_ns, time_ns))
                    continue
                yield chosen[number], time_ns, data

    def _files(self) -> list[Path]:
        """The storage files, in the order of recording."""
        if not self.path.is_dir():
            return [self.path]
        index = _index_or_none(self.path)
        found = sorted(
            (entry for entry in self.path.iterdir() if entry.is_file() and _kind(entry) in _SCANS), key=_natural
        )
        if index is None:
            why = "is damaged" if (self.path / "metadata.yaml").exists() else "is missing, as after a crash"
            self.losses.append(Loss("metadata.yaml", f"{why}: all storage files in the folder are taken"))
            return found
        names = index.get("relative_file_paths")
        named = [self.path / PurePath(str(name)).name for name in names] if isinstance(names, list) else found
        counts = _counts_of_files(index)
        for file in named:
            if not file.is_file():
                self.losses.append(Loss(file.name, "is missing", 0, counts.get(file.name)))
        return [file for file in named if file.is_file() and _kind(file) in _SCANS]

    def _scan(self, file: Path) -> None:
        try:
            storage = self._unpacked(file) if file.suffix == ".zstd" else file
            scan = _SCANS[_kind(file)](storage)
            self._stack.callback(scan.close)
            scan.scan()
        except OSError as error:
            raise InputError(f"{file}: cannot be read ({error.strerror}): check the permissions and the disk") from None
        self._scans.append(scan)

    def _unpacked(self, file: Path) -> Path:
        """The content of a compressed storage file, as much as can be unpacked of it, in a temporary file."""
        from cgdet_core.data.bags.zstd import zstd

        out = Path(self._stack.enter_context(TemporaryDirectory()), file.stem)
        decompressor = zstd.ZstdDecompressor()
        with file.open("rb") as packed, out.open("wb") as unpacked:
            try:
                while block := packed.read(_COPY_BYTES):
                    unpacked.write(decompressor.decompress(block))
                    if decompressor.eof:
                        break
                if not decompressor.eof:
                    self.losses.append(Loss(file.name, f"is cut short at {packed.tell()} bytes"))
            except zstd.ZstdError as error:
                left = file.stat().st_size - packed.tell() + len(block)
                self.losses.append(Loss(file.name, f"cannot be unpacked to its end ({error})", left))
        return out

    def _set_expected(self) -> None:
        index = _index_or_none(self.path) if self.path.is_dir() else None
        if index is not None:
            for topic in index.get("topics_with_message_count") or []:
                self.expected[str(topic["topic_metadata"]["name"])] = int(topic["message_count"])
            return
        for scan in self._scans:
            for number, count in scan.expected.items():
                if number in scan.connections:
                    name = scan.connections[number].topic
                    self.expected[name] = self.expected.get(name, 0) + count


def _index_or_none(folder: Path) -> dict[str, Any] | None:
    """The folder's metadata.yaml, None without one that names the topics and their messages."""
    try:
        index = read_index(folder)
        for topic in (index or {}).get("topics_with_message_count") or []:
            int(topic["message_count"]), topic["topic_metadata"]["name"]
    except (OSError, TypeError, KeyError, ValueError):
        return None
    return index


def _counts_of_files(index: dict[str, Any]) -> dict[str, int]:
    """File name -> messages, where the index says it (since Galactic)."""
    files = index.get("files")
    counts = {}
    for file in files if isinstance(files, list) else []:
        if isinstance(file, dict) and isinstance(file.get("message_count"), int):
            counts[PurePath(str(file.get("path"))).name] = file["message_count"]
    return counts


def _kind(file: Path) -> str:
    """The suffix that says how it is stored, without that of the compression."""
    return Path(file.stem).suffix if file.suffix == ".zstd" else file.suffix


def _natural(file: Path) -> list[str | int]:
    """Orders bag_10 behind bag_9."""
    return [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", file.name)]


def _uncompressed(data: bytes) -> bytes:
    """A message that was compressed by itself is unpacked. ValueError where it is damaged."""
    if not data.startswith(_ZSTD_MAGIC):
        return data
    from cgdet_core.data.bags.zstd import zstd

    try:
        return bytes(zstd.decompress(data))
    except zstd.ZstdError as error:
        raise ValueError(f"zstd: {error}") from None
