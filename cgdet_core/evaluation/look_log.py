"""The log of looks at test splits, one JSON line each; it travels with the repository.

Who looks at a test split often, and chooses by what is seen, measures the choosing. The log lets
everybody count.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import subprocess
from collections.abc import Mapping
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from cgdet_core.errors import InputError
from cgdet_core.evaluation.selection import is_test_split, set_name
from cgdet_core.files import check_can_write

LOG_IN_CHECKOUT = Path("docs", "test_evaluations.jsonl")
PACKAGE_NAME = "cgdet_ros"


def find_checkout(start: Path) -> Path | None:
    """The nearest folder from `start` upward that is a checkout of this repository."""
    for folder in (start.resolve(), *start.resolve().parents):
        package = folder / "package.xml"
        if (folder / ".git").exists() and package.is_file():
            # no parser of XML for one tag of a file of our own
            name = re.search(rb"<name>\s*([^<\s]+)\s*</name>", package.read_bytes())
            if name is not None and name.group(1).decode("utf-8", "replace") == PACKAGE_NAME:
                return folder
    return None


def log_for(data: Path, given: Path | None, start: Path) -> Path | None:
    """Where an evaluation of `data` is to be logged: `given`; else, for a test split, the log of the checkout
    that `start` lies in. None: nowhere. Raises InputError where that place cannot be written to."""
    path = given
    if path is None and is_test_split(data) and (checkout := find_checkout(start)) is not None:
        path = checkout / LOG_IN_CHECKOUT
    if path is not None:
        check_can_write(path)
        if path.exists() and not os.access(path, os.W_OK):
            raise InputError(f"{path}: cannot be written: looks at test splits are logged there, make it writable")
    return path


def append_look(path: Path, data: Path, facts: Mapping[str, Any], how: str, start: Path) -> None:
    """Append one line for one model's evaluation.

    facts: model, model_sha256, map50, map, images, device, precision; how: the command; start: a folder of
    the checkout whose commit is stated. Raises InputError where the disk refuses.
    """
    line = {
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "commit": commit_of(start),
        "model": facts["model"],
        "model_sha256": facts["model_sha256"],
        "data": set_name(data),
        "map50": facts["map50"],
        "map": facts["map"],
        "images": facts["images"],
        "device": facts["device"],
        "precision": facts["precision"],
        "how": how,
    }
    append_line(path, json.dumps(line))


def append_line(path: Path, line: str) -> None:
    """Append a line in one write, so that lines of several processes do not mix. InputError where the disk refuses."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o666)
        try:
            # a line that an editor left open is closed first; of two writers, only one may see it open
            fcntl.flock(handle, fcntl.LOCK_EX)
            size = os.fstat(handle).st_size
            opening = b"\n" if size and os.pread(handle, 1, size - 1) != b"\n" else b""
            data = opening + line.encode("utf-8") + b"\n"
            if os.write(handle, data) != len(data):
                raise InputError(f"{path}: only a part of a line could be written: free the disk and mend its end")
        finally:
            os.close(handle)
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror}): choose another place with --log") from None


def commit_of(start: Path) -> str | None:
    """The commit of the checkout that `start` lies in, "-dirty" behind it where a tracked file but the log
    differs; None outside a checkout or without git."""
    checkout = find_checkout(start)
    if checkout is None:
        return None
    changed = ["status", "--porcelain", "--untracked-files=no", "--", ".", f":(exclude){LOG_IN_CHECKOUT.as_posix()}"]
    try:
        commit, changes = (
            subprocess.run(["git", "-C", checkout, *words], capture_output=True, text=True, check=True).stdout.strip()
            for words in (["rev-parse", "HEAD"], changed)
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return f"{commit}-dirty" if changes else commit
