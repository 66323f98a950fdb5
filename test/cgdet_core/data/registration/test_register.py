"""Offset and homography of a bag are found where both cameras see motion and edges, and refused where they do not."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from pan_scene import RGB_PX, THERMAL_PX, Pan, make_pan_bag, pan_frames, shapes, small_pan

from cgdet_core.config import RegisterConfig
from cgdet_core.data.registration.align import align, corner_distance_px, edge_field
from cgdet_core.data.registration.register import PicturePair, Registered, preview, register_bag
from cgdet_core.errors import InputError

# the scenes' RGB views are 1.05 to 1.2 times as wide: only the last test searches as wide as a user's call does
CONFIG = RegisterConfig(pairs=6, candidates=2, rgb_view_range=(1.0, 1.25))


def registered(bag: Path, **changes: object) -> Registered:
    return register_bag(bag, CONFIG.model_copy(update=changes))


@pytest.fixture(scope="module")
def drive(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Pan, Registered]:
    """A bag of two scenes, the RGB clock 0.437 s behind, a tenth of the frames lost, and what is found in it."""
    pan = small_pan(5, offset_ns=437_000_000, thermal_hz=15.0, rgb_hz=20.0, drop=0.1, seconds_per_shot=3.0)
    bag = tmp_path_factory.mktemp("register") / "bag"
    make_pan_bag(bag, [shapes(1), shapes(2)], pan)
    return bag, pan, registered(bag)


def test_the_offset_is_found_within_a_third_of_a_frame(drive: tuple[Path, Pan, Registered]) -> None:
    _, _, found = drive
    assert abs(found.registration.offset_ns - 437_000_000) < 1e9 / 15 / 3
    assert found.registration.quality["offset_confidence"] > 0.5


def test_the_homography_is_found_to_a_pixel_between_pictures_that_share_their_outlines_only(
    drive: tuple[Path, Pan, Registered],
) -> None:
    _, pan, found = drive
    registration = found.registration
    assert corner_distance_px(registration.homography, pan.homography, THERMAL_PX) < 1.0
    assert (registration.thermal_height_width_px, registration.rgb_height_width_px) == (THERMAL_PX, RGB_PX)
    assert registration.how == "estimated"
    assert registration.quality["spread_px"] < 1.0
    assert registration.quality["score"] > 0.2


def test_pairs_rates_and_drops_are_told(drive: tuple[Path, Pan, Registered]) -> None:
    _, _, found = drive
    assert found.pairs.thermal.rate_hz == pytest.approx(15, rel=0.02)
    assert found.pairs.rgb.rate_hz == pytest.approx(20, rel=0.02)
    assert found.pairs.thermal.dropped > 5
    assert len(found.pairs) > 0.7 * found.pairs.thermal.frames
    assert found.pairs.median_difference_ms < 25


def test_a_known_offset_is_kept(drive: tuple[Path, Pan, Registered]) -> None:
    bag, _, _ = drive
    found = registered(bag, offset_s=0.437, tolerance_s=0.009, pairs=4)
    assert found.registration.offset_ns == 437_000_000
    assert found.registration.tolerance_ns == 9_000_000
    assert "offset_confidence" not in found.registration.quality


def test_the_preview_shows_rgb_in_the_thermal_frame(drive: tuple[Path, Pan, Registered]) -> None:
    _, _, found = drive
    picture = preview(found.chosen[:2], found.registration)
    height, width = THERMAL_PX
    assert picture.shape == (2 * height, 2 * width, 3)
    warped, _ = found.registration.warp(found.chosen[0].rgb)
    assert np.array_equal(picture[:height, :width], warped)
    assert (picture[:height, width:] == (255, 40, 40)).all(2).any()


def refused(bag: Path, **changes: object) -> str:
    """Why, in the one line that names the bag."""
    with pytest.raises(InputError) as refusal:
        registered(bag, **changes)
    path, _, why = str(refusal.value).partition(": ")
    assert path == str(bag)
    assert "\n" not in why
    return why


@pytest.mark.parametrize(
    ("shots", "changes", "why"),
    [
        ([shapes(1)], {"sway_px": (0.0, 0.0), "gains": 0.0}, "offset"),
        ([(shapes(1)[0], (shapes(1)[1] * 0.004).astype(np.uint8))], {}, "offset"),
        # both cameras sway alike, but see different things: the offset is clear, the homography is not
        ([(shapes(1)[0], shapes(11)[1]), (shapes(2)[0], shapes(12)[1])], {}, "homography"),
        ([shapes(1)], {"thermal_hz": 20.0, "rgb_hz": 0.3}, "1 images of 1 stamps"),
    ],
    ids=["a static scene", "RGB in the dark", "RGB of another scene", "a single frame"],
)
def test_what_cannot_be_told_is_refused(
    tmp_path: Path, shots: list[tuple[np.ndarray, np.ndarray]], changes: dict[str, object], why: str
) -> None:
    make_pan_bag(tmp_path / "bag", shots, small_pan(5, seconds_per_shot=3.0, **changes))
    assert why in refused(tmp_path / "bag")


def test_an_offset_at_which_nothing_pairs_is_refused(drive: tuple[Path, Pan, Registered]) -> None:
    assert "3600000.0 ms" in refused(drive[0], offset_s=3600.0)


def test_the_edge_field_does_not_mind_which_side_is_brighter() -> None:
    grey = shapes(4)[0].astype(np.float32) / 255
    field, inverted = edge_field(grey), edge_field(1 - grey)
    np.testing.assert_allclose(inverted, field, atol=1e-4)
    length = np.linalg.norm(field, axis=2)
    assert length.max() <= 1
    assert ((field * inverted).sum(2)[length > 0.9] > 0.8).all()
    # an upright edge lies across a level one
    upright, level = np.zeros((32, 32), np.float32), np.zeros((32, 32), np.float32)
    upright[:, 16:], level[16:] = 1, 1
    assert edge_field(upright)[16, 16, 0] > 0.9
    assert edge_field(level)[16, 16, 0] < -0.9
    assert not edge_field(np.full((64, 64), 0.3, np.float32)).any()


def test_a_wide_rgb_view_of_many_pixels_is_found() -> None:
    pan = small_pan(9, rgb_height_width_px=(360, 480), seconds_per_shot=4.0)
    homography = np.array([[0.55, 0.01, -52.0], [-0.01, 0.55, -37.0], [0, 0, 1.0]])
    pan = replace(pan, homography=homography, thermal_hz=2.0, rgb_hz=2.0, noise=1.0, sway_px=(16.0, 12.0))
    frames = list(pan_frames([shapes(6, 300, 400)], replace(pan, sway_px=(0.0, 0.0))))
    thermal = [frame.image for frame in frames if frame.kind == "thermal"]
    rgb = [frame.image for frame in frames if frame.kind == "rgb"]
    pairs = [PicturePair(a, b).lights() for a, b in zip(thermal[:4], rgb[:4], strict=True)]
    found = align(pairs, RegisterConfig(candidates=2))
    assert corner_distance_px(found.homography, homography, THERMAL_PX) < 1.0
    assert found.spread_px < 1.0
