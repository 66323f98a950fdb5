"""The training data in numbers, counted by hand."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from cgdet_core import thermal
from cgdet_core.config import Recipe, ThermalConfig
from cgdet_core.data.feed.sources import CachedFrame, Source
from cgdet_core.data.sets.rgb_partner import RgbPartner
from cgdet_core.errors import InputError
from cgdet_core.tasks.detection.task import DetectionTask
from cgdet_core.training.first_look import check_data
from cgdet_core.types import GroundTruth

GREY = np.zeros((64, 64), np.uint8)


def frame(*labels: tuple[int, float, bool], labelled: list[bool] | None = None) -> CachedFrame:
    """Labels: class, height of the box, whether it is to be ignored."""
    truth = GroundTruth(
        np.array([[0, 0, 10, height] for _, height, _ in labels], np.float32),
        np.array([class_id for class_id, _, _ in labels], np.int64),
        np.array([ignore for _, _, ignore in labels], bool),
        None if labelled is None else np.array(labelled),
    )
    return CachedFrame(GREY, thermal.tone_limits(GREY, ThermalConfig()), truth)


def test_boxes_regions_heights_shares_and_frames_with_rgb_are_counted_per_source() -> None:
    pair = replace(
        frame((0, 10, False), (0, 20, False)), rgb=RgbPartner(np.zeros(1, np.uint8), Path("r.jpg"), (64, 64))
    )
    first = Source("a", 3.0, (pair, frame((2, 60, False), (0, 7, True))), False)
    # a region to ignore of no class of its own stands once for each class
    region = [(class_id, 5.0, True) for class_id in range(3)]
    people_only = [True, False, False]
    second = Source("b", 1.0, (frame(*region, labelled=people_only), frame(labelled=people_only)), True)
    found = check_data([first, second], DetectionTask(Recipe()))
    assert found.sources[0] == {
        "name": "a",
        "share": 0.75,
        "frames": 2,
        "frames_with_rgb": 1,
        "frames_without_objects": 0,
        "boxes": {"person": 2, "bicycle": 0, "car": 1},
        "ignored": 1,
        "median_height_px": 20.0,
    }
    assert found.sources[1] == {
        "name": "b",
        "share": 0.25,
        "frames": 2,
        "frames_with_rgb": 0,
        "frames_without_objects": 2,
        "boxes": {"person": 0, "bicycle": None, "car": None},
        "ignored": 1,
        "median_height_px": None,
    }
    assert found.lines[0] == (
        "a: 75% of the samples, 2 frames (0 without objects): person 2, bicycle 0, car 1; 1 to ignore, "
        "median height 20 px; 1 frames with RGB"
    )
    assert "bicycle unlabelled" in found.lines[1]
    (bicycle,) = found.oddities
    assert "'bicycle'" in bicycle


def test_data_without_any_object_are_refused_in_one_line() -> None:
    with pytest.raises(InputError, match="class_map") as caught:
        check_data([Source("a", 1.0, (frame(), frame((0, 10, True))), False)], DetectionTask(Recipe()))
    assert "\n" not in str(caught.value)
