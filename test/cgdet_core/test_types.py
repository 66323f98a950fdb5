"""The values that flow through cgdet are checked when they are made, and cannot be changed afterwards."""

from __future__ import annotations

import re

import numpy as np
import pytest

from cgdet_core.errors import InputError
from cgdet_core.types import Detections, Frame, GroundTruth, check_image


def test_detections_take_any_number_type_and_keep_theirs() -> None:
    found = Detections([[1, 2, 3, 4]], [0.5], [2])  # type: ignore[arg-type]
    assert found.boxes_xyxy_px.dtype == np.float32
    assert found.scores.dtype == np.float32
    assert found.class_ids.dtype == np.int64
    assert len(found) == 1
    assert len(Detections.empty()) == 0
    assert Detections.empty().boxes_xyxy_px.shape == (0, 4)


def test_what_was_handed_out_cannot_be_written_and_what_was_handed_in_can() -> None:
    found = Detections([[1, 2, 3, 4]], [0.5], [2])  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="read-only"):
        found.boxes_xyxy_px[0, 0] = 7
    image = np.zeros((3, 4), np.uint8)
    frame = Frame(image)
    with pytest.raises(ValueError, match="read-only"):
        frame.image[0, 0] = 7
    image[0, 0] = 1


def test_arrays_of_different_lengths_are_no_detections() -> None:
    for boxes, scores, class_ids in ((2, 1, 1), (1, 2, 1), (1, 1, 2)):
        arrays = np.zeros((boxes, 4)), np.zeros(scores), np.zeros(class_ids)
        with pytest.raises(ValueError, match="do not match"):
            Detections(*arrays)
        with pytest.raises(ValueError, match="do not match"):
            GroundTruth(arrays[0], arrays[2], arrays[1] > 1)


def test_values_that_are_not_finite_are_refused() -> None:
    for value in (np.nan, -np.inf):
        with pytest.raises(ValueError, match="not finite"):
            Detections(np.array([[0, 0, 1, value]]), np.ones(1), np.zeros(1))
        with pytest.raises(ValueError, match="not finite"):
            Detections(np.zeros((1, 4)), np.array([value]), np.zeros(1))
        with pytest.raises(ValueError, match="not finite"):
            GroundTruth(np.array([[0, value, 1, 1]]), np.zeros(1), np.zeros(1))


def test_a_score_equal_to_the_threshold_passes() -> None:
    found = Detections(np.arange(12).reshape(3, 4), [0.75, 0.5, 0.25], [0, 1, 2])  # type: ignore[arg-type]
    kept = found.above(0.5)
    assert kept.scores.tolist() == [0.75, 0.5]
    assert kept.class_ids.tolist() == [0, 1]
    assert kept.boxes_xyxy_px.tolist() == [[0, 1, 2, 3], [4, 5, 6, 7]]


def test_three_kinds_of_images_pass_and_no_other_array() -> None:
    for shape, dtype in (((2, 3), np.uint8), ((2, 3), np.uint16), ((2, 3, 3), np.uint8)):
        check_image(np.zeros(shape, dtype))
        assert Frame(np.zeros(shape, dtype)).height_width_px == (2, 3)
    others = [((0, 3), "u1"), ((2, 3), "f4"), ((2, 3), "i2"), ((2, 3), ">u2"), ((2, 3, 3), "u2"), ((2, 3, 1), "u1")]
    for other_shape, kind in [*others, ((2, 3, 4), "u1"), ((6,), "u1")]:
        with pytest.raises(InputError, match=re.escape(str(list(other_shape)))):
            Frame(np.zeros(other_shape, kind))
