"""The colours of a thermal picture: cold to hot without a step back, and known at their ends."""

from __future__ import annotations

from typing import get_args

import numpy as np
import pytest

from cgdet_core.colour_maps import ColourMap, colour_table
from cgdet_core.drawing import to_rgb

NAMES = get_args(ColourMap)


def lightness(table: np.ndarray) -> np.ndarray:
    """Luma of each tone, by the weights of ITU-R BT.601."""
    return np.asarray(table.astype(float) @ np.array([0.299, 0.587, 0.114]))


@pytest.mark.parametrize("name", NAMES)
def test_a_table_has_a_colour_for_each_tone_and_cannot_be_changed(name: ColourMap) -> None:
    table = colour_table(name)
    assert (table.shape, table.dtype) == ((256, 3), np.uint8)
    assert len(np.unique(table, axis=0)) > 150
    with pytest.raises(ValueError, match="read-only"):
        table[0] = 0


@pytest.mark.parametrize("name", NAMES)
def test_the_hotter_the_lighter_or_the_darker_throughout(name: ColourMap) -> None:
    change = np.diff(lightness(colour_table(name)))
    steps = -change if name == "black_hot" else change
    # rounding to 8 bits takes as much as one step back
    assert steps.min() > -1
    assert abs(change.sum()) > 150


def test_white_hot_and_black_hot_are_greys_that_mirror_each_other() -> None:
    white, black = colour_table("white_hot"), colour_table("black_hot")
    assert (white == np.arange(256)[:, None]).all()
    assert (black == 255 - white).all()


def test_ironbow_goes_from_black_to_white_over_magenta_and_yellow() -> None:
    table = colour_table("ironbow").astype(int)
    assert table[0].max() < 20
    assert table[255].min() > 240
    red, green, blue = table[round(0.45 * 255)]
    assert red > 100 > green
    assert blue > 100
    red, green, blue = table[round(0.85 * 255)]
    assert red > 240
    assert green > 180
    assert blue < 60


def test_opencvs_tables_come_in_rgb_order() -> None:
    # inferno is nearly black, then red and yellow before blue; cividis begins blue and ends yellow
    inferno, cividis = colour_table("inferno").astype(int), colour_table("cividis").astype(int)
    assert inferno[180, 0] > inferno[180, 2]
    assert cividis[30, 2] > cividis[30, 0]
    assert cividis[250, 0] > cividis[250, 2]


@pytest.mark.parametrize("name", NAMES)
def test_a_frames_tones_take_the_colours_of_the_table(name: ColourMap) -> None:
    image = np.random.default_rng(1).integers(21000, 23000, (40, 50)).astype(np.uint16)
    tones = to_rgb(image)[..., 0]
    assert (to_rgb(image, colour_map=name) == colour_table(name)[tones]).all()


def test_rgb_frames_keep_their_colours() -> None:
    image = np.random.default_rng(2).integers(0, 256, (40, 50, 3)).astype(np.uint8)
    assert (to_rgb(image, colour_map="inferno") == image).all()
