"""Other cameras: each effect alone does what it is named for, and no more."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import pytest

from cgdet_core.config import AugmentConfig, SensorConfig
from cgdet_core.data.augment.sensor import vary_camera
from cgdet_core.data.augment.tone import random_curve

SIDE = 96
EFFECTS = [name for name in SensorConfig.model_fields if name.endswith("_probability")]


def only(*effects: str, probability: float = 1.0, **sensor: Any) -> AugmentConfig:
    """A configuration with nothing but these effects of the sensor, each certain."""
    chances = {name: float(name.removesuffix("_probability") in effects) for name in EFFECTS}
    return AugmentConfig(
        tone_probability=0,
        tone_lost_max=1,
        noise_sigma_max=0,
        blur_probability=0,
        grey_invert_probability=0,
        sensor=SensorConfig(probability=probability, **{**chances, **sensor}),
    )


def flat(value: float = 0.5) -> np.ndarray:
    return np.full((SIDE, SIDE), value, np.float32)


def scene(seed: int = 0) -> np.ndarray:
    """Smooth, with all frequencies, dark in the mean as thermal frames are."""
    noise = np.random.default_rng(seed).standard_normal((SIDE, SIDE)).astype(np.float32)
    smooth = sum(cv2.GaussianBlur(noise, (0, 0), sigma) * sigma for sigma in (1.0, 4.0, 12.0))
    values = (smooth - smooth.min()) / (smooth.max() - smooth.min())
    return np.asarray(values**2, np.float32)


def vary(image: np.ndarray, config: AugmentConfig, seed: int = 0, grey: bool = False) -> np.ndarray:
    return vary_camera(image.copy(), config, grey, np.random.default_rng(seed))


def test_with_every_chance_at_zero_a_crop_stays_bit_for_bit() -> None:
    for seed in range(20):
        assert vary(scene(), only(), seed).tobytes() == scene().tobytes()


def test_the_share_of_crops_with_effects_is_the_probability() -> None:
    config = only("quantise", probability=0.3)
    changed = sum(vary(scene(), config, seed).tobytes() != scene().tobytes() for seed in range(400))
    assert abs(changed - 120) < 37  # 4 standard deviations


@pytest.mark.parametrize("effect", [name.removesuffix("_probability") for name in EFFECTS])
def test_an_effect_changes_the_crop_stays_in_range_and_repeats(effect: str) -> None:
    for seed in range(10):
        varied = vary(scene(), only(effect), seed)
        assert varied.dtype == np.float32
        assert varied.shape == (SIDE, SIDE)
        assert np.isfinite(varied).all()
        assert varied.min() >= 0
        assert varied.max() <= 1
        assert varied.tobytes() != scene().tobytes()
        assert varied.tobytes() == vary(scene(), only(effect), seed).tobytes()
        assert varied.tobytes() != vary(scene(), only(effect), seed + 100).tobytes()


@pytest.mark.parametrize("shape", [(1, 1), (3, 200), (40, 2)])
def test_slivers_of_a_frame_survive_everything_at_once(shape: tuple[int, int]) -> None:
    config = only(*(name.removesuffix("_probability") for name in EFFECTS))
    for seed in range(10):
        varied = vary(np.full(shape, 0.3, np.float32), config, seed)
        assert varied.shape == shape
        assert np.isfinite(varied).all()


def test_stripes_are_a_pattern_of_rows_plus_one_of_columns() -> None:
    kinds = set()
    for seed in range(20):
        pattern = vary(flat(), only("stripes", stripes_sigma_max=0.05), seed) - 0.5
        rows, columns = pattern.mean(1), pattern.mean(0)
        np.testing.assert_allclose(pattern, rows[:, None] + columns - pattern.mean(), atol=1e-6)
        assert pattern.std() < 0.05 * 1.6
        kinds.add((bool(rows.std() > 1e-4), bool(columns.std() > 1e-4)))
    assert kinds == {(True, False), (False, True), (True, True)}


def test_shading_is_smooth_and_bounded() -> None:
    spans = []
    for seed in range(40):
        shaded = vary(flat(), only("shading", shading_max=0.2), seed)
        steps = np.abs(np.diff(shaded, axis=0)).max(), np.abs(np.diff(shaded, axis=1)).max()
        assert max(steps) < 0.2 * 3 / SIDE * 1.1  # the slope, and the vignette's at most twice it
        spans.append(np.ptp(shaded))
    assert 0.05 < np.mean(spans) < 0.4


def test_noise_is_fresh_white_and_of_the_stated_deviation() -> None:
    config = only(probability=0).model_copy(update={"noise_sigma_max": 0.1})
    deviations, seen = [], set()
    for seed in range(200):
        noise = vary(flat(), config, seed) - 0.5
        deviations.append(noise.std())
        if deviations[-1] > 0.02:
            seen.add(noise.tobytes())
            assert abs(np.corrcoef(noise[:, 1:].ravel(), noise[:, :-1].ravel())[0, 1]) < 0.06
            assert abs(noise.mean()) < 0.01
    noisy = np.array(deviations) > 0
    assert abs(noisy.sum() - 100) < 30
    assert 0.09 < max(deviations) < 0.105
    assert len(seen) == (np.array(deviations) > 0.02).sum()


def test_dead_pixels_are_few_and_dead_lines_are_whole() -> None:
    for seed in range(30):
        stuck = vary(flat(0.37), only("dead_pixels", dead_pixels_max=5), seed) != np.float32(0.37)
        assert 1 <= stuck.sum() <= 5
        stuck = vary(flat(0.37), only("dead_lines", dead_lines_max=2), seed) != np.float32(0.37)
        rows, columns = stuck.all(1), stuck.all(0)
        assert 1 <= rows.sum() + columns.sum() <= 2
        assert (stuck == (rows[:, None] | columns)).all()


def test_motion_blur_spreads_a_point_along_one_line_of_the_stated_length() -> None:
    point = flat(0)
    point[SIDE // 2, SIDE // 2] = 1
    angles = []
    for seed in range(20):
        spread = vary(point, only("motion_blur", motion_blur_range_px=(6, 6)), seed).astype(np.float64)
        assert abs(spread.sum() - 1) < 1e-5
        y, x = np.mgrid[:SIDE, :SIDE] - SIDE // 2
        moments = np.array([[(spread * x * x).sum(), (spread * x * y).sum()], [0, (spread * y * y).sum()]])
        moments[1, 0] = moments[0, 1]
        values, vectors = np.linalg.eigh(moments)
        assert abs(values[1] - 6**2 / 12) < 0.7  # a uniform line, and what sharing among pixels adds
        assert values[0] < 0.4
        angles.append(np.arctan2(vectors[1, 1], vectors[0, 1]) % np.pi)
    assert np.ptp(angles) > 1.5


def test_few_levels_are_evenly_spaced_from_black_to_white() -> None:
    ramp = np.tile(np.linspace(0, 1, SIDE * 4, dtype=np.float32), (4, 1))
    values = np.unique(vary(ramp, only("quantise", levels_range=(17, 17))))
    np.testing.assert_allclose(values, np.linspace(0, 1, 17), atol=1e-6)


def test_jpeg_is_what_the_codec_of_that_quality_leaves() -> None:
    image = scene()
    data = cv2.imencode(".jpg", np.rint(image * 255).astype(np.uint8), (cv2.IMWRITE_JPEG_QUALITY, 40))[1]
    expected = cv2.imdecode(data, cv2.IMREAD_GRAYSCALE) / 255
    varied = vary(image, only("jpeg", jpeg_quality_range=(40, 40)))
    np.testing.assert_allclose(varied, expected, atol=1e-6)


def test_detail_is_amplified_about_a_compressed_base_and_leaves_halos() -> None:
    image = np.full((SIDE, SIDE), 0.4, np.float32)
    image[:, SIDE // 2 :] = 0.6
    settings = {"detail_gain_range": (2, 2), "detail_radius_range_px": (5, 5), "base_gain_range": (0.5, 0.5)}
    varied = vary(image, only("detail", **settings))
    base = np.convolve(np.pad(image[0], 5, mode="edge"), np.full(11, 1 / 11), "valid")
    mean = base.mean()
    np.testing.assert_allclose(varied[40], 0.5 * (base - mean) + mean + 2 * (image[0] - base), atol=1e-5)
    assert varied[40, SIDE // 2 - 1] < varied[40, 0] - 0.05  # dark halo
    assert varied[40, SIDE // 2] > varied[40, -1] + 0.05  # bright halo


def test_equalisation_keeps_the_order_and_evens_the_histogram() -> None:
    image = scene()
    flatness = []
    for plateau in (1.0, 100.0):
        deviations = []
        for seed in range(20):
            varied = vary(image, only("equalise", plateau_range=(plateau, plateau)), seed)
            order = np.argsort(image, axis=None)
            assert (np.diff(varied.reshape(-1)[order]) >= 0).all()
            counts = np.histogram(varied, 10, (0, 1))[0]
            deviations.append(counts.std())
        flatness.append(np.mean(deviations))
    before = np.histogram(image, 10, (0, 1))[0].std()
    assert flatness[1] < 0.7 * before
    # the lower the plateau the less is evened
    assert flatness[1] < flatness[0]


def test_saturation_cuts_no_more_than_its_share_at_either_end() -> None:
    image = scene()
    most = 0.0
    for seed in range(30):
        varied = vary(image, only("saturation", saturation_max=0.1), seed)
        black, white = (varied == 0).mean(), (varied == 1).mean()
        assert black < 0.12
        assert white < 0.12
        most = max(most, black, white)
    assert most > 0.06


def test_random_curves_ascend_from_black_to_white_and_differ() -> None:
    middles = []
    for seed in range(100):
        curve = random_curve(0.7, np.random.default_rng(seed))
        assert curve[0] == 0
        assert curve[-1] == 1
        assert (np.diff(curve) > 0).all()
        middles.append(curve[512])
    assert np.mean(np.array(middles) < 0.4) > 0.1
    assert np.mean(np.array(middles) > 0.6) > 0.1
    np.testing.assert_allclose(random_curve(0, np.random.default_rng(0)), np.linspace(0, 1, 1025), atol=1e-5)


@pytest.mark.parametrize(("lost_max", "visible"), [(1.0, False), (0.2, True)])
def test_a_curve_that_would_black_out_the_crop_is_halved(lost_max: float, visible: bool) -> None:
    dark = (scene() * 0.05 + 0.03).astype(np.float32)
    config = only().model_copy(
        update={"tone_probability": 1.0, "tone_lost_max": lost_max, "offset_range": (-0.15, -0.15)}
    )
    config = config.model_copy(update={"gamma_range": (1.0, 1.0), "gain_range": (1.0, 1.0)})
    varied = vary(dark, config)
    if visible:
        np.testing.assert_allclose(varied, dark / 2, atol=0.001)
    else:
        assert (varied == 0).all()


def test_grey_rgb_gets_more_tone_changes() -> None:
    config = only(curve_probability=0.4, grey_factor=2.0)
    changed = [
        sum(vary(scene(), config, seed, grey).tobytes() != scene().tobytes() for seed in range(200))
        for grey in (False, True)
    ]
    assert abs(changed[0] - 80) < 28
    assert abs(changed[1] - 160) < 24
