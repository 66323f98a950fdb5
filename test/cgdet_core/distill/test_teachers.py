"""Teachers of every kind: one interface, frozen, and what they see agrees with NumPy and hand-made cases."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from cgdet_core import thermal
from cgdet_core.config import ModelConfig, Recipe, TeacherConfig, ThermalConfig
from cgdet_core.distill.teachers import load_teacher
from cgdet_core.distill.teachers.base import Teacher
from cgdet_core.distill.teachers.yolox import load_yolox
from cgdet_core.distill.teachers.yolox_network import Yolox, YoloxShape
from cgdet_core.errors import InputError
from cgdet_core.files import write_tensors
from cgdet_core.runtime.model_file import ModelInfo, load_model, save_model
from cgdet_core.tasks.detection.classes import COCO_NAMES, class_table
from cgdet_core.tasks.detection.head import DetectionNetwork
from cgdet_core.tasks.detection.targets import Predictions, seen_scores
from cgdet_core.tasks.task import Regions, TeacherOutput

torch.set_num_threads(1)

NAMES = ("person", "bicycle", "car")
OF_THREE = Recipe()
TINY = ModelConfig(widths=(8, 8, 16, 24, 32), head_width=8, input_height_width_px=(64, 96))
FRESH = 1  # draws weights that are not those of the random teacher


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """yolox.safetensors of COCO's classes, and own.safetensors, a model file."""
    folder = tmp_path_factory.mktemp("teachers")
    torch.manual_seed(FRESH)
    network, detector = Yolox(YoloxShape(4, 1, True, len(COCO_NAMES))), DetectionNetwork(TINY)
    rgb = pictures(8, 128, 128).float()
    for images, each in (((rgb - 120) / 58, network), (rgb[:, :1] / 255, detector)):
        for module in each.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.momentum = None
        # a pass in training mode gives batch norm the statistics that keep features alive
        with torch.no_grad():
            each.train()(images)
    write_tensors(folder / "yolox.safetensors", network.state_dict(), {})
    save_model(folder / "own.safetensors", detector, ModelInfo(model=TINY, thermal=ThermalConfig(high_percentile=90)))
    return folder


CONFIGS = {
    "yolox": TeacherConfig(path="yolox.safetensors"),
    "model": TeacherConfig(kind="model", path="own.safetensors"),
}
CHANNELS = {
    "yolox": {8: 16, 16: 32, 32: 64},
    "model": {8: 16, 16: 24, 32: 32},
}
CELLS = 8 * 12 + 4 * 6 + 2 * 3


