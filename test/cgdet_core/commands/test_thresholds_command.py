"""`cgdet thresholds` as it is typed: the shipped model on rendered frames, and a run of a few crops."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from refusing import refusal

from cgdet_core.boxes import xyxy_to_xywh
from cgdet_core.cli import main
from cgdet_core.data.sets.coco import load_coco
from cgdet_core.data.synthetic.street import synthetic_training_sample
from cgdet_core.evaluation.metrics.matching import match_frame
from cgdet_core.evaluation.offline import run_offline
from cgdet_core.runtime.model_file import default_model_path, load_model, read_info, save_model
from cgdet_core.runtime.predictor import Predictor
from cgdet_core.types import CLASS_NAMES

EXACT = ["--precision", "fp32", "--backend", "torch", "--threads", "1"]


@pytest.fixture(scope="module")
def streets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four rendered frames as a COCO set."""
    folder = tmp_path_factory.mktemp("streets")
    images, annotations = [], []
    for number in range(4):
        sample = synthetic_training_sample(500, number)
        cv2.imwrite(str(folder / f"{number * 50:05d}.png"), sample.frame.image)
        height, width = sample.frame.height_width_px
        images.append({"id": number, "file_name": f"{number * 50:05d}.png", "height": height, "width": width})
        assert sample.truth is not None
        boxes = xyxy_to_xywh(sample.truth.boxes_xyxy_px)
        for box, class_id, ignore in zip(boxes, sample.truth.class_ids, sample.truth.ignore, strict=True):
            known = {"image_id": number, "category_id": int(class_id) + 1, "iscrowd": int(ignore)}
            annotations.append({"id": len(annotations), "bbox": [float(each) for each in box], **known})
    categories = [{"id": index + 1, "name": name} for index, name in enumerate(CLASS_NAMES)]
    document = {"images": images, "annotations": annotations, "categories": categories}
    (folder / "streets.json").write_text(json.dumps(document))
    return folder / "streets.json"


def chosen(capsys: pytest.CaptureFixture[str], *words: object) -> dict[str, object]:
    capsys.readouterr()
    assert main(["thresholds", *map(str, words), "--json", "-", *EXACT]) == 0
    found: dict[str, object] = json.loads(capsys.readouterr().out)
    return found


