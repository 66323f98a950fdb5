"""Real runs of a tiny network: to the end, stopped and resumed, and refused."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from tiny_run import (
    RECIPE,
    SAVES_EACH_BATCH,
    acting_sources,
    changed,
    check_same_run,
    interrupt,
    log_of,
    refusal,
    sources,
)

from cgdet_core.config import load_recipe
from cgdet_core.data.feed.dataset import TrainingBatches
from cgdet_core.errors import InputError
from cgdet_core.runtime.backends import base
from cgdet_core.runtime.model_file import load_model
from cgdet_core.tasks.detection.head import DetectionNetwork
from cgdet_core.tasks.detection.loss import detection_loss
from cgdet_core.training.checkpoint import (
    Checkpoint,
    check_same_start,
    load_checkpoint,
    save_checkpoint,
)
from cgdet_core.training.state import WeightAverage, learning_rate
from cgdet_core.training.trainer import train


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run that was never interrupted."""
    out = tmp_path_factory.mktemp("finished") / "run"
    train(RECIPE, sources(), out, progress=False)
    return out


def test_a_run_leaves_what_docs_training_md_lists_and_nothing_else(finished: Path) -> None:
    names = sorted(path.name for path in finished.iterdir())
    assert names[:2] == ["checkpoint.safetensors", "data.json"]
    assert names[2].startswith("events.out.tfevents.")
    listed = ["log.jsonl", "model.safetensors", "recipe.yaml", "samples.jpg", "summary.json"]
    assert names[3:] == listed
    detector, info = load_model(finished / "model.safetensors")
    average = load_checkpoint(finished / "checkpoint.safetensors").part("average")
    assert all(torch.equal(p, average[name]) for name, p in detector.named_parameters())
    assert info.model == RECIPE.model
    assert info.parameters == detector.parameter_count()
    assert info.training["data"] == {"squares": 4}
    assert info.training["recipe"]["train"]["seed"] == 1
    assert load_recipe(finished / "recipe.yaml") == RECIPE
    log = log_of(finished)
    assert [line["batch"] for line in log] == [20, 27]
    assert log[0]["learning_rate"] == pytest.approx(learning_rate(19 * 2, RECIPE.train))
    for line in log:
        assert line["loss"] == pytest.approx(line["class"] + line["box"] + line["distribution"])


def test_a_run_is_the_plain_loop_that_its_parts_describe(tmp_path: Path) -> None:
    steps = 5
    torch.manual_seed(RECIPE.train.seed)
    detector = DetectionNetwork(RECIPE.model).train().to(memory_format=torch.channels_last)
    start = {name: tensor.clone() for name, tensor in detector.state_dict().items()}
    average = WeightAverage(detector, RECIPE.train.ema_decay)
    moments = {name: [torch.zeros_like(p), torch.zeros_like(p)] for name, p in detector.named_parameters()}
    batches = TrainingBatches(sources(), RECIPE)
    for number in range(steps):
        rate = learning_rate(2 * number, RECIPE.train)
        detector.zero_grad()
        images = batches[number].images.to(memory_format=torch.channels_last)
        sum(detection_loss(detector(images), batches[number].targets, RECIPE.loss).values()).backward()
        norm = sum(float(p.grad.square().sum()) for p in detector.parameters() if p.grad is not None) ** 0.5
        with torch.no_grad():
            for name, parameter in detector.named_parameters():
                assert parameter.grad is not None
                gradient = parameter.grad * min(1.0, RECIPE.train.gradient_clip / (norm + 1e-6))
                first, second = moments[name]
                # AdamW (Loshchilov and Hutter 2019), decay on matrices alone
                if parameter.ndim > 1:
                    parameter.mul_(1 - rate * RECIPE.train.weight_decay)
                first.mul_(0.9).add_(gradient, alpha=0.1)
                second.mul_(0.999).add_(gradient.square(), alpha=0.001)
                unbiased = second / (1 - 0.999 ** (number + 1))
                parameter.sub_(rate * (first / (1 - 0.9 ** (number + 1))) / (unbiased.sqrt() + 1e-8))
        average.update(detector)
    run = train_to(steps, tmp_path)
    for prefix, reference in (("weights", detector), ("average", average.network)):
        for name, expected in reference.state_dict().items():
            # Adam makes much of rounding where a gradient is next to nothing: compared with how far it went
            went = (expected.double() - start[name].double()).abs().mean()
            off = (expected.double() - run.part(prefix)[name].double()).abs().mean()
            assert off <= 0.02 * went, f"{prefix}.{name}"
            assert went > 0, f"{prefix}.{name}"


