"""What the user names and nothing has is refused everywhere alike, with what was perhaps meant."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from cgdet_core.cli import main
from cgdet_core.config import (
    LabelConfig,
    PostprocessConfig,
    RegisterConfig,
    load_recipe,
    settings_from_words,
)
from cgdet_core.data.bags.frames import bag_labels, load_stamped_labels, read_labelled_frames
from cgdet_core.data.bags.reader import BagReader
from cgdet_core.data.bags.topics import choose_rgb_topic
from cgdet_core.data.bags.truth import read_detections
from cgdet_core.data.bags.write import BagWriter
from cgdet_core.data.feed.sources import restrict_to
from cgdet_core.data.sets.coco import load_coco
from cgdet_core.data.synthetic.bag import make_coco_bag
from cgdet_core.errors import InputError, check_known, unknown
from cgdet_core.evaluation.metrics.matching import EvaluatedFrame
from cgdet_core.evaluation.metrics.metrics import evaluate
from cgdet_core.runtime.backends import open_model
from cgdet_core.runtime.predictor import check_thresholds
from cgdet_core.tasks.detection.classes import class_table
from cgdet_core.types import Detections, GroundTruth

NOTHING = EvaluatedFrame("empty", Detections.empty(), GroundTruth.empty(), (64, 96))
THRESHOLDS = PostprocessConfig(class_thresholds={"perosn": 0.3})


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A set of one image with a person and a car, the bag of it, a recipe, and two empty model files."""
    folder = tmp_path_factory.mktemp("place")
    cv2.imwrite(str(folder / "street.png"), np.arange(48 * 64, dtype=np.uint8).reshape(48, 64))
    write_set(folder, "set.json")
    make_coco_bag(folder / "bag", folder / "set.json")
    (folder / "recipe.yaml").write_text("train: {images: 4}\nsources: [{path: set.json}]\n")
    (folder / "detector.onnx").touch()
    return folder


def write_set(folder: Path, name: str, **image: Any) -> Path:
    boxes = [(1, [4, 4, 10, 20]), (2, [30, 8, 20, 10])]
    document = {
        "images": [{"id": 1, "file_name": "street.png", "height": 48, "width": 64, "stamp_ns": 5, **image}],
        "annotations": [
            {"id": number, "image_id": 1, "category_id": number, "bbox": box, "iscrowd": 0, "area": 200}
            for number, box in boxes
        ],
        "categories": [{"id": 1, "name": "person"}, {"id": 2, "name": "car"}],
    }
    (folder / name).write_text(json.dumps(document))
    return folder / name


def recipe(*words: str) -> Callable[[Path], object]:
    return lambda folder: load_recipe(folder / "recipe.yaml", words)


def coco(**class_map: str) -> Callable[[Path], object]:
    return lambda folder: load_coco(folder / "set.json", class_map=class_map)


def labels(topic: str | None = None, **class_map: str) -> Callable[[Path], object]:
    def read(folder: Path) -> object:
        with BagReader(folder / "bag") as bag:
            return bag_labels(bag, topic, class_map=class_map)

    return read


def rgb_topic(folder: Path) -> object:
    with BagReader(folder / "bag") as bag:
        return choose_rgb_topic(bag, "/other", "/thermal/imag_raw")


def image(**keys: Any) -> Callable[[Path], object]:
    return lambda folder: load_coco(write_set(folder, "changed.json", **keys))


def model(name: str = "detector.onnx", backend: str = "auto", device: str = "cpu", precision: str = "auto") -> Any:
    return lambda folder: open_model(folder / name, backend, device, precision, 0)


