"""MCAP files that were cut short or damaged, read without their index.

Source: mcap.dev/spec. A file is a row of records, each an opcode (1 byte), a length (8 bytes, little
endian) and as many bytes; messages lie in chunks, which may be compressed and carry a checksum.
Where a record makes no sense, the next one that does is looked for; a chunk whose checksum is wrong
gives nothing, since nothing says which of its messages is wrong.
"""

from __future__ import annotations

import re
import struct
import zlib
from dataclasses import replace
from pathlib import Path

from cgdet_core.data.bags.mcap_records import CHUNK_HEAD_BYTES, HEAD_BYTES, Chunk, decompressed, read_chunk, read_text
from cgdet_core.data.bags.salvage_parts import MAX_MESSAGE_BYTES, MAX_TIME_NS, FileScan

MAGIC = b"\x89MCAP0\r\n"
_FOOTER, _SCHEMA, _CHANNEL, _MESSAGE, _CHUNK, _INDEX, _STATISTICS = 0x02, 0x03, 0x04, 0x05, 0x06, 0x07, 0x0B
_RECORDS = frozenset(range(0x01, 0x10))
_FOOTER_BYTES = HEAD_BYTES + 20 + len(MAGIC)
_MESSAGE_BYTES = 22  # channel, sequence, log time, publish time
_FORMATS = {"ros2msg": "MSG", "ros2idl": "IDL", "omgidl": "IDL"}
_BLOCK_BYTES = 1 << 20
_MAX_SHIFT_NS = 24 * 3600 * 10**9  # further from the last message than this no message is looked for
# a chunk or message whose length is no nonsense, or the end of the data
_SIGN = re.compile(rb"(?=\x06[\s\S]{6}\x00\x00|\x05[\s\S]{4}\x00{4}|\x0f\x04\x00{7})")


