"""From detections in RGB to thermal labels: objects, regions to ignore, and what stays unknown."""

from __future__ import annotations

import numpy as np
import pytest

from cgdet_core.config import LabelConfig
from cgdet_core.data.registration.homography import Registration, identity_registration
from cgdet_core.training.pseudo_labels import beyond_rgb, blindness, thermal_labels, visible_share
from cgdet_core.types import Detections, GroundTruth

NAMES = ("person", "bicycle", "car")
SIZE = (100, 200)


def found(*rows: tuple[float, int, list[float]]) -> Detections:
    scores, class_ids, boxes = zip(*rows, strict=True)
    return Detections(np.array(boxes, np.float32), np.array(scores, np.float32), np.array(class_ids))


def labels(
    detections: Detections,
    registration: Registration | None = None,
    valid: np.ndarray | None = None,
    **settings: object,
) -> GroundTruth:
    config = LabelConfig(**settings)  # type: ignore[arg-type]
    registration = registration or identity_registration(SIZE)
    return thermal_labels(detections, registration, valid, config, NAMES)


def test_each_class_has_its_threshold_and_less_sure_ones_are_to_be_ignored() -> None:
    detections = found(
        (0.9, 0, [0, 0, 10, 20]), (0.5, 2, [40, 0, 60, 20]), (0.45, 0, [80, 0, 90, 20]), (0.4, 1, [120, 0, 140, 20])
    )
    truth = labels(detections, score_threshold=0.5, class_thresholds={"bicycle": 0.4})
    assert truth.class_ids.tolist() == [0, 2, 1, 0]
    assert truth.ignore.tolist() == [False, False, False, True]
    assert truth.boxes_xyxy_px[3].tolist() == [80, 0, 90, 20]
    assert len(labels(Detections.empty())) == 0


def test_an_unsure_box_over_a_sure_one_of_its_class_leaves() -> None:
    detections = found((0.9, 0, [0, 0, 10, 20]), (0.3, 0, [0, 0, 10, 18]), (0.2, 2, [0, 0, 10, 18]))
    truth = labels(detections)
    assert truth.class_ids.tolist() == [0, 2]
    assert truth.ignore.tolist() == [False, True]


def test_boxes_are_carried_by_the_homography_and_those_beyond_the_frame_leave() -> None:
    registration = Registration(np.array([[0.5, 0, 20], [0, 0.5, 10], [0, 0, 1]]), SIZE, (400, 800))
    detections = found((0.9, 2, [100, 40, 160, 80]), (0.8, 0, [600, 0, 640, 80]))
    truth = labels(detections, registration=registration)
    assert truth.boxes_xyxy_px.tolist() == [[70, 30, 100, 50]]


def test_where_rgb_does_not_reach_everything_is_to_be_ignored() -> None:
    valid = np.zeros(SIZE, np.bool_)
    valid[:80, 50:] = True
    detections = found((0.9, 0, [48, 10, 70, 40]), (0.8, 0, [60, 40, 70, 60]), (0.7, 2, [150, 60, 200, 80]))
    truth = labels(detections, valid=valid)
    sure = truth.boxes_xyxy_px[~truth.ignore].tolist()
    # the first reaches over the edge, the last ends where RGB ends and may go on; the right edge is the frame's own
    assert sure == [[60, 40, 70, 60]]
    for class_id in range(3):
        ignored = truth.boxes_xyxy_px[truth.ignore & (truth.class_ids == class_id)].tolist()
        assert [0, 0, 50, 100] in ignored
        assert [0, 80, 200, 100] in ignored
    assert [48, 10, 70, 40] in truth.boxes_xyxy_px[truth.ignore].tolist()


def test_the_share_of_a_box_that_rgb_shows_counts_two_pixels_around_it() -> None:
    valid = np.ones((40, 40), np.bool_)
    valid[:, 20:] = False
    boxes = np.array([[4, 4, 18, 14], [4, 4, 20, 14], [30, 4, 40, 14], [0, 0, 17.5, 40]], np.float32)
    # with the rim: 18 of 18, 18 of 20 and 0 of 12 columns; the last is cut to 20 columns of the frame
    assert visible_share(boxes, valid).tolist() == pytest.approx([1, 18 / 20, 0, 1])
    assert visible_share(boxes, None).tolist() == [1, 1, 1, 1]


def test_what_lies_around_a_slanted_view_is_covered_wholly() -> None:
    registration = Registration(np.array([[0.7, 0.1, 20], [-0.08, 0.75, 22], [1e-4, 0, 1]]), SIZE, SIZE)
    _, valid = registration.warp(np.zeros((*SIZE, 3), np.uint8))
    assert 0.2 < valid.mean() < 0.8
    covered = np.zeros(SIZE, np.bool_)
    regions = beyond_rgb(valid)
    assert len(regions) <= 4
    for left, top, right, bottom in regions.astype(int):
        covered[top:bottom, left:right] = True
    assert (valid | covered).all()
    # what is left of the view is most of it
    assert (~covered).sum() > 0.5 * valid.sum()
    assert beyond_rgb(np.zeros((10, 20), np.bool_)).tolist() == [[0, 0, 20, 10]]
    assert beyond_rgb(np.ones((10, 20), np.bool_)).tolist() == beyond_rgb(None).tolist() == []


def test_dark_and_flat_pictures_are_blind() -> None:
    rng = np.random.default_rng(0)
    day = rng.integers(0, 200, SIZE).astype(np.uint8)
    assert not blindness(day)
    # lamps in the dark: bright spots, but half of it below 40
    night = rng.integers(0, 30, SIZE).astype(np.uint8)
    night[:, :80] = 250
    assert blindness(night) == "RGB is dark"
    night[:, :120] = 250
    assert not blindness(night)
    fog = rng.integers(115, 130, SIZE).astype(np.uint8)
    assert blindness(fog) == "RGB is flat"
    assert blindness(np.zeros(SIZE, np.uint8)) == "RGB is dark"
    assert blindness(np.full(SIZE, 255, np.uint8)) == "RGB is flat"


def test_regions_to_ignore_end_where_objects_begin() -> None:
    with pytest.raises(ValueError, match="ignore_score"):
        LabelConfig(ignore_score=0.4, class_thresholds={"car": 0.3})
