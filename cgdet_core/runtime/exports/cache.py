"""What is compiled for this machine, kept for the next start: a help that nothing depends on."""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final

from cgdet_core.errors import InputError
from cgdet_core.files import replacing

ENTRIES: Final = 16  # the newest are kept

_log = logging.getLogger("cgdet")


def cache_folder() -> Path:
    """$XDG_CACHE_HOME/cgdet, or ~/.cache/cgdet (XDG Base Directory Specification)."""
    base = os.environ.get("XDG_CACHE_HOME", "")
    if os.path.isabs(base):
        return Path(base) / "cgdet"
    try:
        return Path.home() / ".cache" / "cgdet"
    except RuntimeError:  # no home at all
        return Path(os.devnull) / "cgdet"


def entry_path(key: Mapping[str, object]) -> Path:
    """The file of what `key` describes: model, library and version, device, precision, input."""
    text = json.dumps(key, sort_keys=True)
    return cache_folder() / f"{key['library']}-{hashlib.sha256(text.encode()).hexdigest()[:32]}"


def load(key: Mapping[str, object]) -> bytes | None:
    """The content kept under `key`; None where there is none, or none that is whole."""
    path = entry_path(key)
    try:
        content = path.read_bytes()
    except OSError:
        return None
    if hashlib.sha256(content[32:]).digest() != content[:32]:
        return None
    with suppress(OSError):
        os.utime(path)  # used: the last to be dropped
    return content[32:]


def store(key: Mapping[str, object], content: bytes) -> None:
    """Keep `content` under `key`; where that cannot be, one line in the log says so."""
    path = entry_path(key)
    try:
        with replacing(path) as partial:
            partial.write_bytes(hashlib.sha256(content).digest() + content)
    except InputError as error:
        _log.warning("the compiled network is not kept for the next start: %s", error)
        return
    _drop_oldest(path.parent)


def _drop_oldest(folder: Path) -> None:
    with suppress(OSError):
        entries = [path for path in folder.iterdir() if path.is_file() and not path.name.startswith(".")]
        entries.sort(key=lambda path: path.stat().st_mtime_ns, reverse=True)
        for path in entries[ENTRIES:]:
            path.unlink(missing_ok=True)
