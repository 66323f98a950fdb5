"""The synthetic street: repeatable frames, exact boxes, plausible temperatures."""

from __future__ import annotations

import dataclasses
import hashlib
import os
import subprocess
import sys
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from cgdet_core.config import SyntheticConfig, settings_from_mapping
from cgdet_core.data.synthetic.camera import Camera, Shape
from cgdet_core.data.synthetic.cars import car_shape, make_car
from cgdet_core.data.synthetic.painter import Painter, painting_order
from cgdet_core.data.synthetic.people import make_person, standing_shape
from cgdet_core.data.synthetic.scenes import SyntheticStreet, synthetic_training_sample
from cgdet_core.data.synthetic.truth import visible_truth
from cgdet_core.errors import InputError
from cgdet_core.types import CLASS_NAMES, GroundTruth, Sample

PERSON, BICYCLE, CAR = (CLASS_NAMES.index(name) for name in ("person", "bicycle", "car"))
SMALL = SyntheticConfig(height_width_px=(256, 320))
HASH_OF_FRAME_5 = """
import hashlib
from cgdet_core.config import SyntheticConfig
from cgdet_core.data.synthetic import SyntheticStreet
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


def looking_ahead() -> Camera:
    return Camera.looking((0.0, 1.5, 0.0), 0.0, 0.0, 0.0, 50.0, (256, 320))


def paint(shapes: list[Shape], config: SyntheticConfig = SMALL) -> GroundTruth:
    """What is labelled where only these shapes stand on the street."""
    camera = looking_ahead()
    painter = Painter(camera, (256, 320))
    order = painting_order(np.array([shape.footprint() for shape in shapes]), camera.position_m)
    queue = [shapes[i] for i in order]
    painter.paint(queue, np.ones((len(queue), 3)), np.zeros(len(queue)), (20.0, (0.5, 0.5, 0.5)))
    return visible_truth(painter, config)


def person_at(x_m: float, z_m: float, seed: int = 1) -> Shape:
    return standing_shape(make_person(np.random.default_rng(seed), 10.0, 0.0), x_m, z_m, 0.4, 1.0, 0.4)


def car_at(x_m: float, z_m: float, heading: float = 0.0) -> Shape:
    car = make_car(np.random.default_rng(3), 10.0, -10.0, 0.0, False, True)
    return car_shape(car, x_m, z_m, heading, looking_ahead().position_m)


def test_a_frame_is_the_same_in_any_order() -> None:
    fresh = [fingerprint(SyntheticStreet(7, SMALL).sample(index)) for index in (0, 4, 31)]
    street = SyntheticStreet(7, SMALL)
    assert [fingerprint(street.sample(index)) for index in (31, 4, 0)] == fresh[::-1]
    assert len(set(fresh)) == 3


def test_a_frame_is_the_same_in_another_process() -> None:
    environment = {**os.environ, "PYTHONHASHSEED": "12345"}
    done = subprocess.run(
        [sys.executable, "-c", HASH_OF_FRAME_5], capture_output=True, text=True, env=environment, check=True
    )
    assert done.stdout.strip() == fingerprint(SyntheticStreet(7, SMALL).sample(5))


def test_a_sample_says_when_and_where_it_was_taken() -> None:
    config = SMALL.model_copy(update={"frames_per_second": 25.0, "start_stamp_ns": 5_000_000_000, "light": "day"})
    sample = SyntheticStreet(12, config).sample(3)
    assert sample.name == "street-12/000003"
    assert sample.scene == "street-12"
    assert sample.light == "day"
    assert sample.frame.stamp_ns == 5_000_000_000 + 3 * 40_000_000
    assert sample.frame.image.shape == (256, 320)
    assert sample.frame.image.dtype == np.uint16
    assert rgb_of(sample).shape == (256, 320, 3)
    assert rgb_of(sample).dtype == np.uint8


def test_streets_differ_and_a_street_goes_on() -> None:
    assert fingerprint(SyntheticStreet(1, SMALL).sample(0)) != fingerprint(SyntheticStreet(2, SMALL).sample(0))
    street = next(s for s in (SyntheticStreet(seed, SMALL) for seed in range(20)) if s.street.speed_m_s > 5)
    seen = []
    for index in (0, 400, 40_000):
        camera = street.street.camera(index / 10)
        seen.append(
            {id(shape) for block in street.street.blocks_in_view(camera.position_m[2]) for shape in block.fronts}
        )
        assert len(truth_of(street.sample(index))) > 0
    assert not seen[0] & seen[1]
    assert not seen[1] & seen[2]


def test_boxes_are_what_a_frame_loses_when_its_object_is_taken_away(monkeypatch: pytest.MonkeyPatch) -> None:
    checked = {PERSON: 0, BICYCLE: 0, CAR: 0}
    for seed in range(3, 8):
        # at night: by day an object also takes its shadow along
        street = SyntheticStreet(seed, SyntheticConfig(light="night"))
        heat, light, painter = street.render(2.0)
        truth = visible_truth(painter, street.config)
        everything = street.street.shapes(2.0, street.street.camera(2.0).position_m)
        alone = [shape for shape in everything if len(shape.objects) == 1]
        for shape in alone[:: max(1, len(alone) // 6)]:
            # what a car leaves on the road below it is not part of the car, and stays
            left = [(where, paint) for where, paint in zip(shape.order, shape.paints, strict=True) if paint.part < 0]
            order, paints = [where for where, _ in left], [paint for _, paint in left]
            ghost = dataclasses.replace(shape, objects=(), order=order, paints=paints, _table=None)
            rest = [ghost if other is shape else other for other in everything]
            with monkeypatch.context() as patch:
                patch.setattr(street.street, "shapes", lambda t, eye, rest=rest: rest)
                heat_without, light_without, _ = street.render(2.0)
            ys, xs = np.nonzero((heat != heat_without) | (light != light_without).any(axis=0))
            if len(ys) == 0:
                continue
            lost = np.array([xs.min(), ys.min(), xs.max() + 1, ys.max() + 1], dtype=np.float32)
            kind = shape.objects[0]
            error = np.abs(truth.boxes_xyxy_px[truth.class_ids == kind] - lost)
            assert error.max(axis=1).min() <= 0.5, (seed, shape.objects, lost)
            checked[kind] += 1
    assert min(checked.values()) >= 2


def test_the_box_of_a_lone_person_is_the_projection_of_its_capsules() -> None:
    shape, camera = person_at(0.7, 6.0), looking_ahead()
    ends, radii = shape.placed().ends_m, shape.placed().radii_m
    depth = ends[..., 2]
    u = 160 + camera.focal_px * ends[..., 0] / depth
    v = 128 - camera.focal_px * (ends[..., 1] - 1.5) / depth
    r = camera.focal_px * radii / depth
    expected = [(u - r).min(), (v - r).min(), (u + r).max(), (v + r).max()]
    truth = paint([shape])
    assert truth.class_ids.tolist() == [PERSON]
    assert not truth.ignore[0]
    # outlines have 12 corners, so a circle may miss its extreme by 1 - cos(18 degrees) of its radius
    assert np.allclose(truth.boxes_xyxy_px[0], expected, atol=1.0)


def test_a_person_behind_a_car_is_cut_or_ignored_and_before_it_whole() -> None:
    lone = paint([person_at(0.0, 12.0)]).boxes_xyxy_px[0]
    behind = paint([person_at(0.0, 12.0), car_at(0.0, 8.0)])
    hidden = behind.boxes_xyxy_px[behind.class_ids == PERSON]
    assert len(hidden) == 0 or hidden[0, 3] < lone[3] - 5
    before = paint([person_at(0.0, 12.0), car_at(0.0, 16.0)])
    assert np.array_equal(before.boxes_xyxy_px[before.class_ids == PERSON][0], lone)
    wall = paint([person_at(0.0, 12.0), car_at(-0.75, 8.0, np.pi / 2), car_at(0.3, 5.0, np.pi / 2)])
    assert wall.ignore[wall.class_ids == PERSON].all()


def test_small_and_cut_off_objects() -> None:
    far = paint([person_at(0.0, 60.0)])
    assert far.boxes_xyxy_px[0, 3] - far.boxes_xyxy_px[0, 1] > 8
    assert not far.ignore[0]
    assert paint([person_at(0.0, 110.0)]).ignore[0]
    # half a car at the frame's edge is a car; its bumper alone is a region to ignore
    edge_m = 8.0 * np.tan(np.radians(25.0))
    half = paint([car_at(edge_m, 10.0)])
    assert not half.ignore[0]
    assert half.boxes_xyxy_px[0, 2] == 320
    sliver = paint([car_at(edge_m + 0.95 + 1.8, 10.0, np.pi / 2)])
    assert len(sliver) == 1
    assert sliver.ignore[0]


def test_nothing_is_painted_over_what_stands_before_it() -> None:
    rng = np.random.default_rng(0)
    eye = np.array([0.0, 1.5, 0.0])
    low = np.stack([rng.uniform(-8, 8, 60), rng.uniform(2, 60, 60)], axis=1)
    size = rng.uniform(0.2, 1.5, (60, 2))
    boxes = np.stack([low[:, 0], low[:, 0] + size[:, 0], low[:, 1], low[:, 1] + size[:, 1]], axis=1)
    keep: list[int] = []
    for i, b in enumerate(boxes):
        apart = [b[0] >= boxes[j, 1] or b[1] <= boxes[j, 0] or b[2] >= boxes[j, 3] or b[3] <= boxes[j, 2] for j in keep]
        if all(apart):
            keep.append(i)
    boxes = boxes[keep]
    place = {number: k for k, number in enumerate(painting_order(boxes, eye))}
    assert sorted(place) == list(range(len(boxes)))
    # independent: along rays from the eye, the nearer rectangle is painted later
    compared = 0
    for angle in np.linspace(-1.0, 1.0, 400):
        direction = np.array([np.sin(angle), np.cos(angle)])
        hits = []
        for number, (x0, x1, z0, z1) in enumerate(boxes):
            tx = sorted((x0 / direction[0], x1 / direction[0]))
            tz = sorted((z0 / direction[1], z1 / direction[1]))
            if max(tx[0], tz[0]) < min(tx[1], tz[1]):
                hits.append((max(tx[0], tz[0]), number))
        hits.sort()
        for (_, near), (_, far) in pairwise(hits):
            assert place[far] < place[near]
            compared += 1
    assert compared > 50


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


def test_the_two_pictures_are_aligned(monkeypatch: pytest.MonkeyPatch) -> None:
    street = SyntheticStreet(4, SyntheticConfig(light="night"))
    camera = street.street.camera(0.0)
    everything = street.street.shapes(0.0, camera.position_m)
    cars = [shape for shape in everything if CAR in shape.objects]
    persons = [shape for shape in everything if PERSON in shape.objects]
    for gone in (cars, persons):
        heat, light, _ = street.render(0.0)
        rest = [shape for shape in everything if not any(shape is other for other in gone)]
        with monkeypatch.context() as patch:
            patch.setattr(street.street, "shapes", lambda t, eye, rest=rest: rest)
            heat_without, light_without, _ = street.render(0.0)
        in_heat = np.abs(heat - heat_without) > 0.02
        in_light = np.abs(light - light_without).max(axis=0) > 1e-4
        assert in_heat.sum() > 300
        assert (in_heat & in_light).sum() > 0.9 * (in_heat | in_light).sum()


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


def test_temperatures_are_those_of_a_street() -> None:
    # a pixel at the horizon sees kilometres of ground: nothing there may run away
    for seed in (1013, 1037, 1071, 3, 4, 5):
        street = SyntheticStreet(seed, SyntheticConfig())
        for t in (2.0, 2719.3, 1e5):
            heat, light, _ = street.render(t)
            assert np.isfinite(heat).all()
            assert heat.min() > -60
            assert heat.max() < 120
            assert light.min() > -0.2
            assert light.max() < 3


def test_low_contrast_shrinks_the_span_of_the_counts() -> None:
    def span(contrast: float) -> float:
        image = SyntheticStreet(5, SMALL.model_copy(update={"thermal_contrast": contrast})).sample(0).frame.image
        low, high = np.percentile(image, [1, 99.5])
        return float(high - low)

    assert span(0.3) < 0.5 * span(1.0)


def test_day_and_night_are_kept_and_mixed_streets_are_both() -> None:
    for light in ("day", "night"):
        config = SMALL.model_copy(update={"light": light})
        samples = [SyntheticStreet(seed, config).sample(0) for seed in range(3)]
        assert {sample.light for sample in samples} == {light}
        brightness = np.mean([rgb_of(sample).mean() for sample in samples])
        assert brightness > 70 if light == "day" else brightness < 50
    assert {SyntheticStreet(seed, SMALL).street.climate.night for seed in range(12)} == {True, False}


def test_a_street_without_traffic_is_labelled_empty() -> None:
    empty = SMALL.model_copy(update={"persons_per_100m": 0.0, "bicycles_per_100m": 0.0, "cars_per_100m": 0.0})
    truth = truth_of(SyntheticStreet(3, empty).sample(0))
    assert len(truth) == 0
    assert truth.boxes_xyxy_px.shape == (0, 4)


def test_training_samples_are_of_different_streets_sizes_and_depths() -> None:
    samples = [synthetic_training_sample(2000, index) for index in range(24)]
    assert len({sample.scene for sample in samples}) == 24
    assert {sample.frame.image.dtype.name for sample in samples} == {"uint8", "uint16"}
    assert {sample.light for sample in samples} == {"day", "night"}
    heights: dict[int, list[float]] = {PERSON: [], BICYCLE: [], CAR: []}
    for sample in samples:
        truth = truth_of(sample)
        boxes = truth.boxes_xyxy_px
        assert (boxes[:, :2] >= 0).all()
        assert (boxes[:, 2:] <= (640, 512)).all()
        assert (boxes[:, 2:] > boxes[:, :2]).all()
        for box, kind in zip(boxes[~truth.ignore], truth.class_ids[~truth.ignore], strict=True):
            heights[int(kind)].append(float(box[3] - box[1]))
    assert min(len(values) for values in heights.values()) >= 24
    assert len(heights[PERSON]) > len(heights[BICYCLE]) + len(heights[CAR])
    assert 25 <= np.median(heights[PERSON]) <= 60
    again = synthetic_training_sample(2000, 5)
    assert fingerprint(again) == fingerprint(samples[5])
    assert fingerprint(synthetic_training_sample(2003, 2)) == fingerprint(samples[5])


@pytest.mark.parametrize(
    ("mapping", "named"),
    [
        ({"bit_depth": 12}, "bit_depth"),
        ({"light": "dusk"}, "light"),
        ({"height_width_px": [32, 640]}, "height_width_px"),
        ({"horizontal_fov_range_deg": [60, 40]}, "horizontal_fov_range_deg"),
        ({"noise_range_kelvin": [0, 0.1]}, "noise_range_kelvin"),
        ({"air_range_celsius": [-80, 10]}, "air_range_celsius"),
        ({"frames_per_second": 0}, "frames_per_second"),
        ({"thermal_contrast": float("nan")}, "thermal_contrast"),
        ({"persons": 3}, "persons"),
    ],
)
def test_a_street_that_cannot_be_is_refused(mapping: dict[str, Any], named: str) -> None:
    with pytest.raises(InputError, match=named) as refusal:
        settings_from_mapping(SyntheticConfig, mapping, "street.yaml")
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("ask", [lambda: SyntheticStreet(-1), lambda: SyntheticStreet(1, SMALL).sample(-1)])
def test_negative_numbers_are_refused(ask: Callable[[], object]) -> None:
    with pytest.raises(ValueError, match="0 or more"):
        ask()