def train_to(batches: int, out: Path) -> Checkpoint:
    """The same run, interrupted after `batches`."""
    with pytest.raises(KeyboardInterrupt):
        train(changed(**SAVES_EACH_BATCH), acting_sources(batches, interrupt), out, progress=False)
    checkpoint = load_checkpoint(out / "checkpoint.safetensors")
    assert checkpoint.batches_done == batches
    # the model of a run under way is the average, not the weights that are being learned
    model, average = load_file(out / "model.safetensors"), checkpoint.part("average")
    assert all(torch.equal(tensor, average[name]) for name, tensor in model.items())
    assert not torch.equal(model["backbone.stem.conv.weight"], checkpoint.part("weights")["backbone.stem.conv.weight"])
    return checkpoint


@pytest.mark.parametrize("stopped_after", [1, 15])
def test_a_stopped_and_resumed_run_ends_as_the_uninterrupted_one(
    finished: Path, tmp_path: Path, stopped_after: int
) -> None:
    train_to(stopped_after, tmp_path)
    # the log of a run that went on after its checkpoint, with the line that a kill left unfinished
    with (tmp_path / "log.jsonl").open("a") as handle:
        handle.write('{"batch": 20, "loss": 9.9}\n{"batch": 24, "learn')
    train(RECIPE, sources(), tmp_path, resume=True, progress=False)
    check_same_run(tmp_path, finished)


def test_resuming_a_finished_run_changes_nothing(finished: Path, tmp_path: Path) -> None:
    for path in finished.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    train(RECIPE, sources(), tmp_path, resume=True, progress=False)
    for path in finished.iterdir():
        assert (tmp_path / path.name).read_bytes() == path.read_bytes(), path.name


def test_the_seed_decides_and_helper_processes_change_nothing(finished: Path, tmp_path: Path) -> None:
    whole = load_file(finished / "model.safetensors")
    helped = load_file(train(changed(workers=2), sources(), tmp_path / "helped", progress=False))
    assert all(torch.equal(tensor, helped[name]) for name, tensor in whole.items())
    other = load_file(train(changed(seed=2, images=2), sources(), tmp_path / "other", progress=False))
    assert not torch.allclose(other["backbone.stem.conv.weight"], whole["backbone.stem.conv.weight"], atol=0.01)


def test_a_folder_in_use_and_another_recipe_are_refused_and_the_run_is_left_alone(finished: Path) -> None:
    before = {path: path.read_bytes() for path in finished.iterdir()}
    assert str(finished) in refusal(RECIPE, sources(), finished)
    said = refusal(changed(learning_rate=0.5), sources(), finished, resume=True)
    assert f"train.learning_rate is {RECIPE.train.learning_rate} there, 0.5 now" in said
    assert {path: path.read_bytes() for path in finished.iterdir()} == before


def test_other_data_or_another_teacher_are_no_run_to_go_on_with(finished: Path, tmp_path: Path) -> None:
    (squares,) = sources()
    fewer = replace(squares, frames=squares.frames[1:])
    said = refusal(RECIPE, [fewer], finished, resume=True)
    assert "squares has 3 frames and 3 objects now, 4 frames and 4 objects when the run began" in said
    changed_pixels = replace(squares, sha256="of other pixels")
    assert "others" in refusal(RECIPE, [changed_pixels], finished, resume=True)
    path = finished / "checkpoint.safetensors"
    kept = load_checkpoint(path, with_tensors=False)
    with pytest.raises(InputError, match="the teacher is model t sha256:1 now, None when"):
        check_same_start(kept, [squares.content()], "model t sha256:1", path)
    check_same_start(kept, [squares.content()], None, path)


def test_the_runs_own_start_may_be_named_again_when_it_is_resumed(finished: Path, tmp_path: Path) -> None:
    start = finished / "model.safetensors"
    short = changed(images=2)
    train(short, sources(), tmp_path, init=start, progress=False)
    train(short, sources(), tmp_path, resume=True, init=start, progress=False)
    other = tmp_path / "model.safetensors"
    assert "began from model.safetensors" in refusal(short, sources(), tmp_path, resume=True, init=other)


