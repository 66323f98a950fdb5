"""Bags put together byte by byte from the formats' specifications; rosbags takes no part.

MCAP: mcap.dev/spec. ROS 1: wiki.ros.org/Bags/Format/2.0. SQLite: the tables of rosbag2_storage_sqlite3,
written by the standard library. Messages: CDR (DDS-XTypes, little endian, a header of four bytes) and
ROS 1's serialisation (little endian, nothing aligned).
"""

from __future__ import annotations

import bz2
import io
import sqlite3
import struct
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import lz4.frame
from rosbags.rosbag2.reader import zstd

IMAGE, COMPRESSED = "sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage"
_HEADER = "std_msgs/Header header\n"
_RULE = "=" * 80 + "\n"
_PARTS = {
    2: f"{_RULE}MSG: std_msgs/Header\nbuiltin_interfaces/Time stamp\nstring frame_id\n"
    f"{_RULE}MSG: builtin_interfaces/Time\nint32 sec\nuint32 nanosec\n",
    1: f"{_RULE}MSG: std_msgs/Header\nuint32 seq\ntime stamp\nstring frame_id\n",
}
_FIELDS = {
    IMAGE: "uint32 height\nuint32 width\nstring encoding\nuint8 is_bigendian\nuint32 step\nuint8[] data\n",
    COMPRESSED: "string format\nuint8[] data\n",
}
MD5 = {IMAGE: "060021388200f6f0f447d0fcd9c64743", COMPRESSED: "8f7a12909da2c9d3332d540a0977563f"}


def definition(message_type: str, ros: int) -> str:
    """The message definition as recorders embed it."""
    return _HEADER + _FIELDS[message_type] + _PARTS[ros]


@dataclass(frozen=True)
class Row:
    """One message to record: Image with `pixels` (rows of bytes), CompressedImage where `form` is given."""

    topic: str
    time_ns: int
    stamp_ns: int
    data: bytes
    height: int = 0
    width: int = 0
    encoding: str = ""
    big_endian: int = 0
    step: int = 0
    form: str | None = None
    frame_id: str = "camera"

    @property
    def type(self) -> str:
        return IMAGE if self.form is None else COMPRESSED


