"""Runs that two processes share, of the real torchrun or forked: as one process' run, resumed, refused and killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from forked import Forked
from two_processes import two_processes

from cgdet_core.cli import main
from cgdet_core.config import Recipe, TrainConfig, load_recipe
from cgdet_core.data.feed.dataset import TrainingBatch
from cgdet_core.errors import InputError
from cgdet_core.files import sha256_of
from cgdet_core.model.detector import Detector
from cgdet_core.runtime.model_file import ModelInfo, read_info, save_model
from cgdet_core.training import trainer
from cgdet_core.training.checkpoint import Checkpoint, load_checkpoint
from cgdet_core.training.distributed import World, process_device, share_of_batch
from cgdet_core.training.processes import processes
from cgdet_core.training.state import RunState
from cgdet_core.training.step_figures import StepFigures

torch.set_num_threads(1)

RECIPE = """
model: {widths: [8, 8, 8, 8, 8], depths: [1, 0, 0, 0], neck_depth: 0, head_width: 8, bins: 4,
  input_height_width_px: [64, 64], class_names: [person, car]}
augment: {crop_px: 64}
train: {images: 40, batch_size: 4, workers: 0, threads: 1, device: cpu, warmup_images: 8, seed: 3,
  checkpoint_seconds: 0.000001, weight_decay: 2.0, gradient_clip: 22.0}
sources: [{path: labels.json}]
"""
# what the weights of one and of two processes may differ by, as a share of how far they went from where they began
TOLERANCE = 0.01

Torchrun = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A recipe and frames with none to four objects, so that two halves of a batch are never alike."""
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
    categories = [{"id": 1, "name": "person"}, {"id": 2, "name": "car"}]
    document = {"images": images, "annotations": annotations, "categories": categories}
    (place / "labels.json").write_text(json.dumps(document))
    for image in images[1:4]:
        image["rgb_file_name"] = f"rgb_{image['id']}.png"
        cv2.imwrite(str(place / image["rgb_file_name"]), rng.integers(0, 255, (72, 96, 3), dtype=np.uint8))
    (place / "pairs.json").write_text(json.dumps(document))
    torch.manual_seed(7)
    model = load_recipe(place / "recipe.yaml").model
    save_model(place / "teacher.safetensors", Detector(model), ModelInfo(model=model))
    return place


def words(folder: Path, out: Path, *more: str) -> list[str]:
    return ["train", str(folder / "recipe.yaml"), "--data", str(folder), "--out", str(out), *more]


def command(*arguments: str, count: int = 2) -> list[str]:
    return [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(count), *arguments]


@pytest.fixture(scope="module")
def environment(repository: Path) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(repository), "OMP_NUM_THREADS": "1"}


@pytest.fixture(scope="module")
def torchrun(environment: dict[str, str]) -> Torchrun:
    """Runs a module or script in two processes to its end; the answer of torchrun."""

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command(*arguments), env=environment, capture_output=True, text=True, timeout=120, check=False
        )

    return run


