"""`cgdet detect` as it is typed: a picture for each image, and COCO JSON."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from refusing import refusal

from cgdet_core.cli import main
from cgdet_core.config import PostprocessConfig
from cgdet_core.runtime.model_file import ModelInfo, load_model, save_model

SIZE = (64, 96)


def test_detect_writes_a_picture_for_each_image_and_coco_json(model: Path, coco: Path, tmp_path: Path) -> None:
    out = tmp_path / "found"
    frames = sorted(coco.parent.glob("*.png"))
    assert main(["detect", *map(str, frames), "--out", str(out), "--model", str(model), "--score", "0.005"]) == 0
    document = json.loads((out / "detections.json").read_text())
    assert [(out / image["file_name"]).resolve() for image in document["images"]] == frames
    for frame in frames:
        picture = cv2.imread(str(out / frame.name))
        assert picture is not None
        assert picture.shape[1] / picture.shape[0] == pytest.approx(SIZE[1] / SIZE[0])
    for annotation in document["annotations"]:
        left, top, width, height = annotation["bbox"]
        assert left >= 0
        assert top >= 0
        assert left + width <= SIZE[1] + 0.01
        assert top + height <= SIZE[0] + 0.01
        assert annotation["score"] >= 0.005


def test_where_no_image_is_one_earlier_results_stay(
    model: Path, coco: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Not even OpenCV's own warnings come beside the one line about a damaged picture."""
    out = tmp_path / "o"
    assert main(["detect", str(coco.parent / "00001.png"), "--out", str(out), "--model", str(model)]) == 0
    before = (out / "detections.json").read_bytes()
    cut = tmp_path / "cut.png"
    cut.write_bytes((coco.parent / "00002.png").read_bytes()[:-2000])
    capfd.readouterr()
    assert main(["detect", str(cut), "--out", str(out), "--model", str(model)]) == 2
    output = capfd.readouterr()
    assert [line for line in output.err.splitlines() if "image/s" not in line] == [output.err.splitlines()[-1]]
    assert "cut.png" in output.err
    assert (out / "detections.json").read_bytes() == before


def test_a_model_that_cannot_be_loaded_leaves_no_folder_behind(
    model: Path, coco: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model.write_bytes(model.read_bytes()[:100])
    refusal(capsys, "detect", coco.parent, "--out", tmp_path / "new", "--model", model)
    assert not (tmp_path / "new").exists()


def test_images_of_one_name_from_two_folders_get_pictures_of_their_own(model: Path, tmp_path: Path) -> None:
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        cv2.imwrite(str(tmp_path / folder / "frame.png"), np.zeros(SIZE, np.uint8))
    words = ["detect", str(tmp_path / "a"), str(tmp_path / "b"), "--out", str(tmp_path / "o"), "--model", str(model)]
    assert main(words) == 0
    assert len(list((tmp_path / "o").glob("*.png"))) == 2


def test_a_picture_never_takes_the_place_of_an_image(
    model: Path, coco: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    frame = coco.parent / "00001.png"
    before = frame.read_bytes()
    assert "00001.png" in refusal(capsys, "detect", frame, "--out", coco.parent, "--model", model)
    assert frame.read_bytes() == before


def test_a_score_replaces_the_thresholds_and_leaves_the_models_other_settings(
    model: Path, coco: Path, tmp_path: Path
) -> None:
    detector, info = load_model(model)
    counts = []
    for most in (3, 300):
        own = PostprocessConfig(score_threshold=0.9, class_thresholds={"car": 0.95}, max_detections=most)
        save_model(tmp_path / "m.safetensors", detector, ModelInfo(model=info.model, postprocess=own))
        words = ["detect", coco.parent / "00001.png", "--out", tmp_path / "o", "--model", tmp_path / "m.safetensors"]
        assert main([str(word) for word in [*words, "--score", "0.001"]]) == 0
        counts.append(len(json.loads((tmp_path / "o" / "detections.json").read_text())["annotations"]))
    assert counts[0] == 3
    assert counts[1] > 3


def test_an_image_that_is_none_is_named_and_the_others_are_still_done(
    model: Path, coco: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = tmp_path / "notes.png"
    text.write_text("not an image")
    good = coco.parent / "00001.png"
    line = refusal(capsys, "detect", text, good, "--out", tmp_path / "o", "--model", model)
    assert "notes.png" in line
    assert (tmp_path / "o" / "00001.png").exists()
    assert len(json.loads((tmp_path / "o" / "detections.json").read_text())["images"]) == 1


def test_a_bag_is_no_folder_of_images_and_the_command_that_takes_it_is_named(
    model: Path, coco: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["bag", "make", "--coco", str(coco), "--out", str(tmp_path / "bag")]) == 0
    capsys.readouterr()
    line = refusal(capsys, "detect", tmp_path / "bag", "--out", tmp_path / "found", "--model", model)
    assert f"{tmp_path / 'bag'}: is a bag: `cgdet-replay --bag {tmp_path / 'bag'}` detects in it" in line
