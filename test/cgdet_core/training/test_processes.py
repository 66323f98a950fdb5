"""Runs that two processes share: they agree, are killed and resumed, stopped and refused."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from forked import Forked
from safetensors.torch import load_file, save_file
from two_processes import two_processes

from cgdet_core.cli import main
from cgdet_core.config import Recipe, TrainConfig, load_recipe
from cgdet_core.errors import InputError
from cgdet_core.runtime.model_file import ModelInfo, save_model
from cgdet_core.tasks.detection.head import DetectionNetwork
from cgdet_core.training import trainer
from cgdet_core.training.checkpoint import Checkpoint, load_checkpoint

torch.set_num_threads(1)

RECIPE = """
model: {widths: [8, 8, 8, 8, 8], depths: [1, 0, 0, 0], neck_depth: 0, head_width: 8, bins: 4,
  input_height_width_px: [64, 64], class_names: [person, car]}
augment: {crop_px: 64}
train: {images: 12, batch_size: 4, workers: 0, threads: 1, device: cpu, warmup_images: 8, seed: 3}
sources: [{path: labels.json}]
"""
WITH_TERMS = (
    "contrast={weight: 0.5, hidden: 8, dimensions: 4, queue: 5}",
    "guidance={weight: 2.0, object_weight: equal, off_fraction: 0.4, "
    "teacher: {kind: model, path: teacher.safetensors}}",
    # the teacher was never trained, and is sure of nothing
    "injection={forward_weight: 0.5, reverse_weight: 0.5, decay: constant, sure_score: 0}",
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A recipe, a teacher, and frames with none to four objects, some with RGB: no two halves of a batch are alike."""
    place = tmp_path_factory.mktemp("data")
    (place / "recipe.yaml").write_text(RECIPE)
    rng = np.random.default_rng(0)
    images, annotations = [], []
    for number in range(6):
        grey = rng.integers(60, 110 + 20 * number, (72, 96), dtype=np.uint8)
        for _ in range(number % 5):
            left, top, width, height = (int(v) for v in rng.integers((0, 0, 10, 14), (70, 40, 25, 30)))
            grey[top : top + height, left : left + width] += 100
            box = {"bbox": [left, top, width, height], "category_id": 1 + number % 2, "image_id": number}
            annotations.append({"id": len(annotations) + 1, "area": width * height, "iscrowd": 0, **box})
        cv2.imwrite(str(place / f"{number}.png"), grey)
        images.append({"id": number, "file_name": f"{number}.png", "width": 96, "height": 72})
    for image in images[1:4]:
        image["rgb_file_name"] = f"rgb_{image['id']}.png"
        cv2.imwrite(str(place / image["rgb_file_name"]), rng.integers(0, 255, (72, 96, 3), dtype=np.uint8))
    categories = [{"id": 1, "name": "person"}, {"id": 2, "name": "car"}]
    document = {"images": images, "annotations": annotations, "categories": categories}
    (place / "labels.json").write_text(json.dumps(document))
    torch.manual_seed(7)
    model = load_recipe(place / "recipe.yaml").model
    save_model(place / "teacher.safetensors", DetectionNetwork(model), ModelInfo(model=model))
    return place


def words(folder: Path, out: Path, *more: str) -> list[str]:
    return ["train", str(folder / "recipe.yaml"), "--data", str(folder), "--out", str(out), *more]


def codes(two: tuple[Forked, Forked]) -> list[int]:
    """The exit codes; where one is not 0, what was said comes with the test's failure."""
    ended_with = [process.wait() for process in two]
    print(said_by(two))
    return ended_with


def said_by(two: tuple[Forked, Forked]) -> str:
    return "".join(process.said() for process in two)


def checkpoint_of(out: Path) -> Checkpoint:
    return load_checkpoint(out / "checkpoint.safetensors")


def wait_for(checkpoint: Path, batches: int) -> None:
    deadline = time.monotonic() + 60
    while not (checkpoint.exists() and load_checkpoint(checkpoint, with_tensors=False).batches_done >= batches):
        assert time.monotonic() < deadline, "no checkpoint within a minute"
        time.sleep(0.05)


