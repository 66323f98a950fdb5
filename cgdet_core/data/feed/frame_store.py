"""Training frames in memory up to a bound, and beyond it in a file that the system pages in and out.

What lies in the file costs no memory that anything else needs: the system keeps of it what fits. The file has no
name, so that nothing is left of it however the run ends, and the processes that prepare batches share it.
"""

from __future__ import annotations

import mmap
import os
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cgdet_core.errors import InputError

_SEGMENT_BYTES = 64 << 20  # the file grows by so much; each segment is one mapping
_ALIGNMENT = 64


class FrameStore:
    """folder: of the file, which is made when memory_mb are filled; None: everything stays in memory."""

    def __init__(self, folder: Path | None = None, memory_mb: int = 0) -> None:
        self._folder = folder
        self._left_bytes = memory_mb << 20
        self._file: int | None = None
        self._segment: mmap.mmap | None = None
        self._used_bytes = 0  # of the last segment
        self.file_bytes = 0

    def keep(self, array: NDArray[Any]) -> NDArray[Any]:
        """The array, or a copy of it in the file, bit for bit and not to be written to; InputError on a full disk."""
        if self._folder is None or array.nbytes <= self._left_bytes:
            self._left_bytes -= array.nbytes
            return array
        start = -(-self._used_bytes // _ALIGNMENT) * _ALIGNMENT
        if self._segment is None or start + array.nbytes > len(self._segment):
            self._segment, start = self._grown(self._folder, array.nbytes), 0
        kept = np.frombuffer(self._segment, array.dtype, array.size, start).reshape(array.shape)
        kept[...] = array
        kept.flags.writeable = False
        self._used_bytes = start + array.nbytes
        return kept

    def _grown(self, folder: Path, needed_bytes: int) -> mmap.mmap:
        size = -(-needed_bytes // _SEGMENT_BYTES) * _SEGMENT_BYTES
        try:
            if self._file is None:
                folder.mkdir(parents=True, exist_ok=True)
                with tempfile.TemporaryFile(dir=folder) as file:
                    self._file = os.dup(file.fileno())
            # a page that the disk has no room for would end the process when it is written to
            os.posix_fallocate(self._file, self.file_bytes, size)
            segment = mmap.mmap(self._file, size, offset=self.file_bytes)
        except OSError as error:
            raise InputError(
                f"{folder}: training frames beyond train.cache_mb cannot be laid there ({error.strerror}): free the "
                "disk, choose another --out, or raise train.cache_mb where there is memory"
            ) from None
        self.file_bytes += size
        return segment

    def __del__(self) -> None:
        # mappings that frames still use outlive the descriptor
        if self._file is not None:
            os.close(self._file)
