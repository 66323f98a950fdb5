"""Annotated frames as a video that every browser plays: VP8 in WebM.

The encoder is libvpx (BSD licence) of OpenCV's wheels; they hold no H.264 encoder, and no browser plays MJPEG.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np

from cgdet_core.drawing import RgbArray

CODEC = "VP80"


class VideoWriter:
    """Writes frames one after another to `path`, a .webm file of the first one's size; a context manager.

    Where the block is left with an error, or without a frame, there is no file. failure: why there is none though
    frames were written; a report goes without its video then.
    """

    def __init__(self, path: Path, frames_per_second: float) -> None:
        self._path, self._frames_per_second = path, frames_per_second
        self._writer: cv2.VideoWriter | None = None
        self._size = (0, 0)
        self.failure: str | None = None

    def write(self, rgb: RgbArray) -> None:
        """Append a frame, uint8 [H, W, 3] in RGB order."""
        if self._writer is None:
            # VP8 codes pairs of rows and columns: an odd last one would be lost
            self._size = rgb.shape[1] + rgb.shape[1] % 2, rgb.shape[0] + rgb.shape[0] % 2
            with _silent_stderr():
                fourcc = cv2.VideoWriter.fourcc(*CODEC)
                self._writer = cv2.VideoWriter(
                    str(self._path), cv2.CAP_FFMPEG, fourcc, self._frames_per_second, self._size
                )
        width, height = self._size
        if abs(rgb.shape[1] - width) > 1 or abs(rgb.shape[0] - height) > 1:
            rgb = np.asarray(cv2.resize(rgb, self._size, interpolation=cv2.INTER_AREA), np.uint8)
        below, beside = height - rgb.shape[0], width - rgb.shape[1]
        self._writer.write(cv2.copyMakeBorder(rgb[:, :, ::-1], 0, below, 0, beside, cv2.BORDER_REPLICATE))

    def __enter__(self) -> VideoWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if self._writer is not None:
            self._writer.release()
            # the encoder does not tell of a full disk
            if not _plays(self._path):
                self.failure = f"it could not be written: is the disk full, or OpenCV {cv2.__version__} without VP8?"
        if kind is not None or self.failure is not None:
            self._path.unlink(missing_ok=True)


def _plays(path: Path) -> bool:
    capture = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG)
    read, _ = capture.read()
    capture.release()
    return bool(read)


@contextlib.contextmanager
def _silent_stderr() -> Iterator[None]:
    """Keeps OpenCV's remark on WebM's codec tags off the terminal.

    It is printed by C code whenever the file is opened, and the log level that would silence it is
    read once, before any Python of ours runs.
    """
    sys.stderr.flush()
    kept = os.dup(2)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)
