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
from types import TracebackType

import cv2
import numpy as np

from cgdet_core.drawing import RgbArray
from cgdet_core.errors import InputError

CODECS = ("VP80", "VP90")  # VP8 first: VP9 takes five times as long here for half the bytes


class VideoWriter:
    """Writes frames one after another to `path`; a context manager.

    path: ends in .webm; the file appears there when the block is left without an error and a frame
        was written, until then it has a temporary name beside it.
    height_width_px: of every frame; frames_per_second: what it is played at.
    Raises InputError where the folder cannot be written to or this OpenCV encodes neither codec.
    """

    def __init__(self, path: Path, height_width_px: tuple[int, int], frames_per_second: float) -> None:
        self._path = Path(path)
        if not os.access(self._path.parent, os.W_OK):
            raise InputError(f"{path}: its folder is missing or cannot be written to: create it or give another")
        self._height_width_px = height_width_px
        self._temporary = self._path.with_name(f".{self._path.stem}.{os.getpid()}.webm")
        self._writer = self._open(frames_per_second)
        self.frames = 0

    def _open(self, frames_per_second: float) -> cv2.VideoWriter:
        height, width = self._height_width_px
        # VP8 codes pairs of rows and columns: an odd last one would be lost
        size = (width + width % 2, height + height % 2)
        with _silent_stderr():
            for codec in CODECS:
                fourcc = cv2.VideoWriter.fourcc(*codec)
                writer = cv2.VideoWriter(str(self._temporary), cv2.CAP_FFMPEG, fourcc, frames_per_second, size)
                if writer.isOpened():
                    return writer
        self._temporary.unlink(missing_ok=True)
        raise InputError(
            f"{self._path}: this OpenCV ({cv2.__version__}) encodes neither VP8 nor VP9: "
            "pip install opencv-python-headless, or go without a video"
        )

    def write(self, rgb: RgbArray) -> None:
        """Append a frame, uint8 [H, W, 3] in RGB order."""
        if rgb.shape != (*self._height_width_px, 3) or rgb.dtype != np.uint8:
            raise ValueError(f"a frame of shape {list(rgb.shape)} and type {rgb.dtype} does not fit the video")
        height, width = self._height_width_px
        bgr = np.ascontiguousarray(rgb[:, :, ::-1])
        if height % 2 or width % 2:
            bgr = np.asarray(cv2.copyMakeBorder(bgr, 0, height % 2, 0, width % 2, cv2.BORDER_REPLICATE))
        self._writer.write(bgr)
        self.frames += 1

    def __enter__(self) -> VideoWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._writer.release()
        try:
            if kind is None and self.frames:
                # the encoder does not tell of a full disk
                if not _plays(self._temporary):
                    raise InputError(f"{self._path}: the video could not be written: is the disk full?")
                os.replace(self._temporary, self._path)
        finally:
            self._temporary.unlink(missing_ok=True)


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
