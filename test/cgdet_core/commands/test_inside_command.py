"""`cgdet inside` as it is typed, over a real run with both terms and one without."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from refusing import refusal

from cgdet_core.cli import main
from cgdet_core.config import ModelConfig
from cgdet_core.model.detector import Detector
from cgdet_core.runtime.model_file import ModelInfo, save_model

RECIPE = """
model: {widths: [8, 8, 8, 16, 24], depths: [1, 0, 0, 0], neck_depth: 0, head_width: 8, bins: 4,
  input_height_width_px: [64, 96]}
train: {images: 8, batch_size: 4, workers: 0, threads: 1, device: cpu, tensorboard: false}
augment: {crop_px: 64}
sources: [{path: small.json, hold_out_fold: 0}]
"""
TERMS = (
    "contrast={weight: 0.5, hidden: 8, dimensions: 4}",
    "guidance={weight: 2.0, teacher: {kind: detector, path: teacher.safetensors}}",
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Seven frames of seven blocks with a person and a car in each, RGB beside them, and the runs `terms`, `plain`
    and `whole`, which held nothing out."""
    folder = tmp_path_factory.mktemp("inside")
    images, annotations = [], []
    for number in range(7):
        rng = np.random.default_rng(number)
        frame = rng.integers(20, 60, (64, 96)).astype(np.uint8)
        frame[10:40, 20:32] = 220
        frame[30:50, 50:90] = 140
        name = f"{number * 50:05d}.png"
        cv2.imwrite(str(folder / name), frame)
        cv2.imwrite(str(folder / f"rgb_{name}"), rng.integers(0, 255, (64, 96, 3)).astype(np.uint8))
        light = "night" if number % 2 else "day"
        images.append({"id": number, "file_name": name, "rgb_file_name": f"rgb_{name}", "light": light})
        images[-1] |= {"height": 64, "width": 96}
        annotations.append({"id": 2 * number, "image_id": number, "category_id": 1, "bbox": [20, 10, 12, 30]})
        annotations.append({"id": 2 * number + 1, "image_id": number, "category_id": 3, "bbox": [50, 30, 40, 20]})
    categories = [{"id": number, "name": name} for number, name in enumerate(("person", "bicycle", "car"), 1)]
    (folder / "small.json").write_text(
        json.dumps({"images": images, "annotations": annotations, "categories": categories})
    )
    (folder / "recipe.yaml").write_text(RECIPE)
    model = ModelConfig(
        widths=(8, 8, 8, 8, 8), depths=(0, 0, 0, 0), neck_depth=0, head_width=8, bins=4, input_height_width_px=(64, 96)
    )
    torch.manual_seed(5)
    save_model(folder / "teacher.safetensors", Detector(model), ModelInfo(model=model))
    words = ["train", str(folder / "recipe.yaml"), "--data", str(folder), "--out"]
    assert main([*words, str(folder / "terms"), *TERMS]) == 0
    assert main([*words, str(folder / "plain")]) == 0
    assert main([*words, str(folder / "whole"), "sources.0.hold_out_fold=null"]) == 0
    return folder


@pytest.mark.parametrize("run", ["terms", "plain"])
def test_embeddings_and_maps_of_the_frames_that_were_held_out_are_drawn(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], run: str
) -> None:
    assert main(["inside", str(folder / run), "--data", str(folder), "--out", str(tmp_path), "--maps", "1"]) == 0
    paths = [Path(line) for line in capsys.readouterr().out.splitlines()]
    assert [path.name for path in paths] == ["embeddings.png", "maps_00000.png"]
    for path in paths:
        picture = cv2.imread(str(path))
        assert picture is not None
        assert picture.std() > 10
    facts = json.loads((tmp_path / "embeddings.json").read_text())
    # blocks 0 and 5 of seven are held out
    assert [(each["frame"], each["light"], each["class"]) for each in facts["regions"]] == [
        ("00000.png", "day", "person"),
        ("00000.png", "day", "car"),
        ("00250.png", "night", "person"),
        ("00250.png", "night", "car"),
    ]
    assert [each["height_px"] for each in facts["regions"]] == [30, 20, 30, 20]
    # principal components are centred, and the first varies most
    plane = np.array([each["xy"] for each in facts["regions"]])
    assert plane.mean(0) == pytest.approx([0, 0], abs=1e-3)
    assert plane[:, 0].var() >= plane[:, 1].var()
    # of two objects each; which ones a run this short tells apart is chance
    assert set(facts["nearest_of_another_frame_alike"]) == {"person", "car"}
    assert set(facts["nearest_of_another_frame_alike"].values()) <= {0.0, 0.5, 1.0}


def test_of_a_run_with_injection_alone_the_students_own_maps_are_drawn(folder: Path, tmp_path: Path) -> None:
    injected = "injection={forward_weight: 0.5, reverse_weight: 0.5}"
    teacher = "guidance={teacher: {kind: detector, path: teacher.safetensors}}"
    words = ["train", str(folder / "recipe.yaml"), "--data", str(folder), "--out", str(tmp_path / "run")]
    assert main([*words, teacher, injected]) == 0
    words = ["inside", str(tmp_path / "run"), "--data", str(folder), "--out", str(tmp_path / "out"), "--maps", "1"]
    assert main(words) == 0
    assert (tmp_path / "out" / "maps_00000.png").exists()


def test_another_set_can_be_named(folder: Path, tmp_path: Path) -> None:
    words = ["inside", str(folder / "whole"), "--data", str(folder), "--out", str(tmp_path), "--maps", "0"]
    assert main([*words, "--set", "small.json", "--frames", "3"]) == 0
    facts = json.loads((tmp_path / "embeddings.json").read_text())
    assert [each["frame"] for each in facts["regions"]] == ["00000.png"] * 2 + ["00150.png"] * 2 + ["00300.png"] * 2


def test_a_set_of_the_recipe_is_read_with_its_class_map(folder: Path, tmp_path: Path) -> None:
    document = json.loads((folder / "small.json").read_text())
    document["categories"][0]["name"] = "pedestrian"
    (folder / "renamed.json").write_text(json.dumps(document))
    source = "sources: [{path: renamed.json, class_map: {pedestrian: person}}]"
    recipe, run = tmp_path / "recipe.yaml", tmp_path / "run"
    recipe.write_text(RECIPE.replace("sources: [{path: small.json, hold_out_fold: 0}]", source))
    assert main(["train", str(recipe), "--data", str(folder), "--out", str(run)]) == 0
    words = ["inside", str(run), "--data", str(folder), "--out", str(tmp_path / "out"), "--maps", "0"]
    assert main([*words, "--set", "renamed.json", "--frames", "1"]) == 0
    facts = json.loads((tmp_path / "out" / "embeddings.json").read_text())
    assert [each["class"] for each in facts["regions"]] == ["person", "car"]


@pytest.mark.parametrize(
    ("run", "more", "named"),
    [
        ("none", [], "checkpoint.safetensors"),
        ("whole", [], "--set"),
        ("plain", ["--set", "none.json"], "none.json"),
        ("terms", ["--data", "nowhere"], "teacher.safetensors"),
    ],
)
def test_what_cannot_be_looked_into_is_one_line(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], run: str, more: list[str], named: str
) -> None:
    words = ["inside", folder / run, "--data", folder, "--out", tmp_path / "out", *more]
    assert named in refusal(capsys, *words)
    assert not (tmp_path / "out").exists()
