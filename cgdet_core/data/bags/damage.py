"""Damaged bags: told from faults of ours, and refused with the command that repairs them."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

from cgdet_core.errors import InputError, RunError

_DETAIL_CHARACTERS = 160
_MCAP_MAGIC = b"\x89MCAP0\r\n"


class DamagedBag(InputError):
    """The bag, or its index, is damaged or cut short."""


class BagWarning(UserWarning):
    """What of a bag is not read, or contradicts itself."""


@cache
def _damage() -> tuple[type[Exception], ...]:
    """What rosbags, mcap and the libraries under them raise over damaged bytes, their own errors and others."""
    import apsw
    import zstandard
    from mcap.exceptions import McapError
    from rosbags.rosbag1 import ReaderError as Rosbag1Error
    from rosbags.rosbag2 import ReaderError as Rosbag2Error
    from rosbags.rosbag2.reader import zstd  # type: ignore[attr-defined]
    from rosbags.serde import SerdeError
    from rosbags.typesys import TypesysError

    return (
        *(Rosbag1Error, Rosbag2Error, SerdeError, TypesysError, McapError, apsw.Error, zstd.ZstdError),
        *(zstandard.ZstdError, OSError, EOFError, struct.error, ValueError, LookupError, OverflowError),
    )


@contextmanager
def bag_errors(path: Path) -> Iterator[None]:
    """Round a library's own call alone, which reads the bag at `path`: DamagedBag for what damaged bytes lead to,
    RunError with the type for what no bag should, be it damaged."""
    try:
        yield
    except PermissionError as error:
        raise InputError(f"{path}: may not be read ({error.strerror}): check the permissions") from None
    except _damage() as error:
        raise DamagedBag(
            f"{path}: the bag cannot be read, it seems damaged or cut short ({detail(error)}): {remedy(path)}"
        ) from error
    except (TypeError, AttributeError, AssertionError, MemoryError, RuntimeError) as error:
        if str(error).startswith("LZ4F_"):  # lz4 has no error of its own
            raise DamagedBag(f"{path}: the bag is damaged ({detail(error)}): {remedy(path)}") from error
        raise RunError(
            f"{path}: reading failed with {type(error).__name__} ({detail(error)}): this is a fault of cgdet or a "
            "library: please report it"
        ) from error


def detail(error: BaseException) -> str:
    """Its words in one short line."""
    words = " ".join(str(error).split()) or type(error).__name__
    return words if len(words) <= _DETAIL_CHARACTERS else words[:_DETAIL_CHARACTERS] + "…"


@contextmanager
def expected_fields(message_type: str, where: str) -> Iterator[None]:
    """Turns a field that a message lacks into an InputError: the bag defines the type otherwise than anybody knows."""
    try:
        yield
    except AttributeError as error:
        if not hasattr(error.obj, "__msgtype__"):  # not of a message
            raise
        raise InputError(
            f"{where}: has another definition of {message_type} ({error}): record it again with the standard one"
        ) from error


def check_whole(path: Path) -> None:
    """Raise DamagedBag for a storage file whose end is missing, which the libraries would not notice or not name so.

    SQLite reads a missing end as zeros, and, opened to be read alone, passes over the log beside the file that a crash
    left. Source: sqlite.org/fileformat.html, sections 1.3.2 (page size) and 1.3.7 (size in pages); mcap.dev/spec.
    """
    with bag_errors(path), path.open("rb") as file:
        start = file.read(100)
        file.seek(max(0, path.stat().st_size - len(_MCAP_MAGIC)))
        end = file.read()
    if path.suffix == ".mcap" and end != _MCAP_MAGIC:
        raise DamagedBag(f"{path}: the bag is cut short: {remedy(path)}")
    log = path.with_name(path.name + "-wal")
    if path.suffix == ".db3" and log.is_file() and log.stat().st_size:
        raise DamagedBag(
            f"{path}: the recording was cut short: its last messages lie in {log.name}: bring them into the bag with "
            f"`sqlite3 {path.name} 'PRAGMA wal_checkpoint'`"
        )
    if not start.startswith(b"SQLite format 3\0") or len(start) < 100 or start[24:28] != start[92:96]:
        return  # SQLite itself says what is wrong
    page_bytes, pages = struct.unpack_from(">H", start, 16)[0], struct.unpack_from(">I", start, 28)[0]
    size_bytes, header_bytes = path.stat().st_size, pages * (65536 if page_bytes == 1 else page_bytes)
    if size_bytes < header_bytes:
        raise DamagedBag(f"{path}: the bag is cut short ({size_bytes} bytes of {header_bytes}): {remedy(path)}")


def remedy(path: Path) -> str:
    """What a user can do about a damaged file of a bag."""
    command = "`mcap recover` may make"
    if path.suffix == ".bag":
        command = f"`rosbag reindex {path.name}` makes"
    elif path.suffix == ".db3":
        # not every build of sqlite3 has .recover; .dump may leave the last images torn
        recover, dump = f"sqlite3 {path.name} .recover", f"sqlite3 {path.name} .dump | sed s/^ROLLBACK/COMMIT/"
        command = f"`{recover} | sqlite3 new.db3`, or `{dump} | sqlite3 new.db3` where it fails, makes"
    return f"{command} a new bag of what can be read; or copy or record it again"
