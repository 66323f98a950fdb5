"""The video is there whole or not at all, in a format that browsers play."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from cgdet_core.errors import InputError
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
def test_a_video_reads_back_with_as_many_frames_as_were_written(tmp_path: Path, size: tuple[int, int]) -> None:
    path = tmp_path / "run.webm"
    written = frames(25, *size)
    with VideoWriter(path, size, 9.5) as video:
        for image in written:
            video.write(image)
    images, capture = read(path)
    assert len(images) == video.frames == 25
    assert capture.get(cv2.CAP_PROP_FPS) == pytest.approx(9.5, rel=0.01)
    assert [item.name for item in tmp_path.iterdir()] == ["run.webm"]
    # red stays red and every row and column is there
    for image, original in zip(images, written, strict=True):
        assert image.shape[0] >= size[0]
        assert image.shape[1] >= size[1]
        assert np.abs(image[: size[0], : size[1]].astype(int) - original).mean() < 8


def test_the_format_is_webm_with_vp8(tmp_path: Path) -> None:
    path = tmp_path / "run.webm"
    with VideoWriter(path, (64, 64), 10) as video:
        video.write(frames(1, 64, 64)[0])
    data = path.read_bytes()
    assert data[:4] == b"\x1a\x45\xdf\xa3"  # EBML
    assert b"webm" in data[:64]
    assert b"V_VP8" in data


def test_an_error_while_writing_leaves_nothing(tmp_path: Path) -> None:
    def run() -> None:
        with VideoWriter(tmp_path / "run.webm", (64, 64), 10) as video:
            video.write(frames(1, 64, 64)[0])
            raise KeyError("from the loop")

    with pytest.raises(KeyError):
        run()
    assert list(tmp_path.iterdir()) == []


def test_without_a_frame_there_is_no_file(tmp_path: Path) -> None:
    with VideoWriter(tmp_path / "run.webm", (64, 64), 10):
        pass
    assert list(tmp_path.iterdir()) == []


def test_a_frame_of_another_size_is_refused(tmp_path: Path) -> None:
    with (
        pytest.raises(ValueError, match="does not fit"),
        VideoWriter(tmp_path / "run.webm", (64, 64), 10) as video,
    ):
        video.write(np.zeros((64, 65, 3), np.uint8))


def test_a_place_that_cannot_be_written_to_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"nowhere/run\.webm"):
        VideoWriter(tmp_path / "nowhere" / "run.webm", (64, 64), 10)


def test_an_opencv_without_the_encoder_is_named_with_the_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # a codec that no build of FFmpeg puts into WebM
    monkeypatch.setattr("cgdet_core.evaluation.report.video.CODECS", ("FLV1",))
    with pytest.raises(InputError, match="pip install opencv-python-headless") as refusal:
        VideoWriter(tmp_path / "run.webm", (64, 64), 10)
    assert "\n" not in str(refusal.value)
    assert list(tmp_path.iterdir()) == []


def test_opening_a_video_says_nothing_on_the_terminal(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with VideoWriter(tmp_path / "run.webm", (64, 64), 10) as video:
        video.write(np.zeros((64, 64, 3), np.uint8))
    captured = capfd.readouterr()
    assert captured.out + captured.err == ""
