"""Real runs of a tiny network that are watched, stopped and refused by the disk: the weights are always the same."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

sys.path.insert(0, str(Path(__file__).parent))

from test_trainer import RECIPE, changed, log_of, refusal, sources

from cgdet_core.config import Recipe
from cgdet_core.data.coco import CocoSet, load_coco, write_coco
from cgdet_core.data.dataset import TrainingBatches
from cgdet_core.data.sources import Source
from cgdet_core.errors import InputError
from cgdet_core.evaluation.metrics import evaluate
from cgdet_core.evaluation.offline import run_offline
from cgdet_core.runtime.predictor import Predictor
from cgdet_core.training import tensorboard_file
from cgdet_core.training.bad_batch import load_bad_batch, recipe_sha256
from cgdet_core.training.checkpointing import load_checkpoint, save_checkpoint
from cgdet_core.training.samples import SAMPLES
from cgdet_core.training.stopping import RunStopped
from cgdet_core.training.trainer import train
from cgdet_core.training.validation import Validation

VALIDATED = changed(validate_every_images=20, validate_frames=3)


@pytest.fixture(scope="module")
def unwatched(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run without validation or curves that was never interrupted."""
    out = tmp_path_factory.mktemp("unwatched") / "run"
    train(changed(tensorboard=False), sources(), out, progress=False)
    return out


@pytest.fixture(scope="module")
def held_out(tmp_path_factory: pytest.TempPathFactory) -> CocoSet:
    """Five frames with a bright square each, a person, a bicycle or a car."""
    folder = tmp_path_factory.mktemp("held_out")
    images, annotations = [], []
    for number in range(5):
        frame = np.random.default_rng(number).integers(80, 120, (32, 64)).astype(np.uint8)
        frame[4:28, 8 * number : 8 * number + 16] += 100
        cv2.imwrite(str(folder / f"{number}.png"), frame)
        images.append({"id": number, "file_name": f"{number}.png", "height": 32, "width": 64})
        box = {"bbox": [8 * number, 4, 16, 24], "area": 384, "iscrowd": 0}
        annotations.append({"id": number, "image_id": number, "category_id": number % 3 + 1, **box})
    write_coco(folder / "labels.json", images, annotations)
    return load_coco(folder / "labels.json")


def validations(out: Path) -> list[dict[str, Any]]:
    return [line for line in log_of(out) if "validation" in line]


def check_same_run(out: Path, reference: Path) -> None:
    for name in ("checkpoint.safetensors", "model.safetensors"):
        whole, other = load_file(reference / name), load_file(out / name)
        assert whole.keys() == other.keys()
        for key, tensor in whole.items():
            assert torch.equal(tensor, other[key]), key
    steps = [line for line in log_of(out) if "loss" in line]
    assert steps == log_of(reference)


