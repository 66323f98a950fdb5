"""Blocks of frames that belong together: neighbours in time show the same scene."""

from __future__ import annotations

import re
from pathlib import Path

BLOCK_FRAMES = 50  # frame numbers of one block are of one scene, or nearly


def block_of_name(file_name: str) -> int | None:
    """The block of 50 frame numbers that a file lies in; None where its name holds no number.

    The frame number is the last run of digits in the file's name, without folder and suffix.
    """
    digits = re.findall(r"\d+", Path(file_name).stem)
    return int(digits[-1]) // BLOCK_FRAMES if digits else None
