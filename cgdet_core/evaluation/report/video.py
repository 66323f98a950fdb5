"""Annotated frames as a video that every browser plays: VP8 (or VP9) in WebM.

The encoder is libvpx (BSD licence), which the wheels of OpenCV carry; they hold no H.264 encoder, and
no browser plays MJPEG. An OpenCV without it is reported in one line, so that a report can be written
without a video.
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
from cgdet_core.errors import InputError

CODECS = ("VP80", "VP90")  # VP8 first: VP9 takes five times as long here for half the bytes


class VideoWriter:
    """Writes frames one after another to `path`, a .webm file; a context manager. Where the block is left with an
    error, or without a frame, there is no file.

    height_width_px: of every frame; frames_per_second: what it is played at.
    Raises InputError where the folder cannot be written to or this OpenCV encodes neither codec.
    """

    def __init__(self, path: Path, height_width_px: tuple[int, int], frames_per_second: float) -> None:
        if not os.access(path.parent, os.W_OK):
            raise InputError(f"{path}: its folder is missing or cannot be written to: create it or give another")
        self._path, self._height_width_px, self.frames = path, height_width_px, 0
        # VP8 codes pairs of rows and columns: an odd last one would be lost
        self._odd = tuple(side % 2 for side in height_width_px)
        size = tuple(side + odd for side, odd in zip(height_width_px, self._odd, strict=True))
        with _silent_stderr():
            for codec in CODECS:
                fourcc = cv2.VideoWriter.fourcc(*codec)
                self._writer = cv2.VideoWriter(str(path), cv2.CAP_FFMPEG, fourcc, frames_per_second, size[::-1])
                if self._writer.isOpened():
                    return
        path.unlink(missing_ok=True)
        raise InputError(
            f"{path}: this OpenCV ({cv2.__version__}) encodes neither VP8 nor VP9: "
            "pip install opencv-python-headless, or go without a video"
        )

    def write(self, rgb: RgbArray) -> None:
        """Append a frame, uint8 [H, W, 3] in RGB order."""
        if rgb.shape != (*self._height_width_px, 3) or rgb.dtype != np.uint8:
            raise ValueError(f"a frame of shape {list(rgb.shape)} and type {rgb.dtype} does not fit the video")
        below, beside = self._odd
        self._writer.write(cv2.copyMakeBorder(rgb[:, :, ::-1], 0, below, 0, beside, cv2.BORDER_REPLICATE))
        self.frames += 1

    def __enter__(self) -> VideoWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._writer.release()
        # the encoder does not tell of a full disk
        plays = kind is None and self.frames > 0 and _plays(self._path)
        if not plays:
            self._path.unlink(missing_ok=True)
        if kind is None and self.frames and not plays:
            raise InputError(f"{self._path}: the video could not be written: is the disk full?")


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
