"""Files in object storage (`s3://`, `gs://`, `az://`, every URL that fsspec knows), read and written as local ones.

An .mcap file is a local file of holes: fsspec fetches the blocks that are read, so that MCAP's index spares what nobody
asks for. Other files are copied. Credentials are those that the storage's library finds by itself.
"""

from __future__ import annotations

import atexit
import glob
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import cache
from pathlib import Path, PosixPath
from tempfile import TemporaryDirectory
from typing import Any

from cgdet_core.data.bags.damage import detail
from cgdet_core.errors import CgdetError, InputError
from cgdet_core.files import write_bytes

_BLOCK_BYTES = 1 << 16
# the local file of holes -> fsspec's file system, the path in it, the blocks that are there
_streamed: dict[str, tuple[Any, str, set[int]]] = {}
_copied = ExitStack()
atexit.register(_copied.close)


def is_url(place: str | Path) -> bool:
    return re.match(r"[a-z][a-z0-9+.-]+://", str(place), re.IGNORECASE) is not None


def masked(text: str) -> str:
    """Without the passwords and signatures of the URLs in it."""
    return re.sub(r"(\w://[^\s?]*)\?\S+", r"\1?***", re.sub(r"(\w://)[^/\s]+@", r"\1***@", text))


def place_in(folder: Path, path: str) -> str:
    """A URL, or a path that may start from `folder`."""
    return path if is_url(path) else str(folder / path)


def below(place: str, name: str, suffix: str = "") -> str:
    """A place in a folder; the folder itself for the name ""."""
    return f"{place.rstrip('/')}/{name}{suffix}" if name else place


@contextmanager
def _storage(url: str) -> Iterator[tuple[Any, str]]:
    """fsspec's file system and the path in it. Errors of drivers may tell a password: InputErrors without cause."""
    try:
        import fsspec

        storage, path = fsspec.core.url_to_fs(url)
        yield storage, str(path).rstrip("/")
    except CgdetError:
        raise
    except Exception as error:
        remedy = "check the address and the credentials that the storage's library finds"
        if isinstance(error, ImportError):
            remedy = "pip install s3fs (for gs: gcsfs, for az: adlfs)"
        told = detail(error).replace(url.partition("://")[2].rpartition("@")[0] or "\0", "***")
        raise InputError(masked(f"{url}: cannot be read or written ({told}): {remedy}")) from None


def files_below(place: str) -> dict[str, str]:
    """Every file at or below `place` -> what changes when the file does; empty where there is none."""
    if not is_url(place):  # fsspec follows no links
        walked = [os.path.join(top, name) for top, _, names in os.walk(place, followlinks=True) for name in names]
        stats = {file: os.stat(file) for file in walked or [place] if os.path.isfile(file)}
        return {file: f"{stat.st_size} {stat.st_mtime_ns}" for file, stat in stats.items()}
    with _storage(place) as (storage, path):
        found = storage.find(path, detail=True).items()
        return {place.rstrip("/") + name.removeprefix(path): str(sorted(info.items(), key=str)) for name, info in found}


def matches(pattern: str) -> list[str]:
    """What is there of this name, or of a name with `*`, `**` or `?`."""
    if is_there(pattern):
        return [pattern]
    if not is_url(pattern):
        return sorted(glob.glob(pattern, recursive=True))
    with _storage(pattern) as (storage, path):
        return sorted(pattern.removesuffix(path) + str(found) for found in storage.glob(path))


class StreamedFile(PosixPath):
    """A local .mcap file of holes, filled as it is read."""

    def open(self, mode: str = "r", *_: Any, **__: Any) -> Any:
        storage, path, blocks = _streamed[str(self)]
        url = storage.unstrip_protocol(path)
        with _storage(url):
            holes = {"location": str(self), "blocks": blocks}  # shared by all that open it
            file = storage.open(path, "rb", block_size=_BLOCK_BYTES, cache_type="mmap", cache_options=holes)
        if cached := getattr(file, "cache", None):
            # else an error of the network would be told as damage of the bag
            fetch = _storage(url)(cached.fetcher)
            # of a file that is cut short more is read than it has, which storages refuse
            cached.fetcher = lambda start, end: fetch(start, end) if start < end else b""
        return file


def streamed(file: Path) -> Path:
    """The file, or what it is streamed by."""
    return StreamedFile(file) if str(file) in _streamed else file


@contextmanager
def local(place: str) -> Iterator[Path]:
    """A bag, file or folder on this machine, as long as it is used. InputError for what is not there, or is larger than
    what the disk of temporary files has left."""
    if not is_url(place):
        yield Path(place)
        return
    with TemporaryDirectory(prefix="cgdet-") as folder:
        with _storage(place) as (storage, path):
            found = storage.find(path, detail=True)
            if not found:
                raise InputError(f"{masked(place)}: nothing is there: check the address")
            size_bytes, root = sum(info["size"] for info in found.values()), Path(folder, path.rpartition("/")[2])
            if size_bytes > shutil.disk_usage(folder).free:
                told = f"has {size_bytes / 1e9:.3g} GB, the disk of {folder} less: name another by TMPDIR"
                raise InputError(f"{masked(place)}: {told}")
            for name, info in found.items():
                file = Path(f"{root}{name.removeprefix(path)}")
                file.parent.mkdir(parents=True, exist_ok=True)
                if name.endswith(".mcap") and info["size"]:
                    file.touch()
                    os.truncate(file, info["size"])
                    _streamed[str(file)] = storage, name, set()
                else:
                    storage.get_file(name, str(file))
        try:
            yield root
        finally:
            for file in root.parent.rglob("*.mcap"):
                _streamed.pop(str(file), None)


@cache
def local_file(place: str) -> Path:
    """A small file (labels, a registration), copied once for this process."""
    return _copied.enter_context(local(place))


@contextmanager
def written(place: str) -> Iterator[Path]:
    """Where to write a file or folder; one for a storage is put there at the end, the files of its top last."""
    if not is_url(place):
        yield Path(place)
        return
    with TemporaryDirectory(prefix="cgdet-") as folder:
        root = Path(folder, place.rstrip("/").rpartition("/")[2])
        yield root
        files = [file for file in root.rglob("*") if file.is_file()] or [root]
        with _storage(place) as (storage, path):
            for at_top in (False, True):
                part = [str(file) for file in files if (file.parent in (root, root.parent)) is at_top]
                if part:
                    storage.put(part, [path + file.removeprefix(str(root)) for file in part])


def put_bytes(place: str, data: bytes) -> None:
    """Write a file whole or not at all."""
    with written(place) as file:
        write_bytes(file, data)


def is_there(place: str) -> bool:
    if not is_url(place):
        return os.path.exists(place)
    with _storage(place) as (storage, path):
        return bool(storage.exists(path))
