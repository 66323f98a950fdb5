"""The values that flow through cgdet are checked when they are made, and cannot be changed afterwards."""

from __future__ import annotations

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


def test_what_was_handed_out_cannot_be_written() -> None:
    found = Detections([[1, 2, 3, 4]], [0.5], [2])  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="read-only"):
        found.boxes_xyxy_px[0, 0] = 7
    frame = Frame(np.zeros((3, 4), np.uint8))
    with pytest.raises(ValueError, match="read-only"):
        frame.image[0, 0] = 7


def test_the_array_handed_in_stays_writable() -> None:
    image = np.zeros((3, 4), np.uint8)
    Frame(image)
    image[0, 0] = 1
    assert image[0, 0] == 1


@pytest.mark.parametrize(
    ("boxes", "scores", "class_ids"),
    [
        (np.zeros((2, 4)), np.zeros(1), np.zeros(1)),
        (np.zeros((1, 4)), np.zeros(2), np.zeros(1)),
        (np.zeros((1, 4)), np.zeros(1), np.zeros(2)),
    ],
)
def test_arrays_of_different_lengths_are_no_detections(
    boxes: np.ndarray, scores: np.ndarray, class_ids: np.ndarray
) -> None:
    with pytest.raises(ValueError, match="do not match"):
        Detections(boxes, scores, class_ids)
    with pytest.raises(ValueError, match="do not match"):
        GroundTruth(boxes, class_ids, scores > 1)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite_are_refused(value: float) -> None:
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


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((2, 3), np.uint8),
        np.zeros((2, 3), np.uint16),
        np.zeros((2, 3, 3), np.uint8),
    ],
)
def test_the_three_kinds_of_images_pass(image: np.ndarray) -> None:
    check_image(image)
    assert Frame(image).height_width_px == (2, 3)


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((0, 3), np.uint8),
        np.zeros((2, 3), np.float32),
        np.zeros((2, 3), np.int16),
        np.zeros((2, 3), ">u2"),
        np.zeros((2, 3, 3), np.uint16),
        np.zeros((2, 3, 1), np.uint8),
        np.zeros((2, 3, 4), np.uint8),
        np.zeros(6, np.uint8),
    ],
)
def test_any_other_array_is_refused_in_one_line_with_its_shape(image: np.ndarray) -> None:
    with pytest.raises(InputError) as caught:
        check_image(image)
    assert str(list(image.shape)) in str(caught.value)
    assert "\n" not in str(caught.value)
    with pytest.raises(InputError):
        Frame(image)
