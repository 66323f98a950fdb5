"""Bytes of an SQLite file: variable integers, records, and the pages in a write-ahead log.

Source: sqlite.org/fileformat.html, sections 2.1 (records) and 4 (write-ahead log).
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

_INTEGER_BYTES = {1: 1, 2: 2, 3: 3, 4: 4, 5: 6, 6: 8}
_LOG_MAGIC = (0x377F0682, 0x377F0683)
_LOG_HEADER_BYTES, _FRAME_HEADER_BYTES = 32, 24


@dataclass(frozen=True)
class Log:
    """A write-ahead log: the newest committed content of a page is at `places[page]` of `file`."""

    file: BinaryIO
    places: Mapping[int, int]


def read_log(path: Path, page_bytes: int) -> Log | None:
    """The log at `path`; None where there is none, or none for pages of that size."""
    if not path.is_file() or path.stat().st_size < _LOG_HEADER_BYTES:
        return None
    file = path.open("rb")
    magic, _, log_page_bytes, _, *salts = struct.unpack(">6I", file.read(_LOG_HEADER_BYTES)[:24])
    if magic not in _LOG_MAGIC or log_page_bytes != page_bytes:
        file.close()
        return None
    places: dict[int, int] = {}
    pending: dict[int, int] = {}
    at = _LOG_HEADER_BYTES
    while True:
        file.seek(at)
        head = file.read(_FRAME_HEADER_BYTES)
        if len(head) < _FRAME_HEADER_BYTES or at + _FRAME_HEADER_BYTES + page_bytes > path.stat().st_size:
            break
        number, committed_pages, *frame_salts = struct.unpack(">4I", head[:16])
        if frame_salts != salts:  # of an earlier use of the log
            break
        pending[number] = at + _FRAME_HEADER_BYTES
        if committed_pages:
            places.update(pending)
            pending.clear()
        at += _FRAME_HEADER_BYTES + page_bytes
    return Log(file, places)


def read_varint(data: bytes, at: int) -> tuple[int, int]:
    """A variable integer of 1 to 9 bytes, and where it ends. IndexError where the data end before it."""
    value = 0
    for place in range(at, at + 8):
        value = value << 7 | data[place] & 0x7F
        if data[place] < 0x80:
            return value, place + 1
    return value << 8 | data[at + 8], at + 9


def read_record(data: bytes) -> tuple[list[int], list[int | float | bytes | None]]:
    """Serial types and values of a record's columns; texts as bytes.

    The data may end in the last column, which then is what there is of it. ValueError or IndexError
    where they are no record.
    """
    header_bytes, at = read_varint(data, 0)
    types = []
    while at < header_bytes:
        code, at = read_varint(data, at)
        types.append(code)
    if at != header_bytes:
        raise ValueError("its header is no record's")
    values: list[int | float | bytes | None] = []
    for code in types:
        if code in (10, 11):
            raise ValueError("a column is of no type")
        length = _INTEGER_BYTES.get(code, 8 if code == 7 else max(0, (code - 12) // 2))
        part = data[at : at + length]
        if len(part) < length and code < 12:
            raise ValueError("it is cut short")
        if code in _INTEGER_BYTES:
            values.append(int.from_bytes(part, "big", signed=True))
        elif code == 7:
            values.append(struct.unpack(">d", part)[0])
        else:
            values.append({0: None, 8: 0, 9: 1}[code] if code < 12 else part)
        at += length
    return types, values


def kinds_of(types: Sequence[int]) -> str:
    """Serial types as letters: n null, i integer, f float, b bytes, t text."""
    return "".join(
        "n" if code == 0 else "f" if code == 7 else "i" if code < 10 else "t" if code % 2 else "b" for code in types
    )