def test_no_other_threshold_serves_these_frames_better(streets: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = chosen(capsys, "--data", streets)
    result = run_offline(
        Predictor(default_model_path(".safetensors"), "cpu", "fp32", backend="torch"), load_coco(streets)
    )
    of_person = found["per_class"]["person"]  # type: ignore[index]
    assert of_person["threshold"] == found["thresholds"]["person"]  # type: ignore[index]

    matches = [match_frame(frame, len(CLASS_NAMES)) for frame in result.frames]

    def f1(threshold: float) -> float:
        floor = np.full(len(CLASS_NAMES), threshold)
        persons = [match.above(floor) & (match.class_ids == 0) for match in matches]
        hits, alarms = (
            sum(int((chosen & getattr(match, kind)).sum()) for chosen, match in zip(persons, matches, strict=True))
            for kind in ("true_positive", "false_alarm")
        )
        return 2 * hits / max(hits + alarms + of_person["truths"], 1)

    best = f1(of_person["threshold"])
    assert best > 0.2
    # three digits are kept of a threshold, so a score just below it may be lost
    assert best >= max(f1(threshold) for threshold in np.linspace(0.02, 0.98, 97)) - 0.02
    assert of_person["true_positives"] / of_person["truths"] == of_person["recall"]
    assert of_person["false_alarms"] / 4 == of_person["false_alarms_per_image"]


def test_a_copy_of_the_model_has_the_thresholds_and_says_what_they_were_chosen_on(
    streets: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "tuned.safetensors"
    before = default_model_path(".safetensors").read_bytes()
    found = chosen(capsys, "--data", streets, "--write", out)
    assert default_model_path(".safetensors").read_bytes() == before
    (detector, info), (original, of_original) = load_model(out), load_model(default_model_path(".safetensors"))
    assert info.postprocess.class_thresholds == found["thresholds"]
    assert info.training["operating_point"]["frames"] == 4
    assert info.training["operating_point"]["model_sha256"] == found["model_sha256"]
    for key, value in original.state_dict().items():
        assert torch.equal(detector.state_dict()[key], value), key
    assert info.scores == of_original.scores
    assert main(["info", str(out)]) == 0
    assert f"(best F1 on {streets.parent.name}/streets.json, 4 frames)" in capsys.readouterr().out


def test_the_thresholds_of_one_model_may_go_into_another(
    streets: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other, out = tmp_path / "other.safetensors", tmp_path / "out.safetensors"
    detector, info = load_model(default_model_path(".safetensors"))
    save_model(other, detector, info.model_copy(update={"scores": {}}))
    found = chosen(capsys, "--data", streets, "--into", other, "--write", out)
    assert read_info(out).postprocess.class_thresholds == found["thresholds"]
    assert read_info(out).scores == {}
    few = info.model.model_copy(update={"class_names": ("person", "dog", "car")})
    save_model(other, type(detector)(few), info.model_copy(update={"model": few}))
    assert f"{other}: its classes" in refusal(capsys, "thresholds", "--data", streets, "--into", other, "--write", out)


def test_a_runs_own_thresholds_are_found_again_on_what_it_held_out(
    streets: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = streets.parent
    (tmp_path / "recipe.yaml").write_text(
        "train: {images: 2, batch_size: 2, workers: 0, threads: 1, device: cpu, tensorboard: false}\n"
        "augment: {crop_px: 64}\nsources: [{path: streets.json, hold_out_fold: 1}]\n"
    )
    run, shipped = tmp_path / "run", str(default_model_path(".safetensors"))
    words = ["train", str(tmp_path / "recipe.yaml"), "--data", str(folder), "--out", str(run), "--init", shipped]
    assert main(words) == 0
    held_out = json.loads((run / "held_out.json").read_text())
    info = read_info(run / "model.safetensors")
    assert info.training["operating_point"]["data"] == "streets.json fold 1"
    found = chosen(capsys, "--run", run, "--data", folder)
    assert found["frames"] == held_out["images"] == 1
    assert found["per_class"] == held_out["operating_point"] == info.training["operating_point"]["per_class"]
    assert found["thresholds"] == info.postprocess.class_thresholds
    assert capsys.readouterr().err == ""
    learnt = f"cgdet: warning: {run / 'model.safetensors'} has learnt from frames of streets.json"
    for command in ("thresholds", "evaluate"):
        assert main([command, "--data", str(streets), "--model", str(run / "model.safetensors"), *EXACT]) == 0
        assert learnt in capsys.readouterr().err


def test_models_are_measured_by_what_a_run_held_out(
    streets: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, run, figures = str(streets.parent), tmp_path / "run", tmp_path / "figures.json"
    run.mkdir()
    (run / "recipe.yaml").write_text("sources: [{path: streets.json, hold_out_fold: 2}]\n")
    (run / "model.safetensors").write_bytes(default_model_path(".safetensors").read_bytes())
    # the frame of the third block, as a set of its own
    document = json.loads(streets.read_text())
    document["images"] = [image for image in document["images"] if image["file_name"] == "00100.png"]
    document["annotations"] = [each for each in document["annotations"] if each["image_id"] == 2]
    alone = streets.with_name("alone.json")
    alone.write_text(json.dumps(document))
    report = tmp_path / "page.html"
    found = []
    for words in (["--run", str(run), "--data", folder, "--report", str(report)], ["--data", str(alone)]):
        assert main(["evaluate", *words, "--json", str(figures), *EXACT]) == 0
        found.append(json.loads(figures.read_text()))
    for key in ("map", "map50", "per_class", "operating_point", "images"):
        assert found[0][key] == found[1][key]
    assert [each["held_out"] for each in found] == ["streets.json fold 2", None]
    assert f"--run {run}" in report.read_text()
    model = str(run / "model.safetensors")
    assert main(["compare", model, model, "--run", str(run), "--data", folder, "--json", str(figures), *EXACT]) == 0
    compared = json.loads(figures.read_text())
    assert (compared["images"], compared["held_out"]) == (1, "streets.json fold 2")
    assert compared["overall"]["map"]["a"] == pytest.approx(found[0]["map"])
    assert "is no folder" in refusal(capsys, "evaluate", "--run", run, "--data", streets)
    words = ["evaluate", "--run", run, "--data", folder]
    assert "--class-map" in refusal(capsys, *words, "--class-map", "truck=car")
    assert "--detections" in refusal(capsys, *words, "--detections", folder)
    (run / "recipe.yaml").write_text("model: {class_names: [dog]}\nsources: [{path: streets.json}]\n")
    assert "is of the classes dog, the model knows person" in refusal(capsys, *words)


def test_what_cannot_be_chosen_on_or_written_is_one_line(
    streets: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    test_split = streets.with_name("street_test.json")
    test_split.write_bytes(streets.read_bytes())
    assert "test split" in refusal(capsys, "thresholds", "--data", test_split)
    assert "--write" in refusal(capsys, "thresholds", "--data", streets, "--into", default_model_path(".safetensors"))
    (tmp_path / "recipe.yaml").write_text("sources: [{path: streets.json}]\n")
    words = ["--run", tmp_path, "--data", streets.parent, "--model", default_model_path(".safetensors")]
    assert "held no frames out" in refusal(capsys, "thresholds", *words)
    assert "--topic" in refusal(capsys, "thresholds", *words, "--topic", "/thermal")
    assert "nowhere" in refusal(
        capsys, "thresholds", "--data", streets, "--write", tmp_path / "recipe.yaml" / "nowhere.safetensors"
    )
