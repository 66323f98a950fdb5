"""Figures of landmarks against sums by hand."""

from __future__ import annotations

import numpy as np
import pytest

from cgdet_core.evaluation.metrics.faces import area_to, face_errors, summarise
from cgdet_core.types import FloatArray


def _faces() -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
    labels = np.zeros((3, 68, 2), np.float32)
    labels[:, :, 0] = np.arange(68)
    labels[:, 36], labels[:, 45] = (10, 0), (60, 0)  # 50 px apart
    return labels.copy(), labels, np.ones((3, 68), np.bool_), np.tile(np.float32([0, 0, 30, 40]), (3, 1))


def test_errors_are_divided_by_the_distance_of_the_outer_eyes() -> None:
    points, labels, labelled, boxes = _faces()
    points[0, :17] += (3, 4)  # the jaw of the first face 5 px off: 0.1 of 50
    errors = face_errors(points, labels, labelled, boxes)
    assert errors.nme == pytest.approx([0.1 * 17 / 68, 0, 0])
    assert errors.of_group["jaw"] == pytest.approx([0.1, 0, 0])
    assert errors.of_group["mouth"] == pytest.approx([0, 0, 0])
    assert errors.by_eyes.tolist() == [True] * 3


def test_a_face_whose_eye_is_hidden_goes_by_its_box_and_counts_apart() -> None:
    points, labels, labelled, boxes = _faces()
    labelled[1, 45] = False
    points[1] += (0, 10)
    points[1, 45] = 1e6  # without a label it counts nothing
    labelled[2] = False
    errors = face_errors(points, labels, labelled, boxes)
    assert errors.by_eyes.tolist() == [True, False, False]
    assert errors.nme[1] == pytest.approx(10 / 50)  # the diagonal of 30 by 40
    assert np.isnan(errors.nme[2])
    figures = summarise(errors)
    assert (figures["faces"], figures["faces_by_box"]) == (1, 1)
    assert figures["nme"] == 0
    assert figures["nme_by_box"] == pytest.approx(0.2)


def test_failures_and_area_under_the_curve() -> None:
    errors = np.array([0.02, 0.05, 0.08, 0.3], np.float32)
    steps = np.linspace(0, 0.1, 100_001)
    curve = (errors[None] <= steps[:, None]).mean(1)
    assert area_to(errors, 0.1) == pytest.approx(np.trapezoid(curve, steps) / 0.1, abs=1e-4)
    points, labels, labelled, boxes = _faces()
    points[0] += (6, 0)  # 0.12
    points[1] += (5, 0)  # 0.1: no failure
    figures = summarise(face_errors(points, labels, labelled, boxes))
    assert figures["failure_rate"] == pytest.approx(1 / 3)
    assert figures["nme"] == pytest.approx((0.12 + 0.1) / 3)
    assert figures["auc"] == pytest.approx(1 / 3, abs=1e-6)


def test_no_face_has_no_figure() -> None:
    none = np.zeros((0, 68, 2), np.float32)
    figures = summarise(face_errors(none, none, np.zeros((0, 68), np.bool_), np.zeros((0, 4), np.float32)))
    assert figures["nme"] is None
    assert figures["failure_rate"] is None
    assert figures["faces"] == 0
