"""`cgdet compare` as it is typed."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from refusing import refusal

from cgdet_core.cli import main
from cgdet_core.config import CompareConfig, ModelConfig, PostprocessConfig
from cgdet_core.files import sha256_of
from cgdet_core.images import read_image
from cgdet_core.runtime.model_file import ModelInfo, load_model, save_model
from cgdet_core.runtime.predictor import Predictor
from cgdet_core.tasks.detection.head import Detector

TINY = ModelConfig(widths=(8, 8, 16, 16, 16), head_width=8, input_height_width_px=(64, 96))


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """a, b: two random detectors; animals: one of other classes."""
    folder = tmp_path_factory.mktemp("models")
    animals = TINY.model_copy(update={"class_names": ("cat", "dog", "car")})
    paths = []
    for seed, (name, config) in enumerate({"a": TINY, "b": TINY, "animals": animals}.items()):
        torch.manual_seed(seed)
        paths.append(folder / f"{name}.safetensors")
        save_model(paths[-1], Detector(config), ModelInfo(model=config))
    return paths


@pytest.fixture
def coco(tmp_path: Path) -> Path:
    """Six frames of six blocks, a person in each, in a file that is named as a test split is."""
    folder = tmp_path / "set"
    folder.mkdir()
    images, annotations = [], []
    for number in range(6):
        name = f"{number * 50:05d}.png"
        frame = np.random.default_rng(number).integers(20, 60, (64, 96)).astype(np.uint8)
        frame[10:40, 20:32] = 220
        cv2.imwrite(str(folder / name), frame)
        light = "night" if number % 2 else "day"
        images.append({"id": number, "file_name": name, "height": 64, "width": 96, "light": light})
        annotations.append(
            {"id": number, "image_id": number, "category_id": 1, "bbox": [20, 10, 12, 30], "area": 360, "iscrowd": 0}
        )
    categories = [{"id": number, "name": name} for number, name in enumerate(("person", "bicycle", "car"), 1)]
    path = folder / "small_test.json"
    path.write_text(json.dumps({"images": images, "annotations": annotations, "categories": categories}))
    return path


def label_with_the_best_detections_of(model: Path, coco: Path) -> None:
    """Objects that this model finds with its highest scores, and another model does not."""
    predictor = Predictor(model, device="cpu", postprocess=PostprocessConfig(score_threshold=0.001))
    document = json.loads(coco.read_text())
    document["annotations"] = []
    for image in document["images"]:
        found = predictor.predict(read_image(coco.parent / image["file_name"]))
        for box, class_id in list(zip(found.boxes_xyxy_px.tolist(), found.class_ids.tolist(), strict=True))[:5]:
            bbox = [box[0], box[1], box[2] - box[0], box[3] - box[1]]
            label = {"id": len(document["annotations"]), "image_id": image["id"], "category_id": class_id + 1}
            document["annotations"].append({**label, "bbox": bbox, "area": bbox[2] * bbox[3], "iscrowd": 0})
    coco.write_text(json.dumps(document))


def test_a_comparison_prints_a_verdict_and_writes_all_figures(
    models: list[Path], coco: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    a, b, _ = models
    label_with_the_best_detections_of(a, coco)
    out = tmp_path / "comparison.json"
    words = ["compare", a, b, "--data", coco, "--json", out, "--resamples", 150, "--seed", 4]
    assert main([str(word) for word in words]) == 0
    printed = capsys.readouterr().out
    figures = json.loads(out.read_text())
    assert printed.startswith(figures["words"])
    assert printed.startswith("B is worse than A: mAP -")
    assert figures["overall"]["map50"]["a"] > 0.1
    assert "6 blocks" in printed
    assert "by turns" in printed
    assert (figures["images"], figures["blocks"], figures["resamples"], figures["seed"]) == (6, 6, 150, 4)
    assert set(figures["overall"]) == {"map", "map50", "duplicates_per_object"}
    assert set(figures["per_class"]) == {"person", "bicycle", "car"}
    assert set(figures["by_light"]) == {"day", "night"}
    for letter, path in (("a", a), ("b", b)):
        # the same figures as by the other command
        assert main(["evaluate", "--data", str(coco), "--model", str(path), "--json", str(tmp_path / "one.json")]) == 0
        alone = json.loads((tmp_path / "one.json").read_text())
        assert figures["models"][letter]["model_sha256"] == sha256_of(path)
        assert figures["overall"]["map50"][letter] == pytest.approx(alone["map50"], abs=1e-12)
        duplicates = alone["duplicates_per_object"]["all"]
        assert figures["overall"]["duplicates_per_object"][letter] == pytest.approx(duplicates)
    times = [figures["models"][letter]["ms_per_image"]["p50"] for letter in "ab"]
    assert figures["ms_ratio"] == pytest.approx(times[1] / times[0])


def test_json_alone_goes_to_standard_output(models: list[Path], coco: Path, capsys: pytest.CaptureFixture[str]) -> None:
    same = str(models[0])
    assert main(["compare", same, same, "--data", str(coco), "--json", "-", "--resamples", "100"]) == 0
    figures = json.loads(capsys.readouterr().out)
    assert figures["verdict"] == "no difference shown"
    assert [figures["overall"]["map"][key] for key in ("difference", "low", "high")] == [0, 0, 0]


def test_a_bag_is_cut_into_runs(
    models: list[Path], coco: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bag = tmp_path / "bag"
    assert main(["bag", "make", "--coco", str(coco), "--out", str(bag)]) == 0
    capsys.readouterr()
    a, b, _ = models
    words = ["compare", a, b, "--data", bag, "--json", "-", "--resamples", 100]
    assert main([str(word) for word in words]) == 0
    figures = json.loads(capsys.readouterr().out)
    assert (figures["images"], figures["blocks"]) == (6, 1)
    assert "1 block" in figures["words"]


def test_models_of_other_classes_are_compared_by_those_that_both_know(
    models: list[Path], coco: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    a, _, animals = models
    label_with_the_best_detections_of(animals, coco)  # classes 1, 2, 3 of the file: cat, dog, car of the model
    document = json.loads(coco.read_text())
    cars = [each for each in document["annotations"] if each["category_id"] == 3]
    assert cars
    mapping = ["--class-map", "person=background", "bicycle=background"]
    words = ["compare", str(animals), str(a), "--data", str(coco), *mapping, "--resamples", "100", "--json", "-"]
    assert main(words) == 0
    said = capsys.readouterr()
    assert "compared by what both models know: car\n" in said.err
    figures = json.loads(said.out)
    assert set(figures["per_class"]) == {"car"}
    alone = tmp_path / "cars.json"  # the same by a model of this class alone
    alone.write_text(json.dumps({**document, "annotations": cars, "categories": [{"id": 3, "name": "car"}]}))
    for image in document["images"]:
        (alone.parent / image["file_name"]).write_bytes((coco.parent / image["file_name"]).read_bytes())
    for letter, path in (("a", animals), ("b", a)):
        assert main(["evaluate", "--data", str(alone), "--model", str(path), "--json", str(tmp_path / "f")]) == 0
        of_cars = json.loads((tmp_path / "f").read_text())["per_class"]["car"]
        assert figures["per_class"]["car"]["map"][letter] == pytest.approx(of_cars["map"])


def test_what_cannot_be_compared_is_refused_in_one_line(
    models: list[Path], coco: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    a, b, _ = models
    other = TINY.model_copy(update={"class_names": ("cat", "dog", "lorry")})
    save_model(tmp_path / "other.safetensors", Detector(other), ModelInfo(model=other))
    line = refusal(capsys, "compare", a, tmp_path / "other.safetensors", "--data", coco)
    assert "other.safetensors: knows cat, dog, lorry" in line
    assert "person, bicycle, car: give two models with a class in common" in line
    assert "nowhere.safetensors" in refusal(capsys, "compare", a, tmp_path / "nowhere.safetensors", "--data", coco)
    assert "nothing.json" in refusal(capsys, "compare", a, b, "--data", tmp_path / "nothing.json")
    assert "resamples" in refusal(capsys, "compare", a, b, "--data", coco, "--resamples", 5)
    assert "is a folder" in refusal(capsys, "compare", a, b, "--data", coco, "--json", tmp_path)
    document = json.loads(coco.read_text())
    coco.write_text(json.dumps({**document, "annotations": []}))
    assert "none of the 6 frames" in refusal(capsys, "compare", a, b, "--data", coco)


def test_the_help_states_the_defaults_of_the_configuration(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main(["compare", "--help"])
    assert end.value.code == 0
    text = " ".join(capsys.readouterr().out.split())
    assert f"(default: {CompareConfig().resamples})" in text
    assert f"of the draws (default: {CompareConfig().seed})" in text


def test_a_report_shows_the_verdict_and_the_frames_that_differ(
    models: list[Path], coco: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    a, b = models[0], tmp_path / "b.safetensors"
    detector, info = load_model(models[1])
    with torch.no_grad():  # sure of everything: false alarms where A has none
        for branch in detector.head.class_branches:
            branch[2].bias.zero_()
    save_model(b, detector, info)
    label_with_the_best_detections_of(a, coco)
    page = tmp_path / "new" / "comparison.html"
    words = ["compare", a, b, "--data", coco, "--json", "-", "--report", page, "--resamples", 100]
    assert main([str(word) for word in words]) == 0
    figures = json.loads(capsys.readouterr().out)
    html = page.read_text()
    assert figures["words"].split(",")[0] in html
    assert "Where B is worse than A" in html
    assert "Model B: b.safetensors" in html
    assert html.count("data:image/jpeg;base64,") % 2 == 0
    line = refusal(capsys, "compare", a, b, "--data", coco, "--report", tmp_path)
    assert "is a folder: give a file" in line
