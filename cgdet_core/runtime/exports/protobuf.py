"""As much of the protocol buffers' wire format as an ONNX file needs (protobuf.dev/programming-guides/encoding).

A message is a row of fields: a varint key (number << 3 | type), then a varint (type 0), or a length
and bytes (type 2). Rows of fields may be appended to a message.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator


def varint(value: int) -> bytes:
    """A whole number, a negative one as 64-bit two's complement."""
    value &= (1 << 64) - 1
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def number(field: int, value: int) -> bytes:
    return varint(field << 3) + varint(value)


def real(field: int, value: float) -> bytes:
    """A 32-bit float (type 5)."""
    return varint(field << 3 | 5) + struct.pack("<f", value)


def nested(field: int, content: bytes | str) -> bytes:
    """A message, text or bytes."""
    data = content.encode() if isinstance(content, str) else content
    return varint(field << 3 | 2) + varint(len(data)) + data


def repeated(field: int, contents: Iterable[bytes | str]) -> bytes:
    return b"".join(nested(field, content) for content in contents)


def fields(message: bytes) -> Iterator[tuple[int, int | bytes]]:
    """Number and value of every field; ValueError where the message is cut or none."""
    place = 0
    while place < len(message):
        key, place = _read_varint(message, place)
        kind = key & 7
        if kind == 0:
            value, place = _read_varint(message, place)
            yield key >> 3, value
            continue
        if kind == 2:
            length, place = _read_varint(message, place)
        elif kind in (1, 5):
            length = 8 if kind == 1 else 4
        else:
            raise ValueError(f"field of type {kind}")
        if place + length > len(message):
            raise ValueError(f"{place + length - len(message)} bytes are missing")
        yield key >> 3, message[place : place + length]
        place += length


def _read_varint(message: bytes, place: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if place >= len(message):
            raise ValueError("it ends within a number")
        byte = message[place]
        place += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, place
    raise ValueError("a number is too long")
