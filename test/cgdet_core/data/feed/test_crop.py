"""Crops for training: labels follow the pixels, and what is not varied is what the node sees."""

from __future__ import annotations

import numpy as np
import pytest
from plain_crops import plain_augment

from cgdet_core import thermal
from cgdet_core.config import AugmentConfig, ThermalConfig
from cgdet_core.data.feed.dataset import Crop, take_crop
from cgdet_core.tasks.detection.sampling import MIN_SIDE_PX, DetectionSampler, crop_truth
from cgdet_core.thermal import ToneLimits
from cgdet_core.types import GroundTruth

BLACK_TO_WHITE = ToneLimits(0, 1000)
PLAIN = plain_augment(
    crop_px=64, scale_range=(1.0, 1.0), flip_probability=0, object_centre_probability=0, grey_invert_probability=0
)


def random_crop(
    grey: np.ndarray,
    limits: ToneLimits,
    truth: GroundTruth,
    config: AugmentConfig,
    rng: np.random.Generator,
    polarity_free: bool = False,
    size: tuple[int, int] | None = None,
) -> Crop:
    """Where a detector's crops lie."""
    sampler = DetectionSampler([truth], 9, config.model_copy(update={"centre_class_balance": 0.0}))
    window = sampler.place(grey.shape[:2], truth, size or (config.crop_px, config.crop_px), rng)
    return take_crop(grey, limits, crop_truth(truth, window, config), window, config, rng, polarity_free)


def labels(*boxes: tuple[float, float, float, float], ignore: bool = False, classes: int = 0) -> GroundTruth:
    return GroundTruth(np.array(boxes, np.float32), np.full(len(boxes), classes), np.full(len(boxes), ignore))


def frame_with(box: tuple[int, int, int, int], shape: tuple[int, int], dark: int = 300) -> np.ndarray:
    """Grey 0.3 everywhere, white in the box."""
    frame = np.full(shape, dark, np.uint16)
    frame[box[1] : box[3], box[0] : box[2]] = 1000
    return frame


def bright_span(image: np.ndarray) -> tuple[float, float, float, float]:
    """Left, top, right, bottom of what is over 0.65, the middle between background and object."""
    rows, columns = np.nonzero((image > 0.65).any(1))[0], np.nonzero((image > 0.65).any(0))[0]
    return columns[0], rows[0], columns[-1] + 1, rows[-1] + 1


@pytest.mark.parametrize(
    ("shape", "box"),
    [((128, 160), (70, 40, 98, 70)), ((50, 40), (12, 14, 30, 36)), ((200, 48), (20, 130, 40, 160))],
)
@pytest.mark.parametrize("flip", [0.0, 1.0, 0.5])
def test_labels_stay_on_the_bright_pixels_under_zoom_place_and_flip(
    shape: tuple[int, int], box: tuple[int, int, int, int], flip: float
) -> None:
    frame, truth = frame_with(box, shape), labels(box)
    config = PLAIN.model_copy(
        update={"scale_range": (0.5, 2.0), "flip_probability": flip, "object_centre_probability": 0.7}
    )
    seen = cut = off_frame = 0
    for seed in range(150):
        crop = random_crop(frame, BLACK_TO_WHITE, truth, config, np.random.default_rng(seed))
        assert crop.image.shape == (64, 64)
        bright = (crop.image > 0.65).any()
        if not len(crop.truth):
            # the edge of a shrunk object may still shine
            assert (crop.image > 0.65).sum() <= 64 * 2
            continue
        assert bright or crop.truth.ignore[0]
        if not bright:
            continue
        seen += 1
        off_frame += bool((crop.image == 0).any())
        found, label = np.array(bright_span(crop.image)), crop.truth.boxes_xyxy_px[0]
        cut += bool((label == 0).any() or (label == 64).any())
        np.testing.assert_allclose(found, label, atol=1.1)
    assert seen > 50
    assert off_frame > 5
    assert cut > 3


def test_without_zoom_labels_are_exact() -> None:
    box = (70, 40, 98, 70)
    frame, truth = frame_with(box, (128, 160)), labels(box)
    config = PLAIN.model_copy(update={"flip_probability": 0.5, "object_centre_probability": 1.0})
    mirrored = 0
    frame[40:70, 70:75] = 900  # the left end of the object is a little darker
    for seed in range(100):
        crop = random_crop(frame, BLACK_TO_WHITE, truth, config, np.random.default_rng(seed))
        assert tuple(crop.truth.boxes_xyxy_px[0]) == bright_span(crop.image)
        left, top, _, _ = bright_span(crop.image)
        mirrored += bool(crop.image[top, left] > 0.95)
    assert 20 < mirrored < 80


def test_an_object_lies_in_the_crop_whenever_it_is_chosen_as_centre() -> None:
    box = (5, 5, 15, 15)  # in a corner: the crop has to leave the frame or to be moved
    frame, truth = frame_with(box, (300, 400)), labels(box)
    config = PLAIN.model_copy(update={"object_centre_probability": 1.0, "scale_range": (0.7, 1.5)})
    for seed in range(100):
        crop = random_crop(frame, BLACK_TO_WHITE, truth, config, np.random.default_rng(seed))
        assert len(crop.truth) == 1
        assert not crop.truth.ignore[0]


def test_regions_to_ignore_are_no_centres() -> None:
    frame = frame_with((5, 5, 15, 15), (600, 800))
    config = PLAIN.model_copy(update={"object_centre_probability": 1.0})
    ignored = labels((5, 5, 15, 15), ignore=True)
    found = sum(
        len(random_crop(frame, BLACK_TO_WHITE, ignored, config, np.random.default_rng(seed)).truth)
        for seed in range(60)
    )
    assert found < 10


