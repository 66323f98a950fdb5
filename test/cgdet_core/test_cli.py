"""The command `cgdet` as its users type it: results, and one line with exit code 2 for bad input."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from refusing import refusal

from cgdet_core.cli import main
from cgdet_core.config import ModelConfig, PostprocessConfig
from cgdet_core.model.detector import Detector
from cgdet_core.runtime.model_file import ModelInfo, load_model, save_model

SIZE = (64, 96)
TINY = ModelConfig(widths=(8, 8, 16, 16, 16), head_width=8, input_height_width_px=SIZE)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    path = tmp_path / "model.safetensors"
    save_model(path, Detector(TINY), ModelInfo(model=TINY))
    return path


@pytest.fixture
def coco(tmp_path: Path) -> Path:
    """Three frames with a bright person in each."""
    folder = tmp_path / "set"
    folder.mkdir()
    images, annotations = [], []
    for number in range(1, 4):
        frame = np.random.default_rng(number).integers(20, 60, SIZE).astype(np.uint8)
        frame[10:40, 20:32] = 220
        cv2.imwrite(str(folder / f"{number:05d}.png"), frame)
        images.append({"id": number, "file_name": f"{number:05d}.png", "height": SIZE[0], "width": SIZE[1]})
        box = {"bbox": [20, 10, 12, 30], "area": 360, "iscrowd": 0}
        annotations.append({"id": number, "image_id": number, "category_id": 1, **box})
    categories = [{"id": 1, "name": "person"}, {"id": 2, "name": "bicycle"}, {"id": 3, "name": "car"}]
    path = folder / "labels.json"
    path.write_text(json.dumps({"images": images, "annotations": annotations, "categories": categories}))
    return path


def edit(path: Path, change: Any) -> None:
    document = json.loads(path.read_text())
    change(document)
    path.write_text(json.dumps(document))


def test_help_imports_no_heavy_library() -> None:
    code = (
        "import sys; from cgdet_core.cli import main\n"
        "try: main(['--help'])\n"
        "except SystemExit: pass\n"
        "print([m for m in ('torch', 'cv2', 'matplotlib', 'rosbags', 'pycocotools', 'numpy') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip().endswith("[]")


@pytest.mark.parametrize(
    "command",
    [
        *(["detect"], ["evaluate"], ["compare"], ["train"], ["thresholds"], ["teacher"], ["info"]),
        *(["bag", "make"], ["bag", "info"], ["bag", "repair"], ["convert", "kaist"]),
    ],
)
def test_every_command_has_help_with_an_example(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main([*command, "--help"])
    assert end.value.code == 0
    assert f"example:\n  cgdet {' '.join(command)} " in capsys.readouterr().out


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


def test_a_score_replaces_the_thresholds_and_leaves_the_models_other_settings(coco: Path, tmp_path: Path) -> None:
    torch.manual_seed(0)
    detector = Detector(TINY)
    counts = []
    for most in (3, 300):
        own = PostprocessConfig(score_threshold=0.9, class_thresholds={"car": 0.95}, max_detections=most)
        save_model(tmp_path / "m.safetensors", detector, ModelInfo(model=TINY, postprocess=own))
        words = ["detect", coco.parent / "00001.png", "--out", tmp_path / "o", "--model", tmp_path / "m.safetensors"]
        assert main([str(word) for word in [*words, "--score", "0.001"]]) == 0
        counts.append(len(json.loads((tmp_path / "o" / "detections.json").read_text())["annotations"]))
    assert counts[0] == 3
    assert counts[1] > 3


@pytest.mark.parametrize("out", ["file", "file/below"])
def test_a_place_that_cannot_be_a_folder_is_named_before_the_work(
    out: str, model: Path, coco: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("kept")
    assert "file" in refusal(capsys, "detect", coco.parent, "--out", tmp_path / out, "--model", model)
    for option in ("--json", "--report"):
        words = ["evaluate", "--data", coco, "--model", model, option, tmp_path / "file" / "x.html"]
        assert "file" in refusal(capsys, *words)
        assert "is a folder" in refusal(capsys, *words[:-1], coco.parent)
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text("sources: [{path: nowhere.json}]\n")
    # the place is refused before the missing data are
    line = refusal(capsys, "train", recipe, "--data", tmp_path, "--out", tmp_path / out)
    assert "nowhere" not in line
    assert (tmp_path / "file").read_text() == "kept"


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


def test_evaluate_writes_the_figures_that_the_design_names(model: Path, coco: Path, tmp_path: Path) -> None:
    figures_path, page = tmp_path / "figures.json", tmp_path / "page.html"
    words = ["evaluate", "--data", coco, "--model", model, "--json", figures_path, "--report", page]
    assert main([str(word) for word in words]) == 0
    figures = json.loads(figures_path.read_text())
    for key in ("map", "map50", "map75", "per_class", "by_size", "by_light", "duplicates_per_object"):
        assert key in figures
    assert figures["images"] == 3
    assert figures["params"] == sum(p.numel() for p in Detector(TINY).parameters())
    assert figures["model_bytes"] == model.stat().st_size
    assert set(figures["ms_per_image"]) == {"p50", "p95", "p99"}
    assert "<img" in page.read_text()


def test_a_bag_of_a_set_evaluates_like_the_set(model: Path, coco: Path, tmp_path: Path) -> None:
    bag = tmp_path / "bag"
    assert main(["bag", "make", "--coco", str(coco), "--out", str(bag)]) == 0
    for data in (coco, bag):
        assert main(["evaluate", "--data", str(data), "--model", str(model), "--json", f"{data}.figures"]) == 0
    of_set, of_bag = (json.loads(Path(f"{data}.figures").read_text()) for data in (coco, bag))
    for key in ("map", "map50", "per_class", "images", "truths"):
        assert of_set[key] == of_bag[key]


def test_info_tells_what_the_file_holds(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info", str(model), "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    _, info = load_model(model)
    assert facts["parameters"] == info.parameters
    assert facts["model"]["class_names"] == ["person", "bicycle", "car"]
    assert main(["info", str(model)]) == 0
    text = capsys.readouterr().out
    assert "person, bicycle, car" in text
    assert "taught by     labels alone" in text


def test_info_tells_with_what_a_model_began_and_by_whom_it_was_taught(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    detector, info = load_model(model)
    identities = {
        "init": "start.safetensors sha256:" + "ab" * 32,
        "teacher": "yolox nano.safetensors sha256:" + "cd" * 32,
    }
    taught = tmp_path / "taught.safetensors"
    save_model(taught, detector, info.model_copy(update={"training": info.training | identities}))
    assert main(["info", str(taught)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "began with    start.safetensors sha256:" + "ab" * 8 in lines
    assert "taught by     yolox nano.safetensors sha256:" + "cd" * 8 in lines


def test_train_makes_a_model_that_evaluates_and_settings_may_follow_options(
    coco: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    words = tiny_training(coco, tmp_path, out, 100, "train.images=8")
    assert main([str(word) for word in words]) == 0
    assert main(["evaluate", "--data", str(coco), "--model", str(out / "model.safetensors")]) == 0
    assert "already holds a run" in refusal(capsys, *words)
    _, info = load_model(out / "model.safetensors")
    assert info.training["recipe"]["train"]["images"] == 8


def test_train_writes_speed_loss_and_model_for_machines(
    coco: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    assert main([str(word) for word in tiny_training(coco, tmp_path, out, 8, "--json", "-")]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["model"] == str(out / "model.safetensors")
    assert facts["images"] == 8
    assert facts["images_per_second"] > 0
    assert 0 <= facts["data_wait_share"] <= 1
    assert facts["last"]["batch"] == 2
    assert facts["held_out"] is None
    (tmp_path / "file").write_text("in the way")
    words = tiny_training(coco, tmp_path, tmp_path / "other", 8, "--json", tmp_path / "file" / "f.json")
    assert "f.json" in refusal(capsys, *words)
    assert not (tmp_path / "other").exists()


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


def tiny_training(coco: Path, folder: Path, out: Path, images: int, *more: object) -> list[object]:
    recipe = folder / "recipe.yaml"
    recipe.write_text(
        "model: {widths: [8, 8, 16, 16, 16], head_width: 8, input_height_width_px: [64, 96]}\n"
        f"train: {{images: {images}, batch_size: 4, workers: 0, threads: 1}}\n"
        "augment: {crop_px: 64}\n"
        "sources: [{path: labels.json}]\n"
    )
    return ["train", recipe, "--data", coco.parent, "--out", out, *more]


def test_a_missing_set_or_bag_is_named(model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "nowhere" in refusal(capsys, "evaluate", "--data", tmp_path / "nowhere", "--model", model)
    assert "nowhere" in refusal(capsys, "bag", "info", tmp_path / "nowhere")


def test_a_truncated_bag_is_named(model: Path, coco: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bag = tmp_path / "bag"
    assert main(["bag", "make", "--coco", str(coco), "--out", str(bag)]) == 0
    (storage,) = bag.glob("*.mcap")
    storage.write_bytes(storage.read_bytes()[: storage.stat().st_size // 2])
    capsys.readouterr()
    assert str(bag) in refusal(capsys, "evaluate", "--data", bag, "--model", model)


@pytest.mark.parametrize("command", ["evaluate", "compare"])
def test_of_a_truncated_bag_what_can_be_read_is_evaluated_where_asked_for(
    model: Path, coco: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    bag = tmp_path / "bag"
    assert main(["bag", "make", "--coco", str(coco), "--out", str(bag)]) == 0
    (storage,) = bag.glob("*.mcap")
    storage.write_bytes(storage.read_bytes()[:-20])
    capsys.readouterr()
    models = ["--model", str(model)] if command == "evaluate" else [str(model), str(model)]
    words = [command, *models, "--data", str(bag), "--damaged", "read", "--json", str(tmp_path / "figures.json")]
    assert main(words) == 0
    assert f"cgdet: not read: {storage.name}: " in capsys.readouterr().err
    damage = json.loads((tmp_path / "figures.json").read_text())["damage"]
    assert damage
    assert all(line.startswith(storage.name) for line in damage)


def test_a_topic_that_the_bag_lacks_is_named_with_those_it_has(
    model: Path, coco: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bag = tmp_path / "bag"
    assert main(["bag", "make", "--coco", str(coco), "--out", str(bag)]) == 0
    capsys.readouterr()
    line = refusal(capsys, "evaluate", "--data", bag, "--model", model, "--topic", "/nothing")
    assert "/nothing" in line
    assert "/thermal/image_raw" in line


def test_an_unknown_category_and_a_missing_image_are_named(
    model: Path, coco: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    edit(coco, lambda document: document["categories"].append({"id": 4, "name": "tram"}))
    assert "'tram'" in refusal(capsys, "evaluate", "--data", coco, "--model", model)
    assert main(["evaluate", "--data", str(coco), "--model", str(model), "--class-map", "tram=ignore"]) == 0
    (coco.parent / "00002.png").unlink()
    line = refusal(capsys, "evaluate", "--data", coco, "--model", model, "--class-map", "tram=ignore")
    assert "00002.png" in line


def test_a_model_file_cut_short_is_named(model: Path, coco: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model.write_bytes(model.read_bytes()[:-100])
    assert "model.safetensors" in refusal(capsys, "evaluate", "--data", coco, "--model", model)
    assert "model.safetensors" in refusal(capsys, "info", model)


def test_an_unknown_key_of_a_recipe_is_named(coco: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text("train: {imagse: 8}\n")
    line = refusal(capsys, "train", recipe, "--data", coco.parent, "--out", tmp_path / "run")
    assert "recipe.yaml" in line
    assert "train.imagse" in line
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "words",
    [
        ["--bogus"],
        ["detect"],
        ["info", "a", "b"],
        ["train", "r", "--out", "x"],
        ["detect", "a", "--out", "b", "--threads", "-3"],
    ],
)
def test_wrong_arguments_end_with_usage_and_code_2(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main(words)
    assert end.value.code == 2
    assert "usage:" in capsys.readouterr().err


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
        "model: {widths: [8, 8, 16, 16, 16], head_width: 8, input_height_width_px: [64, 96]}\n"
        "augment: {crop_px: 64, noise_sigma_max: 0.01, scale_range: [0.9, 1.1], tone_probability: 0}\n"
        "train: {images: 640, batch_size: 8, workers: 0, threads: 1, learning_rate: 0.02, warmup_images: 40,"
        " ema_decay: 0.8}\n"
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
