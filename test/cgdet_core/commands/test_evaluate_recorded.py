"""`cgdet evaluate --detections`: recorded detections against the labels of a bag."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from cgdet_core.cli import main
from cgdet_core.data.bags.messages import DETECTIONS, typestore
from cgdet_core.data.bags.truth import read_detections, truth_message
from cgdet_core.data.bags.write import BagWriter
from cgdet_core.errors import InputError
from cgdet_core.types import CLASS_NAMES, GroundTruth

START_NS, PERIOD_NS = 1_700_000_000_000_000_000, 100_000_000
BOXES = np.array([[10.0, 10, 40, 50], [60, 20, 90, 60]], np.float32)


def labels(count: int = 2) -> GroundTruth:
    return GroundTruth(BOXES[:count], np.array([0, 2])[:count], np.zeros(count, bool))


@pytest.fixture
def drive(tmp_path: Path) -> Path:
    """Four frames with a person and a car each, the last without labels."""
    path = tmp_path / "drive"
    with BagWriter(path) as bag:
        for index in range(4):
            stamp_ns = START_NS + index * PERIOD_NS
            bag.image("/thermal/image_raw", np.full((80, 100), 20_000 + index, np.uint16), stamp_ns, "lens")
            if index < 3:
                bag.truth("/ground_truth", labels(), CLASS_NAMES, stamp_ns, "lens")
    return path


def recorded(
    path: Path, *counts: int | None, topics: tuple[str, ...] = ("/detections",), shift: int = 0, share: bool = False
) -> Path:
    """A bag in which the first `count` objects of each frame were found; None: without an array."""
    with BagWriter(path) as bag:
        for topic in topics:
            for index, count in enumerate(counts):
                if count is not None:
                    stamp_ns = START_NS + index * PERIOD_NS + shift
                    found = replace(labels(count), boxes_xyxy_px=BOXES[:count] / (100 if share else 1))
                    message = truth_message(found, CLASS_NAMES, stamp_ns, "lens")
                    bag.serialised(topic, typestore().serialize_cdr(message, DETECTIONS), DETECTIONS, stamp_ns)
    return path


def test_frames_without_an_array_count_as_those_in_which_nothing_was_found(
    drive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    found = recorded(tmp_path / "found", 2, 1, None)
    words = ["evaluate", "--data", str(drive), "--detections", str(found), "--json", "f.json", "--report", "f.html"]
    assert main(words) == 0
    figures = json.loads((tmp_path / "f.json").read_text())
    assert figures["model"] == "found"
    assert (figures["images"], figures["frames_without_labels"]) == (3, 1)
    assert (figures["frames_with_detections"], figures["frames_without_detections"]) == (2, 1)
    points = np.linspace(0, 1, 101)
    # every box is right: precision is 1 up to the recall, 2 of 3 persons and 1 of 3 cars
    assert figures["per_class"]["person"]["map50"] == pytest.approx(np.mean(points <= 2 / 3), abs=1e-9)
    assert figures["per_class"]["car"]["map50"] == pytest.approx(np.mean(points <= 1 / 3), abs=1e-9)
    page = (tmp_path / "f.html").read_text()
    assert "Frames with the most misses" in page
    assert "Frame to detections" not in page


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"topics": ("/a", "/b")}, "several topics of detections: name one of /a, /b"),
        ({"shift": 7}, "none of its 3 arrays"),
        ({"topics": ("/labels",)}, "named as labels"),
        ({"share": True}, "are they shares of the picture?"),
    ],
)
def test_detections_that_are_not_this_bag_s_are_refused_in_one_line(
    change: dict[str, object], reason: str, drive: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = recorded(tmp_path / "found", 2, 2, 2, **change)  # type: ignore[arg-type]
    assert main(["evaluate", "--data", str(drive), "--detections", str(found)]) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert reason in line


def test_how_a_network_runs_is_nothing_to_recorded_detections(
    drive: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = recorded(tmp_path / "found", 2)
    for words in (["--threads", "1"], ["--input", "640x800"], ["--precision", "fp32"]):
        assert main(["evaluate", "--data", str(drive), "--detections", str(found), *words]) == 2
        assert words[0] in capsys.readouterr().err


def test_a_set_of_files_has_no_stamps_to_find_detections_by(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "set.json").write_text("{}")
    found = recorded(tmp_path / "found", 2)
    assert main(["evaluate", "--data", str(tmp_path / "set.json"), "--detections", str(found)]) == 2
    said = capsys.readouterr().err
    assert "set.json" in said
    assert "--detections" in said


def test_a_class_that_is_none_and_a_topic_that_is_another_are_named(drive: Path, tmp_path: Path) -> None:
    found = recorded(tmp_path / "found", 2)
    with pytest.raises(InputError, match="unknown class 'person'"):
        read_detections(found, ("cat", "dog"))
    with pytest.raises(InputError, match=r"'/thermal/image_raw'.*is of type sensor_msgs/msg/Image"):
        read_detections(drive, CLASS_NAMES, "/thermal/image_raw")
