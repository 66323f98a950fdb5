"""B against A: the bootstrap against COCOeval over copied frames and plain Python, and what is said of it."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cgdet_core.config import PostprocessConfig
from cgdet_core.errors import InputError
from cgdet_core.evaluation.compare import SEED, comparison_rows, frame_weights
from cgdet_core.evaluation.compare import compare as compare_vectors
from cgdet_core.evaluation.detection import DETECTION
from cgdet_core.evaluation.metrics.average_precision import PrecisionTable
from cgdet_core.evaluation.metrics.matching import EvaluatedFrame
from cgdet_core.evaluation.metrics.metrics import Metrics, evaluate
from cgdet_core.evaluation.offline import block_of, run_in_turns
from cgdet_core.evaluation.task import FigureKey
from cgdet_core.runtime.predictor import Predictor
from cgdet_core.types import Detections, Frame, GroundTruth, Sample

NAMES = ("person", "bicycle", "car")


def truths(count: int, seed: int = 0, labelled: bool = False) -> list[EvaluatedFrame]:
    """Frames with objects, some of them regions to ignore, and no detections yet; odd ones by night."""
    random = np.random.default_rng(seed)
    frames = []
    for number in range(count):
        objects = int(random.integers(1, 6))
        corners = random.uniform(0, 400, (objects, 2))
        boxes = np.concatenate([corners, corners + random.uniform(20, 90, (objects, 2))], axis=1)
        marks = random.random(3) < 0.8 if labelled else None
        truth = GroundTruth(boxes, random.integers(0, 3, objects), random.random(objects) < 0.15, marks)
        light = "night" if number % 2 else "day"
        frames.append(EvaluatedFrame(f"{number}.png", Detections.empty(), truth, (512, 640), light))
    return frames


def detected(frames: list[EvaluatedFrame], shift: float, seed: int = 1) -> list[EvaluatedFrame]:
    """The frames with detections: `shift` moves the corners, in shares of 50 px; duplicates and false alarms too."""
    random = np.random.default_rng(seed)
    found = []
    for frame in frames:
        again = np.repeat(np.arange(len(frame.truth)), random.integers(0, 3, len(frame.truth)))
        near = frame.truth.boxes_xyxy_px[again] + random.normal(0, shift * 50, (len(again), 4))
        corners = random.uniform(0, 400, (3, 2))
        alarms = np.concatenate([corners, corners + random.uniform(10, 90, (3, 2))], axis=1)
        boxes = np.concatenate([near, alarms])
        class_ids = np.concatenate([frame.truth.class_ids[again], random.integers(0, 3, 3)])
        scores = random.uniform(0.01, 1, len(boxes))
        order = np.argsort(-scores)
        found.append(replace(frame, detections=Detections(boxes[order], scores[order], class_ids[order])))
    return found


def compare(
    a: list[EvaluatedFrame], b: list[EvaluatedFrame], blocks: list[Any], names: tuple[str, ...], resamples: int
) -> dict[str, Any]:
    return compare_vectors(DETECTION.vector(a, names), DETECTION.vector(b, names), blocks, resamples)


class Lengths:
    """Figures of another task: the mean length of what counts, where less is better, and how many there are."""

    groups = ()

    def __init__(self, lengths: list[float]) -> None:
        self.lengths = np.array(lengths)
        self.keys = [FigureKey(("nme",), "NME", True), FigureKey(("by_group", "eyes", "count"), "points")]

    def of(self, weights: np.ndarray) -> np.ndarray:
        return np.array([weights @ self.lengths / weights.sum(), weights.sum()])


def test_any_task_is_compared_by_a_vector_of_its_figures() -> None:
    random = np.random.default_rng(0)
    long = random.uniform(2, 3, 60)
    blocks = [number // 5 for number in range(60)]
    result = compare_vectors(Lengths(list(long)), Lengths(list(long - 1)), blocks, 100)
    figure = result["nme"]
    assert (result["verdict"], figure["verdict"], figure["b_better_share"]) == ("better", "better", 1)
    assert figure["difference"] == pytest.approx(figure["low"]) == pytest.approx(figure["high"]) == pytest.approx(-1)
    assert result["by_group"]["eyes"]["count"]["difference"] == 0
    assert [row["name"] for row in comparison_rows(result)] == ["NME", "points"]


def copied(frames: list[EvaluatedFrame], weights: np.ndarray) -> list[EvaluatedFrame]:
    return [frame for frame, times in zip(frames, weights, strict=True) for _ in range(times)]


def plain_percentile(values: list[float], share: float) -> float:
    """The value below which a share of the others lies, straight lines between them."""
    ordered = sorted(values)
    place = share * (len(ordered) - 1)
    low = int(place)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (place - low) * (ordered[high] - ordered[low])


@pytest.mark.parametrize("labelled", [False, True])
def test_weighted_average_precision_equals_cocoeval_over_copied_frames(labelled: bool) -> None:
    frames = detected(truths(30, labelled=labelled), 0.1)
    table = PrecisionTable(frames, len(NAMES))
    for weights in [np.ones(30, np.int64), *np.random.default_rng(0).integers(0, 4, (6, 30))]:
        metrics = evaluate(copied(frames, weights), NAMES)
        ap = table.precision(weights).mean(axis=1)
        for class_id, name in enumerate(NAMES):
            assert ap[0, class_id] == pytest.approx(metrics.per_class[name]["map50"], abs=1e-12)
            assert ap[5, class_id] == pytest.approx(metrics.per_class[name]["map75"], abs=1e-12)
            assert ap[:, class_id].mean() == pytest.approx(metrics.per_class[name]["map"], abs=1e-12)
        assert 0.1 < metrics.map50 < 0.9


def test_frames_that_leave_no_object_of_a_class_give_no_figure_of_it() -> None:
    frames = detected(truths(12), 0.1)
    without_cars = np.array([not (frame.truth.class_ids == 2).any() for frame in frames], np.int64)
    table = PrecisionTable(frames, len(NAMES))
    ap = table.precision(without_cars).mean(axis=1)
    assert np.isnan(ap[:, 2]).all()
    assert not np.isnan(ap[:, :2]).any()
    assert np.isnan(table.precision(np.zeros(12, np.int64))).all()


def test_intervals_are_those_of_a_plain_bootstrap_with_the_same_draws() -> None:
    there = truths(8)
    frames_a, frames_b = detected(there, 0.16, seed=1), detected(there, 0.12, seed=2)
    blocks = [number // 2 for number in range(8)]
    result = compare(frames_a, frames_b, blocks, NAMES, 15)

    def get(metrics: Metrics) -> dict[tuple[str, str], float | None]:
        values = {("all", "map"): metrics.map, ("all", "map50"): metrics.map50}
        values["all", "duplicates_per_object"] = metrics.duplicates_per_object["all"]
        for name in NAMES:
            values[name, "map"], values[name, "map50"] = (metrics.per_class[name][key] for key in ("map", "map50"))
            values[name, "duplicates_per_object"] = metrics.duplicates_per_object[name]
        for light, part in metrics.by_light.items():
            values[light, "map"], values[light, "map50"] = part["map"], part["map50"]
        return values

    drawn: dict[tuple[str, str], list[float]] = {}
    for weights in frame_weights(blocks, 15, SEED):
        values_a, values_b = (get(evaluate(copied(frames, weights), NAMES)) for frames in (frames_a, frames_b))
        for key, a in values_a.items():
            b = values_b[key]
            if a is not None and b is not None:
                drawn.setdefault(key, []).append(b - a)
    whole_a, whole_b = get(evaluate(frames_a, NAMES)), get(evaluate(frames_b, NAMES))
    groups = {"all": result["overall"], **result["per_class"], **result["by_light"]}
    shown = {(group, figure): value for group, of_group in groups.items() for figure, value in of_group.items()}
    assert set(shown) == set(drawn)
    assert {"day", "night", "person", "car", "all"} <= {group for group, _ in shown}
    for key, value in shown.items():
        sign = -1 if key[1] == "duplicates_per_object" else 1
        assert value["a"] == pytest.approx(whole_a[key], abs=1e-12)
        assert value["b"] == pytest.approx(whole_b[key], abs=1e-12)
        assert value["difference"] == pytest.approx(whole_b[key] - whole_a[key], abs=1e-12)
        assert value["low"] == pytest.approx(plain_percentile(drawn[key], 0.025), abs=1e-12)
        assert value["high"] == pytest.approx(plain_percentile(drawn[key], 0.975), abs=1e-12)
        assert value["b_better_share"] == sum(sign * draw > 0 for draw in drawn[key]) / len(drawn[key])
        assert value["resamples"] == len(drawn[key])
    assert result["overall"]["map"]["low"] < result["overall"]["map"]["difference"] < result["overall"]["map"]["high"]


def test_whole_blocks_are_drawn_as_many_as_there_are() -> None:
    blocks: list[Hashable] = ["a", "b", "a", "c", "c", "c", "b"]
    draws = np.array(list(frame_weights(blocks, 300, 0)))
    for name in "abc":
        members = [i for i, block in enumerate(blocks) if block == name]
        assert (draws[:, members] == draws[:, members[:1]]).all()
    of_blocks = draws[:, [0, 1, 3]]
    assert (of_blocks.sum(axis=1) == 3).all()
    assert 0.85 < of_blocks.mean(axis=0).min() <= of_blocks.mean(axis=0).max() < 1.15
    assert (draws == np.array(list(frame_weights(blocks, 300, 0)))).all()
    assert (draws != np.array(list(frame_weights(blocks, 300, 1)))).any()


def test_a_model_compared_with_itself_differs_by_exactly_nothing() -> None:
    frames = detected(truths(20), 0.1)
    result = compare(frames, frames, [number // 3 for number in range(20)], NAMES, 100)
    for group in (result["overall"], *result["per_class"].values(), *result["by_light"].values()):
        for value in group.values():
            assert (value["difference"], value["low"], value["high"], value["b_better_share"]) == (0, 0, 0, 0)
            assert value["verdict"] == "no difference shown"
    assert result["verdict"] == "no difference shown"
    assert result["words"].startswith("No difference shown: mAP +0.0000")


def test_a_clearly_better_model_is_called_better_and_the_other_way_round_worse() -> None:
    there = truths(24)
    poor, good = detected(there, 0.2), detected(there, 0.02)
    blocks = [number // 3 for number in range(24)]
    result = compare(poor, good, blocks, NAMES, 100)
    assert result["verdict"] == "better"
    assert result["overall"]["map"]["b_better_share"] == 1
    assert result["by_light"]["night"]["map"]["verdict"] == result["per_class"]["person"]["map"]["verdict"] == "better"
    # more of its detections are near enough an object that another has taken: there, less is better
    assert result["overall"]["duplicates_per_object"]["difference"] > 0
    assert result["overall"]["duplicates_per_object"]["b_better_share"] < 0.5
    assert result["words"].startswith("B is better than A: mAP +")
    assert "8 blocks (24 frames)" in result["words"]
    assert "so few" not in result["words"]
    other_way = compare(good, poor, blocks, NAMES, 100)
    assert other_way["verdict"] == "worse"
    assert other_way["overall"]["map"]["high"] == pytest.approx(-result["overall"]["map"]["low"])


def test_few_blocks_decide_nothing_however_clear_they_are() -> None:
    there = truths(16)
    poor, good = detected(there, 0.2), detected(there, 0.02)
    four = compare(poor, good, [number // 4 for number in range(16)], NAMES, 100)
    assert four["overall"]["map"]["low"] > 0
    assert {figure["verdict"] for figure in four["overall"].values()} == {"no difference shown"}
    assert four["words"].startswith("Too little to tell, 4 blocks of frames: mAP +")
    assert "give frames of 6 scenes or more" in four["words"]
    assert four["few_blocks"]
    six = compare(poor, good, [number % 6 for number in range(16)], NAMES, 100)
    assert six["verdict"] == "better"
    one = compare(poor, good, [0] * 16, NAMES, 100)
    figure = one["overall"]["map"]
    assert (figure["low"], figure["high"], one["verdict"]) == (None, None, "no difference shown")
    assert figure["difference"] > 0.1
    assert "1 block" in one["words"]


def test_figures_that_a_set_lacks_are_none() -> None:
    frames = [
        replace(frame, truth=replace(frame.truth, class_ids=np.zeros(len(frame.truth), np.int64)), light=None)
        for frame in truths(10)
    ]
    found = detected(frames, 0.1)
    result = compare(found, found, list(range(10)), NAMES, 100)
    assert result["per_class"]["car"]["map"] == {
        "name": "car AP",
        **dict.fromkeys(("a", "b", "difference", "low", "high", "b_better_share")),
        "resamples": 0,
        "verdict": "no difference shown",
    }
    assert result["per_class"]["person"]["map"]["a"] == result["overall"]["map"]["a"]
    assert result["by_light"] == {}


def a_sample(name: str, scene: str | None = None, truth: GroundTruth | None = None, seed: int = 0) -> Sample:
    image = np.random.default_rng(seed).integers(0, 256, (64, 96), dtype=np.uint8)
    return Sample(name, Frame(image), truth, scene=scene)


def test_blocks_are_scenes_or_fifty_frame_numbers_or_runs_of_a_bag() -> None:
    def in_set(name: str, scene: str | None = None) -> Hashable:
        return block_of(scene, 0, name)

    assert in_set("thermal/00049D.jpg") == in_set("day/cam7_00003D.jpg") != in_set("thermal/00050D.jpg")
    assert in_set("00049.jpg", "street") == in_set("00999.jpg", "street") != in_set("00049.jpg", "park")
    assert in_set("street.jpg") != in_set("park.jpg")
    assert in_set("a.jpg", "1") != in_set("00050.jpg")  # scene "1" is not block 1
    in_bag = [block_of(None, number) for number in range(120)]
    assert [in_bag.count(block) for block in dict.fromkeys(in_bag)] == [50, 50, 20]
    assert block_of("street", 3) == block_of("street", 99)


def test_both_models_see_every_labelled_frame_in_one_pass(untrained_models: tuple[Path, Path]) -> None:
    a, b = (Predictor(path, "cpu", "fp32", backend="torch") for path in untrained_models)
    labels = [GroundTruth.empty(), None, GroundTruth.empty(), GroundTruth.empty()]
    samples = (a_sample(f"{60 * i}.png", truth=truth, seed=i) for i, truth in enumerate(labels))
    looks = [DETECTION.look_with(predictor) for predictor in (a, b)]
    of_a, of_b = run_in_turns(looks, samples, len(labels))
    assert [frame.name for frame in of_a.frames] == [frame.name for frame in of_b.frames]
    assert of_a.blocks == of_b.blocks == [("number", 0), ("number", 2), ("number", 3)]
    assert of_a.unlabelled == of_b.unlabelled == 1
    for result, predictor in ((of_a, a), (of_b, b)):
        assert len(result.stage_ms["total"]) == 3
        # each model's own detections
        floor = PostprocessConfig(score_threshold=0.001)
        expected = predictor.predict(a_sample("", seed=2).frame.image, postprocess=floor)
        np.testing.assert_array_equal(result.frames[1].detections.scores, expected.scores)
    with pytest.raises(InputError, match="1 frames has labels"):
        run_in_turns(looks, [a_sample("1.png")])
