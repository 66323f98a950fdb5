"""The video is there whole or not at all, in a format that browsers play."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import cv2
import numpy as np
import pytest

from cgdet_core.evaluation.report.video import VideoWriter


def frames(count: int, height: int, width: int) -> list[np.ndarray]:
    """A red square that walks over grey."""
    made = []
    for number in range(count):
        image = np.full((height, width, 3), 60, np.uint8)
        left = 4 + number * (width - 40) // count
        image[10:40, left : left + 30] = (220, 30, 30)
        made.append(image)
    return made


def read(path: Path) -> tuple[list[np.ndarray], cv2.VideoCapture]:
    capture = cv2.VideoCapture(str(path))
    images = []
    while True:
        got, bgr = capture.read()
        if not got:
            return images, capture
        images.append(bgr[:, :, ::-1])


@pytest.mark.parametrize("size", [(120, 160), (121, 161)])
def test_a_video_reads_back_with_as_many_frames_as_were_written(
    tmp_path: Path, size: tuple[int, int], capfd: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "run.webm"
    written = frames(25, *size)
    with VideoWriter(path, 9.5) as video:
        for image in written:
            video.write(image)
        video.write(np.zeros((64, 65, 3), np.uint8))  # of another size: drawn at that of the first
    assert video.failure is None
    captured = capfd.readouterr()
    assert captured.out + captured.err == ""
    assert [item.name for item in tmp_path.iterdir()] == ["run.webm"]
    data = path.read_bytes()
    assert data[:4] == b"\x1a\x45\xdf\xa3"  # EBML
    assert b"webm" in data[:64]
    assert b"V_VP8" in data
    images, capture = read(path)
    assert len(images) == 26
    assert capture.get(cv2.CAP_PROP_FPS) == pytest.approx(9.5, rel=0.01)
    # red stays red and every row and column is there
    for image, original in zip(images, written, strict=False):
        assert image.shape[0] >= size[0]
        assert image.shape[1] >= size[1]
        assert np.abs(image[: size[0], : size[1]].astype(int) - original).mean() < 8


def test_an_error_while_writing_and_a_video_without_a_frame_leave_nothing(tmp_path: Path) -> None:
    with suppress(KeyError), VideoWriter(tmp_path / "run.webm", 10) as video:
        video.write(frames(1, 64, 64)[0])
        raise KeyError("from the loop")
    with VideoWriter(tmp_path / "run.webm", 10) as video:
        pass
    assert video.failure is None
    assert list(tmp_path.iterdir()) == []


def test_an_opencv_without_the_encoder_costs_the_video_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # a codec that no build of FFmpeg puts into WebM
    monkeypatch.setattr("cgdet_core.evaluation.report.video.CODEC", "FLV1")
    with VideoWriter(tmp_path / "run.webm", 10) as video:
        video.write(frames(1, 64, 64)[0])
    assert "without VP8" in (video.failure or "")
    assert list(tmp_path.iterdir()) == []
