"""Cameras that training never draws: each does what it says, the same every time, and moves nothing."""

from __future__ import annotations

import numpy as np
import pytest

from cgdet_core.errors import InputError
from cgdet_core.evaluation.unseen_tones import CAMERAS, as_seen, scene_of
from cgdet_core.types import ImageArray


@pytest.fixture(scope="module")
def street() -> ImageArray:
    """A dark 8-bit frame: a slope, some texture, a warm person at the left and a hot engine at the right."""
    y, x = np.mgrid[0:120, 0:160]
    frame = 20 + y / 6 + x / 10 + 2 * np.sin(x / 3) * np.cos(y / 4)
    frame[50:90, 30:45] = 90
    frame[70:90, 100:130] = 160
    return frame.astype(np.uint8)


@pytest.mark.parametrize("name", CAMERAS)
def test_a_camera_gives_eight_bits_of_the_same_size_and_the_same_twice(name: str, street: ImageArray) -> None:
    before = street.copy()
    seen = as_seen(street, name)
    assert seen.dtype == np.uint8
    assert seen.shape == street.shape
    assert np.array_equal(seen, as_seen(street, name))
    assert np.array_equal(street, before)
    assert len(np.unique(seen)) > 4


def test_every_camera_is_another_one(street: ImageArray) -> None:
    seen = {as_seen(street, name).tobytes() for name in CAMERAS}
    assert len(seen) == len(CAMERAS)
    assert as_seen(street, "plain") is street


@pytest.mark.parametrize("name", CAMERAS)
def test_what_is_warm_stays_where_it_is(name: str, street: ImageArray) -> None:
    """The engine differs from its surroundings as the polarity says, and most of all within its own box."""
    seen = as_seen(street, name).astype(np.float64)
    inside, around = seen[74:86, 104:126].mean(), seen[40:60, 100:130].mean()
    assert (inside < around) if name.startswith("black-hot") else (inside > around)


def test_frames_of_16_bits_and_in_colour_are_taken(street: ImageArray) -> None:
    counts = street.astype(np.uint16) * 40 + 20000
    fine, coarse = as_seen(counts, "dark"), as_seen(street, "dark")
    assert np.abs(fine.astype(int) - coarse.astype(int)).mean() < 2
    assert np.array_equal(as_seen(np.repeat(street[..., None], 3, axis=2), "noisy"), as_seen(street, "noisy"))


def test_the_scene_runs_from_the_coldest_to_the_hottest_pixel(street: ImageArray) -> None:
    scene = scene_of(street)
    assert (scene.min(), scene.max()) == (0, 1)
    # blurred by half a count at most, of a span of about 140
    plain = (street.astype(float) - street.min()) / (int(street.max()) - int(street.min()))
    assert np.abs(scene - plain).max() < 0.02
    assert scene_of(np.full((4, 5), 7, np.uint8)).max() <= 1


def test_equalised_wholly_every_tone_is_as_frequent(street: ImageArray) -> None:
    y, x = np.mgrid[0:200, 0:300]
    ramp = (40 + 60 * (x / 300) ** 2 + y / 50).astype(np.uint16) * 50
    counts = np.histogram(as_seen(ramp, "equalised+"), 4, (0, 256))[0] / ramp.size
    assert np.abs(counts - 0.25).max() < 0.08


def test_inverted_polarity_turns_the_order_of_tones_over(street: ImageArray) -> None:
    expected = np.rint((1 - scene_of(street)) * 255)
    assert np.abs(as_seen(street, "black-hot") - expected).max() <= 1


def test_few_counts_are_few(street: ImageArray) -> None:
    for name, most in (("few counts", 25), ("few counts+", 13)):
        seen = as_seen(street, name)
        assert int(seen.max()) - int(seen.min()) < most
        assert abs(int(np.median(seen)) - 128) < most


def test_so_many_pixels_are_white_as_the_camera_says(street: ImageArray) -> None:
    for name, share in (("clipped hot", 0.04), ("clipped hot+", 0.12)):
        white = np.count_nonzero(as_seen(street, name) == 255) / street.size
        assert share - 0.001 <= white < share + 0.06


def test_a_hot_source_leaves_the_scene_its_share_of_the_range(street: ImageArray) -> None:
    seen = as_seen(street, "hot source")
    assert seen[2, 128] == 255
    assert seen[40:].max() <= round(0.35 * 255)


def test_shades_and_columns_are_added_alike_to_every_row_or_corner() -> None:
    flat = np.full((120, 160), 100, np.uint8)
    flat[:10, 60:], flat[-10:, 60:] = 0, 200
    shaded = as_seen(flat, "shaded+").astype(int)
    assert shaded[1, 1] > shaded[60, 80] + 60
    columns = as_seen(flat, "columns+").astype(int)
    rows = columns[20:100]
    assert rows.std(axis=0).max() < 1.5
    assert rows.mean(axis=0).std() > 5


def test_less_resolution_and_more_sharpness(street: ImageArray) -> None:
    def fine(name: str) -> float:
        seen = as_seen(street, name).astype(float)
        return float(np.abs(np.diff(seen, axis=1)).mean() / seen.std())

    assert fine("coarse+") < fine("coarse") < fine("bright")
    assert fine("halos+") > fine("halos") > fine("coarse")


def test_a_camera_that_is_none_is_named(street: ImageArray) -> None:
    with pytest.raises(InputError, match="'sepia' is no camera: choose of plain, equalised"):
        as_seen(street, "sepia")
