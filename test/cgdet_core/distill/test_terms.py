"""The training-only terms beside a detector: on and off, what learns from them, what is kept of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from cgdet_core.config import ModelConfig, Recipe, TapConfig
from cgdet_core.distill.lesson import Lesson, in_time
from cgdet_core.distill.teachers.base import Teacher
from cgdet_core.distill.terms import TrainingTerms, teacher_of
from cgdet_core.runtime.model_file import ModelInfo, save_model
from cgdet_core.tasks.detection.head import DetectionNetwork
from cgdet_core.tasks.detection.targets import DetectionTargets, regions_of
from cgdet_core.tasks.task import TrainingBatch
from cgdet_core.training.checkpoint import load_checkpoint
from cgdet_core.training.state import RunState

torch.set_num_threads(1)

MODEL = ModelConfig(
    widths=(8, 8, 8, 16, 24), depths=(1, 0, 0, 0), neck_depth=0, head_width=8, bins=4, input_height_width_px=(64, 64)
)
SIDE = 64
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Holds teacher.safetensors, a detector of random weights."""
    folder = tmp_path_factory.mktemp("teacher")
    torch.manual_seed(3)
    save_model(folder / "teacher.safetensors", DetectionNetwork(MODEL), ModelInfo(model=MODEL))
    return folder


def recipe(**changes: Any) -> Recipe:
    train = {"images": 40, "batch_size": 4, "warmup_images": 0, "device": "cpu", "seed": 1} | changes.pop("train", {})
    return Recipe.model_validate({"model": MODEL.model_dump(), "train": train, **changes})


RCS: dict[str, Any] = {"weight": 0.5, "hidden": 8, "dimensions": 4, "queue": 6}
CMS: dict[str, Any] = {
    "weight": 0.7,
    "object_weight": "equal",
    "teacher": {"kind": "model", "path": "teacher.safetensors"},
}
DIKD: dict[str, Any] = {"forward_weight": 0.6, "reverse_weight": 0.4}
# the teacher of these tests was never trained, and is sure of nothing
SURE: dict[str, Any] = DIKD | {"sure_score": 0.0}


