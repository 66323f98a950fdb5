"""Offset and homography of a bag are found where both cameras see motion and edges, and refused where they do not."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from pan_scene import RGB_PX, THERMAL_PX, shapes, small_pan

from cgdet_core.config import RegisterConfig
from cgdet_core.data.registration.align import align, corner_distance_px
from cgdet_core.data.registration.edge_field import edge_field
from cgdet_core.data.registration.pictures import PicturePair, TimeWindow, grey_pairs
from cgdet_core.data.registration.preview import preview
from cgdet_core.data.registration.register import Registered, RegisterWanted, register_bag
from cgdet_core.data.synthetic.pan import make_pan_bag, pan_frames
from cgdet_core.errors import InputError

CONFIG = RegisterConfig(pairs=8)


@pytest.fixture(scope="module")
def drive(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, object, Registered]:
    """A bag of two scenes, the RGB clock 0.437 s behind, a tenth of the frames lost, and what is found in it."""
    pan = small_pan(5, offset_ns=437_000_000, thermal_hz=15.0, rgb_hz=20.0, drop=0.1)
    bag = tmp_path_factory.mktemp("register") / "bag"
    make_pan_bag(bag, [shapes(1), shapes(2)], pan)
    return bag, pan, register_bag(bag, RegisterWanted(), CONFIG, progress=False)


def test_the_offset_is_found_within_a_third_of_a_frame(drive: tuple[Path, object, Registered]) -> None:
    _, _, found = drive
    assert abs(found.registration.offset_ns - 437_000_000) < 1e9 / 15 / 3
    assert found.clock is not None
    assert found.clock.confidence > 0.5


def test_the_homography_is_found_to_a_pixel_between_pictures_that_share_their_outlines_only(
    drive: tuple[Path, object, Registered],
) -> None:
    _, pan, found = drive
    registration = found.registration
    assert corner_distance_px(registration.homography, pan.homography, THERMAL_PX) < 1.0  # type: ignore[attr-defined]
    assert (registration.thermal_height_width_px, registration.rgb_height_width_px) == (THERMAL_PX, RGB_PX)
    assert registration.how == "estimated"
    assert registration.quality["spread_px"] < 1.0
    assert registration.quality["score"] > 0.2


def test_pairs_rates_and_drops_are_told(drive: tuple[Path, object, Registered]) -> None:
    _, _, found = drive
    assert found.pairs.thermal.rate_hz == pytest.approx(15, rel=0.02)
    assert found.pairs.rgb.rate_hz == pytest.approx(20, rel=0.02)
    assert found.pairs.thermal.dropped > 5
    assert len(found.pairs) > 0.7 * found.pairs.thermal.count
    assert found.pairs.median_difference_ms < 25


def test_the_same_bag_gives_the_same_numbers(drive: tuple[Path, object, Registered]) -> None:
    bag, _, found = drive
    again = register_bag(bag, RegisterWanted(), CONFIG, progress=False)
    assert np.array_equal(again.registration.homography, found.registration.homography)
    assert again.registration.offset_ns == found.registration.offset_ns


def test_a_known_offset_is_kept(drive: tuple[Path, object, Registered]) -> None:
    bag, _, _ = drive
    wanted = RegisterWanted(offset_ns=437_000_000, window=TimeWindow(1.0, 4.0), tolerance_ns=9_000_000)
    found = register_bag(bag, wanted, CONFIG, progress=False)
    assert found.registration.offset_ns == 437_000_000
    assert found.registration.tolerance_ns == 9_000_000
    assert found.clock is None
    assert found.pairs.thermal.count < 70


def test_the_preview_shows_rgb_in_the_thermal_frame(drive: tuple[Path, object, Registered]) -> None:
    _, _, found = drive
    picture = preview(found.chosen[:2], found.registration)
    height, width = THERMAL_PX
    assert picture.shape == (2 * height, 2 * width, 3)
    board, outlined = picture[:height, :width], picture[:height, width:]
    side = width // 8
    warped, valid = found.registration.warp(found.chosen[0].rgb)
    tile = (slice(3 * side, 4 * side), slice(2 * side, 3 * side))  # an odd one of the board
    assert valid[tile].all()
    assert np.array_equal(board[tile], warped[tile])
    even = board[2 * side : 3 * side, 2 * side : 3 * side]
    assert np.array_equal(even[..., 0], even[..., 2])
    assert (outlined == (255, 40, 40)).all(2).any()


def refuse(tmp_path: Path, shots: list[tuple[np.ndarray, np.ndarray]], **changes: object) -> str:
    make_pan_bag(tmp_path / "bag", shots, small_pan(5, **changes))
    with pytest.raises(InputError) as refusal:
        register_bag(tmp_path / "bag", RegisterWanted(), CONFIG, progress=False)
    assert str(tmp_path / "bag") in str(refusal.value)
    assert "\n" not in str(refusal.value)
    return str(refusal.value)


def test_a_static_scene_is_refused(tmp_path: Path) -> None:
    said = refuse(tmp_path, [shapes(1)], sway_px=(0.0, 0.0), gains=0.0)
    assert "the clocks' offset cannot be told" in said
    assert "--offset" in said


def test_rgb_in_the_dark_is_refused(tmp_path: Path) -> None:
    thermal, rgb = shapes(1)
    assert "cannot be told" in refuse(tmp_path, [(thermal, (rgb * 0.004).astype(np.uint8))])


def test_rgb_of_another_scene_is_refused(tmp_path: Path) -> None:
    # both cameras sway alike, but see different things: the offset is clear, the homography is not
    said = refuse(tmp_path, [(shapes(1)[0], shapes(11)[1]), (shapes(2)[0], shapes(12)[1])])
    assert "the homography cannot be told" in said
    assert "--extrinsic" in said


def test_a_single_frame_is_refused(tmp_path: Path) -> None:
    assert "a single image" in refuse(tmp_path, [shapes(1)], thermal_hz=20.0, rgb_hz=0.25)


def test_streams_without_a_shared_time_are_refused(drive: tuple[Path, object, Registered]) -> None:
    bag, _, _ = drive
    with pytest.raises(InputError, match="no frames pair at an offset of 3600000"):
        register_bag(bag, RegisterWanted(offset_ns=3_600_000_000_000), CONFIG, progress=False)


def test_pictures_of_two_sizes_cannot_be_registered_already(drive: tuple[Path, object, Registered]) -> None:
    bag, _, _ = drive
    with pytest.raises(InputError, match="160x128 pixels, RGB ones 192x144"):
        register_bag(bag, RegisterWanted(offset_ns=0, identity=True), CONFIG, progress=False)


def test_the_edge_field_does_not_mind_which_side_is_brighter() -> None:
    grey = shapes(4)[0].astype(np.float32) / 255
    field, inverted = edge_field(grey), edge_field(1 - grey)
    np.testing.assert_allclose(inverted, field, atol=1e-4)
    assert np.abs(field).max() <= 1
    product = (field * np.conj(inverted)).real
    assert (product[np.abs(field) > 0.9] > 0.8).all()
    # an upright edge lies across a level one
    upright, level = np.zeros((32, 32), np.float32), np.zeros((32, 32), np.float32)
    upright[:, 16:], level[16:] = 1, 1
    assert edge_field(upright)[16, 16].real > 0.9
    assert edge_field(level)[16, 16].real < -0.9


def test_a_dark_or_flat_picture_has_no_edges() -> None:
    assert np.abs(edge_field(np.full((64, 64), 0.3, np.float32))).max() == 0


def test_a_wide_rgb_view_of_many_pixels_is_found() -> None:
    pan = small_pan(9, rgb_height_width_px=(360, 480), seconds_per_shot=4.0)
    homography = np.array([[0.55, 0.01, -52.0], [-0.01, 0.55, -37.0], [0, 0, 1.0]])
    pan = replace(pan, homography=homography, thermal_hz=2.0, rgb_hz=2.0, noise=1.0, sway_px=(16.0, 12.0))
    frames = list(pan_frames([shapes(6, 300, 400)], replace(pan, sway_px=(0.0, 0.0))))
    thermal = [frame.image for frame in frames if frame.kind == "thermal"]
    rgb = [frame.image for frame in frames if frame.kind == "rgb"]
    pairs = grey_pairs([PicturePair(a, b, 1.0) for a, b in zip(thermal[:4], rgb[:4], strict=True)])
    found = align(pairs, RegisterConfig())
    assert corner_distance_px(found.homography, homography, THERMAL_PX) < 1.0
    assert found.spread_px < 1.0
