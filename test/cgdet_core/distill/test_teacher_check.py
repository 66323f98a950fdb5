"""What a teacher sees of a run's first crops, counted by hand, and what a run says of it."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from colour_teacher import ColourTeacher

from cgdet_core.cli import main
from cgdet_core.config import Recipe, load_recipe
from cgdet_core.data.sets.coco_file import CocoDraft, image_entry
from cgdet_core.distill.teachers.figures import teacher_sees
from cgdet_core.distill.terms import teacher_of
from cgdet_core.errors import InputError
from cgdet_core.runtime.model_file import ModelInfo, save_model
from cgdet_core.tasks.detection.head import DetectionNetwork
from cgdet_core.tasks.detection.targets import DetectionTargets
from cgdet_core.tasks.task import TrainingBatch

RECIPE = Recipe.model_validate({"guidance": {"weight": 1.0, "teacher": {"path": "none"}}})
SIDE = 96


def a_batch(patches: list[tuple[int, int]], valid: bool = True) -> TrainingBatch:
    """One picture with three labelled objects of 16 px, persons, at (0, 0), (32, 0) and (64, 0); patches of red, (left
    edge, brightness). The third object has no RGB."""
    rgb = torch.zeros(1, 3, SIDE, SIDE, dtype=torch.uint8)
    for left, brightness in patches:
        rgb[0, 0, :16, left : left + 16] = brightness
    rgb_valid = torch.full((1, SIDE, SIDE), valid)
    rgb_valid[:, :, 60:] = False
    boxes = torch.tensor([[[0, 0, 16, 16], [32, 0, 48, 16], [64, 0, 80, 16]]]).float()
    kinds = (
        torch.zeros(1, 3, dtype=torch.int64),
        torch.ones(1, 3, dtype=torch.bool),
        torch.zeros(1, 3, dtype=torch.bool),
    )
    images = torch.zeros(1, 1, SIDE, SIDE)
    targets = DetectionTargets(boxes, *kinds, torch.ones(1, 3, dtype=torch.bool))
    return TrainingBatch(images, targets, rgb, rgb_valid)


def test_objects_with_rgb_and_those_seen_of_them_are_counted() -> None:
    batches = [
        a_batch([(0, 200), (32, 200), (64, 200)]),  # two that have RGB, both seen
        a_batch([(0, 62), (34, 200)]),  # one too faint, one seen a little beside its place
        a_batch([(0, 200)], valid=False),
    ]
    assert teacher_sees(ColourTeacher(), batches, RECIPE) == (3, 4)


def test_a_run_says_what_its_teacher_sees_and_where_a_missing_one_was_looked_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = (
        "{widths: [8, 8, 8, 8, 8], depths: [0, 0, 0, 0], neck_depth: 0, head_width: 8, input_height_width_px: [64, 64]}"
    )
    (tmp_path / "recipe.yaml").write_text(
        f"model: {model}\n"
        "train: {images: 4, batch_size: 4, workers: 0, threads: 1, device: cpu, tensorboard: false}\n"
        "augment: {crop_px: 64}\nsources: [{path: set.json}]\n"
        "guidance: {weight: 1.0, teacher: {kind: model, path: teacher.safetensors}}\n"
    )
    draft = CocoDraft()
    for number in range(3):
        picture = np.random.default_rng(number).integers(0, 255, (64, 64, 3)).astype(np.uint8)
        cv2.imwrite(str(tmp_path / f"{number}.png"), picture[:, :, 0])
        cv2.imwrite(str(tmp_path / f"rgb{number}.png"), picture)
        draft.add_image(image_entry(f"{number}.png", (64, 64), rgb_file_name=f"rgb{number}.png"))
        for left in range(0, 60, 12):
            draft.add_box(0, [left, 20, 10, 20])
    (tmp_path / "set.json").write_text(draft.to_json())
    words = ["train", str(tmp_path / "recipe.yaml"), "--data", str(tmp_path), "--out", str(tmp_path / "run")]
    recipe = load_recipe(tmp_path / "recipe.yaml")
    with pytest.raises(InputError, match=str(tmp_path / "teacher.safetensors")):
        teacher_of(recipe, tmp_path)
    config = recipe.model
    torch.manual_seed(0)  # an untrained head: every class at a probability of 0.01
    save_model(tmp_path / "teacher.safetensors", DetectionNetwork(config), ModelInfo(model=config))
    assert main(words) == 0
    assert "warning: the teacher sees 0 of the" in capsys.readouterr().err
