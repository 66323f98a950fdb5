"""The training data in numbers, counted by hand."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest

from cgdet_core import thermal
from cgdet_core.config import ThermalConfig
from cgdet_core.data.feed.sources import CachedFrame, Source
from cgdet_core.data.sets.rgb_partner import RgbPartner
from cgdet_core.errors import InputError
from cgdet_core.training.data_check import check_data
from cgdet_core.types import GroundTruth

NAMES = ("person", "bicycle", "car")
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


def test_boxes_regions_heights_and_shares_are_counted_per_source() -> None:
    # a region to ignore of no class of its own stands once for each class
    first = Source("a", 3.0, (frame((0, 10, False), (0, 20, False)), frame((2, 60, False), (0, 7, True))), False)
    region = [(class_id, 5.0, True) for class_id in range(3)]
    people_only = [True, False, False]
    second = Source("b", 1.0, (frame(*region, labelled=people_only), frame(labelled=people_only)), True)
    facts, _ = check_data([first, second], NAMES)
    a, b = map(asdict, facts)
    assert a == {
        "name": "a",
        "share": 0.75,
        "frames": 2,
        "frames_without_objects": 0,
        "boxes": {"person": 2, "bicycle": 0, "car": 1},
        "ignored": 1,
        "median_height_px": 20.0,
        "frames_with_rgb": None,
    }
    assert (b["share"], b["frames"], b["frames_without_objects"], b["ignored"]) == (0.25, 2, 2, 1)
    assert b["boxes"] == {"person": 0, "bicycle": None, "car": None}
    assert b["median_height_px"] is None
    assert facts[0].line() == (
        "a: 75% of the samples, 2 frames (0 without objects): person 2, bicycle 0, car 1; 1 to ignore, "
        "median height 20 px"
    )
    assert "bicycle unlabelled" in facts[1].line()


def test_where_the_recipe_uses_rgb_its_frames_are_counted_of_every_source() -> None:
    rgb = RgbPartner(np.zeros(1, np.uint8), Path("rgb.jpg"), (64, 64))
    pair = replace(frame((0, 10, False)), rgb=rgb)
    sources = [Source("a", 1.0, (pair, pair, frame((1, 5, False))), False), Source("b", 1.0, (frame(),), False)]
    facts, _ = check_data(sources, NAMES, with_rgb=True)
    assert [source.frames_with_rgb for source in facts] == [2, 0]
    assert facts[0].line().endswith("; 2 frames with RGB")
    assert facts[1].line().endswith("; 0 frames with RGB")
    assert "RGB" not in check_data(sources, NAMES)[0][0].line()


def test_a_class_that_nothing_shows_is_a_warning() -> None:
    without = Source("a", 1.0, (frame((0, 10, False)),), False)
    (bicycle, car) = check_data([without], NAMES)[1]
    assert "'bicycle' will not be learned" in bicycle
    assert "'car'" in car
    assert check_data([without], NAMES[:1])[1] == []


def test_data_without_any_object_are_refused_in_one_line() -> None:
    with pytest.raises(InputError, match=r"none of the 2 training frames holds an object .*class_map") as caught:
        check_data([Source("a", 1.0, (frame(), frame((0, 10, True))), False)], NAMES)
    assert "\n" not in str(caught.value)
