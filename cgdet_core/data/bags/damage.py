"""Damaged bags: what of them is refused, with the command that repairs it, and what of a cut MCAP is read all the same.

Only a library's own call stands within `bag_errors`: a fault of cgdet or of a library is never told as damage.
"""

from __future__ import annotations

import re
import struct
from collections import Counter
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import yaml

from cgdet_core.errors import InputError, RunError

if TYPE_CHECKING:
    from mcap.records import Channel, Message, Schema
    from rosbags.interfaces import Connection

_DETAIL_CHARACTERS = 160
_MCAP_MAGIC = b"\x89MCAP0\r\n"
_FORMATS = {"ros2msg": "MSG", "ros2idl": "IDL", "omgidl": "IDL"}


class DamagedBag(InputError):
    """The bag, or its index, is damaged or cut short."""


class DamagedBagWarning(UserWarning):
    """What of a damaged bag is not read."""


@cache
def _damage() -> tuple[type[Exception], ...]:
    """What rosbags, mcap and the libraries under them raise over damaged bytes.

    Beside their own errors they pass on what their parsing runs into: a record cut short or a length, offset or text
    that is none.
    """
    import apsw
    import zstandard
    from mcap.exceptions import McapError
    from rosbags.rosbag1 import ReaderError as Rosbag1Error
    from rosbags.rosbag2 import ReaderError as Rosbag2Error
    from rosbags.rosbag2.reader import zstd  # type: ignore[attr-defined]
    from rosbags.serde import SerdeError
    from rosbags.typesys import TypesysError

    return (
        *(Rosbag1Error, Rosbag2Error, SerdeError, TypesysError, McapError, apsw.Error, zstd.ZstdError),
        *(zstandard.ZstdError, OSError, EOFError, struct.error, ValueError, LookupError, OverflowError),
    )


@contextmanager
def bag_errors(path: Path) -> Iterator[None]:
    """Turns what a library raises while it reads the bag at `path` into one line.

    DamagedBag for what damaged bytes lead to; RunError with the type for what no bag should, be it damaged.
    """
    try:
        yield
    except PermissionError as error:
        raise InputError(f"{path}: may not be read ({error.strerror}): check the permissions") from None
    except _damage() as error:
        raise DamagedBag(
            f"{path}: the bag cannot be read, it seems damaged or cut short ({_detail(error)}): {remedy(path)}"
        ) from error
    except (TypeError, AttributeError, AssertionError, MemoryError, RuntimeError) as error:
        if str(error).startswith("LZ4F_"):  # lz4 has no error of its own
            raise DamagedBag(f"{path}: the bag is damaged ({_detail(error)}): {remedy(path)}") from error
        raise RunError(
            f"{type(error).__name__} while {path} was read ({_detail(error)}): a fault of cgdet or of a library, or a "
            "bag of an unknown kind: please report it"
        ) from error


def _detail(error: BaseException) -> str:
    detail = " ".join(str(error).split()) or type(error).__name__
    return detail if len(detail) <= _DETAIL_CHARACTERS else detail[:_DETAIL_CHARACTERS] + "…"


@contextmanager
def expected_fields(message_type: str, where: str) -> Iterator[None]:
    """Turns a field that a message lacks into an InputError: the bag defines the type otherwise than anybody knows."""
    try:
        yield
    except AttributeError as error:
        if not hasattr(error.obj, "__msgtype__"):  # not of a message
            raise
        raise InputError(
            f"{where}: is no {message_type} that cgdet knows ({error}): record it again with the common definition"
        ) from error


def check_index(folder: Path) -> object:
    """How many messages the folder's metadata.yaml names; DamagedBag unless it is the index of a rosbag2."""
    path = folder / "metadata.yaml"
    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
    except PermissionError:
        return None  # rosbags says so
    except (OSError, yaml.YAMLError, ValueError, RecursionError):  # no file, not YAML, not text, nested too deep
        document = None
    index = document.get("rosbag2_bagfile_information") if isinstance(document, dict) else None
    if isinstance(index, dict) and isinstance(index.get("relative_file_paths"), list):
        return index.get("message_count")
    raise DamagedBag(
        f"{path}: is missing or damaged, not the index of a rosbag2 (recording cut short?): run "
        f"`ros2 bag reindex {folder}`, or give a storage file in it"
    )