@contextmanager
def limited_files(byte_limit: int) -> Iterator[None]:
    """No file of this process grows beyond `byte_limit`: the kernel refuses, as a full disk does."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (byte_limit, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


class AtDraw(tuple):
    """Frames of a source; `action` is called when draw `after` is made, those of the sheet of samples included."""

    after = 0
    action: Callable[[], object]

    def __getitem__(self, index):  # type: ignore[no-untyped-def, override]
        self.after -= 1
        if self.after == -1:
            self.action()
        return super().__getitem__(index)


def acting_sources(batch: int, action: Callable[[], object]) -> list[Source]:
    """`action` is called when the first crop of this batch, counted from 0, is drawn."""
    (source,) = sources()
    frames = AtDraw(source.frames)
    frames.after, frames.action = SAMPLES + 2 * batch, action
    return [replace(source, frames=frames)]


def test_a_validated_run_learns_bit_for_bit_what_an_unwatched_one_learns(
    unwatched: Path, held_out: CocoSet, tmp_path: Path
) -> None:
    train(VALIDATED, sources(), tmp_path, progress=False, held_out=held_out)
    check_same_run(tmp_path, unwatched)
    # 54 crops, two a batch: after 20, 40 and at the end
    assert [line["batch"] for line in validations(tmp_path)] == [10, 20, 27]


def test_the_last_validation_is_what_evaluating_the_model_on_these_frames_gives(
    held_out: CocoSet, tmp_path: Path
) -> None:
    model = train(VALIDATED, sources(), tmp_path, progress=False, held_out=held_out)
    chosen = CocoSet(held_out.path, held_out.class_names, tuple(held_out.records[i] for i in (0, 2, 4)))
    metrics = evaluate(run_offline(Predictor(model, "cpu"), chosen, 3, progress=False).frames)
    figures = validations(tmp_path)[-1]["validation"]
    assert figures["images"] == 3
    assert (figures["map50"], figures["map"]) == (metrics.map50, metrics.map)
    assert figures["per_class"]["car"] == {key: metrics.per_class["car"][key] for key in ("map50", "map", "truths")}
    assert [figures["per_class"][name]["truths"] for name in held_out.class_names] == [1, 1, 1]


@pytest.mark.parametrize("stopped_before", [5, 10, 15])
def test_a_validated_run_that_is_killed_and_resumed_validates_at_the_same_batches_once(
    unwatched: Path, held_out: CocoSet, tmp_path: Path, stopped_before: int
) -> None:
    def kill() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(VALIDATED, acting_sources(stopped_before, kill), tmp_path, progress=False, held_out=held_out)
    # as a kill in the middle of the validation leaves it
    log = tmp_path / "log.jsonl"
    log.write_text("".join(f"{line}\n" for line in log.read_text().splitlines() if '"batch": 10}' not in line))
    train(VALIDATED, sources(), tmp_path, resume=True, progress=False, held_out=held_out)
    check_same_run(tmp_path, unwatched)
    found = [line["batch"] for line in validations(tmp_path)]
    assert found == ([20, 27] if stopped_before == 15 else [10, 20, 27])
    accumulator = EventAccumulator(str(tmp_path))
    accumulator.Reload()
    for name in ("loss/loss", "gradient_norm", "learning_rate", "speed/images_per_second"):
        assert [event.step for event in accumulator.Scalars(name)] == [20, 27]
    assert [event.value for event in accumulator.Scalars("loss/box")] == pytest.approx(
        [line["box"] for line in log_of(unwatched)]
    )
    assert len({event.step for event in accumulator.Scalars("validation/map50")}) == 3


def test_when_a_run_validates(held_out: CocoSet) -> None:
    def batches(**settings: Any) -> list[int]:
        validation = Validation(held_out, changed(**settings).train)
        last = -(-settings["images"] // settings["batch_size"])
        return [n for n in range(last + 1) if validation.due(n)]

    assert batches(images=100, batch_size=1) == [10, 20, 30, 40, 50, 60, 70, 80, 90, 100]
    # 90 crops are complete after 23 batches of 4; the last batch completes the run
    assert batches(images=95, batch_size=4, validate_every_images=30) == [8, 15, 23, 24]
    assert not Validation(held_out, changed(validate_every_images=0).train).wanted
    assert len(Validation(held_out, changed(validate_frames=100).train).frames) == 5


def test_a_held_out_frame_that_cannot_be_read_is_a_warning_and_the_run_goes_on(
    unwatched: Path, held_out: CocoSet, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    records = tuple(replace(record, path=tmp_path / "gone.png") for record in held_out.records)
    gone = CocoSet(held_out.path, held_out.class_names, records)
    train(VALIDATED, sources(), tmp_path / "run", progress=False, held_out=gone)
    check_same_run(tmp_path / "run", unwatched)
    lines = capsys.readouterr().err.splitlines()
    assert len([line for line in lines if "gone.png" in line and "not validated after batch" in line]) == 3
    assert not validations(tmp_path / "run")


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


def test_data_without_an_object_are_refused_before_anything_is_written(tmp_path: Path) -> None:
    (source,) = sources()
    empty = tuple(replace(frame, truth=replace(frame.truth, ignore=np.ones(1, bool))) for frame in source.frames)
    assert "holds an object" in refusal(RECIPE, [replace(source, frames=empty)], tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_pictures_and_tables_that_the_disk_refuses_are_a_line_each_and_cost_nothing(
    unwatched: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = ("samples.jpg", "data.json", "run.png", "summary.json")
    for name in names:
        (tmp_path / name).mkdir()  # what cannot be replaced by a file
    train(RECIPE, sources(), tmp_path, progress=False)
    check_same_run(tmp_path, unwatched)
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == len(names)
    for name in names:
        (line,) = [line for line in lines if str(tmp_path / name) in line]
        assert "goes on without" in line


def test_curves_on_a_full_disk_are_one_line_and_cost_nothing(
    unwatched: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    full = Path("/dev/full")  # a device without any space left
    monkeypatch.setattr(tensorboard_file, "event_file_name", lambda folder: full)
    train(RECIPE, sources(), tmp_path, progress=False)
    check_same_run(tmp_path, unwatched)
    (line,) = capsys.readouterr().err.splitlines()
    assert "No space left" in line
    assert "goes on without" in line


def test_a_disk_that_fills_up_ends_the_run_in_one_line_with_its_last_checkpoint_whole(
    unwatched: Path, tmp_path: Path
) -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    fills_up = acting_sources(12, lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, hard)))
    with limited_files(resource.RLIM_INFINITY):
        message = refusal(RECIPE, fills_up, tmp_path)
    assert str(tmp_path / "checkpoint.safetensors") in message
    assert "cannot be written" in message
    assert not list(tmp_path.glob(".*partial"))
    assert load_checkpoint(tmp_path / "checkpoint.safetensors").batches_done == 12
    train(changed(tensorboard=False), sources(), tmp_path, resume=True, progress=False)
    check_same_run(tmp_path, unwatched)


def test_a_log_that_cannot_be_written_ends_the_run_in_one_line_and_it_can_be_resumed(
    unwatched: Path, tmp_path: Path
) -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    # batch 20 is logged before it is saved
    fills_up = acting_sources(19, lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (100, hard)))
    with limited_files(resource.RLIM_INFINITY):
        message = refusal(RECIPE, fills_up, tmp_path)
    assert str(tmp_path / "log.jsonl") in message
    assert "--resume" in message
    assert load_checkpoint(tmp_path / "checkpoint.safetensors").batches_done == 19
    train(RECIPE, sources(), tmp_path, resume=True, progress=False)
    check_same_run(tmp_path, unwatched)


def test_the_batch_of_a_loss_that_explodes_is_kept_and_named(tmp_path: Path) -> None:
    wild = changed(learning_rate=1e30, gradient_clip=1e30, warmup_images=0, checkpoint_seconds=1000)
    message = refusal(wild, sources(), tmp_path)
    path = tmp_path / "bad_batch.safetensors"
    assert str(path) in message
    assert "train.learning_rate" in message
    assert (tmp_path / "bad_batch.jpg").exists()
    bad = load_bad_batch(path)
    assert f"batch {bad.number}," in message
    assert bad.number >= 1
    batch = TrainingBatches(sources(), wild)[bad.number]
    assert bad.batch.tensors().keys() == batch.tensors().keys()
    for name, value in batch.tensors().items():
        assert torch.equal(bad.batch.tensors()[name], value), name
    assert bad.recipe_sha256 == recipe_sha256(wild)
    assert bad.terms.keys() == {"loss", "class", "box", "distribution"}
    # what was last kept is of a batch before it, and whole
    checkpoint = load_checkpoint(tmp_path / "checkpoint.safetensors")
    assert checkpoint.batches_done == 1
    assert all(tensor.isfinite().all() for tensor in checkpoint.tensors.values())


def test_weights_that_are_no_numbers_end_a_resumed_run_with_its_batch_and_leave_the_checkpoint(
    unwatched: Path, tmp_path: Path
) -> None:
    path = tmp_path / "checkpoint.safetensors"
    checkpoint = load_checkpoint(unwatched / "checkpoint.safetensors")
    checkpoint.tensors["weights.backbone.stem.conv.weight"][:] = torch.nan
    save_checkpoint(path, replace(checkpoint, batches_done=7, recipe=RECIPE))
    before = path.read_bytes()
    assert "the loss is not finite at batch 7" in refusal(RECIPE, sources(), tmp_path, resume=True)
    bad = load_bad_batch(tmp_path / "bad_batch.safetensors")
    assert bad.number == 7
    assert bad.terms["loss"] is None
    assert path.read_bytes() == before


def test_a_file_that_is_no_kept_batch_is_refused(unwatched: Path, tmp_path: Path) -> None:
    for path in (unwatched / "model.safetensors", unwatched / "log.jsonl", tmp_path / "none"):
        with pytest.raises(InputError) as caught:
            load_bad_batch(path)
        assert str(path) in str(caught.value)
        assert "\n" not in str(caught.value)


SCRIPT = """
import dataclasses, pathlib, sys, time
sys.path.insert(0, sys.argv[2])
import test_trainer as t
from cgdet_core.training.stopping import RunStopped
class Slow(tuple):  # a run that lasts until somebody stops it
    def __getitem__(self, index):
        time.sleep(0.05)
        return super().__getitem__(index)
