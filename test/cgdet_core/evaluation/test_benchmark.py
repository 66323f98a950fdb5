"""Turns, and what is kept of them."""

from __future__ import annotations

import numpy as np
import pytest

from cgdet_core.evaluation.benchmark import WARM_UP_ROUNDS, street_frames, time_in_turns


class Noted:
    """Writes down who saw which frame; stage times that tell the turn."""

    def __init__(self, name: str, notes: list[tuple[str, int]]) -> None:
        self.name, self.notes = name, notes
        self.last_stage_ms: dict[str, float] = {}

    def predict(self, image: np.ndarray) -> None:
        self.notes.append((self.name, int(image[0, 0])))
        self.last_stage_ms = {"infer": float(len(self.notes)), "total": 2.0 * len(self.notes)}


def test_predictors_take_turns_and_the_warm_up_is_not_kept() -> None:
    notes: list[tuple[str, int]] = []
    predictors = [Noted("a", notes), Noted("b", notes)]
    frames = [np.full((2, 2), value, np.uint16) for value in (0, 1, 2)]
    times = time_in_turns(predictors, [(frame,) for frame in frames], 3)
    assert notes[2 * WARM_UP_ROUNDS :] == [("a", 0), ("b", 0), ("b", 1), ("a", 1), ("a", 2), ("b", 2)]
    assert {name for name, _ in notes[: 2 * WARM_UP_ROUNDS]} == {"a", "b"}
    assert times[0] == {"infer": [21, 24, 25], "total": [42, 48, 50]}
    assert times[1] == {"infer": [22, 23, 26], "total": [44, 46, 52]}


@pytest.mark.parametrize(("asked", "given"), [((64, 96), (64, 96)), ((32, 64), (512, 640))])
def test_frames_are_raw_counts_of_differing_streets(asked: tuple[int, int], given: tuple[int, int]) -> None:
    frames = street_frames(asked)
    assert [(frame.shape, frame.dtype) for frame in frames] == [(given, np.uint16)] * 8
    assert len({frame.tobytes() for frame in frames}) == 8