def batch(
    seed: int = 0, with_boxes: bool = True, one_class: bool = False, rgb: str | None = "all", images: int = 4
) -> TrainingBatch:
    """rgb: of which images there is RGB: all, half, none; None: the batch has no such tensors."""
    rng = np.random.default_rng(seed)
    corner = rng.uniform(0, 30, (images, 3, 2))
    boxes = np.concatenate((corner, corner + rng.uniform(8, 30, (images, 3, 2))), axis=2).astype(np.float32)
    class_ids = np.zeros((images, 3), np.int64) if one_class else rng.integers(0, 3, (images, 3))
    objects = torch.full((images, 3), with_boxes)
    values: dict[str, Any] = {}
    if rgb is not None:
        count = {"all": images, "half": images // 2, "none": 0}[rgb]
        pixels = torch.from_numpy(rng.integers(0, 255, (images, 3, SIDE, SIDE)).astype(np.uint8))
        valid = (torch.arange(images) < count)[:, None, None].expand(-1, SIDE, SIDE).contiguous()
        values = {"rgb": pixels * valid[:, None], "rgb_valid": valid}
    targets = DetectionTargets(
        torch.from_numpy(boxes),
        torch.from_numpy(class_ids),
        objects,
        torch.zeros(images, 3, dtype=torch.bool),
        torch.ones(images, 3, dtype=torch.bool),
    )
    return TrainingBatch(torch.from_numpy(rng.random((images, 1, SIDE, SIDE), np.float32)), targets, **values)


def state(of: Recipe, folder: Path) -> tuple[RunState, Teacher | None]:
    teacher = teacher_of(of, folder)
    return RunState(of, CPU, teacher=teacher), teacher


def terms_of(figures: dict[str, float]) -> dict[str, float]:
    """The loss's weighted terms alone."""
    others = ("learning_rate", "loss", "gradient_norm")
    return {name: value for name, value in figures.items() if name not in others}


@pytest.mark.parametrize(
    ("settings", "images_done", "factor"),
    [
        *(({"warmup_images": 100}, done, factor) for done, factor in ((0, 0.0), (50, 0.5), (100, 1.0), (799, 1.0))),
        *(({"decay": "linear"}, done, factor) for done, factor in ((0, 1.0), (200, 0.75), (799, 1 / 800), (800, 0.0))),
        *(({"decay": "cosine"}, done, factor) for done, factor in ((0, 1.0), (200, 0.853553), (400, 0.5), (800, 0.0))),
        ({}, 999, 0.0),
    ],
)
def test_a_weight_rises_stays_or_decays_and_ends(settings: Any, images_done: int, factor: float) -> None:
    assert in_time(TapConfig(off_fraction=0.2, **settings), images_done, 1000) == pytest.approx(factor)


def test_terms_that_are_off_own_nothing_and_say_nothing() -> None:
    detector = DetectionNetwork(MODEL)
    extra = TrainingTerms(recipe(), detector)
    assert list(extra.parameters()) == []
    assert extra.state_dict() == {}
    maps = detector.features(batch().images)
    assert extra(batch(), maps, detector.head(maps), 0) == {}


def test_runs_with_and_without_terms_start_alike_and_a_term_of_weight_0_now_changes_no_step(folder: Path) -> None:
    plain, _ = state(recipe(), folder)
    off = {"off_fraction": 1.0}
    late, _ = state(recipe(contrast=RCS | off, guidance=CMS | off, injection=DIKD | off), folder)
    for number in range(2):
        for ours, theirs in zip(late.network.state_dict().values(), plain.network.state_dict().values(), strict=True):
            assert torch.equal(ours, theirs)
        assert list(terms_of(late.step(batch(number)))) == ["class", "box", "distribution"]
        plain.step(batch(number))
    for ours, theirs in zip(late.network.parameters(), plain.network.parameters(), strict=True):
        assert torch.equal(ours, theirs)


def test_a_step_adds_the_terms_by_their_weights_and_teaches_student_and_projections_but_no_teacher(
    folder: Path,
) -> None:
    run, teacher = state(recipe(contrast=RCS, guidance=CMS, injection=SURE), folder)
    assert teacher is not None
    plain, _ = state(recipe(), folder)
    before = {name: value.clone() for name, value in run.extra.named_parameters()}
    of_teacher = {name: value.clone() for name, value in teacher.network.state_dict().items()}
    figures, without = run.step(batch()), plain.step(batch())
    assert figures["loss"] == pytest.approx(sum(terms_of(figures).values()), rel=1e-5)
    for name in ("class", "box", "distribution"):
        assert figures[name] == without[name]
    twofold = {"contrast": RCS | {"weight": 1.0}, "guidance": CMS | {"weight": 1.4}}
    doubled, _ = state(recipe(**twofold, injection=SURE | {"forward_weight": 1.2, "reverse_weight": 0.8}), folder)
    twice = doubled.step(batch())
    for name in ("rcs", "cms", "dikd_forward", "dikd_reverse"):
        assert figures[name] > 0
        assert twice[name] == pytest.approx(2 * figures[name], rel=1e-5)
    moved = [name for name, value in run.extra.named_parameters() if not torch.equal(value, before[name])]
    assert {name.split(".")[0] for name in moved} == {"contrast", "guidance", "injection"}
    assert not torch.equal(run.network.backbone.stem.conv.weight, plain.network.backbone.stem.conv.weight)
    for name, value in teacher.network.state_dict().items():
        assert torch.equal(value, of_teacher[name]), name
    assert all(value.grad is None and not value.requires_grad for value in teacher.network.parameters())


@pytest.mark.parametrize("odd", [{"rgb": "half"}, {"one_class": True}, {"rgb": "none", "with_boxes": False}])
def test_a_batch_without_rgb_boxes_or_a_second_class_is_fine(folder: Path, odd: dict[str, Any]) -> None:
    run, _ = state(recipe(contrast=RCS, guidance=CMS, injection=SURE), folder)
    for number in range(2):
        figures = run.step(batch(number, **odd))
        assert all(np.isfinite(value) for value in figures.values())
        if odd.get("rgb") == "none" or not odd.get("with_boxes", True):
            assert figures["cms"] == figures["dikd_forward"] == figures["dikd_reverse"] == 0
        if not odd.get("with_boxes", True):
            assert figures["rcs"] == 0
    assert all(bool(value.isfinite().all()) for value in run.network.parameters())


@pytest.mark.parametrize("learns", [{"guidance": CMS}, {"guidance": CMS, "injection": DIKD}])
def test_pictures_are_looked_at_once_and_those_without_rgb_are_not_but_one_where_there_is_no_other(
    folder: Path, learns: dict[str, Any]
) -> None:
    run, teacher = state(recipe(**learns), folder)
    assert teacher is not None
    looked_at: list[int] = []
    assert isinstance(teacher.network, DetectionNetwork)
    teacher.network.backbone.register_forward_pre_hook(lambda _module, inputs: looked_at.append(len(inputs[0])))
    for kind in ("all", "half", "none"):
        run.step(batch(rgb=kind))
    # one for the shape of what the teacher puts out, and none of it is taken
    assert looked_at == [4, 2, 1]


def test_a_wider_thermal_teacher_looks_at_the_students_own_crops(folder: Path) -> None:
    wider = MODEL.model_copy(update={"widths": (16, 16, 32, 40, 48)})
    torch.manual_seed(4)
    network = DetectionNetwork(wider)
    save_model(folder / "wider.safetensors", network, ModelInfo(model=wider))
    thermal = CMS | {"teacher": {"kind": "model", "sees": "thermal", "path": "wider.safetensors"}}
    with_teacher = recipe(guidance=thermal)
    assert not with_teacher.uses_rgb
    run, teacher = state(with_teacher, folder)
    assert teacher is not None
    assert dict(teacher.channels) == {8: 32, 16: 40, 32: 48}
    without_rgb = batch(rgb=None)
    lesson = Lesson(without_rgb, regions_of(without_rgb.targets), {}, None, teacher, by_heat=True)
    with torch.no_grad():
        expected = network.eval().features(without_rgb.images)
    for stride, values in zip((8, 16, 32), expected, strict=True):
        assert torch.allclose(lesson.teacher_output.maps[stride], values, atol=1e-4)
    assert lesson.batch.rgb_valid is not None
    assert lesson.batch.rgb_valid.all()
    assert run.step(without_rgb)["cms"] > 0
    injected = recipe(guidance=thermal | {"weight": 0.0}, injection=SURE)
    assert not injected.uses_rgb
    figures = state(injected, folder)[0].step(without_rgb)
    assert figures["dikd_forward"] > 0
    assert figures["dikd_reverse"] > 0


def test_injection_or_outputs_alone_have_the_teacher_of_guidance_and_no_term_of_it(folder: Path) -> None:
    alone = recipe(guidance=CMS | {"weight": 0.0}, injection=SURE)
    assert alone.uses_rgb
    run, teacher = state(alone, folder)
    assert teacher is not None
    assert list(terms_of(run.step(batch()))) == ["class", "box", "distribution", "dikd_forward", "dikd_reverse"]
    outputs = recipe(guidance=CMS | {"weight": 0.0}, outputs={"weight": 0.5, "sure_score": 0.0})
    assert outputs.uses_rgb
    figures = state(outputs, folder)[0].step(batch())
    assert list(terms_of(figures)) == ["class", "box", "distribution", "ld"]
    assert figures["ld"] > 0
    assert not recipe(guidance=CMS | {"weight": 0.0}).uses_teacher
    with pytest.raises(ValueError, match="there is none"):
        TrainingTerms(alone, DetectionNetwork(MODEL))


def test_a_part_of_weight_0_owns_nothing(folder: Path) -> None:
    teacher = {"guidance": CMS | {"weight": 0.0}}
    forward, _ = state(recipe(**teacher, injection={"forward_weight": 1.0, "sure_score": 0.0}), folder)
    assert {name.split(".")[1] for name in forward.extra.state_dict()} == {"into_student"}
    assert list(terms_of(forward.step(batch())))[3:] == ["dikd_forward"]
    reverse, _ = state(recipe(**teacher, injection={"reverse_weight": 1.0}), folder)
    assert {name.split(".")[1] for name in reverse.extra.state_dict()} == {"into_teacher"}
    assert list(terms_of(reverse.step(batch())))[3:] == ["dikd_reverse"]


def test_the_heads_statistics_are_those_of_a_run_without_injection(folder: Path) -> None:
    """After one step: its weights are others, and what its batch norms saw of the first batch is not."""
    injected, _ = state(recipe(guidance=CMS | {"weight": 0.0}, injection=SURE), folder)
    plain, _ = state(recipe(), folder)
    for run in (injected, plain):
        run.step(batch())
    buffers = dict(plain.network.named_buffers())
    for name, value in injected.network.named_buffers():
        assert torch.equal(value, buffers[name]), name
    assert int(buffers["head.class_branches.0.0.norm.num_batches_tracked"]) == 1
    last = "head.class_branches.0.2.weight"
    assert not torch.equal(injected.network.get_parameter(last), plain.network.get_parameter(last))


@pytest.mark.parametrize(
    "wrong",
    [
        {"teacher": {"kind": "yolox", "sees": "thermal"}},
        {"shuffle_rgb": True, "teacher": {"kind": "model", "sees": "thermal"}},
    ],
)
def test_a_thermal_teacher_that_cannot_be_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="sees"):
        recipe(guidance=CMS | wrong)


