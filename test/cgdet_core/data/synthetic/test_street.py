"""The synthetic street: repeatable frames, pictures that are registered, plausible temperatures and light."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from typing import Any

import numpy as np
import pytest

from cgdet_core.config import SyntheticConfig
from cgdet_core.data.synthetic.actors import BICYCLE, CAR, PERSON
from cgdet_core.data.synthetic.light import resolve
from cgdet_core.data.synthetic.street import SyntheticStreet, synthetic_training_sample
from cgdet_core.types import GroundTruth, Sample

SMALL = SyntheticConfig(height_width_px=(256, 320))
FINGERPRINT_OF_FRAME_5 = """
import hashlib
from cgdet_core.config import SyntheticConfig
from cgdet_core.data.synthetic.street import SyntheticStreet
s = SyntheticStreet(7, SyntheticConfig(height_width_px=(256, 320))).sample(5)
print(hashlib.sha256(s.frame.image.tobytes() + s.rgb.tobytes() + s.truth.boxes_xyxy_px.tobytes()).hexdigest())
"""


def truth_of(sample: Sample) -> GroundTruth:
    assert sample.truth is not None
    return sample.truth


def rgb_of(sample: Sample) -> Any:
    assert sample.rgb is not None
    return sample.rgb


def fingerprint(sample: Sample) -> str:
    boxes = truth_of(sample).boxes_xyxy_px
    return hashlib.sha256(sample.frame.image.tobytes() + rgb_of(sample).tobytes() + boxes.tobytes()).hexdigest()


def with_light(light: str, **changes: Any) -> SyntheticConfig:
    return SMALL.model_copy(update={"light": light, **changes})


def test_a_frame_is_the_same_in_any_order_and_in_another_process() -> None:
    street = SyntheticStreet(7, SMALL)
    seen = {index: fingerprint(street.sample(index)) for index in (31, 5, 0)}
    assert {index: fingerprint(SyntheticStreet(7, SMALL).sample(index)) for index in (0, 5, 31)} == seen
    assert len(set(seen.values())) == 3
    command, environment = [sys.executable, "-c", FINGERPRINT_OF_FRAME_5], {**os.environ, "PYTHONHASHSEED": "12345"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=True)
    assert done.stdout.strip() == seen[5]


def test_a_sample_says_when_and_where_it_was_taken() -> None:
    sample = SyntheticStreet(12, with_light("day", frames_per_second=25.0)).sample(3)
    assert (sample.name, sample.scene, sample.light) == ("street-12/000003", "street-12", "day")
    assert sample.frame.stamp_ns == 3 * 40_000_000
    assert (sample.frame.image.shape, sample.frame.image.dtype) == ((256, 320), np.uint16)
    assert (rgb_of(sample).shape, rgb_of(sample).dtype) == ((256, 320, 3), np.uint8)


def test_streets_differ_and_a_street_goes_on() -> None:
    assert fingerprint(SyntheticStreet(1, SMALL).sample(0)) != fingerprint(SyntheticStreet(2, SMALL).sample(0))
    street = next(s for s in (SyntheticStreet(seed, SMALL) for seed in range(20)) if s.speed_m_s > 5)
    seen = [{tuple(body.origin_m) for body in street.bodies(t)} for t in (0.0, 40.0, 4000.0)]
    assert all(seen)
    assert not seen[0] & seen[1]
    assert not seen[1] & seen[2]
    assert len(truth_of(street.sample(40_000))) > 0


def test_the_two_pictures_are_registered(monkeypatch: pytest.MonkeyPatch) -> None:
    street = SyntheticStreet(4, with_light("night", persons_per_100m=80.0))
    heat, light, _ = street.render(0.0)
    rest = [body for body in street.bodies(0.0) if PERSON not in body.labels]
    monkeypatch.setattr(street, "bodies", lambda t: rest)
    heat_without, light_without, _ = street.render(0.0)
    in_heat, in_light = np.abs(heat - heat_without) > 0.02, np.abs(light - light_without).max(axis=0) > 1e-4
    assert in_heat.sum() > 300
    assert (in_heat & in_light).sum() > 0.9 * (in_heat | in_light).sum()


def test_at_night_persons_are_warmer_than_what_surrounds_them() -> None:
    warmer = []
    for seed in range(40, 46):
        sample = SyntheticStreet(seed, SyntheticConfig(light="night", air_range_celsius=(0.0, 12.0))).sample(0)
        truth, image = truth_of(sample), sample.frame.image.astype(np.float64)
        for (x0, y0, x1, y1), kind, ignore in zip(truth.boxes_xyxy_px, truth.class_ids, truth.ignore, strict=True):
            if ignore or kind != PERSON or y1 - y0 < 30 or x0 < 12 or x1 > 628:
                continue
            middle, half = (x0 + x1) / 2, max(2.0, (x1 - x0) / 6)
            body = image[int(y0) + 2 : int(y1) - 2, int(middle - half) : int(middle + half)]
            beside = image[int(y0) : int(y1), [int(x0) - 6, int(x1) + 6]]
            warmer.append(np.median(body) > np.median(beside))
    assert len(warmer) >= 20
    assert np.mean(warmer) > 0.85


def test_a_clear_sky_is_colder_than_the_street_and_a_driven_car_has_warm_tyres() -> None:
    street = SyntheticStreet(4, with_light("night", cars_per_100m=40.0))
    heat, _, painting = street.render(0.0)
    nothing = painting.index[::2, ::2] == 0
    assert nothing.sum() > 500
    assert np.median(heat[nothing]) < np.median(heat[~nothing]) - 1
    parts = np.concatenate([body.primitives for body in street.bodies(0.0) if CAR in body.labels])
    tyres = parts["temperature_c"][(parts["colour"] == 0.05).all(axis=1)]
    assert tyres.max() > np.median(parts["temperature_c"]) + 2


def test_temperatures_are_those_of_a_street() -> None:
    # a pixel at the horizon sees kilometres of ground: nothing there may run away
    for seed in (1013, 1037, 3):
        street = SyntheticStreet(seed, SMALL)
        for t in (2.0, 2719.3, 1e5):
            heat, light, _ = street.render(t)
            assert np.isfinite(heat).all()
            assert heat.min() > -60
            assert heat.max() < 120
            assert light.min() > -0.2
            assert light.max() < 3


def test_by_day_shadows_lie_on_the_ground_and_by_night_lamps_light_it() -> None:
    for light, sign in (("day", -1), ("night", 1)):
        streets = (SyntheticStreet(seed, with_light(light)) for seed in range(30))
        street = next(s for s in streets if (s.climate.sun > 0.5 or light == "night") and s.bodies(0.0))
        _, seen, painting = street.render(0.0)
        assert painting.body.max() > 1
        bodies = street.bodies(0.0)
        _, bare = resolve(painting, [body.moved(-1e4) for body in bodies], street.climate, street._noise)
        ground = painting.body[painting.index[::2, ::2]] == 1
        change = (seen - bare).mean(axis=0)[ground]
        assert (np.sign(change[np.abs(change) > 0.02]) == sign).mean() > 0.9, light
        assert np.abs(change).max() > 0.05


def test_eight_bits_are_the_cameras_own_view_of_the_same_scene() -> None:
    raw = SyntheticStreet(9, SMALL).sample(2)
    view = SyntheticStreet(9, SMALL.model_copy(update={"bit_depth": 8})).sample(2)
    assert view.frame.image.dtype == np.uint8
    assert np.array_equal(truth_of(raw).boxes_xyxy_px, truth_of(view).boxes_xyxy_px)
    assert np.array_equal(rgb_of(raw), rgb_of(view))
    # gain control never turns warmer into darker
    order = np.argsort(raw.frame.image.reshape(-1), kind="stable")
    counts, codes = raw.frame.image.reshape(-1)[order].astype(int), view.frame.image.reshape(-1)[order].astype(int)
    highest = np.maximum.accumulate(codes)
    apart = highest - codes > 1
    assert not (apart & (counts - counts[np.searchsorted(highest, highest, side="left")] > 1)).any()
    assert codes.max() - codes.min() > 60


def test_a_street_without_traffic_is_labelled_empty() -> None:
    empty = SMALL.model_copy(update={"persons_per_100m": 0.0, "bicycles_per_100m": 0.0, "cars_per_100m": 0.0})
    truth = truth_of(SyntheticStreet(3, empty).sample(0))
    assert truth.boxes_xyxy_px.shape == (0, 4)


def test_training_samples_are_of_different_streets_and_depths_and_hold_every_class() -> None:
    samples = [synthetic_training_sample(2000, index, SMALL) for index in range(16)]
    assert len({sample.scene for sample in samples}) == 16
    assert {sample.frame.image.dtype.name for sample in samples} == {"uint8", "uint16"}
    assert {sample.light for sample in samples} == {"day", "night"}
    heights: dict[int, list[float]] = {PERSON: [], BICYCLE: [], CAR: []}
    for truth in map(truth_of, samples):
        boxes = truth.boxes_xyxy_px
        assert (boxes[:, :2] >= 0).all()
        assert (boxes[:, 2:] <= (320, 256)).all()
        assert (boxes[:, 2:] > boxes[:, :2]).all()
        for box, kind in zip(boxes[~truth.ignore], truth.class_ids[~truth.ignore], strict=True):
            heights[int(kind)].append(float(box[3] - box[1]))
    assert min(len(values) for values in heights.values()) >= 16
    assert len(heights[PERSON]) > len(heights[BICYCLE]) + len(heights[CAR])
    assert 12 <= np.median(heights[PERSON]) <= 30
    assert fingerprint(synthetic_training_sample(2000, 5, SMALL)) == fingerprint(samples[5])
    assert fingerprint(synthetic_training_sample(2003, 2, SMALL)) == fingerprint(samples[5])
