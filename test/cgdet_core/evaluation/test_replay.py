"""What a live detector gave beside the same detector offline: frame by frame, and figure by figure."""

from __future__ import annotations

import numpy as np
import pytest

from cgdet_core.evaluation.metrics.matching import EvaluatedFrame
from cgdet_core.evaluation.metrics.metrics import evaluate
from cgdet_core.evaluation.replay import live_steps, same_detections
from cgdet_core.types import Detections, GroundTruth

FLOOR = np.array([0.2, 0.3])
BOXES = np.array([[0.0, 0, 20, 40], [50, 10, 70, 50], [100, 0, 130, 30]])


def found(*picks: tuple[int, float, int], shift: float = 0.0) -> Detections:
    """(place in BOXES, score, class) each."""
    boxes = np.array([BOXES[place] + shift for place, _, _ in picks]).reshape(-1, 4)
    return Detections(boxes, np.array([score for _, score, _ in picks]), np.array([of for _, _, of in picks], int))


@pytest.mark.parametrize(
    ("a", "b", "same"),
    [
        (found((0, 0.9, 0), (1, 0.8, 1)), found((0, 0.905, 0), (1, 0.8, 1), shift=0.25), True),
        (found((0, 0.9, 0)), found((0, 0.9, 1)), False),  # another class
        (found((0, 0.9, 0)), found((0, 0.88, 0)), False),  # another score
        (found((0, 0.9, 0)), found((0, 0.9, 0), shift=0.6), False),  # another place
        (found((0, 0.801, 0), (1, 0.8, 0)), found((1, 0.803, 0), (0, 0.8, 0)), True),  # they changed places
        (found((0, 0.9, 0)), found((0, 0.9, 0), (1, 0.209, 0)), True),  # at the threshold it may be there or not
        (found((0, 0.9, 0)), found((0, 0.9, 0), (1, 0.22, 0)), False),
        (found((0, 0.9, 0)), found((0, 0.9, 0), (1, 0.309, 1)), True),  # of the other class, at its own threshold
        (found((0, 0.9, 0), (0, 0.9, 0)), found((0, 0.9, 0)), False),  # one partner at most
        (found(), found(), True),
        (found(), found((0, 0.9, 0)), False),
    ],
)
def test_detections_are_the_same_within_the_tolerance(a: Detections, b: Detections, same: bool) -> None:
    assert same_detections(a, b, FLOOR) is same


def frame(offline: Detections) -> EvaluatedFrame:
    return EvaluatedFrame("x", offline, GroundTruth(BOXES[:2], np.array([0, 0]), np.zeros(2, bool)), (60, 140), "day")


def test_each_step_is_the_evaluation_of_what_is_left_after_its_cause() -> None:
    whole = frame(found((0, 0.9, 0), (1, 0.1, 0)))  # the second lies below the live threshold
    answers = [found((0, 0.9, 0)), None, Detections.empty()]
    steps = live_steps([whole] * 3, answers, ("person", "car"), FLOOR)
    assert [step["step"] for step in steps] == ["offline", "thresholds", "drops", "live"]
    # one object each of two in three frames; then one of two; then that in two frames; then that in one
    ap50 = [step["map50"] for step in steps]
    assert ap50[0] == pytest.approx(1.0)
    for value, recall in zip(ap50[1:], (3 / 6, 2 / 6, 1 / 6), strict=True):
        # precision is 1 as far as recall goes, over COCO's 101 points
        assert value == pytest.approx(np.count_nonzero(np.linspace(0, 1, 101) <= recall + 1e-9) / 101)
    assert steps[3]["by_light"]["day"]["map50"] == ap50[3]
    assert steps[3]["per_class"]["car"] == {"map50": None, "map": None}


def test_a_step_that_takes_nothing_changes_nothing() -> None:
    sure = frame(found((0, 0.9, 0), (1, 0.8, 0)))
    steps = live_steps([sure], [sure.detections], ("person", "car"), FLOOR)
    assert len({step["map50"] for step in steps}) == 1
    assert steps[3]["map"] == evaluate([sure], ("person", "car")).map
