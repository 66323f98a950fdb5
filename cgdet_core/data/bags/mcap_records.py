"""Bytes of an MCAP file: the head of a chunk, texts, compressed records.

Source: mcap.dev/spec, sections on serialisation and on chunks.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from cgdet_core.data.bags.salvage_parts import MAX_MESSAGE_BYTES, MAX_TIME_NS

HEAD_BYTES = 9  # opcode and length
_MAX_NAME_BYTES = 4  # of a compression
_FIXED_BYTES = HEAD_BYTES + 32
CHUNK_HEAD_BYTES = _FIXED_BYTES + _MAX_NAME_BYTES + 8


@dataclass(frozen=True)
class Chunk:
    """A chunk's header: times, bytes unpacked, checksum (0: none), compression, where its records begin and end.

    `end` may lie beyond the end of a file that was cut short.
    """

    first_ns: int
    last_ns: int
    size_bytes: int
    crc: int
    compression: str
    start: int
    end: int


def read_chunk(head: bytes, at: int) -> Chunk | None:
    """The chunk record whose first CHUNK_HEAD_BYTES, from `at` of the file on, are given; None where it is none.

    Its lengths must agree with each other, so that a chunk is known by its bytes alone.
    """
    if len(head) < _FIXED_BYTES:
        return None
    _, length, first_ns, last_ns, size_bytes, crc, name_bytes = struct.unpack_from("<BQQQQII", head)
    if name_bytes > _MAX_NAME_BYTES or first_ns > last_ns or last_ns > MAX_TIME_NS or size_bytes > MAX_MESSAGE_BYTES:
        return None
    body = _FIXED_BYTES + name_bytes + 8
    compression = head[_FIXED_BYTES : body - 8]
    if len(head) < body or compression not in (b"", b"lz4", b"zstd"):
        return None
    if struct.unpack_from("<Q", head, body - 8)[0] != length - 40 - name_bytes:
        return None
    return Chunk(first_ns, last_ns, size_bytes, crc, compression.decode(), at + body, at + HEAD_BYTES + length)


def read_text(body: bytes, at: int) -> tuple[str, int]:
    """A string with its length before it, and where it ends."""
    (length,) = struct.unpack_from("<I", body, at)
    if at + 4 + length > len(body):
        raise ValueError("a text is longer than its record")
    return body[at + 4 : at + 4 + length].decode(), at + 4 + length


def decompressed(data: bytes, compression: str, size_bytes: int) -> bytes:
    """Of a whole stream all of it, of one cut short what its bytes give. ValueError where it is damaged."""
    from lz4.frame import LZ4FrameDecompressor

    from cgdet_core.data.bags.zstd import zstd

    try:
        if compression == "zstd":
            return bytes(zstd.ZstdDecompressor().decompress(data, max_length=size_bytes + 1))
        return bytes(LZ4FrameDecompressor().decompress(data, max_length=size_bytes + 1))
    except (zstd.ZstdError, RuntimeError, EOFError) as error:
        raise ValueError(f"{compression}: {error}") from None
