"""Scalars for TensorBoard, written without it: its records are few bytes, and its writer's thread would print a
traceback of its own on a full disk and be copied by every fork.

A file is a row of records: uint64 length, CRC of the length, data, CRC of the data, all little-endian, each CRC a
masked CRC-32C (tensorflow/core/lib/io/record_writer.h). The data are an `Event` in the protocol buffer encoding
(tensorflow/core/util/event.proto): wall_time 1, step 2, file_version 3, summary 5, session_log 7.
"""

from __future__ import annotations

import struct
import time
from collections.abc import Mapping
from pathlib import Path

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_SESSION_START = 1


class ScalarFile:
    """A new event file in `folder`, opened by its first scalar.

    batches_done: points that earlier files of the folder have beyond it are purged: a run that is gone
    on with draws each of them again. Methods raise OSError where the disk refuses.
    """

    def __init__(self, folder: Path, batches_done: int) -> None:
        self._folder = folder
        self._batches_done = batches_done
        self._path: Path | None = None

    def add(self, values: Mapping[str, float], step: int) -> None:
        """A point for each curve by name, such as loss/box, written at once."""
        if self._path is None:
            self._path = event_file_name(self._folder)
            self._write(_event(0, _field(3, _BYTES, b"brain.Event:2")))
            first = self._batches_done + 1
            self._write(_event(first, _field(7, _BYTES, _field(1, _VARINT, _varint(_SESSION_START)))))
        points = [
            _field(1, _BYTES, _field(1, _BYTES, name.encode()) + _field(2, _FIXED32, struct.pack("<f", value)))
            for name, value in values.items()
        ]
        self._write(_event(step, _field(5, _BYTES, b"".join(points))))

    def _write(self, data: bytes) -> None:
        assert self._path is not None
        length = struct.pack("<Q", len(data))
        record = length + _masked_crc(length) + data + _masked_crc(data)
        with self._path.open("ab") as handle:
            handle.write(record)


def event_file_name(folder: Path) -> Path:
    """A new one: TensorBoard reads the files of a folder in the order of their names."""
    seconds, nanoseconds = divmod(time.time_ns(), 10**9)
    return folder / f"events.out.tfevents.{seconds:010d}.{nanoseconds:09d}.cgdet"


def _event(step: int, content: bytes) -> bytes:
    return _field(1, _FIXED64, struct.pack("<d", time.time())) + _field(2, _VARINT, _varint(step)) + content


def _field(number: int, kind: int, content: bytes) -> bytes:
    length = _varint(len(content)) if kind == _BYTES else b""
    return _varint(number << 3 | kind) + length + content


def _varint(value: int) -> bytes:
    groups = bytearray()
    while value > 0x7F:
        groups.append(value & 0x7F | 0x80)
        value >>= 7
    groups.append(value)
    return bytes(groups)


def _crc_table() -> list[int]:
    table = []
    for value in range(256):
        for _ in range(8):
            value = value >> 1 ^ (0x82F63B78 if value & 1 else 0)
        table.append(value)
    return table


_TABLE = _crc_table()


def _masked_crc(data: bytes) -> bytes:
    """The CRC-32C (Castagnoli), rotated by 15 bits and offset: a CRC of data that hold CRCs is a weak one."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc = _TABLE[(crc ^ byte) & 0xFF] ^ crc >> 8
    crc ^= 0xFFFFFFFF
    return struct.pack("<I", ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF)
