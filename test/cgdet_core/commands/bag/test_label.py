"""`cgdet bag label`, `cgdet bag extract` and `cgdet train` on a bag, as they are typed."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
import yaml
from refusing import refusal

from cgdet_core.cli import main
from cgdet_core.data.bags.write import BagWriter
from cgdet_core.data.registration.homography import Registration, save_registration
from cgdet_core.data.sets.coco import load_coco
from cgdet_core.distill.teachers.yolox_network import Yolox, YoloxShape
from cgdet_core.files import write_tensors
from cgdet_core.types import CLASS_NAMES, GroundTruth

torch.set_num_threads(1)

SIZE = (64, 96)
START = 1_700_000_000_000_000_000


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    """A YOLOX that was never trained: it sees objects of all kinds, of scores about 0.25, all over."""
    torch.manual_seed(0)
    path = tmp_path / "yolox.safetensors"
    write_tensors(path, Yolox(YoloxShape(4, 1, True, 80)).state_dict(), {})
    return path


def bag_of(path: Path, frames: int = 60, rgb: bool = True, truth: bool = True) -> Path:
    """Frames at 10 Hz, every second one dark in RGB; a person in each where `truth`."""
    rng = np.random.default_rng(1)
    person = GroundTruth(np.array([[20, 10, 36, 50]], np.float32), np.array([0]), np.array([False]))
    with BagWriter(path) as bag:
        for place in range(frames):
            stamp = START + place * 100_000_000
            bag.image("/thermal/image", rng.integers(7000, 7400, SIZE).astype(np.uint16), stamp, "thermal")
            if rgb:
                picture = cv2.resize(
                    rng.integers(0, 240 // (1 + place % 2 * 7), (8, 12, 3)).astype(np.uint8), SIZE[::-1]
                )
                bag.image("/rgb/image", picture, stamp, "rgb")
            if truth:
                bag.truth("/ground_truth", person, CLASS_NAMES, stamp, "thermal")
    return path


def label(bag: Path, weights: Path, out: Path, *words: object) -> dict:
    typed = ["bag", "label", bag, "--teacher", weights, "--out", out, *words]
    assert main([str(word) for word in typed]) == 0
    document = json.loads(out.read_text())
    assert isinstance(document, dict)
    return document


def test_labels_of_a_bag_go_into_a_set_that_training_takes(
    tmp_path: Path, weights: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bag = bag_of(tmp_path / "bag", 6, truth=False)
    matrix = np.array([[1, 0, 10], [0, 1, 0], [0, 0, 1.0]])
    save_registration(tmp_path / "registration.yaml", Registration(matrix, SIZE, SIZE))
    words = ["--registration", tmp_path / "registration.yaml"]
    settings = ["ignore_score=0.001", "score_threshold=0.002"]
    document = label(bag, weights, tmp_path / "labels.json", *words, *settings, "class_thresholds.person=0.9")
    assert "6 pairs" in capsys.readouterr().out
    assert [image["stamp_ns"] for image in document["images"]] == [START + place * 100_000_000 for place in (0, 2, 4)]
    assert {each["reason"] for each in document["unlabelled_images"]} == {"RGB is dark"}
    persons = [each for each in document["annotations"] if each["category_id"] == 1]
    assert persons
    assert all(each["iscrowd"] for each in persons)
    assert document["info"]["settings"]["class_thresholds"] == {"person": 0.9}
    assert str(tmp_path) not in json.dumps(document["info"])

    extracted = ["bag", "extract", bag, "--out", tmp_path / "set", "--labels", tmp_path / "labels.json", *words]
    assert main([str(word) for word in extracted]) == 0
    assert "6 frames, 6 with RGB: 3 labelled" in capsys.readouterr().out
    coco = load_coco(tmp_path / "set" / "set.json")
    assert len(coco) == 3
    assert coco.records[0].rgb_valid_path == tmp_path / "set" / "rgb_valid.png"


def test_what_cannot_label_is_one_line(tmp_path: Path, weights: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bag = bag_of(tmp_path / "bag", 2)
    for words, named in (
        (["class_thresholds.dog=0.5"], "dog"),
        (["class_thresholds.person=2"], "class_thresholds.person"),
        (["score=0.5"], "score"),
        (["--registration", "none.yaml"], "none.yaml"),
        (["--rgb-topic", "/lidar"], "/lidar"),
        (["--every", "0"], "every"),
        (["teacher.kind=model", "teacher.sees=thermal"], "sees"),
        (["--out", "."], "folder"),
        (["--second-opinion", str(weights)], "yolox.safetensors"),
    ):
        typed = ["bag", "label", bag, "--teacher", weights, "--out", tmp_path / "labels.json", *words]
        assert named in refusal(capsys, *typed)
    assert not (tmp_path / "labels.json").exists()


def test_a_bag_without_rgb_cannot_be_labelled_but_extracted(
    tmp_path: Path, weights: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bag = bag_of(tmp_path / "bag", 2, rgb=False)
    assert "--rgb-topic" in refusal(
        capsys, "bag", "label", bag, "--teacher", weights, "--out", tmp_path / "labels.json"
    )
    assert main(["bag", "extract", str(bag), "--out", str(tmp_path / "set")]) == 0
    assert "2 frames, 0 with RGB: 2 labelled, with 2 objects; 0 unlabelled" in capsys.readouterr().out
    assert not (tmp_path / "set" / "rgb").exists()


def test_what_cannot_be_extracted_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bag = bag_of(tmp_path / "bag", 2)
    for words in (["--labels", "/nowhere"], ["--labels", "none.json"], ["--every", "0"], ["--class-map", "person"]):
        assert words[1] in refusal(capsys, "bag", "extract", bag, "--out", tmp_path / "set", *words)
    assert not (tmp_path / "set").exists()


def test_a_run_from_a_bag_in_one_command_which_goes_on_from_the_set_beside_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bag_of(tmp_path / "bag")
    recipe = {
        "model": {
            "widths": [8] * 5,
            "depths": [1, 0, 0, 0],
            "neck_depth": 0,
            "head_width": 8,
            "bins": 4,
            "input_height_width_px": [64, 96],
        },
        "augment": {"crop_px": 32},
        "train": {
            **{"images": 16, "batch_size": 4, "workers": 0, "device": "cpu"},
            **{"tensorboard": False, "validate_every_images": 0},
        },
        "sources": [{"path": "bag", "hold_out_fold": 1}],
    }
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump(recipe))
    train = ["train", str(path), "--data", str(tmp_path)]
    run = tmp_path / "runs" / "first"
    assert main([*train, "--out", str(run)]) == 0
    assert json.loads((run / "held_out.json").read_text())["images"] == 10
    (extracted,) = (entry for entry in (tmp_path / "runs" / "bag_cache").iterdir() if entry.is_dir())
    before = (extracted / "set.json").stat().st_mtime_ns
    # where frames lie may change when a run goes on
    resumed = ["train", str(run / "recipe.yaml"), "--data", str(tmp_path), "--resume"]
    assert main([*resumed, "--out", str(run), "train.cache_mb=0"]) == 0
    assert (extracted / "set.json").stat().st_mtime_ns == before
    capsys.readouterr()


def test_a_model_is_measured_on_a_bag_with_labels_of_a_file(tmp_path: Path) -> None:
    bag = bag_of(tmp_path / "bag", 3, truth=False)
    images = [{"id": 1, "file_name": str(START), "height": SIZE[0], "width": SIZE[1]}]
    box = {"id": 1, "image_id": 1, "category_id": 1, "bbox": [20, 10, 16, 40]}
    categories = [{"id": number, "name": name} for number, name in enumerate(CLASS_NAMES, 1)]
    labels = tmp_path / "labels.json"
    labels.write_text(json.dumps({"images": images, "annotations": [box], "categories": categories}))
    figures = tmp_path / "figures.json"
    words = ["evaluate", "--data", bag, "--truth-topic", labels, "--json", figures, "--threads", 1, "--device", "cpu"]
    assert main([str(word) for word in words]) == 0
    read = json.loads(figures.read_text())
    assert (read["images"], read["truths"], read["frames_without_labels"]) == (1, 1, 2)