def check_whole(path: Path) -> None:
    """Raise DamagedBag for a storage file whose end is missing, which the libraries would not notice or not name so.

    SQLite reads a missing end as zeros, and, opened to be read alone, passes over the log beside the file that a crash
    left. Source: sqlite.org/fileformat.html, sections 1.3.2 (page size) and 1.3.7 (size in pages); mcap.dev/spec.
    """
    with bag_errors(path), path.open("rb") as file:
        start = file.read(100)
        file.seek(max(0, path.stat().st_size - len(_MCAP_MAGIC)))
        end = file.read()
    if path.suffix == ".mcap" and end != _MCAP_MAGIC:
        raise DamagedBag(f"{path}: the bag is cut short: {remedy(path)}")
    log = path.with_name(path.name + "-wal")
    if path.suffix == ".db3" and log.is_file() and log.stat().st_size:
        raise DamagedBag(
            f"{path}: the recording was cut short: its last messages lie in {log.name}: bring them into the bag with "
            f"`sqlite3 {path.name} 'PRAGMA wal_checkpoint'`"
        )
    if not start.startswith(b"SQLite format 3\0") or len(start) < 100 or start[24:28] != start[92:96]:
        return  # SQLite itself says what is wrong
    page_bytes, pages = struct.unpack_from(">H", start, 16)[0], struct.unpack_from(">I", start, 28)[0]
    size_bytes, header_bytes = path.stat().st_size, pages * (65536 if page_bytes == 1 else page_bytes)
    if size_bytes < header_bytes:
        raise DamagedBag(f"{path}: the bag is cut short ({size_bytes} bytes of {header_bytes}): {remedy(path)}")


def remedy(path: Path) -> str:
    """What a user can do about a damaged bag, a file or a folder."""
    again = "copy or record it again"
    if path.is_dir():
        again += f", and where a file is missing `ros2 bag reindex {path.name}`"
        path = next(iter(sorted(path.glob("*.db3"))), path)
    command = "`mcap recover` may make"
    if path.suffix == ".bag" and path.is_file():
        command = f"`rosbag reindex {path.name}` makes"
    elif path.suffix == ".db3":
        # not every build of sqlite3 has .recover; .dump may leave the last images torn
        recover, dump = f"sqlite3 {path.name} .recover", f"sqlite3 {path.name} .dump | sed s/^ROLLBACK/COMMIT/"
        command = f"`{recover} | sqlite3 new.db3`, or `{dump} | sqlite3 new.db3` where it fails, makes"
    return f"{command} a new bag of what can be read; or {again}"


class CutMcap:
    """The .mcap files of a damaged bag, each read from its beginning up to its last whole chunk.

    It has of rosbags' readers what BagReader uses; messages come in the order in which they were recorded. files: none
    where the bag is no MCAP, or compressed by rosbag2. losses, once opened: a line for each file that is not whole.
    """

    def __init__(self, path: Path) -> None:
        folder = [] if any(path.glob("*.mcap.*")) else path.glob("*.mcap")
        found = folder if path.is_dir() else [path] if path.suffix == ".mcap" else []
        self.path = path
        self.files = sorted(found, key=lambda file: [int(part) for part in re.findall(r"\d+", file.name)])
        self.connections: list[Connection] = []
        self.losses: list[str] = []
        self.message_count = 0
        self.duration = 0
        self._damage = ""

    def open(self) -> None:
        """Find topics and counts. DamagedBag where no message can be read."""
        from rosbags import interfaces

        counts: Counter[tuple[str, str]] = Counter()
        schemas: dict[tuple[str, str], Schema] = {}
        times_ns: list[int] = []
        for file in self.files:
            before = counts.total()
            for schema, channel, message in self._read(file):
                counts[channel.topic, schema.name] += 1
                schemas.setdefault((channel.topic, schema.name), schema)
                times_ns = [min([message.log_time, *times_ns]), max([message.log_time, *times_ns])]
            if self._damage:
                read = f"{counts.total() - before} messages are read, up to its last whole chunk"
                self.losses.append(f"{file}: is damaged or cut short ({self._damage}): {read}")
        if not counts:
            why = self._damage or "no message of ROS 2"
            raise DamagedBag(f"{self.path}: nothing in the bag can be read ({why}): copy or record it again")
        self.message_count, self.duration = counts.total(), times_ns[1] - times_ns[0]
        for number, (key, count) in enumerate(counts.items()):
            schema = schemas[key]
            form = interfaces.MessageDefinitionFormat[_FORMATS.get(schema.encoding, "NONE")]
            definition = interfaces.MessageDefinition(form, schema.data.decode(errors="replace"))
            extra = interfaces.ConnectionExtRosbag2("cdr", [])
            self.connections.append(interfaces.Connection(number, *key, definition, "", count, extra, self))

    def close(self) -> None:
        """Files are open only while they are read."""

    def messages(self, connections: Collection[Connection]) -> Iterator[tuple[Connection, int, bytes]]:
        """(connection, record time in ns, serialised message)."""
        wanted = {(connection.topic, connection.msgtype): connection for connection in connections}
        for file in self.files:
            for schema, channel, message in self._read(file):
                if (channel.topic, schema.name) in wanted:
                    yield wanted[channel.topic, schema.name], message.log_time, message.data

    def _read(self, file: Path) -> Iterator[tuple[Schema, Channel, Message]]:
        """The messages of one file up to the damage, which is noted."""
        from mcap.reader import NonSeekingReader

        self._damage = ""
        with file.open("rb") as opened:
            stream: Any = _WholeReads(opened)
            reader = NonSeekingReader(stream, validate_crcs=True, record_size_limit=file.stat().st_size)
            items = iter(reader.iter_messages(log_time_order=False))
            while True:
                try:
                    with bag_errors(file):
                        item = next(items, None)
                except DamagedBag as error:
                    self._damage = _detail(error.__cause__ or error)
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