@pytest.fixture(scope="module", params=CONFIGS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def teacher(kind: str, folder: Path) -> Teacher:
    return load_teacher(CONFIGS[kind], OF_THREE, folder)


def student_of(*names: str) -> Recipe:
    return Recipe(model=ModelConfig(class_names=names))


def pictures(count: int, height: int = 64, width: int = 96) -> Tensor:
    rng = np.random.default_rng(3)
    blocks = rng.integers(0, 256, (count, 3, height // 16, width // 16), np.uint8)
    return torch.from_numpy(blocks.repeat(16, 2).repeat(16, 3))


def same(a: TeacherOutput, b: TeacherOutput) -> bool:
    mine, other = ([view.predictions.boxes_xyxy_px, view.predictions.scores, *view.maps.values()] for view in (a, b))
    return all(torch.equal(x, y) for x, y in zip(mine, other, strict=True))


def test_maps_boxes_and_scores_have_the_shapes_that_the_interface_states(teacher: Teacher, kind: str) -> None:
    view = teacher.look(pictures(2))
    assert dict(teacher.channels) == CHANNELS[kind]
    assert {stride: tuple(values.shape) for stride, values in view.maps.items()} == {
        stride: (2, channels, 64 // stride, 96 // stride) for stride, channels in CHANNELS[kind].items()
    }
    assert view.predictions.boxes_xyxy_px.shape == (2, CELLS, 4)
    assert view.predictions.scores.shape == (2, CELLS, 3)
    tensors = [*view.maps.values(), view.predictions.boxes_xyxy_px, view.predictions.scores]
    assert {tensor.dtype for tensor in tensors} == {torch.float32}
    assert all(tensor.isfinite().all() and not tensor.requires_grad for tensor in tensors)
    assert view.predictions.scores.min() >= 0
    assert 0 < view.predictions.scores.max() <= 1
    assert (view.predictions.boxes_xyxy_px[..., 2:] >= view.predictions.boxes_xyxy_px[..., :2]).all()
    # what a picture shows matters to every map
    for values in view.maps.values():
        assert (values[0] - values[1]).abs().max() > 1e-3


def test_a_head_that_is_given_the_teachers_own_maps_predicts_what_the_teacher_sees(teacher: Teacher) -> None:
    view = teacher.look(pictures(2))
    assert teacher.knows == (True, True, True)
    maps = {stride: values.clone().requires_grad_() for stride, values in view.maps.items()}
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = teacher.predict(maps)
    torch.testing.assert_close(found.boxes_xyxy_px, view.predictions.boxes_xyxy_px, atol=1e-3, rtol=1e-4)
    torch.testing.assert_close(found.class_logits.sigmoid(), view.predictions.scores, atol=1e-6, rtol=1e-4)
    found.class_logits.sum().backward()
    assert all(values.grad is not None and bool((values.grad != 0).any()) for values in maps.values())
    assert all(parameter.grad is None for parameter in teacher.network.parameters())


def test_a_batch_gives_what_single_pictures_give(teacher: Teacher) -> None:
    rgb = pictures(3)
    whole = teacher.look(rgb)
    for row in range(3):
        alone = teacher.look(rgb[row : row + 1])
        torch.testing.assert_close(
            alone.predictions.boxes_xyxy_px[0], whole.predictions.boxes_xyxy_px[row], rtol=1e-3, atol=1e-2
        )
        torch.testing.assert_close(alone.predictions.scores[0], whole.predictions.scores[row], rtol=1e-3, atol=1e-4)
        for stride, values in whole.maps.items():
            torch.testing.assert_close(alone.maps[stride][0], values[row], rtol=1e-3, atol=1e-3 * float(values.std()))


def test_a_teacher_is_frozen_and_what_learns_from_it_leaves_it_as_it_was(teacher: Teacher) -> None:
    before = {name: tensor.clone() for name, tensor in teacher.network.state_dict().items()}
    assert not teacher.network.training
    assert not any(parameter.requires_grad for parameter in teacher.network.parameters())
    view = teacher.look(pictures(1))
    adapter = torch.nn.Conv2d(teacher.channels[8], 4, 1)
    # autograd keeps the maps for the adapter's gradient, which tensors of inference mode would forbid
    adapter(view.maps[8]).square().mean().backward()
    assert adapter.weight.grad is not None
    after = teacher.network.state_dict()
    assert all(torch.equal(after[name], tensor) for name, tensor in before.items())
    assert all(parameter.grad is None for parameter in teacher.network.parameters())


def test_in_bf16_it_sees_nearly_the_same(kind: str, folder: Path) -> None:
    rgb = pictures(1)
    plain = load_teacher(CONFIGS[kind], OF_THREE, folder).look(rgb)
    rounded = load_teacher(CONFIGS[kind], OF_THREE, folder).to(torch.device("cpu"), torch.bfloat16).look(rgb)
    assert not same(rounded, plain)
    for stride, values in plain.maps.items():
        assert rounded.maps[stride].dtype == torch.float32
        # an untrained network blows rounding up, level by level; of another picture's maps nothing is alike
        assert torch.corrcoef(torch.stack((rounded.maps[stride].flatten(), values.flatten())))[0, 1] > 0.8


def test_a_random_teacher_is_always_the_same_has_nothing_of_the_trained_one_and_draws_from_nobody(
    kind: str, folder: Path
) -> None:
    config, rgb = CONFIGS[kind].model_copy(update={"random_weights": True}), pictures(2)
    teachers = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        before = torch.random.get_rng_state()
        teachers.append(load_teacher(config, OF_THREE, folder))
        assert torch.equal(torch.random.get_rng_state(), before)
    assert same(*(each.look(rgb) for each in teachers))
    assert dict(teachers[0].channels) == CHANNELS[kind]
    trained = load_teacher(CONFIGS[kind], OF_THREE, folder)
    ours, theirs = (dict(each.network.named_parameters()) for each in (teachers[0], trained))
    assert {name: tensor.shape for name, tensor in ours.items()} == {n: t.shape for n, t in theirs.items()}
    assert not any(torch.equal(ours[name], theirs[name]) for name in ours if "weight" in name)


@pytest.mark.parametrize(
    "config",
    [
        TeacherConfig(kind="model", path="models/detector.safetensors", random_weights=True),
        TeacherConfig(path="nano.safetensors", random_weights=True),
        TeacherConfig(path="s.safetensors", random_weights=True),
    ],
    ids=["own detector", "nano", "s"],
)
def test_a_random_teachers_maps_are_alive_at_every_stride(
    config: TeacherConfig, tmp_path: Path, repository: Path
) -> None:
    """At their real depth torch's own initialisation alone would leave 1e-11 at stride 32."""
    for name, shape in {"nano": YoloxShape(16, 1, True, 80), "s": YoloxShape(32, 1, False, 80)}.items():
        if config.path.startswith(f"{name}."):
            write_tensors(tmp_path / config.path, Yolox(shape).state_dict(), {})
    view = load_teacher(config, OF_THREE, repository if config.kind == "model" else tmp_path).look(pictures(2))
    for values in view.maps.values():
        spread = values.transpose(0, 1).flatten(1).std(1)
        assert 0.02 < spread.median() < 50


@pytest.mark.parametrize("yolox_input", ["rgb_normalised", "bgr_raw"])
def test_yolox_scores_are_objectness_times_the_best_class_that_counts_as_ones_own(
    yolox_input: str, folder: Path
) -> None:
    rgb = pictures(1)
    config = CONFIGS["yolox"].model_copy(update={"yolox_input": yolox_input})
    view = load_teacher(config, OF_THREE, folder).look(rgb)
    mean, deviation = ([255 * value for value in of] for of in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    pixels = rgb.numpy().astype(np.float32)
    if yolox_input == "bgr_raw":
        values = pixels[:, ::-1].copy()
    else:
        values = ((pixels - np.reshape(mean, (3, 1, 1))) / np.reshape(deviation, (3, 1, 1))).astype(np.float32)
    with torch.no_grad():
        network = load_yolox(folder / "yolox.safetensors")
        maps = network.backbone(torch.from_numpy(values))
        boxes, objectness_logits, class_logits = network.head(maps)
    spread = float(maps[0].std())
    assert spread > 0
    torch.testing.assert_close(view.maps[8], maps[0], rtol=1e-3, atol=1e-3 * spread)
    if yolox_input == "bgr_raw":
        return  # beyond what weights of other pictures give scores for
    objectness = 1 / (1 + np.exp(-objectness_logits.numpy()))
    of_class = 1 / (1 + np.exp(-class_logits.numpy()))
    members = [[0], [1], [2, 5, 7]]  # of COCO's: person; bicycle; car, bus, truck
    expected = np.stack([(objectness[..., None] * of_class[..., each]).max(-1) for each in members], -1)
    np.testing.assert_allclose(view.predictions.scores.numpy(), expected, rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(view.predictions.boxes_xyxy_px, boxes, rtol=1e-3, atol=1e-2)


def test_the_own_detector_looks_at_the_grey_picture_that_thermal_makes(folder: Path) -> None:
    rgb = pictures(2)
    view = load_teacher(CONFIGS["model"], OF_THREE, folder).look(rgb)
    detector, info = load_model(folder / "own.safetensors")
    for row in range(2):
        grey = thermal.normalise(rgb[row].permute(1, 2, 0).numpy(), info.thermal)
        with torch.no_grad():
            maps = detector.features(torch.from_numpy(grey)[None, None])
            output = detector.head(maps)
        for stride, values in zip((8, 16, 32), maps, strict=True):
            torch.testing.assert_close(view.maps[stride][row], values[0], rtol=1e-3, atol=1e-3)
        torch.testing.assert_close(view.predictions.boxes_xyxy_px[row], output.boxes_xyxy_px()[0], rtol=1e-3, atol=1e-2)
        torch.testing.assert_close(view.predictions.scores[row], output.class_logits[0].sigmoid(), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("kind", ["yolox", "model"])
def test_classes_go_by_name_whatever_their_order_and_one_that_is_not_known_is_never_seen(
    kind: str, folder: Path
) -> None:
    rgb = pictures(1)
    usual = load_teacher(CONFIGS[kind], OF_THREE, folder).look(rgb)
    teacher = load_teacher(CONFIGS[kind], student_of("car", "dragon", "person"), folder)
    assert teacher.knows == (True, False, True)
    other = teacher.look(rgb)
    torch.testing.assert_close(
        other.predictions.scores[..., [0, 2]], usual.predictions.scores[..., [2, 0]], rtol=1e-4, atol=1e-6
    )
    assert (other.predictions.scores[..., 1] == 0).all()
    logits = teacher.predict(other.maps).class_logits
    assert (logits[..., 1] == 0).all()
    assert (logits[..., [0, 2]] != 0).all()
    # the map's defaults serve a student without cars
    assert load_teacher(CONFIGS[kind], student_of("person"), folder).look(rgb).predictions.scores.shape[-1] == 1


def test_a_class_table_takes_equal_names_and_those_mapped() -> None:
    table = class_table(("bus", "person", "cat", "car"), NAMES, {"bus": "car", "truck": "car"}, "x")
    assert table.used == (0, 1, 3)
    assert table.members == ((1,), (), (0, 2))
    assert table.students(torch.tensor([[0.5, 0.25, 0.125]])).tolist() == [[0.25, 0.0, 0.5]]
    # a class that is mapped speaks for what it is mapped to alone
    assert class_table(("person", "car"), NAMES, {"car": "bicycle"}, "x").members == ((0,), (1,), ())


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"class_map": {"bsu": "car"}}, "bsu"),
        ({"class_map": {"bus": "lorry"}}, "lorry"),
        ({"path": ""}, "path"),
        ({"path": "none.safetensors"}, "none.safetensors"),
        ({"path": "own.safetensors"}, "own.safetensors"),
        ({"class_names": NAMES}, "yolox.safetensors"),
        ({"kind": "model"}, "yolox.safetensors"),
        ({"kind": "model", "path": "own.safetensors", "class_names": NAMES}, "class_names"),
    ],
)
def test_settings_that_name_no_teacher_are_refused_in_one_line(
    changes: dict[str, object], named: str, folder: Path
) -> None:
    with pytest.raises(InputError, match=named) as refusal:
        load_teacher(TeacherConfig.model_validate({"path": "yolox.safetensors", **changes}), OF_THREE, folder)
    assert "\n" not in str(refusal.value)


def test_a_checkpoint_of_other_classes_needs_their_names(tmp_path: Path) -> None:
    write_tensors(tmp_path / "y.safetensors", Yolox(YoloxShape(4, 1, True, 2)).state_dict(), {})
    config = TeacherConfig(path="y.safetensors")
    with pytest.raises(InputError, match="2 classes"):
        load_teacher(config, OF_THREE, tmp_path)
    config = config.model_copy(update={"class_names": ("walker", "bicycle")})
    teacher = load_teacher(config, OF_THREE, tmp_path)
    scores = teacher.look(pictures(1)).predictions.scores
    assert [bool((scores[..., number] > 0).any()) for number in range(3)] == [False, True, False]


def seen_in_numpy(boxes: Tensor, scores: Tensor, rois: Tensor, class_ids: Tensor) -> list[float]:
    answers = []
    for (row, left, top, right, bottom), class_id in zip(rois.double().numpy(), class_ids.tolist(), strict=True):
        best = 0.0
        for (x0, y0, x1, y1), of_box in zip(boxes[int(row)].double().numpy(), scores[int(row)].numpy(), strict=True):
            shared = max(0, min(right, x1) - max(left, x0)) * max(0, min(bottom, y1) - max(top, y0))
            union = (right - left) * (bottom - top) + (x1 - x0) * (y1 - y0) - shared
            if shared / union >= 0.5:
                best = max(best, float(of_box[class_id]))
        answers.append(best)
    return answers


def regions(rois: Sequence[Sequence[float]], class_ids: Sequence[int]) -> Regions:
    boxes = torch.tensor(rois, dtype=torch.float32).reshape(-1, 5)
    return Regions(boxes, torch.tensor(class_ids, dtype=torch.int64))


def test_seen_scores_agree_with_plain_numpy() -> None:
    rng = np.random.default_rng(0)
    corners = rng.uniform(0, 60, (3, 200, 2))
    corners = np.concatenate((corners, corners + rng.uniform(4, 40, (3, 200, 2))), -1)
    boxes = torch.from_numpy(corners.astype(np.float32))
    scores = torch.from_numpy(rng.uniform(0, 1, (3, 200, 3)).astype(np.float32))
    corners = rng.uniform(0, 60, (40, 2))
    rois = np.concatenate((rng.integers(0, 3, (40, 1)), corners, corners + rng.uniform(4, 40, (40, 2))), 1)
    of = regions(rois.astype(np.float32).tolist(), rng.integers(0, 3, 40).tolist())
    got = seen_scores(Predictions(boxes, scores), of)
    expected = seen_in_numpy(boxes, scores, of.rois, of.class_ids)
    assert got.dtype == torch.float32
    assert got.tolist() == pytest.approx(expected)
    assert 5 < np.count_nonzero(expected) < 40


def test_a_region_is_seen_from_half_an_overlap_on_by_its_own_class_on_its_own_picture() -> None:
    boxes = torch.tensor([[[0.0, 0, 10, 10], [100, 100, 110, 110]], [[0, 0, 10, 10], [100, 100, 110, 110]]])
    scores = torch.tensor([[[0.75, 0.5], [0.25, 1.0]], [[0.0, 0.125], [0.625, 0.0]]])
    view = Predictions(boxes, scores)
    half = [0, 0, 10, 5]  # of [0, 0, 10, 10]: IoU 0.5 exactly
    less = [0, 0, 10, 4.9]
    for roi, class_id, expected in (
        ([0, *half], 0, 0.75),
        ([0, *half], 1, 0.5),
        ([0, *less], 0, 0.0),
        ([1, *half], 0, 0.0),
        ([1, *half], 1, 0.125),
        ([0, 100, 100, 110, 110], 0, 0.25),
        ([0, 50, 50, 60, 60], 0, 0.0),
    ):
        assert seen_scores(view, regions([roi], [class_id])).tolist() == [expected]
    # of several that overlap, the best
    twice = Predictions(boxes[:, :1].repeat(1, 2, 1), scores)
    assert seen_scores(twice, regions([[0, *half], [0, *half]], [0, 1])).tolist() == [0.75, 1.0]


def test_nothing_to_see_and_nothing_seen_are_fine() -> None:
    none = Predictions(torch.zeros(1, 0, 4), torch.zeros(1, 0, 3))
    assert seen_scores(none, regions([], [])).shape == (0,)
    assert seen_scores(none, regions([[0, 0, 0, 9, 9]], [1])).tolist() == [0.0]
    # padding, and boxes that overflowed
    odd = torch.tensor([[[0.0, 0, 0, 0], [-torch.inf, -torch.inf, torch.inf, torch.inf], [torch.nan] * 4]])
    view = Predictions(odd, torch.ones(1, 3, 3))
    assert seen_scores(view, regions([[0, 0, 0, 9, 9], [0, 4, 4, 4, 4]], [1, 0])).tolist() == [0.0, 0.0]