def test_what_is_cut_too_far_becomes_a_region_to_ignore_and_what_is_gone_leaves() -> None:
    frame = np.full((64, 64), 300, np.uint16)
    boxes = [(10.0 * k, 20.0, 10.0 * k + 30, 40.0) for k in range(-2, 9)]
    truth = labels(*boxes)
    config = PLAIN.model_copy(update={"min_visible": 0.4})
    states = set()
    for seed in range(40):
        crop = random_crop(frame, BLACK_TO_WHITE, truth, config, np.random.default_rng(seed))
        # the frame fills the crop but for up to 6 px: find where from the black border
        grey = crop.image > 0
        left = -int(np.argmax(grey.any(0))) + int(np.argmax(grey.any(0)[::-1]))
        kept = 0
        for box in boxes:
            x0, x1 = box[0] - left, box[2] - left
            visible = min(x1, 64) - max(x0, 0)
            if visible <= 0.5:
                continue
            assert crop.truth.boxes_xyxy_px[kept, 0] == max(x0, 0)
            assert crop.truth.boxes_xyxy_px[kept, 2] == min(x1, 64)
            assert crop.truth.ignore[kept] == (visible / 30 < 0.4 or visible < MIN_SIDE_PX)
            states.add(bool(crop.truth.ignore[kept]))
            kept += 1
        assert kept == len(crop.truth)
    assert states == {True, False}


def test_class_ignore_and_labelled_travel_with_their_boxes() -> None:
    truth = GroundTruth(
        np.array([[500, 5, 510, 15], [20, 20, 40, 40], [30, 30, 50, 50]], np.float32),
        np.array([0, 1, 2]),
        np.array([False, True, False]),
        np.array([True, False, True]),
    )
    crop = random_crop(np.zeros((64, 64), np.uint8), BLACK_TO_WHITE, truth, PLAIN, np.random.default_rng(0))
    assert crop.truth.class_ids.tolist() == [1, 2]
    assert crop.truth.ignore.tolist() == [True, False]
    assert crop.truth.labelled is not None
    assert crop.truth.labelled.tolist() == [True, False, True]


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_an_unvaried_crop_is_bit_for_bit_what_the_node_gives_the_network(dtype: type) -> None:
    rng = np.random.default_rng(1)
    frame = (rng.normal(0.4, 0.1, (96, 128)).clip(0, 1) * np.iinfo(dtype).max).astype(dtype)
    grey = thermal.to_grey(frame)
    limits = thermal.tone_limits(grey, ThermalConfig())
    node, _ = thermal.letterbox(thermal.normalise(frame, ThermalConfig()), (96, 128))
    padded = np.zeros((96 + 40, 128 + 40), np.float32)
    padded[20:-20, 20:-20] = node
    windows = np.lib.stride_tricks.sliding_window_view(padded, (64, 64))
    places = set()
    for seed in range(12):
        crop = random_crop(grey, limits, GroundTruth.empty(), PLAIN, np.random.default_rng(seed))
        same = np.argwhere((windows[:, :, ::9, ::9] == crop.image[::9, ::9]).all((2, 3)))
        (place,) = [tuple(place) for place in same if (windows[tuple(place)] == crop.image).all()]
        places.add(place)
    assert len(places) > 5


def test_the_border_off_the_frame_is_black_whatever_is_varied() -> None:
    config = AugmentConfig(
        crop_px=64, tone_probability=1, noise_sigma_max=0.2, invert_probability=1, offset_range=(0.1, 0.2)
    )
    frame = np.full((30, 200), 700, np.uint16)  # lower than any crop
    for seed in range(30):
        image = random_crop(frame, BLACK_TO_WHITE, GroundTruth.empty(), config, np.random.default_rng(seed)).image
        black = (image == 0).all(1)
        assert black.any()
        assert not black.all()


def test_polarity_is_turned_with_the_chance_that_belongs_to_the_source() -> None:
    frame = np.full((64, 64), 300, np.uint16)
    config = PLAIN.model_copy(update={"invert_probability": 0.0, "grey_invert_probability": 1.0})
    middle = (slice(16, 48), slice(16, 48))
    normal = random_crop(frame, BLACK_TO_WHITE, GroundTruth.empty(), config, np.random.default_rng(0), False)
    turned = random_crop(frame, BLACK_TO_WHITE, GroundTruth.empty(), config, np.random.default_rng(0), True)
    np.testing.assert_allclose(normal.image[middle], 0.3, atol=1e-6)
    np.testing.assert_allclose(turned.image[middle], 0.7, atol=1e-6)


@pytest.mark.parametrize(("gamma", "gain", "offset"), [(1.0, 1.0, 0.0), (2.0, 0.5, 0.1), (0.5, 1.4, -0.15)])
def test_a_tone_curve_is_gain_times_power_plus_offset(gamma: float, gain: float, offset: float) -> None:
    frame = np.random.default_rng(0).integers(0, 1001, (64, 64)).astype(np.uint16)
    ranges = {"gamma_range": (gamma, gamma), "gain_range": (gain, gain), "offset_range": (offset, offset)}
    plain, varied = (
        random_crop(
            frame,
            BLACK_TO_WHITE,
            GroundTruth.empty(),
            PLAIN.model_copy(update={"tone_probability": chance, **ranges}),
            np.random.default_rng(0),
        ).image
        for chance in (0.0, 1.0)
    )
    on_frame = plain > 0.02
    expected = np.clip(gain * plain**gamma + offset, 0, 1)
    assert on_frame.mean() > 0.7
    # a table of 1025 steps, and the steepest of the curves
    np.testing.assert_allclose(varied[on_frame], expected[on_frame], atol=0.003)