@pytest.mark.parametrize(
    ("use", "meant"),
    [
        pytest.param(recipe("train.imagse=3"), "images", id="override"),
        pytest.param(recipe("images=3"), "train.images", id="override without its group"),
        pytest.param(recipe("sources.0.wieght=3"), "weight", id="key of a source"),
        pytest.param(recipe("guidance.distance=cwdd"), "cwd", id="value of a recipe"),
        pytest.param(recipe("postprocess.class_thresholds={preson: 0.3}"), "person", id="threshold of a recipe"),
        pytest.param(
            lambda _: settings_from_words(RegisterConfig, ["max_ofset_s=5"], ""), "max_offset_s", id="setting"
        ),
        pytest.param(coco(persn="car"), "person", id="category of a class map"),
        pytest.param(coco(car="bycicle"), "bicycle", id="class of a class map"),
        pytest.param(labels(persn="car"), "person", id="label of a bag's class map"),
        pytest.param(labels(car="bycicle"), "bicycle", id="class of a bag's class map"),
        pytest.param(labels("/ground_trut"), "/ground_truth", id="topic of labels"),
        pytest.param(
            lambda folder: load_stamped_labels(folder / "set.json", class_map={"cra": "person"}),
            "car",
            id="stamped labels",
        ),
        pytest.param(
            lambda f: list(read_labelled_frames(f / "bag", "/thermal/image")), "/thermal/image_raw", id="topic"
        ),
        pytest.param(rgb_topic, "/thermal/image_raw", id="RGB topic"),
        pytest.param(
            lambda folder: read_detections(folder / "bag", ("person", "car"), "/ground_thruth"),
            "/ground_truth",
            id="topic of detections",
        ),
        pytest.param(
            lambda folder: read_detections(folder / "bag", ("persons", "car"), "/ground_truth"),
            "persons",
            id="class of detections",
        ),
        pytest.param(
            lambda folder: restrict_to(load_coco(folder / "set.json"), ["cars"]), "car", id="labelled_classes"
        ),
        pytest.param(image(labelled=["presons"]), "person", id="labelled of an image"),
        pytest.param(image(file_name="Street.png"), "street.png", id="image of a set"),
        pytest.param(image(file_name="street.jpg"), "street.png", id="image of another kind"),
        pytest.param(lambda _: check_thresholds(THRESHOLDS, ("person", "car")), "person", id="threshold of a model"),
        pytest.param(lambda _: evaluate([NOTHING], ("person", "car"), {"crar": 0.3}), "car", id="threshold of figures"),
        pytest.param(
            lambda _: class_table(("bus",), ("bus", "car"), {"buss": "car"}, "teacher"), "bus", id="teacher's class"
        ),
        pytest.param(
            lambda _: class_table(("bus",), ("rickshaw",), {"bus": "rikshaw"}, "t"), "rickshaw", id="student's class"
        ),
        pytest.param(model("detektor.onnx"), "detector.onnx", id="model"),
        pytest.param(model(backend="opnvino"), "openvino", id="backend"),
        pytest.param(model(precision="bf"), "bf16", id="precision"),
        pytest.param(model(device="CPU"), "cpu", id="device"),
        pytest.param(
            lambda _: settings_from_words(LabelConfig, ["teacher.kind=yolo"], ""), "yolox", id="teacher's kind"
        ),
    ],
)
def test_a_name_that_nothing_has_is_an_error_with_what_was_meant(
    use: Callable[[Path], object], meant: str, place: Path
) -> None:
    with pytest.raises(InputError) as caught:
        use(place)
    assert f"did you mean '{meant}'?" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("words", "meant"),
    [
        (["convert", "flirv1", ".", "--out", "{place}/x.json"], "flir-v1"),
        (["convert", "llvip", ".", "--out", "{place}/x.json", "--split", "tets"], "test"),
        (["bag", "make", "--out", "{place}/x", "--light", "nigth"], "night"),
        (["bag", "label", "{place}/bag", "--out", "{place}/x.json", "class_thresholds.preson=0.3"], "person"),
        (["train", "{place}/recipe.yaml", "--data", ".", "--out", "{place}/run", "train.sed=3"], "seed"),
    ],
)
def test_a_command_says_what_was_meant(
    words: list[str], meant: str, place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([word.format(place=place) for word in words]) == 2
    assert f"did you mean '{meant}'?" in capsys.readouterr().err


def test_what_belongs_to_an_argument_that_is_not_given_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    of_recorded = ["evaluate", "--data", "x", "--detections", "y"]
    for words in (
        ["export", "--class-map", "a=b"],
        ["evaluate", "--data", "x.json", "--detections-topic", "/x"],
        [*of_recorded, "--device", "cpu"],
        [*of_recorded, "--telemetry-rows", "2"],
        ["bag", "extract", "x", "--out", "y", "--no-rgb", "--rgb-topic", "/rgb"],
    ):
        assert main(words) == 2
        assert re.search("leave (it|them|one of them) out", capsys.readouterr().err)


def test_a_class_map_without_labels_is_refused(place: Path, tmp_path: Path) -> None:
    (sample,) = read_labelled_frames(place / "bag")
    with BagWriter(tmp_path / "bag") as bag:
        bag.image("/thermal/image_raw", sample.frame.image, 5, "lens")
    with BagReader(tmp_path / "bag") as reader:
        assert bag_labels(reader).truth == {}
        with pytest.raises(InputError, match="--class-map"):
            bag_labels(reader, class_map={"truck": "car"})
    words = ["bag", "extract", str(tmp_path / "bag"), "--out", str(tmp_path / "set"), "--class-map", "truck=car"]
    assert main(words) == 2
    assert not (tmp_path / "set").exists()


def test_no_name_is_proposed_where_none_is_near_nor_for_another_number() -> None:
    for name, choices in (
        ("zebra", ["person", "car"]),
        ("frame_12.png", ["frame_13.png"]),
        ("", ["person"]),
        ("x", []),
    ):
        assert "did you mean" not in str(unknown("here", "name", name, choices))
    assert str(unknown("", "name", "x", [])).endswith("there are none")


def test_many_names_are_not_all_listed_and_what_a_mapping_says_of_each_is() -> None:
    line = str(unknown("here", "name", "x", {f"n{number:03}": "a" * number for number in range(100)}, "look"))
    assert "n003 (aaa)" in line
    assert "n050" not in line


def test_names_that_are_there_are_no_error() -> None:
    check_known("here", "name", ["a", "b"], {"a": 1, "b": 2})