class McapScan(FileScan):
    """One .mcap file."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self._schemas: dict[int, tuple[str, str, str]] = {}
        self._channels: dict[int, tuple[int, str, str]] = {}
        self._last_ns: int | None = None
        self._unchunked = False
        self._last_chunk: tuple[int, bytes] = (-1, b"")

    def scan(self) -> None:
        at, ended, in_lost_chunk = len(MAGIC), False, False
        if self._at(0, len(MAGIC)) != MAGIC:
            self._lose("does not begin as an mcap file does" if self._size else "is empty")
        while at < self._size:
            head = self._at(at, HEAD_BYTES)
            opcode, length = (head[0], struct.unpack_from("<Q", head, 1)[0]) if len(head) == HEAD_BYTES else (0, 0)
            end = at + HEAD_BYTES + length
            chunk = self._chunk(at) if opcode == _CHUNK else None
            sensible = opcode in _RECORDS or opcode >= 0x80
            if not sensible or end > self._size or (opcode == _CHUNK and chunk is None):
                following = self._next(at + 1)
                if chunk is not None and following is None:
                    self._read_chunk(at, chunk)  # what there is of the last one
                else:
                    stop = self._size if following is None else following
                    what = "breaks off in the middle of a record" if following is None else "holds bytes of no record"
                    self._lose(f"{what} at byte {at}", stop - at)
                if following is None:
                    break
                at = following
                continue
            if opcode == _FOOTER:
                ended = self._at(end, len(MAGIC)) == MAGIC
                break
            if chunk is not None:
                in_lost_chunk = not self._read_chunk(at, chunk)
            elif opcode == _INDEX and in_lost_chunk:
                self._count_lost(self._at(at + HEAD_BYTES, 6))
            elif opcode == _MESSAGE:
                self._unchunked = True
                self._message(self._at(at + HEAD_BYTES, _MESSAGE_BYTES), -1, at + HEAD_BYTES, length)
            elif opcode in (_SCHEMA, _CHANNEL, _STATISTICS) and length <= MAX_MESSAGE_BYTES:
                self._describe(opcode, self._at(at + HEAD_BYTES, length), at)
            at = end
        if not ended:
            self._lose("does not end as an mcap file does, as if cut short: what came after is not known")
        self._connect()

    def data(self, place: tuple[int, int, int]) -> bytes:
        block, offset, size_bytes = place
        if block < 0:
            return self._at(offset, size_bytes)
        if self._last_chunk[0] != block:
            chunk = self._chunk(block)
            assert chunk is not None  # it was found by the scan
            self._last_chunk = (block, self._records(chunk))
        return self._last_chunk[1][offset : offset + size_bytes]

    def _chunk(self, at: int) -> Chunk | None:
        """The chunk's header; None where it contradicts itself."""
        return read_chunk(self._at(at, CHUNK_HEAD_BYTES), at)

    def _records(self, chunk: Chunk) -> bytes:
        """The chunk's records, as many as the file has of them. ValueError where they are damaged."""
        stored = self._at(chunk.start, chunk.end - chunk.start)
        whole = len(stored) == chunk.end - chunk.start
        records = stored if not chunk.compression else decompressed(stored, chunk.compression, chunk.size_bytes)
        if whole and len(records) != chunk.size_bytes:
            raise ValueError(f"{len(records)} bytes instead of {chunk.size_bytes}")
        if whole and chunk.crc and zlib.crc32(records) != chunk.crc:
            raise ValueError("its checksum is wrong")
        return records

    def _read_chunk(self, at: int, chunk: Chunk) -> bool:
        """Whether the chunk could be read, all or, at the end of the file, as much as there is."""
        spans = {"first_ns": chunk.first_ns, "last_ns": chunk.last_ns}
        cut = chunk.end > self._size
        try:
            records = self._records(chunk)
        except ValueError as error:
            self._lose(f"the chunk at byte {at} is damaged ({error})", min(chunk.end, self._size) - at, **spans)
            return False
        self._last_chunk = (at, records)
        offset = 0
        while offset + HEAD_BYTES <= len(records):
            opcode, length = struct.unpack_from("<BQ", records, offset)
            body, offset = offset + HEAD_BYTES, offset + HEAD_BYTES + length
            if offset > len(records):
                break
            if opcode == _MESSAGE:
                self._message(records[body : body + _MESSAGE_BYTES], at, body, length)
            elif opcode in (_SCHEMA, _CHANNEL):
                self._describe(opcode, records[body:offset], at)
        if cut:
            last_ns = max(chunk.last_ns, self._last_ns or 0)
            missing = {"first_ns": max(self._last_ns or 0, chunk.first_ns), "last_ns": last_ns}
            self._lose(f"breaks off in the chunk at byte {at}", chunk.end - self._size, **missing)
        elif offset != len(records):
            self._lose(f"the chunk at byte {at} ends in the middle of a record", 0, **spans)
        return True

    def _count_lost(self, index: bytes) -> None:
        """A message index behind a lost chunk says how many messages were in it, 16 bytes each."""
        if len(index) == 6:
            lost = self.losses[-1]
            self.losses[-1] = replace(lost, messages=(lost.messages or 0) + struct.unpack("<HI", index)[1] // 16)

    def _message(self, head: bytes, block: int, body: int, length: int) -> None:
        if len(head) < _MESSAGE_BYTES or length > MAX_MESSAGE_BYTES:
            self._lose(f"a message at byte {body} has no sensible length", length)
            return
        channel, _, time_ns, _ = struct.unpack("<HIQQ", head)
        if time_ns > MAX_TIME_NS:
            self._lose(f"a message at byte {body} has no sensible time", length, messages=1)
            return
        self._last_ns = time_ns
        self.found.add(time_ns, channel, block, body + _MESSAGE_BYTES, length - _MESSAGE_BYTES)

    def _describe(self, opcode: int, body: bytes, at: int) -> None:
        try:
            if opcode == _SCHEMA:
                (number,) = struct.unpack_from("<H", body)
                name, offset = read_text(body, 2)
                encoding, offset = read_text(body, offset)
                self._schemas.setdefault(number, (name, encoding, read_text(body, offset)[0]))
            elif opcode == _CHANNEL:
                number, schema = struct.unpack_from("<HH", body)
                topic, offset = read_text(body, 4)
                self._channels.setdefault(number, (schema, topic, read_text(body, offset)[0]))
            else:
                (table_bytes,) = struct.unpack_from("<I", body, 42)
                self.expected = dict(struct.iter_unpack("<HQ", body[46 : 46 + table_bytes]))
        except (ValueError, struct.error) as error:
            self._lose(f"a description of topics or types at byte {at} is damaged ({error})", len(body))

    def _connect(self) -> None:
        from rosbags.interfaces import (
            Connection,
            ConnectionExtRosbag2,
            MessageDefinition,
            MessageDefinitionFormat,
        )

        for channel, count in self.found.counts().items():
            if channel not in self._channels or self._channels[channel][0] not in self._schemas:
                self._lose(f"the topic or type of channel {channel} stood in a part that is lost", messages=count)
                continue
            schema, topic, encoding = self._channels[channel]
            if encoding != "cdr":
                self._lose(f"{topic} is serialised as {encoding!r:.20}, not as cdr", messages=count)
                continue
            name, form, text = self._schemas[schema]
            definition = MessageDefinition(MessageDefinitionFormat[_FORMATS.get(form, "NONE")], text)
            extra = ConnectionExtRosbag2("cdr", [])
            self.connections[channel] = Connection(channel, topic, name, definition, "", count, extra, self)

    def _next(self, at: int) -> int | None:
        """Where, from `at` on, the next record lies that makes sense; the summary where no other does."""
        while at < self._size:
            block = self._at(at, _BLOCK_BYTES)
            for sign in _SIGN.finditer(block):
                if self._plausible(at + sign.start(), block[sign.start()]):
                    return at + sign.start()
            if len(block) <= HEAD_BYTES:
                break
            at += len(block) - HEAD_BYTES
        footer = self._at(self._size - _FOOTER_BYTES, _FOOTER_BYTES) if self._size > _FOOTER_BYTES else b""
        if footer.endswith(MAGIC) and footer.startswith(b"\x02\x14" + bytes(7)):
            (summary,) = struct.unpack_from("<Q", footer, HEAD_BYTES)
            return summary if at <= summary < self._size else self._size - _FOOTER_BYTES
        return None

    def _plausible(self, at: int, opcode: int) -> bool:
        if opcode == _CHUNK:
            return self._chunk(at) is not None
        head = self._at(at, HEAD_BYTES + _MESSAGE_BYTES)
        if len(head) < HEAD_BYTES + _MESSAGE_BYTES:
            return False
        _, length, channel, _, time_ns, _ = struct.unpack("<BQHIQQ", head)
        end = at + HEAD_BYTES + length
        following = self._at(end, 1)
        if opcode != _MESSAGE:
            return bool(following) and following[0] in _RECORDS
        if not self._unchunked or self._last_ns is None or channel not in self._channels or length < _MESSAGE_BYTES:
            return False
        near = abs(time_ns - self._last_ns) < _MAX_SHIFT_NS
        return near and (end == self._size or (bool(following) and following[0] in _RECORDS))
