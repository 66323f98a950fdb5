"""A picture of a frame's errors shows each kind in its own colour; frames are chosen by kind."""

from __future__ import annotations

import numpy as np
import pytest

from cgdet_core.evaluation.metrics.matching import EvaluatedFrame
from cgdet_core.evaluation.report.errors import (
    DUPLICATE,
    FALSE_ALARM,
    FOUND,
    MISSED,
    differing_frames,
    draw_errors,
    frame_errors,
    worst_frames,
)
from cgdet_core.types import Detections, GroundTruth

NAMES = ("person", "car")
OBJECT, OTHER, ELSEWHERE = [40.0, 60, 120, 200], [300.0, 60, 380, 200], [460.0, 300, 560, 420]


def frame(name: str, boxes: list[list[float]], truth: list[list[float]]) -> EvaluatedFrame:
    scores = np.linspace(0.9, 0.5, len(boxes))
    found = Detections(np.array(boxes).reshape(-1, 4), scores, np.zeros(len(boxes)))
    labels = GroundTruth(np.array(truth).reshape(-1, 4), np.zeros(len(truth), int), np.zeros(len(truth), bool))
    return EvaluatedFrame(name, found, labels, (480, 640))


def colours(picture: np.ndarray) -> set[tuple[int, ...]]:
    return {tuple(int(value) for value in colour) for colour in np.unique(picture.reshape(-1, 3), axis=0)}


@pytest.mark.parametrize(
    ("boxes", "truth", "seen"),
    [
        ([OBJECT], [OBJECT], {FOUND}),
        ([], [OBJECT], {MISSED}),
        ([ELSEWHERE], [], {FALSE_ALARM}),
        ([OBJECT, [42.0, 60, 122, 200]], [OBJECT], {FOUND, DUPLICATE}),
        ([OBJECT, ELSEWHERE], [OBJECT, OTHER], {FOUND, FALSE_ALARM, MISSED}),
    ],
)
def test_every_kind_of_error_has_its_colour(
    boxes: list[list[float]], truth: list[list[float]], seen: set[tuple[int, ...]]
) -> None:
    picture = draw_errors(np.full((480, 640), 90, np.uint8), frame("x", boxes, truth), NAMES, np.array([0.25, 0.25]))
    assert picture.shape == (480, 640, 3)
    assert colours(picture) & {FOUND, MISSED, FALSE_ALARM, DUPLICATE} == seen


def test_what_lies_below_its_threshold_is_no_detection() -> None:
    picture = draw_errors(np.zeros((480, 640), np.uint8), frame("x", [OBJECT], [OBJECT]), NAMES, np.array([0.95, 0.1]))
    assert MISSED in colours(picture)
    assert FOUND not in colours(picture)


def test_boxes_at_the_edge_and_words_without_room_stay_in_a_small_picture() -> None:
    tiny = frame("x", [[0.0, 0, 96, 64], [90.0, 60, 96, 64]], [[0.0, 0, 5, 5], [91.0, 0, 96, 64]])
    picture = draw_errors(np.zeros((64, 96), np.uint16), tiny, NAMES, np.array([0.25, 0.25]))
    assert picture.shape == (64 * 8, 96 * 8, 3)


def test_the_worst_frames_are_chosen_for_each_kind_of_error() -> None:
    frames = [
        frame("good", [OBJECT], [OBJECT]),
        frame("missed", [], [OBJECT, OTHER]),
        frame("alarm", [ELSEWHERE], []),
        frame("double", [OBJECT, [42.0, 60, 122, 200]], [OBJECT]),
        frame("missed once", [], [OBJECT]),
    ]
    worst = worst_frames(frames, NAMES, np.full(2, 0.25))
    assert [[frame.name for _, frame, _ in items] for items in worst.chosen.values()] == [
        ["missed", "missed once"],
        ["alarm"],
        ["double"],
    ]
    assert [len(items) for items in worst_frames(frames[1:2] * 5, NAMES, np.full(2, 0.25)).chosen.values()] == [4, 0, 0]
    for place in (0, 1, 2):
        worst.draw(place, np.zeros((480, 640), np.uint8))
    assert [len(gallery.pictures) for gallery in worst.galleries()] == [1, 1, 0]
    # at a threshold above all scores everything is missed
    assert frame_errors(frames, NAMES, np.full(2, 0.99))[0].missed == 1


def test_frames_in_which_two_models_differ_are_shown_in_pairs() -> None:
    good, bad, worse = [OBJECT, OTHER], [OBJECT], [ELSEWHERE]
    truth = [OBJECT, OTHER]
    a = [frame(str(i), boxes, truth) for i, boxes in enumerate((good, good, good, bad))]
    b = [frame(str(i), boxes, truth) for i, boxes in enumerate((good, bad, worse, good))]
    differing = differing_frames(a, b, NAMES)
    assert [[place for place, _, _ in items] for items in differing.chosen.values()] == [[2, 2, 1, 1], [3, 3]]
    for place in (0, 1, 3):
        differing.draw(place, np.zeros((480, 640), np.uint8))
    worse_in_b, better_in_b = differing.galleries()
    assert [item.caption for item in worse_in_b.pictures] == [
        "A, 1: 2 found, 0 missed, 0 false alarms, 0 duplicates",
        "B, 1: 1 found, 1 missed, 0 false alarms, 0 duplicates",
    ]
    assert len(better_in_b.pictures) == 2
