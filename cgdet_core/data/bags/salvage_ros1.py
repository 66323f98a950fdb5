"""ROS 1 bags that were cut short or damaged, read without their index.

Source: wiki.ros.org/Bags/Format/2.0. A bag is a row of records, each a header of name=value fields and
data, both with their length before them. A chunk's data are records; those of an uncompressed one are
read as if they stood in the file. A recorder writes a chunk's length when the chunk is full: the last
chunk of a recording that was cut short has the length 0, and its contents follow.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from cgdet_core.data.bags.ros1_records import (
    MAX_HEADER_BYTES,
    Fields,
    decompressed,
    kind_of,
    number_of,
    read_fields,
    read_record,
)
from cgdet_core.data.bags.salvage_parts import MAX_MESSAGE_BYTES, FileScan
from cgdet_core.data.bags.types import NANOSECONDS

MAGIC = b"#ROSBAG V2.0\n"
_MESSAGE, _BAG, _INDEX, _CHUNK, _CHUNK_INFO, _CONNECTION = 2, 3, 4, 5, 6, 7
_BLOCK_BYTES = 1 << 20
_OP = re.compile(rb"(?=\x04\x00\x00\x00op=[\x02-\x07])")
_BEFORE_OP_BYTES = 256  # the fields that may stand before the one that names the record's kind


class Ros1Scan(FileScan):
    """One .bag file."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self._described: dict[int, tuple[str, Fields]] = {}
        self._chunks: dict[int, tuple[int, str]] = {}  # where its data begin -> bytes and compression
        self._last_chunk: tuple[int, bytes] = (-1, b"")

    def scan(self) -> None:
        at, in_lost_chunk = len(MAGIC), False
        if self._at(0, len(MAGIC)) != MAGIC:
            self._lose("does not begin as a ROS 1 bag does" if self._size else "is empty")
        while at < self._size:
            record = self._record(at)
            if record is None:
                following = self._next(at + 1)
                stop = self._size if following is None else following
                what = "breaks off in the middle of a record" if following is None else "holds bytes of no record"
                self._lose(f"{what} at byte {at}", stop - at)
                at = stop
                continue
            fields, body, length = record
            kind = kind_of(fields)
            if kind == _BAG:
                if fields.get(b"index_pos") == bytes(8):
                    self._lose(
                        "has no index, as recordings have none that were cut short: what came after is not known"
                    )
            elif kind == _CHUNK:
                compression = fields.get(b"compression", b"none").decode(errors="replace")
                if compression == "none":
                    length = 0  # its records are read one by one
                else:
                    length = self._read_chunk(body, length, compression)
                    in_lost_chunk = body not in self._chunks
            elif kind == _INDEX and in_lost_chunk:
                lost = self.losses[-1]
                self.losses[-1] = replace(lost, messages=(lost.messages or 0) + number_of(fields, b"count"))
            elif kind == _CHUNK_INFO:
                for connection, count in struct.iter_unpack("<II", self._at(body, length // 8 * 8)):
                    self.expected[connection] = self.expected.get(connection, 0) + count
            elif kind == _MESSAGE:
                self._message(fields, -1, body, length)
            elif kind == _CONNECTION:
                self._describe(fields, self._at(body, length), at)
            at = body + length
        self._connect()

    def data(self, place: tuple[int, int, int]) -> bytes:
        block, offset, size_bytes = place
        if block < 0:
            return self._at(offset, size_bytes)
        if self._last_chunk[0] != block:
            length, compression = self._chunks[block]
            self._last_chunk = (block, decompressed(self._blocks(block, length), compression)[0])
        return self._last_chunk[1][offset : offset + size_bytes]

    def _record(self, at: int) -> tuple[Fields, int, int] | None:
        """(header, where its data begin, their length); None where there is no whole record.

        Of the last chunk the length may go beyond the end of the file.
        """
        (header_bytes,) = struct.unpack("<I", self._at(at, 4).ljust(4, b"\xff"))
        if header_bytes > MAX_HEADER_BYTES:
            return None
        fields = read_fields(self._at(at + 4, header_bytes), header_bytes)
        length_at = at + 4 + header_bytes
        length = self._at(length_at, 4)
        if fields is None or len(length) < 4 or not _MESSAGE <= kind_of(fields) <= _CONNECTION:
            return None
        data_bytes: int = struct.unpack("<I", length)[0]
        if length_at + 4 + data_bytes > self._size:
            if kind_of(fields) != _CHUNK:
                return None
            data_bytes = self._size - length_at - 4
        return fields, length_at + 4, data_bytes

    def _read_chunk(self, body: int, length: int, compression: str) -> int:
        """Read a compressed chunk, all or, at the end of the file, as much as there is; how long it really is.

        A compressed stream says where it ends: of a chunk that was never finished (length 0), or has a length
        that is none, that is believed.
        """
        unsure = not length or body + length == self._size
        try:
            records, whole, used_bytes = decompressed(self._blocks(body, None if unsure else length), compression)
        except ValueError as error:
            following = self._next(body) if unsure else body + length
            stop = self._size if following is None else following
            self._lose(f"the chunk at byte {body} is damaged ({error})", stop - body)
            return stop - body
        self._chunks[body] = (used_bytes, compression)
        self._last_chunk = (body, records)
        at = 0
        while at < len(records):
            record = read_record(records, at)
            if record is None:
                self._lose(f"the chunk at byte {body} breaks off in the middle of a record", len(records) - at)
                break
            fields, data_at, data_bytes = record
            if kind_of(fields) == _MESSAGE:
                self._message(fields, body, data_at, data_bytes)
            elif kind_of(fields) == _CONNECTION:
                self._describe(fields, records[data_at : data_at + data_bytes], body)
            at = data_at + data_bytes
        else:
            if not whole:
                self._lose(f"breaks off in the chunk at byte {body}")
        return used_bytes if unsure else length

    def _blocks(self, at: int, length: int | None) -> Iterator[bytes]:
        """The bytes from `at` on, `length` of them or to the end of the file."""
        stop = self._size if length is None else at + length
        for start in range(at, stop, _BLOCK_BYTES):
            yield self._at(start, min(_BLOCK_BYTES, stop - start))

    def _message(self, fields: Fields, block: int, body: int, length: int) -> None:
        time = fields.get(b"time", b"")
        if len(time) != 8 or len(fields.get(b"conn", b"")) != 4 or length > MAX_MESSAGE_BYTES:
            self._lose(f"a message at byte {body} has no time or topic", length, messages=1)
            return
        seconds, nanoseconds = struct.unpack("<II", time)
        self.found.add(seconds * NANOSECONDS + nanoseconds, number_of(fields, b"conn"), block, body, length)

    def _describe(self, fields: Fields, data: bytes, at: int) -> None:
        described = read_fields(data, len(data))
        if described is None or b"topic" not in fields:
            self._lose(f"a description of a topic at byte {at} is damaged", len(data))
            return
        topic = fields[b"topic"].decode(errors="replace")
        self._described.setdefault(number_of(fields, b"conn"), (topic, described))

    def _connect(self) -> None:
        from rosbags.interfaces import Connection, ConnectionExtRosbag1, MessageDefinition, MessageDefinitionFormat
        from rosbags.typesys.msg import normalize_msgtype

        for number, count in self.found.counts().items():
            if number not in self._described:
                self._lose(f"the topic of connection {number} stood in a part that is lost", messages=count)
                continue
            topic, described = self._described[number]
            text = {key.decode(errors="replace"): value.decode(errors="replace") for key, value in described.items()}
            definition = MessageDefinition(MessageDefinitionFormat.MSG, text.get("message_definition", ""))
            name = normalize_msgtype(text.get("type", ""))
            extra = ConnectionExtRosbag1(None, None)
            digest = text.get("md5sum", "")
            self.connections[number] = Connection(number, topic, name, definition, digest, count, extra, self)

    def _leads_on(self, at: int) -> bool:
        """Whether there is a record with another one, or the end, behind it: compressed bytes hold single headers."""
        record = self._record(at)
        if record is None:
            return False
        end = record[1] + record[2]
        return end >= self._size or self._record(end) is not None

    def _next(self, at: int) -> int | None:
        """Where, from `at` on, the next record lies that makes sense."""
        while at < self._size:
            block = self._at(at, _BLOCK_BYTES)
            for sign in _OP.finditer(block):
                op_at = at + sign.start()
                for start in range(max(at, op_at - _BEFORE_OP_BYTES), op_at - 3):
                    if self._leads_on(start):
                        return start
            if len(block) < _BLOCK_BYTES:
                return None
            at += len(block) - _BEFORE_OP_BYTES - 8
        return None