def test_two_processes_learn_alike_from_all_terms_and_about_what_one_learns(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Kept(trainer.RunState):
        def step(self, *arguments, **more):  # type: ignore[no-untyped-def]
            figures = super().step(*arguments, **more)
            tensors = {**dict(self.network.named_parameters()), **self.extra.state_dict()}
            if self.batches_done == 3:
                save_file({n: t.detach().contiguous() for n, t in tensors.items()}, tmp_path / f"{os.getpid()}.weights")
            return figures

    assert main(words(folder, tmp_path / "one", *WITH_TERMS)) == 0
    monkeypatch.setattr(trainer, "RunState", Kept)
    with two_processes(lambda rank: main(words(folder, tmp_path / "two", *WITH_TERMS)), tmp_path) as two:
        assert codes(two) == [0, 0]
    first, second = (load_file(path) for path in tmp_path.glob("*.weights"))
    assert all(torch.equal(first[name], second[name]) for name in second)
    assert "contrast.queue.vectors" in first
    assert said_by(two).count("model: ") == 1
    assert checkpoint_of(tmp_path / "two").batches_done == 3
    one, both = (json.loads((tmp_path / name / "log.jsonl").read_text()) for name in ("one", "two"))
    assert one.keys() == both.keys()
    assert {"loss", "class", "rcs", "dikd_forward", "dikd_reverse"} <= both.keys()
    assert "cms" not in both  # it was over by then
    # the loss of the whole batch, not of a process' share; batch norms of fewer crops make it another
    assert both["loss"] == pytest.approx(one["loss"], rel=0.2)


def test_a_killed_process_ends_the_run_whose_checkpoint_two_go_on_with(folder: Path, tmp_path: Path) -> None:
    checkpoint = tmp_path / "run" / "checkpoint.safetensors"
    long = words(folder, tmp_path / "run", "train.images=400000", "train.checkpoint_seconds=0.1")
    with two_processes(lambda rank: main(long), tmp_path) as two:
        wait_for(checkpoint, 1)
        os.kill(two[1].process_id, signal.SIGKILL)
        assert codes(two) == [1, -signal.SIGKILL]
        assert "Traceback" not in said_by(two)
        assert "cgdet: error: another process of the run ended" in two[0].said()
    done = checkpoint_of(tmp_path / "run").batches_done
    with two_processes(lambda rank: main([*long, "--resume"]), tmp_path) as two:
        wait_for(checkpoint, done + 1)
        os.kill(two[1].process_id, signal.SIGTERM)
        assert codes(two) == [143, 143]
    assert checkpoint_of(tmp_path / "run").batches_done > done >= 1
    assert said_by(two).count("cgdet: stopped by a signal to another process after batch ") == 1


def test_what_one_process_lacks_ends_all_and_is_named(folder: Path, tmp_path: Path) -> None:
    def run(rank: int) -> int:
        # as on two machines, of which the second has no data
        typed = words(folder, tmp_path / "run")
        typed[typed.index("--data") + 1] += "/nowhere" * rank
        return main(typed)

    with two_processes(run, tmp_path) as two:
        assert codes(two) == [1, 2]
    assert "Traceback" not in said_by(two)
    assert str(folder / "nowhere" / "labels.json") in two[1].said()
    assert "(process 1, " in two[1].said()
    assert not (tmp_path / "run" / "checkpoint.safetensors").exists()


def test_other_data_in_one_process_are_refused(folder: Path, tmp_path: Path) -> None:
    with two_processes(
        lambda rank: main(words(folder, tmp_path / "run", f"train.seed={rank}")),
        tmp_path,
    ) as two:
        assert codes(two) == [2, 2]
    assert "between processes 0 and 1" in two[0].said()


def test_a_batch_is_shared_evenly_or_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(trainer, "world_size", lambda: 4)
    three = Recipe(train=TrainConfig(batch_size=3, device="cpu"))
    with pytest.raises(InputError, match=r"train\.batch_size"):
        trainer.check_start(three, tmp_path / "run", resume=False, init=None)
    assert not (tmp_path / "run").exists()
