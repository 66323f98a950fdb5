"""Files written beside and renamed, so that a reader sees the old one or the new one, never a part."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from cgdet_core.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path of `path`'s name; what is written there becomes `path` on success, else is removed.

    The folder is made where it is missing. Raises InputError, with `path` and the reason, where the disk refuses.
    """
    with _beside(path) as holder:
        if path.is_dir():
            raise InputError(f"{path}: is a folder: give a file")
        yield holder / path.name
        with (holder / path.name).open("rb") as handle:
            os.fsync(handle.fileno())
        os.replace(holder / path.name, path)


@contextmanager
def replacing_folder(path: Path, marker: str, overwrite: bool = False) -> Iterator[Path]:
    """As `replacing`, of a folder.

    A folder at `path` is replaced, at the end, where `overwrite` and it holds the file `marker`, which says that it is
    of the kind that is written. Raises InputError, with `path` and the reason, for a place that is taken too.
    """
    check_free(path, marker, overwrite)
    with _beside(path) as holder:
        (holder / path.name).mkdir()
        yield holder / path.name
        check_free(path, marker, overwrite)  # somebody may have been quicker
        if path.exists():
            path.rename(holder / "previous")
        try:
            (holder / path.name).rename(path)
        except BaseException:
            if (holder / "previous").exists():
                (holder / "previous").rename(path)
            raise


@contextmanager
def _beside(path: Path) -> Iterator[Path]:
    """A hidden folder beside `path`, named by this process, until the end; InputError where the disk refuses."""
    holder = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _clear(path.parent)
        holder.mkdir(exist_ok=True)
        yield holder
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG) or error.errno is None
        remedy = "free the disk or choose another place" if full else "choose another place"
        raise InputError(f"{path}: cannot be written ({error.strerror or error}): {remedy}") from None
    finally:
        shutil.rmtree(holder, ignore_errors=True)


@cache
def _clear(folder: Path) -> None:
    """Remove what processes that were killed left half written here; a folder that one had put aside comes back."""
    for left in folder.glob(".*.partial"):
        name, _, process = left.stem[1:].rpartition(".")
        with suppress(OSError, ValueError, OverflowError):
            try:
                os.kill(int(process), 0)
            except ProcessLookupError:
                if (left / "previous").exists() and not os.path.lexists(folder / name):
                    (left / "previous").rename(folder / name)
                shutil.rmtree(left)


def check_free(path: Path, marker: str, overwrite: bool) -> None:
    """Raise InputError where `replacing_folder` would."""
    if not path.name or path.name == "..":
        raise InputError(f"{path}: is not a name for a folder: give the folder to make")
    if not os.path.lexists(path):
        return
    if not overwrite:
        raise InputError(f"{path}: exists already: choose another folder, or overwrite it with --overwrite")
    if path.is_symlink() or not (path / marker).is_file():
        raise InputError(f"{path}: holds no {marker} and is not overwritten: choose another folder")


def make_folder(path: Path) -> None:
    """Make `path` a folder that can be written to; InputError where it cannot be."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{path}: cannot be made a folder ({error.strerror}): choose another place") from None
    if not os.access(path, os.W_OK):
        raise InputError(f"{path}: is a folder that cannot be written to: choose another place")


def check_can_write(path: Path) -> None:
    """InputError where `path` is a folder, or lies in one that cannot be made or written to; makes nothing.

    For the time before long work.
    """
    if path.is_dir():
        raise InputError(f"{path}: is a folder: give a file")
    nearest = next(folder for folder in path.absolute().parents if os.path.lexists(folder))
    if not nearest.is_dir():
        raise InputError(f"{path}: cannot be written, {nearest} is a file: choose another place")
    if not os.access(nearest, os.W_OK | os.X_OK):
        raise InputError(f"{path}: cannot be written, {nearest} is not writable: choose another place")


def write_bytes(path: Path, data: bytes) -> None:
    """Write a file whole or not at all."""
    with replacing(path) as partial:
        partial.write_bytes(data)


def write_text(path: Path, text: str) -> None:
    """Write a UTF-8 text file whole or not at all."""
    write_bytes(path, text.encode())


def write_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> None:
    """Write a .safetensors file whole or not at all."""
    from safetensors.torch import save

    stored = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    # safetensors' own files are readable to their owner alone, and it tells a full disk as an error of the format
    write_bytes(path, save(stored, metadata=dict(metadata)))


def sha256_of(path: Path) -> str:
    """The file's SHA-256, hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb") as handle:
        while block := handle.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def shipped_places(name: Path) -> list[Path]:
    """Where this package's file may lie: beside the sources, in this Python's share folder, in an ament prefix."""
    prefixes = [sys.prefix, *filter(None, os.environ.get("AMENT_PREFIX_PATH", "").split(os.pathsep))]
    return [Path(__file__).resolve().parents[1] / name, *(Path(each, "share", "cgdet_ros", name) for each in prefixes)]
