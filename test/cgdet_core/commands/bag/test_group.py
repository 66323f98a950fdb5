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
    ("words", "named"),
    [
        (["--seed", "0", "--no-rgb"], ["--seed", "--no-rgb"]),
        (["--seconds", "3", "--bit-depth", "16", "--light", "mixed"], ["--seconds", "--bit-depth", "--light"]),
        (["--fps", "nan"], ["frames_per_second"]),
    ],
)
def test_a_set_takes_no_option_of_the_street(
    coco: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], named: list[str]
) -> None:
    line = refusal(capsys, "bag", "make", "--coco", coco, "--out", tmp_path / "bag", *words)
    assert all(word in line for word in named)
    assert "--class-map" in refusal(capsys, "bag", "make", "--out", tmp_path / "bag", "--class-map", "a=car")
    assert not (tmp_path / "bag").exists()


def test_the_street_is_made_as_asked(tmp_path: Path) -> None:
    words = ["--seconds", "0.1", "--fps", "10", "--bit-depth", "8", "--light", "night", "--seed", "5", "--no-rgb"]
    assert main(["bag", "make", "--out", str(tmp_path / "bag"), *words]) == 0
    (sample,) = read_labelled_frames(tmp_path / "bag")
    assert sample.frame.image.dtype == np.uint8
    assert (sample.light, sample.scene) == ("night", "street-5")
    with BagReader(tmp_path / "bag") as bag:
        assert not any("rgb" in topic for topic in bag.topics)
