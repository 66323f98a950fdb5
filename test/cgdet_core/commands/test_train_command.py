"""`cgdet train` as it is typed: a model, figures, and how a run ends."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
from refusing import refusal

from cgdet_core.cli import main
from cgdet_core.runtime.model_file import load_model

SIZE = (64, 96)


def tiny_training(coco: Path, folder: Path, out: Path, images: int, *more: object) -> list[object]:
    recipe = folder / "recipe.yaml"
    recipe.write_text(
        "model: {widths: [8, 8, 16, 16, 16], depths: [0, 1, 0, 0], neck_depth: 0, head_width: 8,"
        " input_height_width_px: [64, 96]}\n"
        f"train: {{images: {images}, batch_size: 4, workers: 0, threads: 1}}\n"
        "augment: {crop_px: 64}\n"
        "sources: [{path: labels.json}]\n"
    )
    return ["train", recipe, "--data", coco.parent, "--out", out, *more]


def test_train_makes_a_model_that_evaluates_and_says_speed_and_loss_for_machines(
    coco: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    # settings may follow options
    words = tiny_training(coco, tmp_path, out, 100, "--json", "-", "train.images=8")
    assert main([str(word) for word in words]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["model"] == str(out / "model.safetensors")
    assert facts["images"] == 8
    assert facts["images_per_second"] > 0
    assert 0 <= facts["data_wait_share"] <= 1
    assert facts["last"]["batch"] == 2
    assert facts["held_out"] is None
    assert main(["evaluate", "--data", str(coco), "--model", str(out / "model.safetensors"), "--backend", "torch"]) == 0
    assert str(out) in refusal(capsys, *words)
    _, info = load_model(out / "model.safetensors")
    assert info.training["recipe"]["train"]["images"] == 8
    (tmp_path / "file").write_text("in the way")
    words = tiny_training(coco, tmp_path, tmp_path / "other", 8, "--json", tmp_path / "file" / "f.json")
    assert "f.json" in refusal(capsys, *words)
    assert not (tmp_path / "other").exists()


def test_how_a_run_begins_is_said(coco: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def told(name: str, *more: object) -> str:
        words = tiny_training(coco, tmp_path, tmp_path / name, 4, "train.device=cpu", *more)
        assert main([str(word) for word in words]) == 0
        return capsys.readouterr().err

    assert "random weights" in told("first")
    assert "random weights" not in told("first", "--resume")
    start = tmp_path / "first" / "model.safetensors"
    said = told("other", "--init", start, "model.class_names=[person, bicycle, car, lorry]")
    assert f"{start} knows the classes" in said
    assert ": lorry this run learns anew" in said
    assert "random weights" not in said


def test_stages_run_in_turn_learn_from_each_other_and_go_on_where_they_were_interrupted(
    coco: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, (_, recipe, *rest) = tmp_path / "run", tiny_training(coco, tmp_path, tmp_path / "run", 8)
    assert isinstance(recipe, Path)
    second = "start: stage 1, outputs: {weight: 1}, guidance: {teacher: {kind: model, sees: thermal, path: stage 1}}"
    recipe.write_text(recipe.read_text() + f"stages: [{{train: {{images: 8}}}}, {{{second}}}]\n")
    words = [str(word) for word in ("train", recipe, *rest, "train.device=cpu", "stages.1.train.images=4")]
    assert main([*words, "--json", str(tmp_path / "facts.json")]) == 0
    facts = json.loads((tmp_path / "facts.json").read_text())["stages"]
    assert [stage["images"] for stage in facts] == [8, 4]
    assert facts[1]["last"]["ld"] >= 0
    first, second_model = (load_model(out / f"stage{number}" / "model.safetensors")[1] for number in (1, 2))
    assert first.training["teacher"] is None
    assert facts[0]["model_sha256"] in second_model.training["teacher"]
    assert facts[0]["model_sha256"] in second_model.training["init"]
    assert "stage1" in refusal(capsys, *words)
    # as if it had been interrupted in the second
    files = {path: path.read_bytes() for path in (out / "stage1").iterdir() if path.is_file()}
    shutil.rmtree(out / "stage2")
    assert main([*words, "--resume"]) == 0
    assert "stage 1 of 2" not in capsys.readouterr().err
    assert {path: path.read_bytes() for path in files} == files
    again = load_model(out / "stage2" / "model.safetensors")[1]
    assert again.training == second_model.training
    assert "stages.0" in refusal(capsys, *words[:1], recipe, *rest[:3], tmp_path / "other", "stages.0.start=stage 2")


def test_what_is_wrong_is_refused_before_pytorch_is_imported(coco: Path, tmp_path: Path) -> None:
    words = tiny_training(coco, tmp_path, tmp_path / "run", 4)
    code = (
        "import sys; sys.modules['torch'] = None; from cgdet_core.cli import main; "
        "sys.exit(max(main([*sys.argv[1:], more]) for more in ('train.lr=1', 'sources.0.path=gone.json', '--resume')))"
    )
    ended = subprocess.run([sys.executable, "-c", code, *map(str, words)], capture_output=True, text=True, check=False)
    assert ended.returncode == 2
    assert [line.startswith("cgdet: ") for line in ended.stderr.splitlines()] == [True] * 3
    assert "gone.json" in ended.stderr


def test_ctrl_c_ends_train_with_code_130_and_a_line_that_says_how_to_go_on(
    coco: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    before = signal.getsignal(signal.SIGINT)  # ignored where the tests are started in the background

    def press() -> None:
        while not (out / "checkpoint.safetensors").exists():
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGINT)

    user = threading.Thread(target=press)
    user.start()
    code = main([str(word) for word in tiny_training(coco, tmp_path, out, 10**6)])
    user.join()
    assert code == 130
    said = capsys.readouterr().err
    assert "cgdet: stopped by SIGINT after batch" in said
    assert "--resume" in said
    assert "Traceback" not in said
    assert signal.getsignal(signal.SIGINT) is before


def test_held_out_blocks_give_figures_and_the_models_thresholds(tmp_path: Path) -> None:
    """Frames of six blocks of 50 numbers; one block is held out, learned from the five others."""
    images, annotations = [], []
    for block in range(6):
        for number in range(block * 50, block * 50 + 4):
            rng = np.random.default_rng(number)
            frame = rng.integers(20, 60, SIZE).astype(np.uint8)
            left, top = (int(value) for value in rng.integers(4, 30, 2))
            frame[top : top + 28, left : left + 40] = 220
            cv2.imwrite(str(tmp_path / f"{number:05d}.png"), frame)
            images.append({"id": number + 1, "file_name": f"{number:05d}.png", "height": SIZE[0], "width": SIZE[1]})
            box = {"bbox": [left, top, 40, 28], "area": 1120, "iscrowd": 0}
            annotations.append({"id": number + 1, "image_id": number + 1, "category_id": 3, **box})
    categories = [{"id": 1, "name": "person"}, {"id": 2, "name": "bicycle"}, {"id": 3, "name": "car"}]
    labels = {"images": images, "annotations": annotations, "categories": categories}
    (tmp_path / "labels.json").write_text(json.dumps(labels))
    (tmp_path / "recipe.yaml").write_text(
        "model: {widths: [8, 8, 16, 16, 16], depths: [0, 1, 0, 0], neck_depth: 0, head_width: 8,"
        " input_height_width_px: [64, 96]}\n"
        "augment: {crop_px: 64, noise_sigma_max: 0.01, scale_range: [0.9, 1.1], tone_probability: 0}\n"
        "train: {images: 240, batch_size: 8, workers: 0, threads: 1, learning_rate: 0.02, warmup_images: 40,"
        " ema_decay: 0.8, validate_every_images: 0, tensorboard: false}\n"
        "sources: [{path: labels.json, hold_out_fold: 0}]\n"
    )
    out = tmp_path / "run"
    assert main(["train", str(tmp_path / "recipe.yaml"), "--data", str(tmp_path), "--out", str(out)]) == 0
    figures = json.loads((out / "held_out.json").read_text())
    assert figures["images"] == 8  # blocks 0 and 5
    assert figures["map50"] > 0.2
    _, info = load_model(out / "model.safetensors")
    assert info.training["data"] == {"labels.json": 16}
    assert info.postprocess.class_thresholds["car"] == figures["operating_point"]["car"]["threshold"]
    # a class without objects keeps the usual threshold
    assert info.postprocess.class_thresholds["person"] == 0.25