sources = [dataclasses.replace(source, frames=Slow(source.frames)) for source in t.sources()]
recipe = t.changed(workers=int(sys.argv[3]), checkpoint_seconds=1000.0)
try:
    t.train(recipe, sources, pathlib.Path(sys.argv[1]), progress=False)
except RunStopped as stopped:
    print(stopped, file=sys.stderr)
    sys.exit(stopped.exit_code)
"""


def wait_for(checkpoint: Path) -> None:
    deadline = time.monotonic() + 60
    while not checkpoint.exists():
        assert time.monotonic() < deadline, "the run wrote no checkpoint within a minute"
        time.sleep(0.002)


def start(out: Path, repository: Path, workers: int) -> subprocess.Popen[str]:
    """A process of its own process group, as a terminal would start it, once it has done a batch."""
    words = [sys.executable, "-c", SCRIPT, out, Path(__file__).parent, workers]
    process = subprocess.Popen(
        [str(word) for word in words],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(repository), *sys.path])},
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    wait_for(out / "checkpoint.safetensors")
    return process


@pytest.mark.parametrize(("number", "workers", "code"), [(signal.SIGINT, 2, 130), (signal.SIGTERM, 1, 143)])
def test_ctrl_c_and_sigterm_keep_the_state_and_say_how_to_go_on(
    unwatched: Path, tmp_path: Path, repository: Path, number: signal.Signals, workers: int, code: int
) -> None:
    process = start(tmp_path, repository, workers)
    os.killpg(process.pid, number)  # a terminal's Ctrl-C reaches every process of the group
    _, said = process.communicate(timeout=60)
    assert process.returncode == code, said
    (line,) = said.splitlines()
    assert line.startswith(f"stopped by {number.name} after batch ")
    assert "--resume" in line
    done = load_checkpoint(tmp_path / "checkpoint.safetensors").batches_done
    assert f"after batch {done} of 27" in line
    # by its own interval it would have kept the first batch alone
    model, average = load_file(tmp_path / "model.safetensors"), load_checkpoint(tmp_path / "checkpoint.safetensors")
    assert all(torch.equal(tensor, average.part("average")[name]) for name, tensor in model.items())
    train(RECIPE, sources(), tmp_path, resume=True, progress=False)
    check_same_run(tmp_path, unwatched)


def test_who_asks_while_it_is_decided_what_to_save_is_answered_only_once_the_state_is_kept(
    unwatched: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The clock is read between the question whether to stop and the save; the signal comes right then."""
    real, asked = time.monotonic, []

    def clock() -> float:
        if sys._getframe(1).f_code.co_name == "train" and (tmp_path / "checkpoint.safetensors").exists() and not asked:
            asked.append(True)
            signal.raise_signal(signal.SIGINT)
        return real()

    monkeypatch.setattr(time, "monotonic", clock)
    with pytest.raises(RunStopped) as stopped:
        train(changed(checkpoint_seconds=1000.0), sources(), tmp_path, progress=False)
    assert asked
    assert "after batch 2 of 27" in str(stopped.value)
    assert load_checkpoint(tmp_path / "checkpoint.safetensors").batches_done == 2
    train(RECIPE, sources(), tmp_path, resume=True, progress=False)
    check_same_run(tmp_path, unwatched)