def image(topic: str, time_ns: int, pixels: object, encoding: str, big_endian: int = 0) -> Row:
    """A row of a NumPy array's bytes as they are."""
    height, width = pixels.shape[:2]
    data = pixels.tobytes()
    return Row(topic, time_ns, time_ns + 5, data, height, width, encoding, big_endian, len(data) // height)


def compressed(topic: str, time_ns: int, data: bytes, form: str) -> Row:
    return Row(topic, time_ns, time_ns + 5, data, form=form)


class Cdr:
    """Little-endian CDR; alignment counts from behind the four bytes that name the encoding."""

    def __init__(self) -> None:
        self.data = b""

    def put(self, form: str, value: object) -> Cdr:
        size = struct.calcsize("<" + form)
        self.data += bytes(-len(self.data) % size) + struct.pack("<" + form, value)
        return self

    def text(self, value: str) -> Cdr:
        encoded = value.encode() + b"\0"
        self.put("I", len(encoded)).data += encoded
        return self

    def array(self, value: bytes) -> Cdr:
        self.put("I", len(value)).data += value
        return self

    def message(self) -> bytes:
        return b"\0\1\0\0" + self.data


def cdr(row: Row) -> bytes:
    out = Cdr().put("i", row.stamp_ns // 10**9).put("I", row.stamp_ns % 10**9).text(row.frame_id)
    if row.form is not None:
        return out.text(row.form).array(row.data).message()
    out.put("I", row.height).put("I", row.width).text(row.encoding)
    return out.put("B", row.big_endian).put("I", row.step).array(row.data).message()


def ros1_message(row: Row) -> bytes:
    def text(value: str) -> bytes:
        return struct.pack("<I", len(value)) + value.encode()

    head = struct.pack("<III", 7, row.stamp_ns // 10**9, row.stamp_ns % 10**9) + text(row.frame_id)
    if row.form is not None:
        return head + text(row.form) + struct.pack("<I", len(row.data)) + row.data
    head += struct.pack("<II", row.height, row.width) + text(row.encoding)
    return head + struct.pack("<BII", row.big_endian, row.step, len(row.data)) + row.data


def _text(value: str) -> bytes:
    return struct.pack("<I", len(value.encode())) + value.encode()


def _record(opcode: int, body: bytes) -> bytes:
    return struct.pack("<BQ", opcode, len(body)) + body


COMPRESSORS: dict[str, Callable[[bytes], bytes]] = {
    "": bytes,
    "none": bytes,
    "zstd": zstd.compress,
    "lz4": lz4.frame.compress,
    "bz2": bz2.compress,
}


@dataclass
class Made:
    """A file's bytes, and where things lie in it: chunks from their first byte to behind their last index."""

    data: bytes
    chunks: list[tuple[int, int]] = field(default_factory=list)


def _topics(rows: Sequence[Row]) -> dict[tuple[str, str], int]:
    return {key: number for number, key in enumerate(dict.fromkeys((row.topic, row.type) for row in rows), 1)}


def mcap(
    rows: Sequence[Row],
    compression: str | None = "",
    per_chunk: int = 2,
    crc: bool = True,
    summary: bool = True,
    packed: bool = False,
) -> Made:
    """An .mcap file; compression None: messages outside chunks. Descriptions stand before the first message.

    packed: each message is compressed by itself (zstd).
    """
    serialise = (lambda row: zstd.compress(cdr(row))) if packed else cdr
    topics = _topics(rows)
    described = b""
    for (topic, message_type), number in topics.items():
        text = definition(message_type, 2)
        schema = struct.pack("<H", number) + _text(message_type) + _text("ros2msg") + _text(text)
        channel = struct.pack("<HH", number, number) + _text(topic) + _text("cdr") + struct.pack("<I", 0)
        described += _record(3, schema) + _record(4, channel)
    made = Made(b"\x89MCAP0\r\n" + _record(1, _text("ros2") + _text("by hand")))
    chunk_indexes = b""

    def message(row: Row) -> bytes:
        head = struct.pack("<HIQQ", topics[row.topic, row.type], 0, row.time_ns, row.time_ns)
        return _record(5, head + serialise(row))

    if compression is None:
        made.data += described
        for row in rows:
            start = len(made.data)
            made.data += message(row)
            made.chunks.append((start, len(made.data)))
    else:
        for first in range(0, len(rows), per_chunk):
            part = rows[first : first + per_chunk]
            records = described if not first else b""
            offsets: dict[int, list[tuple[int, int]]] = {}
            for row in part:
                offsets.setdefault(topics[row.topic, row.type], []).append((row.time_ns, len(records)))
                records += message(row)
            times = [row.time_ns for row in part]
            stored = COMPRESSORS[compression](records)
            checksum = zlib.crc32(records) if crc else 0
            head = struct.pack("<QQQI", min(times), max(times), len(records), checksum)
            start = len(made.data)
            made.data += _record(6, head + _text(compression) + struct.pack("<Q", len(stored)) + stored)
            length, places = len(made.data) - start, b""
            for number, entries in offsets.items():
                places += struct.pack("<HQ", number, len(made.data))
                table = b"".join(struct.pack("<QQ", *entry) for entry in entries)
                made.data += _record(7, struct.pack("<HI", number, len(table)) + table)
            made.chunks.append((start, len(made.data)))
            index = struct.pack("<QQQQI", min(times), max(times), start, length, len(places)) + places
            index += struct.pack("<Q", len(made.data) - start - length) + _text(compression)
            chunk_indexes += _record(8, index + struct.pack("<QQ", len(stored), len(records)))
    made.data += _record(15, struct.pack("<I", 0))
    start = len(made.data) if summary else 0
    if summary:
        counts = [(number, sum((row.topic, row.type) == key for row in rows)) for key, number in topics.items()]
        table = b"".join(struct.pack("<HQ", *entry) for entry in counts)
        times = [row.time_ns for row in rows]
        chunks = 0 if compression is None else len(made.chunks)
        facts = struct.pack("<QHIIIIQQ", len(rows), len(topics), len(topics), 0, 0, chunks, min(times), max(times))
        made.data += described + _record(11, facts + struct.pack("<I", len(table)) + table) + chunk_indexes
    made.data += _record(2, struct.pack("<QQI", start, 0, 0)) + b"\x89MCAP0\r\n"
    return made


def _fields(**fields: bytes) -> bytes:
    parts = [name.encode() + b"=" + value for name, value in fields.items()]
    header = b"".join(struct.pack("<I", len(part)) + part for part in parts)
    return struct.pack("<I", len(header)) + header


def _time(time_ns: int) -> bytes:
    return struct.pack("<II", time_ns // 10**9, time_ns % 10**9)


def ros1(rows: Sequence[Row], compression: str = "none", per_chunk: int = 2) -> Made:
    """A version 2.0 bag with its index."""
    topics = _topics(rows)

    def connection(topic: str, message_type: str, number: int) -> bytes:
        head = _fields(op=b"\7", conn=struct.pack("<I", number), topic=topic.encode())
        described = _fields(
            topic=topic.encode(),
            type=message_type.replace("/msg/", "/").encode(),
            md5sum=MD5[message_type].encode(),
            message_definition=definition(message_type, 1).encode(),
        )
        return head + described

    def bag_header(index_pos: int, chunks: int) -> bytes:
        counts = {"conn_count": struct.pack("<I", len(topics)), "chunk_count": struct.pack("<I", chunks)}
        head = _fields(op=b"\3", index_pos=struct.pack("<Q", index_pos), **counts)
        padding = 4096 - len(head) - 4
        return head + struct.pack("<I", padding) + b" " * padding

    made = Made(b"#ROSBAG V2.0\n" + bag_header(0, 0))
    infos = b""
    for first in range(0, len(rows), per_chunk):
        part = rows[first : first + per_chunk]
        records = b"" if first else b"".join(connection(*key, number) for key, number in topics.items())
        index: dict[int, list[tuple[int, int]]] = {}
        for row in part:
            number = topics[row.topic, row.type]
            index.setdefault(number, []).append((row.time_ns, len(records)))
            data = ros1_message(row)
            records += _fields(op=b"\2", conn=struct.pack("<I", number), time=_time(row.time_ns))
            records += struct.pack("<I", len(data)) + data
        packed = COMPRESSORS[compression](records)
        start = len(made.data)
        made.data += _fields(op=b"\5", compression=compression.encode(), size=struct.pack("<I", len(records)))
        made.data += struct.pack("<I", len(packed)) + packed
        for number, entries in index.items():
            head = {"conn": struct.pack("<I", number), "count": struct.pack("<I", len(entries))}
            table = b"".join(_time(time_ns) + struct.pack("<I", offset) for time_ns, offset in entries)
            made.data += _fields(op=b"\4", ver=struct.pack("<I", 1), **head) + struct.pack("<I", len(table)) + table
        made.chunks.append((start, len(made.data)))
        counts = b"".join(struct.pack("<II", number, len(entries)) for number, entries in index.items())
        times = [row.time_ns for row in part]
        infos += _fields(
            op=b"\6",
            ver=struct.pack("<I", 1),
            chunk_pos=struct.pack("<Q", start),
            start_time=_time(min(times)),
            end_time=_time(max(times)),
            count=struct.pack("<I", len(index)),
        )
        infos += struct.pack("<I", len(counts)) + counts
    index_pos = len(made.data)
    made.data += b"".join(connection(*key, number) for key, number in topics.items()) + infos
    made.data = made.data[:13] + bag_header(index_pos, len(made.chunks)) + made.data[13 + 4096 :]
    return made


def sqlite(
    path: Path, rows: Sequence[Row], definitions: bool = True, page_bytes: int = 4096, packed: bool = False
) -> None:
    """A .db3 file as Iron and later write it, or as Humble does, without definitions."""
    topics = _topics(rows)
    database = sqlite3.connect(path)
    database.execute(f"PRAGMA page_size={page_bytes}")
    extra = ", type_description_hash TEXT NOT NULL" if definitions else ""
    database.executescript(
        "CREATE TABLE schema(schema_version INTEGER PRIMARY KEY, ros_distro TEXT NOT NULL);"
        "CREATE TABLE metadata(id INTEGER PRIMARY KEY, metadata_version INTEGER NOT NULL, metadata TEXT NOT NULL);"
        "CREATE TABLE topics(id INTEGER PRIMARY KEY, name TEXT NOT NULL, type TEXT NOT NULL,"
        f" serialization_format TEXT NOT NULL, offered_qos_profiles TEXT NOT NULL{extra});"
        "CREATE TABLE messages(id INTEGER PRIMARY KEY, topic_id INTEGER NOT NULL, timestamp INTEGER NOT NULL,"
        " data BLOB NOT NULL);"
        "CREATE INDEX timestamp_idx ON messages (timestamp ASC);"
    )
    database.execute("INSERT INTO schema VALUES (?, ?)", (4, "jazzy") if definitions else (3, "humble"))
    if definitions:
        database.execute(
            "CREATE TABLE message_definitions(id INTEGER PRIMARY KEY, topic_type TEXT NOT NULL, encoding TEXT NOT NULL,"
            " encoded_message_definition TEXT NOT NULL, type_description_hash TEXT NOT NULL)"
        )
    for (topic, message_type), number in topics.items():
        values = (number, topic, message_type, "cdr", "") + (("",) if definitions else ())
        database.execute(f"INSERT INTO topics VALUES ({', '.join('?' * len(values))})", values)
        if definitions:
            text = definition(message_type, 2)
            database.execute(
                "INSERT INTO message_definitions(topic_type, encoding, encoded_message_definition,"
                " type_description_hash) VALUES (?, 'ros2msg', ?, '')",
                (message_type, text),
            )
    database.commit()
    for row in rows:
        values = (topics[row.topic, row.type], row.time_ns, zstd.compress(cdr(row)) if packed else cdr(row))
        database.execute("INSERT INTO messages(topic_id, timestamp, data) VALUES (?, ?, ?)", values)
    database.commit()
    database.close()


def metadata(folder: Path, storage: str, files: Sequence[tuple[str, Sequence[Row]]], **more: str) -> Path:
    """Writes the folder's metadata.yaml (version 5) over its files and their messages."""
    rows = [row for _, part in files for row in part]
    out = io.StringIO()
    times = [row.time_ns for row in rows]
    out.write(
        f"rosbag2_bagfile_information:\n  version: 5\n  storage_identifier: {storage}\n"
        f"  duration: {{nanoseconds: {max(times) - min(times)}}}\n"
        f"  starting_time: {{nanoseconds_since_epoch: {min(times)}}}\n  message_count: {len(rows)}\n"
        f"  compression_format: '{more.get('format', '')}'\n  compression_mode: '{more.get('mode', '')}'\n"
        f"  relative_file_paths: [{', '.join(name for name, _ in files)}]\n  topics_with_message_count:\n"
    )
    for topic, message_type in _topics(rows):
        count = sum((row.topic, row.type) == (topic, message_type) for row in rows)
        out.write(
            f"  - topic_metadata: {{name: {topic}, type: {message_type}, serialization_format: cdr, "
            f"offered_qos_profiles: ''}}\n    message_count: {count}\n"
        )
    out.write("  files:\n")
    for name, part in files:
        out.write(f"  - {{path: {name}, message_count: {len(part)}}}\n")
    (folder / "metadata.yaml").write_text(out.getvalue())
    return folder
