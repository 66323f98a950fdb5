"""`cgdet bag make`: what goes with the street, and what with a COCO set."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from refusing import refusal

from cgdet_core.cli import main
from cgdet_core.data.bags.frames import read_labelled_frames
from cgdet_core.data.bags.reader import BagReader


@pytest.fixture
def coco(tmp_path: Path) -> Path:
    folder = tmp_path / "set"
    folder.mkdir()
    cv2.imwrite(str(folder / "a.png"), np.zeros((8, 8), np.uint8))
    document = {
        "images": [{"id": 1, "file_name": "a.png", "height": 8, "width": 8}],
        "annotations": [],
        "categories": [{"id": 1, "name": "person"}],
    }
    (folder / "set.json").write_text(json.dumps(document))
    return folder / "set.json"


@pytest.mark.parametrize(
    "words",
    [
        ["--seed", "4"],
        ["--seed", "0"],
        ["--seconds", "3"],
        ["--bit-depth", "16"],
        ["--light", "mixed"],
        ["--no-rgb"],
        ["--seed", "0", "--no-rgb"],
    ],
)
def test_a_set_takes_no_option_of_the_street(
    coco: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str]
) -> None:
    line = refusal(capsys, "bag", "make", "--coco", coco, "--out", tmp_path / "bag", *words)
    for word in words:
        assert word in line or not word.startswith("--")
    assert "synthetic street" in line
    assert not (tmp_path / "bag").exists()


def test_a_rate_that_is_no_number_is_named(coco: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    line = refusal(capsys, "bag", "make", "--coco", coco, "--out", tmp_path / "bag", "--fps", "nan")
    assert "frames_per_second" in line
    assert "0 s" not in line


def test_the_street_is_made_as_asked(tmp_path: Path) -> None:
    words = ["--seconds", "0.1", "--fps", "10", "--bit-depth", "8", "--light", "night", "--seed", "5", "--no-rgb"]
    assert main(["bag", "make", "--out", str(tmp_path / "bag"), *words]) == 0
    (sample,) = read_labelled_frames(tmp_path / "bag")
    assert sample.frame.image.dtype == np.uint8
    assert (sample.light, sample.scene) == ("night", "street-5")
    with BagReader(tmp_path / "bag") as bag:
        assert not any("rgb" in topic for topic in bag.topics)


def test_the_street_is_of_seed_0_in_16_bits_with_rgb_unless_asked_otherwise(tmp_path: Path) -> None:
    assert main(["bag", "make", "--out", str(tmp_path / "bag"), "--seconds", "0.1", "--fps", "10"]) == 0
    (sample,) = read_labelled_frames(tmp_path / "bag")
    assert sample.frame.image.dtype == np.uint16
    assert sample.scene == "street-0"
    with BagReader(tmp_path / "bag") as bag:
        assert "/rgb/image_raw/compressed" in bag.topics
