"""Bytes of a ROS 1 bag: headers of name=value fields, records in a chunk, compressed chunks.

Source: wiki.ros.org/Bags/Format/2.0.
"""

from __future__ import annotations

import bz2
import struct
from collections.abc import Iterable, Mapping

from cgdet_core.data.bags.salvage_parts import MAX_MESSAGE_BYTES

MAX_HEADER_BYTES = 1 << 16  # those of a recorder have some hundred

Fields = Mapping[bytes, bytes]


def read_fields(data: bytes, size_bytes: int) -> Fields | None:
    """name -> value of a record's header; None where its bytes are no fields."""
    if len(data) != size_bytes:
        return None
    fields, at = {}, 0
    while at < size_bytes:
        if at + 4 > size_bytes:
            return None
        (length,) = struct.unpack_from("<I", data, at)
        name, equals, value = data[at + 4 : at + 4 + length].partition(b"=")
        at += 4 + length
        if at > size_bytes or not equals or not name:
            return None
        fields[name] = value
    return fields


def kind_of(fields: Fields) -> int:
    """What a record is (the field op); 0 where its header does not say."""
    value = fields.get(b"op", b"")
    return value[0] if len(value) == 1 else 0


def number_of(fields: Fields, name: bytes) -> int:
    """A field of four bytes as a number; 0 where the header lacks it."""
    value = fields.get(name, b"")
    return int.from_bytes(value, "little") if len(value) == 4 else 0


def read_record(data: bytes, at: int) -> tuple[Fields, int, int] | None:
    """The whole record at `at` of a chunk: header, where its data begin, their length."""
    if at + 4 > len(data):
        return None
    (header_bytes,) = struct.unpack_from("<I", data, at)
    body = at + 4 + header_bytes + 4
    if header_bytes > MAX_HEADER_BYTES or body > len(data):
        return None
    fields = read_fields(data[at + 4 : body - 4], header_bytes)
    (length,) = struct.unpack_from("<I", data, body - 4)
    return None if fields is None or body + length > len(data) else (fields, body, length)


def decompressed(blocks: Iterable[bytes], compression: str) -> tuple[bytes, bool, int]:
    """The records of a compressed chunk, whether it came to its end, and how many bytes of the blocks it took.

    Of a stream cut short what its bytes give. ValueError where it is damaged.
    """
    from lz4.frame import LZ4FrameDecompressor

    kinds = {"bz2": bz2.BZ2Decompressor, "lz4": LZ4FrameDecompressor}
    if compression not in kinds:
        raise ValueError(f"compressed as {compression!r:.20}, which cgdet does not read")
    decompressor = kinds[compression]()
    parts, used_bytes, given_bytes = [], 0, 0
    try:
        for block in blocks:
            parts.append(bytes(decompressor.decompress(block)))
            used_bytes += len(block)
            given_bytes += len(parts[-1])
            if decompressor.eof:
                return b"".join(parts), True, used_bytes - len(decompressor.unused_data or b"")
            if given_bytes > MAX_MESSAGE_BYTES:
                raise ValueError(f"{compression}: gives more than {MAX_MESSAGE_BYTES} bytes")
    except (OSError, RuntimeError, EOFError) as error:
        raise ValueError(f"{compression}: {error}") from None
    return b"".join(parts), False, used_bytes
