"""Real runs that are watched, by curves, pictures and validation: they learn what an unwatched one learns."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tiny_run import (
    RECIPE,
    SAVES_EACH_BATCH,
    acting_sources,
    changed,
    check_same_run,
    interrupt,
    log_of,
    sources,
)

from cgdet_core.config import ContrastConfig, GuidanceConfig, Recipe
from cgdet_core.data.sets.coco import CocoSet, load_coco
from cgdet_core.data.sets.coco_file import CocoDraft, image_entry
from cgdet_core.distill.teachers import load_teacher
from cgdet_core.errors import InputError
from cgdet_core.evaluation.detection import DETECTION
from cgdet_core.evaluation.metrics.metrics import evaluate
from cgdet_core.evaluation.offline import run_in_turns
from cgdet_core.runtime.model_file import ModelInfo, save_model
from cgdet_core.runtime.predictor import Predictor
from cgdet_core.tasks.detection.head import DetectionNetwork
from cgdet_core.training.trainer import train
from cgdet_core.training.watch import speed, validates_after

VALIDATED = changed(validate_every_images=20, validate_frames=3)


@pytest.fixture(scope="module")
def held_out(tmp_path_factory: pytest.TempPathFactory) -> CocoSet:
    """Five frames with a bright square each, a person, a bicycle or a car."""
    folder = tmp_path_factory.mktemp("held_out")
    draft = CocoDraft()
    for number in range(5):
        frame = np.random.default_rng(number).integers(80, 120, (32, 64)).astype(np.uint8)
        frame[4:28, 8 * number : 8 * number + 16] += 100
        cv2.imwrite(str(folder / f"{number}.png"), frame)
        draft.add_image(image_entry(f"{number}.png", (32, 64)))
        draft.add_box(number % 3, [8 * number, 4, 16, 24])
    draft.write(folder / "labels.json")
    return load_coco(folder / "labels.json")


def validations(out: Path) -> list[dict[str, Any]]:
    return [line for line in log_of(out) if "validation" in line]


def test_a_validated_run_learns_what_an_unwatched_one_learns_and_its_last_validation_is_what_evaluating_gives(
    unwatched: Path, held_out: CocoSet, tmp_path: Path
) -> None:
    model = train(VALIDATED, sources(), tmp_path, progress=False, held_out=held_out)
    check_same_run(tmp_path, unwatched)
    # 54 crops, two a batch: after 20, 40 and at the end
    assert [line["batch"] for line in validations(tmp_path)] == [10, 20, 27]
    chosen = CocoSet(held_out.path, held_out.class_names, tuple(held_out.records[i] for i in (0, 2, 4)))
    predictor = Predictor(model, "cpu", precision="fp32", backend="torch")  # the arithmetic of every validation
    (run,) = run_in_turns([DETECTION.look_with(predictor)], chosen)
    metrics = evaluate(run.frames)
    last = validations(tmp_path)[-1]
    assert last["frames"] == 3
    figures = last["validation"]
    assert next(iter(figures)) == "mAP"
    assert (figures["mAP50"], figures["mAP"]) == pytest.approx((metrics.map50, metrics.map))
    for name in held_out.class_names:
        assert figures[f"{name} AP"] == pytest.approx(metrics.per_class[name]["map"])


def test_a_validated_run_that_is_stopped_and_resumed_validates_at_the_same_batches_once(
    unwatched: Path, held_out: CocoSet, tmp_path: Path
) -> None:
    eager = changed(validate_every_images=20, validate_frames=3, **SAVES_EACH_BATCH)
    with pytest.raises(KeyboardInterrupt):
        train(eager, acting_sources(15, interrupt), tmp_path, progress=False, held_out=held_out)
    train(VALIDATED, sources(), tmp_path, resume=True, progress=False, held_out=held_out)
    check_same_run(tmp_path, unwatched)
    assert [line["batch"] for line in validations(tmp_path)] == [10, 20, 27]
    accumulator = EventAccumulator(str(tmp_path))
    accumulator.Reload()
    for name in ("train/loss", "train/gradient_norm", "train/learning_rate", "train/images_per_second"):
        assert [event.step for event in accumulator.Scalars(name)] == [20, 27]
    assert [event.value for event in accumulator.Scalars("train/box")] == pytest.approx(
        [line["box"] for line in log_of(unwatched)]
    )
    assert len({event.step for event in accumulator.Scalars("validation/mAP50")}) == 3


def test_when_a_run_validates() -> None:
    def batches(**settings: Any) -> list[int]:
        last = -(-settings["images"] // settings["batch_size"])
        return [n for n in range(last + 1) if validates_after(n, changed(**settings).train)]

    assert batches(images=100, batch_size=1) == [10, 20, 30, 40, 50, 60, 70, 80, 90, 100]
    # 90 crops are complete after 23 batches of 4; the last batch completes the run
    assert batches(images=95, batch_size=4, validate_every_images=30) == [8, 15, 23, 24]


def test_speed_and_share_follow_from_the_seconds() -> None:
    seconds = [(0.5, 1.5), (0.0, 2.0)]
    assert speed(seconds, batch_size=16) == {"images_per_second": pytest.approx(8.0), "data_wait_share": 0.125}


def test_samples_and_figures_of_the_data_are_written_before_the_first_step(tmp_path: Path) -> None:
    seen: list[list[str]] = []
    train(
        RECIPE,
        acting_sources(0, lambda: seen.append(sorted(path.name for path in tmp_path.iterdir()))),
        tmp_path,
        progress=False,
    )
    assert {"samples.jpg", "data.json"} <= set(seen[0])
    (facts,) = json.loads((tmp_path / "data.json").read_text())["sources"]
    assert facts["boxes"] == {"person": 2, "bicycle": 1, "car": 1}
    assert facts["median_height_px"] == 24.0


def test_what_the_terms_compare_is_shown_at_each_validation_and_changes_nothing(
    held_out: CocoSet, tmp_path: Path
) -> None:
    torch.manual_seed(7)
    wide = RECIPE.model.model_copy(update={"head_width": 16})
    save_model(tmp_path / "teacher.safetensors", DetectionNetwork(wide), ModelInfo(model=wide))
    guidance = GuidanceConfig.model_validate(
        {
            "weight": 1.0,
            "strides": [8, 16],
            "teacher": {"kind": "model", "sees": "thermal", "path": "teacher.safetensors"},
        }
    )
    terms = {"contrast": ContrastConfig(weight=0.5, hidden=8, dimensions=4), "guidance": guidance}
    short = {"images": 12, "validate_every_images": 6, "validate_frames": 1}
    for name, frames in (("watched", held_out), ("plain", None)):
        recipe = changed(**short, tensorboard=name == "watched").model_copy(update=terms)
        teacher = load_teacher(recipe.guidance.teacher, recipe, tmp_path)
        train(recipe, sources(), tmp_path / name, progress=False, held_out=frames, teacher=teacher)
    check_same_run(tmp_path / "watched", tmp_path / "plain")
    events = EventAccumulator(str(tmp_path / "watched")).Reload()
    of_maps = {f"maps/{who}/{stride}" for who in ("student", "teacher") for stride in (8, 16)}
    assert set(events.Tags()["images"]) == of_maps | {"maps/crops"}
    assert [event.step for event in events.Images("maps/teacher/8")] == [3, 6]
    # the two crops of a batch beside each other
    assert [events.Images(f"maps/{name}")[0].width for name in ("crops", "student/8", "student/16")] == [64, 8, 4]
    for batch in (3, 6):
        folder = tmp_path / "watched" / f"{batch:05}" / "rcs"
        vectors = np.loadtxt(folder / "tensors.tsv", ndmin=2)
        names = (folder / "metadata.tsv").read_text().split()
        assert vectors.shape == (len(names), 4)
        assert set(names) <= set(held_out.class_names)
        np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, rtol=1e-3)


def test_what_cannot_be_validated_or_written_is_a_line_each_and_costs_nothing(
    unwatched: Path,
    held_out: CocoSet,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    names = ("samples.jpg", "data.json", "summary.json")
    for name in names:
        (tmp_path / name).mkdir()  # what cannot be replaced by a file
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    (tmp_path / "gone.png").write_text("no picture")
    records = tuple(replace(record, path=tmp_path / "gone.png") for record in held_out.records)
    gone = CocoSet(held_out.path, held_out.class_names, records)
    train(VALIDATED, sources(), tmp_path, progress=False, held_out=gone)
    check_same_run(tmp_path, unwatched)
    lines = capsys.readouterr().err.splitlines()
    for name in (*names, "tensorboard"):
        (line,) = [line for line in lines if name in line]
        assert "goes on without" in line
    assert sum("gone.png" in line and "not validated after batch" in line for line in lines) == 3
    assert len(lines) == len(names) + 4
    assert not validations(tmp_path)


def test_other_frames_held_out_are_no_run_to_go_on_with(held_out: CocoSet, tmp_path: Path) -> None:
    few = changed(images=2 * RECIPE.train.batch_size)
    train(few, sources(), tmp_path, progress=False, held_out=held_out)
    train(few, sources(), tmp_path, resume=True, progress=False, held_out=held_out)
    moved = replace(held_out.records[0].truth, boxes_xyxy_px=held_out.records[0].truth.boxes_xyxy_px + 1)
    for records in (held_out.records[1:], (replace(held_out.records[0], truth=moved), *held_out.records[1:])):
        with pytest.raises(InputError, match=r"held-out data has [45] frames and [45] objects now, 5 frames"):
            train(few, sources(), tmp_path, resume=True, progress=False, held_out=replace(held_out, records=records))


def test_settings_of_watching_may_change_when_a_run_is_resumed(held_out: CocoSet, tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        train(RECIPE, acting_sources(2, interrupt), tmp_path, progress=False)
    again: Recipe = changed(validate_every_images=40, validate_frames=2, tensorboard=False)
    train(again, sources(), tmp_path, resume=True, progress=False, held_out=held_out)
    assert [line["batch"] for line in validations(tmp_path)] == [20, 27]
