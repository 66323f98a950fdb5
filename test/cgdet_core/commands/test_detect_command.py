"""`cgdet detect` as it is typed: a picture for each image, and COCO JSON."""

from __future__ import annotations

import json
import os
import signal
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from refusing import refusal

from cgdet_core import images
from cgdet_core.cli import main
from cgdet_core.config import PostprocessConfig
from cgdet_core.runtime.model_file import ModelInfo, load_model, save_model

SIZE = (64, 96)
Detect = Callable[..., Any]


@pytest.fixture
def detect(tmp_path: Path, model: Path, exact: list[str]) -> Detect:
    """Runs the command with `tmp_path`/o as its --out and gives the JSON."""

    def run(*words: object, code: int = 0, model: Path = model) -> Any:
        out = tmp_path / "o"
        assert main(["detect", *map(str, words), "--out", str(out), "--model", str(model), *exact]) == code
        return json.loads((out / "detections.json").read_text())

    return run


def test_detect_writes_a_picture_for_each_image_and_coco_json(detect: Detect, coco: Path, tmp_path: Path) -> None:
    out, frames = tmp_path / "o", sorted(coco.parent.glob("*.png"))
    document = detect(*frames, "--score", 0.3)
    assert [(out / image["file_name"]).resolve() for image in document["images"]] == frames
    for frame in frames:
        picture = cv2.imread(str(out / frame.name))
        assert picture is not None
        assert picture.shape[1] / picture.shape[0] == pytest.approx(SIZE[1] / SIZE[0])
    assert document["annotations"]
    for annotation in document["annotations"]:
        left, top, width, height = annotation["bbox"]
        assert left >= 0
        assert top >= 0
        assert left + width <= SIZE[1] + 0.01
        assert top + height <= SIZE[0] + 0.01
        assert annotation["score"] >= 0.3


def test_images_that_viewers_turn_are_told_once(
    detect: Detect, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    jpeg = cv2.imencode(".jpg", np.zeros(SIZE, np.uint8))[1].tobytes()
    exif = b"Exif\0\0MM\0*" + struct.pack(">IHHHIHHI", 8, 1, 0x0112, 3, 1, 6, 0, 0)
    for name in ("1.jpg", "2.jpg"):
        (tmp_path / name).write_bytes(jpeg[:2] + b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif + jpeg[2:])
    (tmp_path / "3.jpg").write_bytes(jpeg)
    document = detect(*(tmp_path / f"{number}.jpg" for number in (1, 2, 3)))
    assert {(image["height"], image["width"]) for image in document["images"]} == {SIZE}
    assert len(lines := [line for line in capsys.readouterr().err.splitlines() if "Exif" in line]) == 1
    assert lines[0].startswith("cgdet: warning: 2 images")


def test_where_it_is_stopped_the_json_of_what_was_done_stays(
    detect: Detect, coco: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second, third = sorted(coco.parent.glob("*.png"))[:3]
    read_image = images.read_image

    def read(path: Path) -> Any:
        if path == third:
            os.kill(os.getpid(), signal.SIGTERM)
        return read_image(path)

    monkeypatch.setattr(images, "read_image", read)
    document = detect(first, second, third, code=143)
    assert [Path(image["file_name"]).name for image in document["images"]] == [first.name, second.name]


def test_a_damaged_image_is_named_and_earlier_results_stay(
    detect: Detect, coco: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Not even OpenCV's own warnings come beside the one line about a damaged picture."""
    good, cut = coco.parent / "00050.png", tmp_path / "cut.png"
    cut.write_bytes((coco.parent / "00100.png").read_bytes()[:-2000])
    before = detect(cut, good, code=2)
    assert len(before["images"]) == 1
    assert (tmp_path / "o" / "00050.png").exists()
    capfd.readouterr()
    assert detect(cut, code=2) == before
    output = capfd.readouterr()
    assert [line for line in output.err.splitlines() if "image/s" not in line] == [output.err.splitlines()[-1]]
    assert "cut.png" in output.err


def test_images_of_one_name_from_two_folders_get_pictures_of_their_own(detect: Detect, tmp_path: Path) -> None:
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        cv2.imwrite(str(tmp_path / folder / "frame.png"), np.zeros(SIZE, np.uint8))
        (tmp_path / folder / "._frame.png").write_bytes(b"\0\5\x16\7")  # of macOS
    detect(tmp_path / "a", tmp_path / "b")
    assert len(list((tmp_path / "o").glob("*.png"))) == 2


def test_a_score_replaces_the_thresholds_and_leaves_the_models_other_settings(
    detect: Detect, model: Path, coco: Path, tmp_path: Path
) -> None:
    detector, info = load_model(model)
    counts = []
    for most in (3, 300):
        own = PostprocessConfig(score_threshold=0.9, class_thresholds={"car": 0.95}, max_detections=most)
        save_model(tmp_path / "m.safetensors", detector, ModelInfo(model=info.model, postprocess=own))
        found = detect(coco.parent / "00050.png", "--score", 0.001, model=tmp_path / "m.safetensors")
        counts.append(len(found["annotations"]))
    assert counts[0] == 3
    assert counts[1] > 3


def test_what_cannot_be_done_is_named_and_leaves_nothing_behind(
    model: Path, coco: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], exact: list[str]
) -> None:
    frame, bag = coco.parent / "00050.png", tmp_path / "bag"
    before = frame.read_bytes()
    assert "00050.png" in refusal(capsys, "detect", frame, "--out", coco.parent, "--model", model, *exact)
    assert frame.read_bytes() == before
    assert main(["bag", "make", "--coco", str(coco), "--out", str(bag)]) == 0
    capsys.readouterr()
    # the command that takes a bag is named
    words = ["--out", tmp_path / "new", "--model", model, *exact]
    assert f"cgdet-replay --bag {bag}" in refusal(capsys, "detect", bag, *words)
    model.write_bytes(model.read_bytes()[:100])
    refusal(capsys, "detect", coco.parent, *words)
    assert not (tmp_path / "new").exists()