@pytest.mark.parametrize("lost", ["weights.backbone.stem.conv.weight", "average.backbone", "optimizer.exp_avg."])
def test_a_checkpoint_of_other_tensors_is_refused(finished: Path, tmp_path: Path, lost: str) -> None:
    checkpoint = load_checkpoint(finished / "checkpoint.safetensors")
    for name in [name for name in checkpoint.tensors if name.startswith(lost)]:
        del checkpoint.tensors[name]
    save_checkpoint(tmp_path / "checkpoint.safetensors", checkpoint)
    assert str(tmp_path) in refusal(RECIPE, sources(), tmp_path, resume=True)


def test_a_place_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    assert str(tmp_path / "file") in refusal(RECIPE, sources(), tmp_path / "file" / "run")


def test_a_run_starts_from_a_models_weights(finished: Path, tmp_path: Path) -> None:
    slow = changed(images=2, learning_rate=1e-9, warmup_images=0, seed=99, ema_decay=0.0)
    model = train(slow, sources(), tmp_path / "tuned", init=finished / "model.safetensors", progress=False)
    start, tuned = load_file(finished / "model.safetensors"), load_file(model)
    for name, tensor in start.items():
        if "running" not in name:
            torch.testing.assert_close(tuned[name], tensor, atol=1e-6, rtol=1e-5)
    _, info = load_model(model)
    digest = hashlib.sha256((finished / "model.safetensors").read_bytes()).hexdigest()
    assert info.training["init"] == f"model.safetensors sha256:{digest}"
    _, resumed = load_model(train(slow, sources(), tmp_path / "tuned", resume=True, progress=False))
    assert resumed.training["init"] == info.training["init"]


def test_a_start_of_other_classes_size_and_activation_is_taken_over_and_classes_go_by_name(
    finished: Path, tmp_path: Path
) -> None:
    start = finished / "model.safetensors"
    names = ("dog", RECIPE.model.class_names[0], "van", "lamp")
    other = changed(images=2, learning_rate=1e-9, warmup_images=0, ema_decay=0.0)
    wanted = {"class_names": names, "input_height_width_px": (96, 32), "activation": "hard_swish"}
    other = other.model_copy(update={"model": other.model.model_copy(update=wanted)})
    with pytest.warns(UserWarning, match="model.activation"):
        trained = train(other, sources(), tmp_path, init=start, progress=False)
    before, after = load_file(start), load_file(trained)
    for name, tensor in before.items():
        if name.startswith("head.class_branches") and name.split(".")[3] == "2":
            assert len(after[name]) == 4
            torch.testing.assert_close(after[name][1], tensor[0], atol=1e-6, rtol=1e-5)
            if name.endswith("bias"):  # as every class begins: at a probability of 0.01
                assert after[name][0].sigmoid().item() == pytest.approx(0.01, rel=1e-4)
        elif "running" not in name:
            torch.testing.assert_close(after[name], tensor, atol=1e-6, rtol=1e-5)
    detector, info = load_model(tmp_path / "model.safetensors")
    assert (info.class_names, info.model.activation) == (names, "hard_swish")
    assert isinstance(detector.backbone.stem.act, torch.nn.Hardswish)


def test_a_start_that_does_not_fit_is_refused(finished: Path, tmp_path: Path) -> None:
    model = finished / "model.safetensors"
    other = RECIPE.model_copy(update={"model": RECIPE.model.model_copy(update={"bins": 5})})
    said = refusal(other, sources(), tmp_path / "a", init=model)
    assert f"{model}: is of another network: model.bins is 4 there, 5 now" in said
    assert "none.safetensors" in refusal(RECIPE, sources(), tmp_path / "b", init=tmp_path / "none.safetensors")
    assert "random weights" in refusal(RECIPE, sources(), finished, resume=True, init=model)
    assert not (tmp_path / "a").exists()


def test_half_precision_learns_and_keeps_single_precision_weights(tmp_path: Path) -> None:
    model = train(changed(precision="bf16", images=8), sources(), tmp_path, progress=False)
    assert all(tensor.dtype == torch.float32 for tensor in load_file(model).values())
    assert all(np.isfinite(line["loss"]) for line in log_of(tmp_path))


def test_auto_is_bf16_only_where_the_cpu_has_instructions_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for flags, precision in (("avx2 avx512_bf16", "bf16"), ("avx2", "fp32")):
        monkeypatch.setattr(base, "cpu_facts", lambda flags=flags: {"flags": flags})
        auto, plain = (
            train(changed(precision=asked, images=8), sources(), tmp_path / f"{precision}_{asked}", progress=False)
            for asked in ("auto", precision)
        )
        assert load_model(auto)[1].training["precision"] == precision
        ours, theirs = load_file(auto), load_file(plain)
        assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
