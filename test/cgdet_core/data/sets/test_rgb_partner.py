"""RGB beside the thermal crop: the same place to the pixel, valid where it shows that place, and never varied."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import cv2
import numpy as np
import pytest
from plain_crops import plain_augment
from scene import tensors_of

from cgdet_core.config import AugmentConfig, GuidanceConfig, Recipe, TrainConfig
from cgdet_core.data.feed.dataset import Crop, TrainingBatches, take_crop
from cgdet_core.data.feed.sources import CachedFrame, Source
from cgdet_core.data.sets.rgb_partner import RgbPartner, read_partner, shuffled
from cgdet_core.errors import InputError
from cgdet_core.tasks.detection.sampling import DetectionSampler, Window, crop_truth
from cgdet_core.thermal import ToneLimits
from cgdet_core.types import BoolArray, GroundTruth

RAW = ToneLimits(0, 255)
SHOWN = 200  # of the third channel, wherever the picture is valid
PLAIN = plain_augment(
    crop_px=64, scale_range=(0.5, 2.0), object_centre_probability=0.6, mosaic_probability=1, mosaic_off_fraction=0
)


def truth_of(*boxes: tuple[float, float, float, float]) -> GroundTruth:
    return GroundTruth(np.array(boxes, np.float32), np.zeros(len(boxes), np.int64), np.zeros(len(boxes), np.bool_))


def png(pixels: np.ndarray, valid: BoolArray | None = None, name: str = "rgb.png") -> RgbPartner:
    """A partner without loss, so that its values can be counted on."""
    _, encoded = cv2.imencode(".png", pixels[:, :, ::-1])
    return RgbPartner(np.asarray(encoded, np.uint8), Path(name), (pixels.shape[0], pixels.shape[1]), valid)


def a_pair(shape: tuple[int, int], seed: int, masked: bool = False) -> tuple[np.ndarray, RgbPartner]:
    """A grey frame of noise in 1 to 180, and a picture with the frame in its first channel, the column in its second
    and SHOWN in its third; masked: the left quarter and a corner are not valid, and show 0 there."""
    rng = np.random.default_rng(seed)
    grey = rng.integers(1, 181, shape).astype(np.uint8)
    pixels = np.stack([grey, np.broadcast_to(np.arange(shape[1]), shape), np.full(shape, SHOWN)], axis=2)
    valid = None
    if masked:
        valid = np.ones(shape, np.bool_)
        valid[:, : shape[1] // 4] = False
        valid[-20:, -30:] = False
        pixels[:, :, 2][~valid] = 0
    return grey, png(pixels.astype(np.uint8), valid, f"{seed}.png")


def check_same_place(crop: Crop) -> None:
    assert crop.rgb is not None
    assert crop.rgb_valid is not None
    assert (crop.rgb.dtype, crop.rgb_valid.dtype) == (np.uint8, np.bool_)
    assert crop.rgb.shape == (*crop.image.shape, 3)
    # OpenCV rounds 8-bit pictures at each of its two steps, floats at none
    np.testing.assert_allclose(crop.rgb[:, :, 0], crop.image * 255, atol=1.01)
    # whatever is mixed with a place that is not valid, or lies off the frame, is darker
    assert (crop.rgb_valid == (crop.rgb[:, :, 2] == SHOWN)).all()


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("shape", [(128, 160), (50, 40), (180, 48)])
def test_rgb_shows_the_place_of_the_thermal_crop_to_the_pixel(shape: tuple[int, int], masked: bool) -> None:
    grey, partner = a_pair(shape, 1, masked)
    truth = truth_of((10, 12, 30, 36), (30, 30, 38, 48))
    seen: Counter[str] = Counter()
    for seed in range(150):
        rng = np.random.default_rng(seed)
        window = DetectionSampler([truth], 9, PLAIN).place(shape, truth, (PLAIN.crop_px, PLAIN.crop_px), rng)
        crop = take_crop(grey, RAW, crop_truth(truth, window, PLAIN), window, PLAIN, rng, partner=partner)
        check_same_place(crop)
        assert crop.rgb is not None
        assert crop.rgb_valid is not None
        column = crop.rgb[crop.rgb_valid.any(axis=1).argmax(), :, 1][crop.rgb_valid.any(axis=0)].astype(int)
        if len(column) > 8:
            seen["flipped" if column[0] > column[-1] else "as it is"] += 1
            seen["enlarged" if abs(column[-1] - column[0]) < len(column) - 3 else ""] += 1
            seen["shrunk" if abs(column[-1] - column[0]) > len(column) + 3 else ""] += 1
        seen["off the frame"] += bool((crop.image == 0).any())
        seen["valid everywhere"] += bool(crop.rgb_valid.all())
        seen["valid in part"] += bool(crop.rgb_valid.any() and not crop.rgb_valid.all())
    assert min(seen["flipped"], seen["as it is"], seen["enlarged"], seen["shrunk"]) > 10
    assert seen["off the frame"] > 5
    assert seen["valid in part"] > 5
    if shape == (128, 160):
        assert seen["valid everywhere"] > 3


def test_a_window_by_hand_with_its_place_off_the_frame_and_its_flip() -> None:
    pixels = np.arange(4 * 6 * 3).reshape(4, 6, 3).astype(np.uint8)
    valid = np.ones((4, 6), np.bool_)
    valid[0, 0] = False
    rgb, shown = png(pixels, valid).crop(Window(-1, 1, 4, 3, (4, 3), flipped=False))
    # a column on its left and a row at its bottom lie off the frame
    assert (rgb[:3, 1:] == pixels[1:, :2]).all()
    assert not rgb[3].any()
    assert not rgb[:, 0].any()
    assert shown.tolist() == [[False, True, True]] * 3 + [[False] * 3]
    rgb, shown = png(pixels, valid).crop(Window(0, 0, 4, 6, (4, 6), flipped=True))
    assert (rgb == pixels[:, ::-1]).all()
    assert (~shown).nonzero() == ([0], [5])
    # half the size: a mean of four is valid where all four are
    rgb, shown = png(pixels, valid).crop(Window(0, 0, 4, 6, (2, 3), flipped=False))
    assert rgb[1, 2].tolist() == (pixels[2:, 4:].reshape(4, 3).mean(axis=0) + 0.5).astype(int).tolist()
    assert (~shown).nonzero() == ([0], [0])


def source_of(pairs: list[tuple[np.ndarray, RgbPartner | None]], name: str = "a") -> Source:
    frames = tuple(CachedFrame(grey, RAW, truth_of((20, 20, 60, 70)), partner) for grey, partner in pairs)
    return Source(name, 1.0, frames, polarity_free=False)


def recipe_of(weight: float, augment: AugmentConfig = PLAIN) -> Recipe:
    train = TrainConfig(images=400, batch_size=8)
    return Recipe(guidance=GuidanceConfig(weight=weight), augment=augment, train=train)


def test_a_mosaic_holds_the_rgb_of_the_parts_that_have_any() -> None:
    with_rgb = [a_pair((128, 160), seed, masked=seed == 2) for seed in range(3)]
    # frames without RGB are the only ones brighter than 180
    without = [(np.full((100, 120), 240, np.uint8), None)]
    batches = TrainingBatches([source_of([*with_rgb]), source_of([*without], "b")], recipe_of(1))
    kinds: Counter[int] = Counter()
    for index in range(120):
        crop = batches.crop(index)
        if crop.rgb is None:
            assert crop.rgb_valid is None
            # nothing but the frame without RGB, or black off it
            assert (crop.image == 0).sum() + (crop.image > 0.9).sum() > 0.95 * crop.image.size
            kinds[0] += 1
            continue
        assert crop.rgb_valid is not None
        bright = np.rint(crop.image * 255) == 240
        kinds[1 + bright.any()] += 1
        assert not crop.rgb_valid[bright].any()
        assert not crop.rgb[bright].any()
        np.testing.assert_allclose(crop.rgb[crop.rgb_valid][:, 0], crop.image[crop.rgb_valid] * 255, atol=1.01)
        assert (crop.rgb[crop.rgb_valid][:, 2] == SHOWN).all()
        # every place that shows its pair whole is valid
        assert (crop.rgb_valid == (crop.rgb[:, :, 2] == SHOWN)).mean() > 0.99
    assert min(kinds[kind] for kind in range(3)) > 3


@pytest.mark.parametrize("augment", [PLAIN, AugmentConfig(crop_px=64, mosaic_probability=0.5)])
def test_thermal_batches_are_the_same_to_the_bit_with_guidance_and_without(augment: AugmentConfig) -> None:
    sources = [source_of([a_pair((128, 160), 1), a_pair((128, 160), 2, masked=True), (a_pair((90, 90), 3)[0], None)])]
    off, on = (TrainingBatches(sources, recipe_of(weight, augment)) for weight in (0, 0.5))
    bare = TrainingBatches([source_of([(frame.grey, None) for frame in sources[0].frames])], recipe_of(0, augment))
    for number in range(12):
        with_rgb, without, never = on[number], off[number], bare[number]
        assert without.rgb is None
        assert without.rgb_valid is None
        # not even cut: it takes no time
        assert off.crop(number).rgb is None
        assert set(tensors_of(without)) == {"images", "boxes_xyxy_px", "class_ids", "objects", "ignored", "labelled"}
        assert set(tensors_of(with_rgb)) == {*tensors_of(without), "rgb", "rgb_valid"}
        for name, value in tensors_of(without).items():
            assert value.numpy().tobytes() == tensors_of(with_rgb)[name].numpy().tobytes(), name
            assert value.numpy().tobytes() == tensors_of(never)[name].numpy().tobytes(), name


def test_partners_move_along_a_ring_of_their_size_and_never_stay() -> None:
    partners = [a_pair(shape, seed)[1] for seed, shape in enumerate([(20, 30)] * 7 + [(30, 20)] * 2)]
    mixed: list[RgbPartner | None] = [None, *partners[:4], None, *partners[4:], None]
    moved = shuffled(mixed, "set.json", 1, seed=3)
    assert [partner is None for partner in moved] == [partner is None for partner in mixed]
    assert sorted(map(id, moved)) == sorted(map(id, mixed))
    for before, after in zip(mixed, moved, strict=True):
        assert before is None or after is not before
        assert before is None or after is None or before.height_width_px == after.height_width_px
    assert list(map(id, shuffled(mixed, "set.json", 1, seed=3))) == list(map(id, moved))
    orders = {tuple(map(id, shuffled(mixed, "set.json", number, seed))) for number in range(3) for seed in range(3)}
    assert len(orders) == 9


def test_renderings_of_one_picture_get_that_of_another_one() -> None:
    counts = (4, 1, 3, 2, 4)  # renderings of each picture
    partners = [a_pair((20, 30), seed)[1] for seed, count in enumerate(counts) for _ in range(count)]
    for seed in range(20):
        moved = [partner.path for partner in shuffled(partners, "set.json", 0, seed) if partner is not None]
        assert sorted(moved) == [partner.path for partner in partners]
        assert all(partner.path != after for partner, after in zip(partners, moved, strict=True))
    with pytest.raises(InputError, match=r"4 of 7 frames"):
        shuffled([*partners[:4], *partners[5:8]], "set.json", 0, 0)


def test_a_picture_that_is_alone_of_its_size_cannot_be_shuffled() -> None:
    partners = [a_pair(shape, seed)[1] for seed, shape in enumerate(((20, 30), (20, 30), (30, 20)))]
    with pytest.raises(InputError, match=r"set\.json: .*20x30") as caught:
        shuffled(partners, "set.json", 0, 0)
    assert "\n" not in str(caught.value)
    assert shuffled([None, None], "set.json", 0, 0) == [None, None]


def test_a_partner_keeps_the_bytes_of_its_file(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (24, 32, 3)).astype(np.uint8)
    path = tmp_path / "rgb.png"
    cv2.imwrite(str(path), pixels[:, :, ::-1])
    partner = read_partner(path, tmp_path / "thermal.png", (24, 32))
    assert partner.encoded.tobytes() == path.read_bytes()
    assert (partner.pixels() == pixels).all()
    assert partner.valid is None


@pytest.mark.parametrize(
    ("pixels", "words"),
    [
        (np.zeros((24, 40, 3), np.uint8), "32x24 pixels .*THERMAL"),
        (np.zeros((24, 32), np.uint8), "RGB"),
        (np.zeros((24, 32), np.uint16), "RGB"),
        (np.zeros((24, 32, 3), np.uint16), "8 bits"),
        (b"no picture", "cannot|none|not an image"),
    ],
)
def test_a_file_that_is_no_partner_of_its_frame_is_refused_in_one_line(
    tmp_path: Path, pixels: np.ndarray | bytes, words: str
) -> None:
    path, thermal = tmp_path / "rgb.png", tmp_path / "t.png"
    path.write_bytes(pixels if isinstance(pixels, bytes) else cv2.imencode(".png", pixels)[1].tobytes())
    with pytest.raises(InputError, match=words.replace("THERMAL", str(thermal))) as caught:
        read_partner(path, thermal, (24, 32))
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)
