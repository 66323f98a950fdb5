"""Figures of faces from records made by hand: who counts, the bootstrap's draws, and what a fit does to confidences."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from cgdet_core.config import LandmarkPostprocessConfig
from cgdet_core.errors import InputError
from cgdet_core.evaluation.compare import compare
from cgdet_core.evaluation.landmarks import LANDMARKS
from cgdet_core.evaluation.metrics.faces import FaceRecord
from cgdet_core.tasks.landmarks.decode import NEAR, confidence
from cgdet_core.types import Landmarks


def record(
    off_px: list[float], stated: float = 0.5, camera: str | None = "one", without: tuple[int, ...] = ()
) -> FaceRecord:
    """A frame of faces whose outer eyes are 50 px apart, each found so many pixels off; stated: scale of every point's
    confidence, in units of NEAR, which is 5 px here; without: points that no face has a label of."""
    labels = np.zeros((len(off_px), 68, 2), np.float32)
    labels[:, 45, 0] = 50
    labelled = np.ones((len(off_px), 68), bool)
    labelled[:, list(without)] = False
    points = labels + np.array(off_px, np.float32)[:, None, None] * np.array([0, 1], np.float32)
    boxes = np.tile(np.array([0, 0, 60, 80], np.float32), (len(off_px), 1))
    sure = np.full((len(off_px), 68), confidence(np.float32(1 / stated)), np.float32)
    settings = LandmarkPostprocessConfig(spread_factor=0.5, box_scale=5 / (NEAR * 80))
    return FaceRecord("f", Landmarks(points, sure, boxes), labels, labelled, settings, camera)


def test_figures_are_of_faces_not_of_frames() -> None:
    records = [record([1, 2]), record([6], camera="two"), record([])]
    found = LANDMARKS.measure(records, ("face",)).to_json()
    nme = np.array([0.02, 0.04, 0.12])
    assert found["faces"] == 3
    assert found["nme"] == pytest.approx(nme.mean())
    assert found["failure_rate"] == pytest.approx(1 / 3)
    # by the trapezoidal rule over a fine grid
    grid = np.linspace(0, 0.1, 20_001)
    assert found["auc"] == pytest.approx(np.trapezoid((nme[:, None] <= grid).mean(0), grid) / 0.1, abs=1e-4)
    assert found["by_camera"]["two"]["nme"] == pytest.approx(0.12)
    assert found["by_camera"]["one"]["failure_rate"] == 0
    assert found["near_share"] == pytest.approx(2 / 3)
    with pytest.raises(InputError):
        LANDMARKS.measure([record([])], ("face",))


def test_a_face_without_an_outer_eye_counts_by_its_box_and_apart() -> None:
    found = LANDMARKS.measure([record([2]), record([10], without=(36, 0))], ("face",)).to_json()
    assert (found["faces"], found["faces_by_box"]) == (1, 1)
    assert found["nme"] == pytest.approx(0.04)
    assert found["nme_by_box"] == pytest.approx(10 / 100)  # 60 by 80: a diagonal of 100
    assert found["near_share"] == pytest.approx(68 / (68 + 66))
    vector = LANDMARKS.vector([record([2]), record([10], without=(36, 0))], ("face",))
    assert vector.of(np.array([1, 1]))[0] == pytest.approx(0.04)


def test_a_vector_of_drawn_frames_is_that_of_the_frames_copied() -> None:
    records = [record([1, 2]), record([6], camera="two"), record([3]), record([])]
    vector = LANDMARKS.vector(records, ("face",))
    weights = np.array([2, 0, 3, 1])
    copied = [each for each, times in zip(records, weights, strict=True) for _ in range(times)]
    figures = LANDMARKS.measure(copied, ("face",)).to_json()
    found = dict(zip((key.path for key in vector.keys), vector.of(weights), strict=True))
    for name in ("nme", "failure_rate", "auc"):
        assert found["overall", name] == pytest.approx(figures[name], abs=1e-6)
    assert found["by_group", "mouth", "nme"] == pytest.approx(figures["nme_by_group"]["mouth"])
    assert np.isnan(found["by_camera", "two", "nme"])


def test_the_bootstrap_draws_people_together() -> None:
    random = np.random.default_rng(0)
    off = random.uniform(1, 5, (40, 1))
    of_person = np.repeat(random.normal(0, 0.5, 10), 4)[:, None]
    a, b = ([record(list(row)) for row in each] for each in (off, off + 0.3 + of_person))
    people = [f"person {number // 4}" for number in range(40)]
    vectors = [LANDMARKS.vector(each, ("face",)) for each in (a, b)]
    found = compare(*vectors, people, 400)["overall"]["nme"]
    differences = (0.3 + of_person[::4, 0]) / 50
    assert found["difference"] == pytest.approx(differences.mean(), abs=1e-5)
    # means of ten people drawn with replacement, by another generator
    drawn = np.random.default_rng(9).choice(differences, (4000, 10)).mean(1)
    low, high = np.percentile(drawn, [2.5, 97.5])
    assert [found["low"], found["high"]] == pytest.approx([low, high], abs=0.15 * (high - low))
    alone = compare(*vectors, list(range(40)), 400)["overall"]["nme"]
    assert alone["high"] - alone["low"] < 0.7 * (high - low)


def test_a_fit_makes_confidences_hold_and_a_lost_face_is_one_of_a_hundred() -> None:
    random = np.random.default_rng(5)
    off = 5 * 0.3 * random.exponential(1, (2, 300)).sum(0)  # scales of 0.3, stated 0.5
    chosen, figures, _ = LANDMARKS.choose_thresholds([record([each]) for each in off], ("face",))
    assert chosen["spread_factor"] == pytest.approx(0.5 * (off / 5).mean() / 2 / 0.5, rel=1e-3)
    found = figures.to_json()
    assert found["mean_confidence"] == pytest.approx((off <= 5).mean(), abs=0.03)
    assert chosen["lost_below"] == 0.6  # all are alike and surer than a bound may be
    mixed = [record([5], stated=10 if number % 20 == 0 else 1) for number in range(200)]
    chosen, figures, _ = LANDMARKS.choose_thresholds(mixed, ("face",))
    assert figures.to_json()["operating_point"]["face"]["kept"] == 1.0
    few = [replace(each) for each in mixed[1:20]] * 10 + mixed[:1]
    _, figures, _ = LANDMARKS.choose_thresholds(few, ("face",))
    assert figures.to_json()["operating_point"]["face"]["kept"] == pytest.approx(190 / 191)
    with pytest.raises(InputError):
        LANDMARKS.choose_thresholds([record([])], ("face",))


def test_of_a_camera_that_few_people_stand_before_nothing_is_concluded() -> None:
    cameras = ["many"] * 10 + ["few"] * 3 + ["one"]
    a, b = ([record([off + number / 10], camera=camera) for number, camera in enumerate(cameras)] for off in (3, 2))
    found = compare(*(LANDMARKS.vector(each, ("face",)) for each in (a, b)), list(range(14)))
    assert found["verdict"] == "better"
    of_camera = {camera: found["by_camera"][camera]["nme"] for camera in cameras}
    assert {camera: each["verdict"] for camera, each in of_camera.items()} == {
        "many": "better",
        "few": "no difference shown",
        "one": "no difference shown",
    }
    assert of_camera["few"]["high"] < 0
    assert of_camera["one"]["low"] is of_camera["one"]["high"] is None
