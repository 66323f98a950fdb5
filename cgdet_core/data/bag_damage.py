"""Damaged and truncated bags: found before and while they are read, each told in one line."""

from __future__ import annotations

import struct
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import yaml

from cgdet_core.errors import InputError

_INDEX_KEYS = {
    *("version", "storage_identifier", "relative_file_paths", "topics_with_message_count"),
    *("message_count", "starting_time", "duration"),
}
_SHOWN_CHARACTERS = 160


@cache
def _damage() -> tuple[type[Exception], ...]:
    """What rosbags and the libraries under it raise over damaged bytes.

    Beside its own errors, rosbags passes on what its parsing runs into: a record cut short or a
    length, offset or text that is none.
    """
    import apsw
    from rosbags.rosbag1 import ReaderError as Rosbag1Error
    from rosbags.rosbag2 import ReaderError as Rosbag2Error
    from rosbags.serde import SerdeError
    from rosbags.typesys import TypesysError

    if sys.version_info >= (3, 14):
        from compression import zstd
    else:
        from backports import zstd
    return (
        *(Rosbag1Error, Rosbag2Error, SerdeError, TypesysError, apsw.Error, zstd.ZstdError),
        *(OSError, EOFError, struct.error, ValueError, LookupError, TypeError, AttributeError, AssertionError),
        *(OverflowError, MemoryError, RuntimeError),
    )


@contextmanager
def bag_errors(path: Path) -> Iterator[None]:
    """Turns what reading the bag at `path` raises into an InputError of one line."""
    try:
        yield
    except PermissionError as error:
        raise InputError(f"{path}: may not be read ({error.strerror}): check the permissions") from None
    except _damage() as error:
        detail = " ".join(str(error).split()) or type(error).__name__
        if len(detail) > _SHOWN_CHARACTERS:
            detail = detail[:_SHOWN_CHARACTERS] + "…"
        raise InputError(
            f"{path}: the bag cannot be read, it seems damaged or cut short ({detail}): {remedy(path)}"
        ) from error


@contextmanager
def expected_fields(message_type: str, where: str) -> Iterator[None]:
    """Turns a field that a message lacks into an InputError: the bag defines the type otherwise than anybody knows."""
    try:
        yield
    except AttributeError as error:
        raise InputError(
            f"{where}: is no {message_type} that cgdet knows ({error}): record it again with the common definition"
        ) from error


def check_index(folder: Path) -> None:
    """Raise InputError unless the folder's metadata.yaml is the index of a rosbag2."""
    path = folder / "metadata.yaml"
    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}): check the permissions") from None
    except (yaml.YAMLError, ValueError):  # not YAML, not text
        document = None
    index = document.get("rosbag2_bagfile_information") if isinstance(document, dict) else None
    if not isinstance(index, dict) or not index.keys() >= _INDEX_KEYS:
        raise InputError(
            f"{path}: is damaged, not the index of a rosbag2: run `ros2 bag reindex {folder}`, or give the .mcap or "
            ".db3 file beside it"
        )


def check_length(path: Path) -> None:
    """Raise InputError where an SQLite file is shorter than its header says: SQLite reads a missing end as zeros.

    Source: sqlite.org/fileformat.html, sections 1.3.2 (page size) and 1.3.7 (size in pages).
    """
    try:
        with path.open("rb") as file:
            start = file.read(100)
        size_bytes = path.stat().st_size
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}): check the permissions") from None
    if len(start) < 100 or not start.startswith(b"SQLite format 3\0"):
        return  # SQLite itself says what is wrong
    (page_bytes,) = struct.unpack(">H", start[16:18])
    (pages,) = struct.unpack(">I", start[28:32])
    header_bytes = pages * (65536 if page_bytes == 1 else page_bytes)
    if start[24:28] == start[92:96] and size_bytes < header_bytes:
        raise InputError(f"{path}: the bag is cut short ({size_bytes} bytes of {header_bytes}): {remedy(path)}")


def remedy(path: Path) -> str:
    """What a user can do about a damaged bag."""
    if path.suffix == ".bag" and path.is_file():
        return "repair it with `rosbag reindex`, or copy or record it again"
    if path.suffix == ".db3" or (path.is_dir() and not any(".mcap" in entry.name for entry in path.iterdir())):
        return "repair its .db3 file with `sqlite3 FILE .recover`, or copy or record it again"
    return "repair it with `mcap recover`, or copy or record it again"
