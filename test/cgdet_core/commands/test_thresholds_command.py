"""`cgdet thresholds` as it is typed, and what a run held out as the data of the commands that measure."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from refusing import refusal

from cgdet_core.cli import main
from cgdet_core.data.sets.coco import load_coco
from cgdet_core.evaluation.detection import DETECTION
from cgdet_core.evaluation.metrics.matching import match_frame
from cgdet_core.evaluation.offline import run_in_turns
from cgdet_core.runtime.model_file import load_model, read_info, save_model
from cgdet_core.runtime.predictor import Predictor
from cgdet_core.types import CLASS_NAMES

Choose = Callable[..., dict[str, Any]]


@pytest.fixture
def choose(capsys: pytest.CaptureFixture[str], exact: list[str]) -> Choose:
    def run(*words: object) -> dict[str, Any]:
        capsys.readouterr()
        assert main(["thresholds", *map(str, words), "--json", "-", *exact]) == 0
        found: dict[str, Any] = json.loads(capsys.readouterr().out)
        return found

    return run


@pytest.fixture
def labelled(label_by: Callable[[Path], Path], models: list[Path]) -> Path:
    return label_by(models[0])


def test_no_other_threshold_serves_these_frames_better(labelled: Path, model: Path, choose: Choose) -> None:
    found = choose("--data", labelled, "--model", model)
    look = DETECTION.look_with(Predictor(model, "cpu", "fp32", backend="torch"))
    (result,) = run_in_turns([look], load_coco(labelled))
    matches = [match_frame(frame, len(CLASS_NAMES)) for frame in result.frames]
    for class_id, name in enumerate(CLASS_NAMES):
        point = found["per_class"][name]
        if not point["truths"]:
            continue
        assert point["threshold"] == found["thresholds"][name]

        def f1(threshold: float, class_id: int = class_id, truths: int = point["truths"]) -> float:
            floor = np.full(len(CLASS_NAMES), threshold)
            chosen = [match.above(floor) & (match.class_ids == class_id) for match in matches]
            hits, alarms = (
                sum(int((kept & getattr(match, kind)).sum()) for kept, match in zip(chosen, matches, strict=True))
                for kind in ("true_positive", "false_alarm")
            )
            return 2 * hits / max(hits + alarms + truths, 1)

        best = f1(point["threshold"])
        assert best > 0.2
        # three digits are kept of a threshold, so a score just below it may be lost
        assert best >= max(f1(threshold) for threshold in np.linspace(0.01, 0.99, 197)) - 0.02
        assert point["true_positives"] / point["truths"] == point["recall"]
        assert point["false_alarms"] / 6 == point["false_alarms_per_image"]


def test_a_copy_of_a_model_has_the_thresholds_and_says_what_they_were_chosen_on(
    labelled: Path, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], choose: Choose
) -> None:
    out, other = tmp_path / "tuned.safetensors", tmp_path / "other.safetensors"
    before = model.read_bytes()
    found = choose("--data", labelled, "--model", model, "--write", out)
    assert model.read_bytes() == before
    (detector, info), (original, of_original) = load_model(out), load_model(model)
    assert info.postprocess.class_thresholds == found["thresholds"]
    assert info.training["operating_point"]["frames"] == 6
    assert info.training["operating_point"]["model_sha256"] == found["model_sha256"]
    for key, value in original.state_dict().items():
        assert torch.equal(detector.state_dict()[key], value), key
    # or into another one of the same classes
    save_model(other, detector, of_original.model_copy(update={"scores": {"x": {"map50": 0.5}}}))
    choose("--data", labelled, "--model", model, "--into", other, "--write", out)
    assert read_info(out).postprocess.class_thresholds == found["thresholds"]
    assert read_info(out).scores == {"x": {"map50": 0.5}}
    few = info.model.model_copy(update={"class_names": ("person", "dog", "car")})
    save_model(other, type(detector)(few), of_original.model_copy(update={"model": few}))
    words = ["thresholds", "--data", labelled, "--model", model, "--into", other, "--write", out]
    assert f"{other}: has other classes" in refusal(capsys, *words)


def test_a_runs_own_thresholds_are_found_again_on_what_it_held_out(
    labelled: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], exact: list[str], choose: Choose
) -> None:
    (tmp_path / "recipe.yaml").write_text(
        "model: {widths: [8, 8, 16, 16, 16], head_width: 8, input_height_width_px: [64, 96]}\n"
        "train: {images: 2, batch_size: 2, workers: 0, threads: 1, device: cpu, tensorboard: false}\n"
        "augment: {crop_px: 64}\nsources: [{path: labels.json, hold_out_fold: 1}]\n"
    )
    run, folder = tmp_path / "run", labelled.parent
    assert main(["train", str(tmp_path / "recipe.yaml"), "--data", str(folder), "--out", str(run)]) == 0
    held_out = json.loads((run / "held_out.json").read_text())
    info = read_info(run / "model.safetensors")
    assert info.training["operating_point"]["data"] == "labels.json fold 1"
    found = choose("--run", run, "--data", folder)
    assert found["frames"] == held_out["images"] == 1
    assert found["per_class"] == held_out["operating_point"] == info.training["operating_point"]["per_class"]
    assert found["thresholds"] == info.postprocess.class_thresholds
    learnt = f"cgdet: warning: {run / 'model.safetensors'} was trained on frames of labels.json"
    for command in ("thresholds", "evaluate"):
        assert main([command, "--data", str(labelled), "--model", str(run / "model.safetensors"), *exact]) == 0
        assert learnt in capsys.readouterr().err
    words = ["evaluate", "--run", str(run), "--data", str(folder), *exact]
    assert main(words) == 0
    assert "learned" not in capsys.readouterr().err
    # a set with other labels, or more frames, holds out others
    labelled.write_text(labelled.read_text().replace('"bbox": [', '"bbox": [1', 1 << 20))
    assert main(words) == 0
    (line,) = [line for line in capsys.readouterr().err.splitlines() if "learned" in line]
    assert line.startswith(f"cgdet: warning: {run}: held out are 1 frames")


def test_models_are_measured_by_what_a_run_held_out(
    labelled: Path, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], exact: list[str]
) -> None:
    folder, run, figures = str(labelled.parent), tmp_path / "run", tmp_path / "figures.json"
    run.mkdir()
    (run / "recipe.yaml").write_text("sources: [{path: labels.json, hold_out_fold: 2}]\n")
    (run / "model.safetensors").write_bytes(model.read_bytes())
    # the frame of the third block, as a set of its own
    document = json.loads(labelled.read_text())
    document["images"] = [image for image in document["images"] if image["file_name"] == "00100.png"]
    document["annotations"] = [each for each in document["annotations"] if each["image_id"] == 2]
    alone = labelled.with_name("alone.json")
    alone.write_text(json.dumps(document))
    report = tmp_path / "page.html"
    found = []
    for words in (["--run", run, "--data", folder, "--report", report], ["--data", alone, "--model", model]):
        assert main(["evaluate", *map(str, words), "--json", str(figures), *exact]) == 0
        found.append(json.loads(figures.read_text()))
    for key in ("map", "map50", "per_class", "operating_point", "images"):
        assert found[0][key] == found[1][key]
    assert [each["held_out"] for each in found] == ["labels.json fold 2", None]
    assert f"--run {run}" in report.read_text()
    words = ["compare", model, model, "--run", run, "--data", folder, "--json", figures, "--resamples", 100]
    assert main([*map(str, words), *exact]) == 0
    compared = json.loads(figures.read_text())
    assert (compared["images"], compared["held_out"]) == (1, "labels.json fold 2")
    assert compared["overall"]["map"]["a"] == pytest.approx(found[0]["map"])
    words = ["evaluate", "--run", run, *exact]
    assert "--data" in refusal(capsys, *words, "--data", labelled)
    words += ["--data", folder]
    assert "--class-map" in refusal(capsys, *words, "--class-map", "truck=car")
    assert "--detections" in refusal(capsys, *words, "--detections", folder)
    (run / "recipe.yaml").write_text("model: {class_names: [dog]}\nsources: [{path: labels.json}]\n")
    assert "dog" in refusal(capsys, *words)


def test_what_cannot_be_chosen_on_or_written_is_one_line(
    coco: Path, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], exact: list[str]
) -> None:
    test_split = coco.with_name("street_test.json")
    test_split.write_bytes(coco.read_bytes())
    (tmp_path / "recipe.yaml").write_text("sources: [{path: labels.json}]\n")
    of_run = ["--run", tmp_path, "--data", coco.parent]
    for words, named in (
        (["--data", test_split], "test split"),
        (["--data", coco, "--into", model], "--write"),
        (of_run, "held no frames out"),
        ([*of_run, "--topic", "/thermal"], "--topic"),
        (["--data", coco, "--write", tmp_path / "recipe.yaml" / "nowhere.safetensors"], "nowhere"),
    ):
        assert named in refusal(capsys, "thresholds", *words, "--model", model, *exact)
