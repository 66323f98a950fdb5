"""Damaged and truncated bags: found before and while they are read, each told in one line."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path, PurePath
from typing import Any

import yaml

from cgdet_core.errors import InputError

_INDEX_KEYS = {
    *("version", "storage_identifier", "relative_file_paths", "topics_with_message_count"),
    *("message_count", "starting_time", "duration"),
}
_SHOWN_CHARACTERS = 160
_SHOWN_FILES = 3


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

    from cgdet_core.data.bags.zstd import zstd

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
    """Raise InputError unless the folder's metadata.yaml is the index of a rosbag2 whose files are there."""
    path = folder / "metadata.yaml"
    try:
        index = read_index(folder)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}): check the permissions") from None
    if index is None or not index.keys() >= _INDEX_KEYS:
        raise InputError(
            f"{path}: is damaged, not the index of a rosbag2: run `ros2 bag reindex {folder}`, or give the .mcap or "
            f".db3 file beside it; {_repair(folder)}"
        )
    names = index["relative_file_paths"]
    if not isinstance(names, list):
        return  # rosbags says what is wrong
    # files lie in the folder, whatever path older recorders wrote
    missing = [name for name in (PurePath(str(entry)).name for entry in names) if not (folder / name).exists()]
    if missing:
        shown = ", ".join(missing[:_SHOWN_FILES]) + (", ..." if len(missing) > _SHOWN_FILES else "")
        rest = f"; {_repair(folder)}" if len(missing) < len(names) else ""
        raise InputError(
            f"{folder}: lacks {shown}, which its metadata.yaml names: copy the whole folder again, "
            f"or run `ros2 bag reindex {folder}` over the files that are there{rest}"
        )


def read_index(folder: Path) -> dict[str, Any] | None:
    """What the folder's metadata.yaml says of the bag; None where it is no index of a bag. Raises OSError."""
    try:
        document = yaml.safe_load((folder / "metadata.yaml").read_text(encoding="utf-8"))
    except (yaml.YAMLError, ValueError, RecursionError):  # not YAML, not text, nested too deep
        return None
    index = document.get("rosbag2_bagfile_information") if isinstance(document, dict) else None
    return index if isinstance(index, dict) else None


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


def check_no_log(path: Path) -> None:
    """Raise InputError where an SQLite file's last messages still lie in the log beside it, as after a crash."""
    log = path.with_name(path.name + "-wal")
    if log.is_file() and log.stat().st_size:
        raise InputError(
            f"{path}: the recording was cut short: its last messages lie in {log.name}: bring them into the bag with "
            f"`sqlite3 {path.name} 'PRAGMA wal_checkpoint'`; {_repair(path)}"
        )


def remedy(path: Path) -> str:
    """What a user can do about a damaged bag."""
    return f"{_repair(path)}, `{_foreign_repair(path)}` may do so too; or copy or record it again"


def _repair(path: Path) -> str:
    return f"`cgdet bag repair {path} --out NEW` writes what can be read of it to a new bag"


def _foreign_repair(path: Path) -> str:
    if path.suffix == ".bag" and path.is_file():
        return "rosbag reindex"
    if path.suffix == ".db3" or (path.is_dir() and _storage(path) == "sqlite3"):
        return "sqlite3 FILE .recover"
    return "mcap recover"


def _storage(folder: Path) -> str | None:
    """The kind of storage that the folder's index states: mcap or sqlite3."""
    try:
        index = read_index(folder)
    except OSError:  # the remedy for a bag that cannot be read: there may be no index either
        return None
    return None if index is None else index.get("storage_identifier")