def test_a_resumed_run_is_bit_for_bit_an_uninterrupted_one(folder: Path, tmp_path: Path) -> None:
    with_terms = recipe(contrast=RCS, guidance=CMS, injection=SURE)
    whole, _ = state(with_terms, folder)
    first, _ = state(with_terms, folder)
    for number in range(5):
        if number == 3:
            first.save(tmp_path / "checkpoint.safetensors")
            first, _ = state(with_terms, folder)
            first.restore(load_checkpoint(tmp_path / "checkpoint.safetensors"), tmp_path / "checkpoint.safetensors")
        assert whole.step(batch(number)) == first.step(batch(number))
    for part in ("network", "extra"):
        ours, theirs = getattr(whole, part).state_dict(), getattr(first, part).state_dict()
        assert ours.keys() == theirs.keys()
        assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    assert (whole.extra.state_dict()["contrast.queue.class_ids"] >= 0).all()


def test_a_model_file_holds_nothing_of_teacher_projection_or_adapter(folder: Path, tmp_path: Path) -> None:
    run, _ = state(recipe(contrast=RCS, guidance=CMS, injection=SURE), folder)
    run.step(batch())
    save_model(tmp_path / "model.safetensors", run.average.network, ModelInfo(model=MODEL))
    inferred = {name for name in DetectionNetwork(MODEL).state_dict() if not name.endswith("num_batches_tracked")}
    assert load_file(tmp_path / "model.safetensors").keys() == inferred
    run.save(tmp_path / "checkpoint.safetensors")
    kept = load_checkpoint(tmp_path / "checkpoint.safetensors")
    assert {name.split(".")[0] for name in kept.part("extra")} == {"contrast", "guidance", "injection"}
    # what the optimiser and the checkpoint know of the teacher: nothing
    known = sum(value.numel() for value in [*run.network.parameters(), *run.extra.parameters()])
    assert sum(value.numel() for group in run.optimizer.param_groups for value in group["params"]) == known