@pytest.fixture(scope="module")
def alone(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of one process' whole run."""
    out = tmp_path_factory.mktemp("alone") / "run"
    assert main(words(folder, out)) == 0
    return out


def codes(two: tuple[Forked, Forked]) -> list[int]:
    """The exit codes; where one is not 0, what was said comes with the test's failure."""
    ended_with = [process.wait() for process in two]
    print(said_by(two))
    return ended_with


def said_by(two: tuple[Forked, Forked]) -> str:
    return "".join(process.said() for process in two)


def checkpoint_of(out: Path) -> Checkpoint:
    return load_checkpoint(out / "checkpoint.safetensors")


def farthest_apart(one: Path, other: Path, start: dict[str, torch.Tensor]) -> float:
    """Of all tensors the greatest mean difference, as a share of the mean way from `start`."""
    apart = 0.0
    for part in ("weights", "average"):
        ours, theirs = checkpoint_of(one).part(part), checkpoint_of(other).part(part)
        assert ours.keys() == theirs.keys()
        for name, tensor in ours.items():
            if tensor.dtype.is_floating_point:
                went = (tensor.double() - start[name].double()).abs().mean()
                assert went > 0, name
                apart = max(apart, float((tensor.double() - theirs[name].double()).abs().mean() / went))
            else:
                assert torch.equal(tensor, theirs[name]), name
    return apart


@pytest.fixture(scope="module")
def start(folder: Path) -> dict[str, torch.Tensor]:
    recipe = load_recipe(folder / "recipe.yaml")
    torch.manual_seed(recipe.train.seed)
    return {name: tensor.clone() for name, tensor in Detector(recipe.model).state_dict().items()}


def test_two_processes_learn_what_one_learns(
    folder: Path, tmp_path: Path, torchrun: Torchrun, alone: Path, start: dict[str, torch.Tensor]
) -> None:
    answer = torchrun("-m", "cgdet_core.cli", *words(folder, tmp_path / "two"))
    assert answer.returncode == 0, answer.stderr
    assert answer.stdout.count("model: ") == 1
    # the curves' file has a number of its own in its name
    one, two = ({path.name.split(".")[0] for path in out.iterdir()} for out in (alone, tmp_path / "two"))
    assert one == two
    assert len(list((tmp_path / "two").iterdir())) == len(list(alone.iterdir()))
    assert checkpoint_of(tmp_path / "two").batches_done == checkpoint_of(alone).batches_done == 10
    assert farthest_apart(alone, tmp_path / "two", start) < TOLERANCE
    # the losses of the whole batch, not those of a process' share
    mine, theirs = ((path / "log.jsonl").read_text().splitlines() for path in (alone, tmp_path / "two"))
    assert len(mine) == len(theirs) == 1
    pace = ("images_per_second", "data_wait_share")
    ours, both = ({k: v for k, v in json.loads(lines[0]).items() if k not in pace} for lines in (mine, theirs))
    assert {"loss", "class", "box", "distribution", "gradient_norm", "learning_rate"} < ours.keys()
    assert both == pytest.approx(ours, rel=1e-3)


WITH_TERMS = (
    "sources.0.path=pairs.json",
    "contrast={weight: 0.5, hidden: 8, dimensions: 4, queue: 5}",
    "guidance={weight: 2.0, object_weight: equal, teacher: {kind: detector, path: teacher.safetensors}}",
    # the teacher was never trained, and is sure of nothing
    "injection={forward_weight: 0.5, reverse_weight: 0.5, decay: constant, sure_score: 0}",
    "train.term_gradients_every_batches=5",
)


def test_two_processes_learn_from_all_terms_what_one_learns(
    folder: Path, tmp_path: Path, start: dict[str, torch.Tensor]
) -> None:
    assert main(words(folder, tmp_path / "one", *WITH_TERMS)) == 0
    with two_processes(lambda rank: main(words(folder, tmp_path / "two", *WITH_TERMS)), tmp_path) as two:
        assert codes(two) == [0, 0]
    assert farthest_apart(tmp_path / "one", tmp_path / "two", start) < TOLERANCE
    mine, theirs = (json.loads((tmp_path / name / "log.jsonl").read_text()) for name in ("one", "two"))
    names = ("rcs", "cms", "dikd_forward", "dikd_reverse")
    terms = {*names, "gradient_detection", *(f"gradient_{name}" for name in names)}
    # the forward part of injection teaches the head alone
    assert {name for name in terms if not mine[name] > 0} == {"gradient_dikd_forward"}
    assert {name: theirs[name] for name in terms} == pytest.approx({name: mine[name] for name in terms}, rel=0.01)
    taught_by = f"detector teacher.safetensors sha256:{sha256_of(folder / 'teacher.safetensors')}"
    assert [read_info(tmp_path / name / "model.safetensors").training["teacher"] for name in ("one", "two")] == [
        taught_by
    ] * 2
    one, two = (checkpoint_of(tmp_path / name).part("extra") for name in ("one", "two"))
    assert torch.equal(one["contrast.queue.class_ids"], two["contrast.queue.class_ids"])
    for name in one:
        assert torch.allclose(one[name], two[name], atol=2e-3), name


def test_a_run_that_one_process_began_is_gone_on_with_by_two(
    folder: Path, tmp_path: Path, alone: Path, start: dict[str, torch.Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "run"
    step = RunState.step

    def six_steps(run: RunState, batch: TrainingBatch, stop_asked: bool = False) -> StepFigures:
        if run.batches_done == 6:
            raise KeyboardInterrupt
        return step(run, batch, stop_asked)

    with monkeypatch.context() as interrupted:
        interrupted.setattr(RunState, "step", six_steps)
        assert main(words(folder, out)) == 130
    assert checkpoint_of(out).batches_done == 6
    with two_processes(lambda rank: main(words(folder, out, "--resume")), tmp_path) as two:
        assert codes(two) == [0, 0]
    assert farthest_apart(alone, out, start) < TOLERANCE


def told(answer: subprocess.CompletedProcess[str]) -> str:
    """The one line that all processes together print; none of them shows a traceback of its own."""
    assert answer.returncode != 0
    lines = [line for line in answer.stderr.splitlines() if line.startswith("cgdet: error: ")]
    assert len(lines) == 1, answer.stderr
    # torchrun shows its own, and the exit code of the process that ended first
    assert answer.stderr.count("Traceback") == 1, answer.stderr
    assert "exitcode  : 2" in answer.stderr
    return lines[0]


def test_a_loss_that_explodes_ends_all_processes_with_one_line(
    folder: Path, tmp_path: Path, torchrun: Torchrun
) -> None:
    wild = ["train.learning_rate=1e30", "train.gradient_clip=1e30", "train.warmup_images=0"]
    line = told(torchrun("-m", "cgdet_core.cli", *words(folder, tmp_path / "run", *wild)))
    assert "not finite" in line
    assert "(process" not in line  # it is process 0 that says it
    assert not (tmp_path / "run" / "model.safetensors.partial").exists()


def test_what_one_process_lacks_ends_all_with_its_line(folder: Path, tmp_path: Path) -> None:
    def run(rank: int) -> int:
        # as on two machines, of which the second has no data
        typed = words(folder, tmp_path / "run")
        typed[typed.index("--data") + 1] += "/nowhere" * rank
        return main(typed)

    with two_processes(run, tmp_path) as two:
        assert codes(two) == [2, 2]
    said = said_by(two)
    (line,) = [line for line in said.splitlines() if line.startswith("cgdet: error: ")]
    assert "Traceback" not in said
    assert str(folder / "nowhere" / "labels.json") in line
    assert "(process 1, " in line
    assert not (tmp_path / "run" / "checkpoint.safetensors").exists()


def test_a_killed_process_ends_the_run_and_leaves_its_checkpoint(
    folder: Path, tmp_path: Path, environment: dict[str, str]
) -> None:
    checkpoint = tmp_path / "run" / "checkpoint.safetensors"
    long = words(folder, tmp_path / "run", "train.images=400000", "train.workers=1")
    agent = subprocess.Popen(
        command("-m", "cgdet_core.cli", *long), env=environment, stderr=subprocess.PIPE, stdout=subprocess.PIPE
    )
    try:
        deadline = time.monotonic() + 60
        while not checkpoint.exists():
            assert time.monotonic() < deadline, "no checkpoint within a minute"
            assert agent.poll() is None
            time.sleep(0.05)
        os.kill(_process_of(agent.pid, rank=1), signal.SIGKILL)
        _, stderr = agent.communicate(timeout=60)
    finally:
        agent.kill()
    assert agent.returncode != 0
    # torchrun's own there is; the process that was killed may have been heard too
    assert b"[rank0]: Traceback" not in stderr, stderr.decode()
    assert b"cgdet: error: another process of the run ended or fell silent" in stderr, stderr.decode()
    assert load_checkpoint(checkpoint).batches_done >= 1


@pytest.mark.parametrize("told_rank", [0, 1])
def test_a_signal_to_one_process_ends_all_with_the_state_kept(folder: Path, tmp_path: Path, told_rank: int) -> None:
    out = tmp_path / "run"
    # a checkpoint after the first batch and no other, unless the run keeps one as it ends
    long = words(folder, out, "train.images=400000", "train.workers=1", "train.checkpoint_seconds=1000")
    with two_processes(lambda rank: main(long), tmp_path) as two:
        deadline = time.monotonic() + 60
        while not (out / "checkpoint.safetensors").exists():
            assert time.monotonic() < deadline, "no checkpoint within a minute"
            assert not any(process.ended() for process in two), said_by(two)
            time.sleep(0.05)
        time.sleep(0.3)
        os.kill(two[told_rank].process_id, signal.SIGTERM)
        assert 0 not in codes(two)
    who = "SIGTERM" if told_rank == 0 else "a signal to another process"
    said = said_by(two)
    assert said.count(f"cgdet: stopped by {who} after batch ") == 1, said
    assert checkpoint_of(out).batches_done > 1
    assert f"after batch {checkpoint_of(out).batches_done} of 100000" in said


def _process_of(agent: int, rank: int) -> int:
    for child in Path(f"/proc/{agent}/task/{agent}/children").read_text().split():
        if f"RANK={rank}".encode() in Path(f"/proc/{child}/environ").read_bytes().split(b"\0"):
            return int(child)
    raise AssertionError(f"torchrun has no process of rank {rank}")


def test_a_batch_is_shared_evenly_or_refused(tmp_path: Path) -> None:
    assert share_of_batch(TrainConfig(batch_size=12), World(rank=1, size=4)) == 3
    with pytest.raises(InputError, match=r"train\.batch_size = 12 .* multiple of 5"):
        share_of_batch(TrainConfig(batch_size=12), World(size=5))
    three = Recipe(train=TrainConfig(batch_size=3, device="cpu"))
    with pytest.raises(InputError, match=r"train\.batch_size = 3 .* 2 processes"):
        trainer.check_start(three, tmp_path / "run", resume=False, init=None, world=World(size=2))
    assert not (tmp_path / "run").exists()


def test_without_torchrun_there_is_one_process(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RANK", "WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    with processes() as world:
        assert world == World()
        assert world.leads
    monkeypatch.setenv("RANK", "first")
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(InputError, match="torchrun"), processes():
        pass


def test_several_processes_share_no_gpu_by_name() -> None:
    assert process_device("cpu", World(rank=1, size=2)) == torch.device("cpu")
    with pytest.raises(InputError, match="device"):
        process_device("cuda:1", World(rank=1, size=2, local_rank=1, local_size=2))


def test_training_imports_neither_ros_nor_bags_nor_pycocotools(
    folder: Path, tmp_path: Path, environment: dict[str, str]
) -> None:
    unneeded = ("rclpy", "sensor_msgs", "vision_msgs", "cv_bridge", "rosbags", "pycocotools")
    code = (
        "import sys; from cgdet_core.cli import main; code = main(sys.argv[1:])\n"
        f"print('loaded:', sorted({{name.partition('.')[0] for name in sys.modules}} & set({unneeded!r})))\n"
        "sys.exit(code)"
    )
    short = words(folder, tmp_path / "run", "train.images=8")
    answer = subprocess.run(
        [sys.executable, "-c", code, *short], env=environment, capture_output=True, text=True, check=False
    )
    assert answer.returncode == 0, answer.stderr
    assert "loaded: []" in answer.stdout
    assert (tmp_path / "run" / "model.safetensors").exists()
