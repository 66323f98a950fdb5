"""log.jsonl: a line of JSON with the key `batch` for whatever was measured after that batch."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cgdet_core.errors import InputError
from cgdet_core.files import write_text


class RunLog:
    """The lines of a run so far, and the file they are added to.

    Of a run that is gone on with, lines of later batches than `batches_done`, which will be done again,
    are dropped, and so is what a killed process left of a line.
    """

    def __init__(self, path: Path, batches_done: int) -> None:
        self._path = path
        before = read_log(path) if batches_done else []
        self.lines = [line for line in before if line["batch"] <= batches_done]
        write_text(path, "".join(json.dumps(line) + "\n" for line in self.lines))

    def append(self, line: Mapping[str, Any]) -> None:
        """Write a line at once; InputError where the disk refuses."""
        try:
            with self._path.open("a", encoding="utf-8") as handle:
                handle.write(json.dumps(line) + "\n")
        except OSError as error:
            raise InputError(
                f"{self._path}: cannot be written ({error.strerror}): free the disk and --resume"
            ) from None
        self.lines.append(dict(line))

    def validated_at(self, batch: int) -> bool:
        """Whether the log has a validation after this batch."""
        return any("validation" in line and line["batch"] == batch for line in self.lines)


def read_log(path: Path) -> list[dict[str, Any]]:
    """The whole lines of a log; none where there is no file."""
    if not path.exists():
        return []
    lines = []
    for text in path.read_text(encoding="utf-8", errors="replace").splitlines(keepends=True):
        try:
            line = json.loads(text)
            # a run that was killed while it wrote leaves a last line without its end
            if text.endswith("\n") and type(line["batch"]) is int:
                lines.append(line)
        except (ValueError, TypeError, KeyError):
            continue
    return lines