@pytest.mark.parametrize("delay_ms", [0, 2, 5, 11, 23, 47, 90])
def test_a_kill_at_any_moment_leaves_a_run_that_ends_as_the_uninterrupted_one(
    unwatched: Path, tmp_path: Path, delay_ms: int
) -> None:
    """The run saves after each batch, so that most of these moments lie within a save."""
    process = os.fork()
    if process == 0:
        try:
            train(RECIPE, sources(), tmp_path, progress=False)
        finally:
            os._exit(0)
    wait_for(tmp_path / "checkpoint.safetensors")
    time.sleep(delay_ms / 1e3)
    os.kill(process, signal.SIGKILL)
    os.waitpid(process, 0)
    assert load_checkpoint(tmp_path / "checkpoint.safetensors").batches_done >= 1
    train(RECIPE, sources(), tmp_path, resume=True, progress=False)
    check_same_run(tmp_path, unwatched)


def test_settings_of_watching_may_change_when_a_run_is_resumed(held_out: CocoSet, tmp_path: Path) -> None:
    train(changed(images=4), sources(), tmp_path, progress=False)
    again: Recipe = changed(images=4, validate_every_images=2, validate_frames=2, tensorboard=False)
    train(again, sources(), tmp_path, resume=True, progress=False, held_out=held_out)
    # the end was not validated yet
    assert [line["batch"] for line in validations(tmp_path)] == [2]
