"""Painted bodies: the nearest is seen, and boxes are those of the pixels that are seen."""

from __future__ import annotations

import numpy as np
import pytest

from cgdet_core.config import SyntheticConfig
from cgdet_core.data.synthetic.actors import BICYCLE, CAR, PERSON, Person, car
from cgdet_core.data.synthetic.light import Climate
from cgdet_core.data.synthetic.painter import SUPERSAMPLING, Painting, paint
from cgdet_core.data.synthetic.shapes import Body, Camera, Paint, Placed
from cgdet_core.data.synthetic.street import SyntheticStreet
from cgdet_core.types import GroundTruth

CAMERA = Camera.looking((0.0, 1.5, 0.0), (0.0, 0.0, 0.0), 50.0, (256, 320))
CLIMATE = Climate(np.random.default_rng(1), SyntheticConfig(light="day"))


def person_at(x_m: float, z_m: float) -> Placed:
    return Person(np.random.default_rng(1), CLIMATE).walking(1.0, 1.2, 0.0).placed(x_m, z_m, 0.4)


def car_at(x_m: float, z_m: float, heading: float = 0.0) -> Placed:
    return car(np.random.default_rng(3), CLIMATE, driving=False).placed(x_m, z_m, heading)


def truth_of(*bodies: Placed) -> GroundTruth:
    return paint(CAMERA, [], bodies).truth


def looks_of(painting: Painting) -> np.ndarray:
    """Of every sub-pixel a number that says of which labelled part it is and how warm."""
    return (painting.primitives["temperature_c"] + 1000.0 * painting.primitives["part"])[painting.index]


def boxes_of(truth: GroundTruth, kind: int) -> np.ndarray:
    return truth.boxes_xyxy_px[truth.class_ids == kind]


def test_a_camera_sees_what_lies_ahead_in_its_middle_and_turns_as_it_is_told() -> None:
    for angles, point in (
        ((0.3, 0.0, 0.0), (np.sin(0.3), 0.0, np.cos(0.3))),
        ((0.0, 0.2, 0.0), (0.0, np.sin(0.2), np.cos(0.2))),
        ((-0.4, 0.1, 0.7), (-np.sin(0.4) * np.cos(0.1), np.sin(0.1), np.cos(0.4) * np.cos(0.1))),
    ):
        rotation = Camera.looking((0.0, 0.0, 0.0), angles, 50.0, (256, 320)).rotation
        np.testing.assert_allclose(rotation @ point, (0, 0, 1), atol=1e-12)
        np.testing.assert_allclose(rotation @ rotation.T, np.eye(3), atol=1e-12)
    # level, its right is x and its down is -y
    np.testing.assert_allclose(CAMERA.rotation, np.diag([1, -1, 1]), atol=1e-12)


def test_the_box_of_a_lone_person_is_the_projection_of_its_balls() -> None:
    body = person_at(0.7, 6.0)
    x, y, z, radius = body.points_m.T
    u, v, r = 160 + CAMERA.focal_px * x / z, 128 - CAMERA.focal_px * (y - 1.5) / z, CAMERA.focal_px * radius / z
    expected = [(u - r).min(), (v - r).min(), (u + r).max(), (v + r).max()]
    truth = truth_of(body)
    assert truth.class_ids.tolist() == [PERSON]
    assert not truth.ignore[0]
    # outlines have 12 corners, so that a circle may miss its extreme by some of its radius
    np.testing.assert_allclose(truth.boxes_xyxy_px[0], expected, atol=1.0)


def test_of_surfaces_that_cross_the_nearest_is_seen() -> None:
    rng = np.random.default_rng(0)
    bodies, triangles = [], []
    for _ in range(40):
        corners = rng.uniform((-4, -1, 3), (4, 4, 15), (3, 3))
        body = Body()
        body.face(corners.tolist(), Paint(0.0, (1.0, 1.0, 1.0)))
        bodies.append(body.placed(0.0, 0.0))
        triangles.append(corners - CAMERA.position_m)
    index = paint(CAMERA, [], bodies).index
    checked = wrong = 0
    for row, column in rng.integers(0, index.shape, (2500, 2)):
        seen = set(index[max(0, row - 1) : row + 2, max(0, column - 1) : column + 2].flat)
        if len(seen) > 1:
            continue  # at an edge
        pixel = (np.array([column, row]) + 0.5) / SUPERSAMPLING
        ray = np.array([(pixel[0] - 160) / CAMERA.focal_px, (128 - pixel[1]) / CAMERA.focal_px, 1.0])
        # how much of each corner lies on the ray: a triangle is hit where none is negative (Moeller and Trumbore 1997)
        shares = [np.linalg.solve(triangle.T, ray) for triangle in triangles]
        depths = [1 / share.sum() if (share > 0).all() else np.inf for share in shares]
        nearest = int(np.argmin(depths)) + 1 if np.isfinite(min(depths)) else 0
        checked += 1
        wrong += nearest != seen.pop()
    assert checked > 1000
    assert wrong <= 0.002 * checked


def test_a_wall_beside_the_camera_is_cut_where_it_passes_it() -> None:
    body = Body()
    body.face([(1.0, 0, -5), (1.0, 0, 20), (1.0, 3, 20), (1.0, 3, -5)], Paint(0.0, (1.0, 1.0, 1.0)))
    index = paint(CAMERA, [], [body.placed(0.0, 0.0)]).index
    columns = np.flatnonzero(index.any(axis=0)) / SUPERSAMPLING
    assert columns[0] == pytest.approx(160 + CAMERA.focal_px / 20, abs=1)
    assert columns[-1] == 319.5
    column = index[:, 600]
    depth = CAMERA.focal_px / (600.5 / SUPERSAMPLING - 160)
    assert np.flatnonzero(column)[-1] / SUPERSAMPLING == pytest.approx(
        min(256, 128 + CAMERA.focal_px * 1.5 / depth), abs=1
    )


def test_a_person_behind_a_car_is_cut_or_ignored_and_before_it_whole() -> None:
    lone = truth_of(person_at(0.0, 12.0)).boxes_xyxy_px[0]
    hidden = boxes_of(truth_of(person_at(0.0, 12.0), car_at(0.0, 8.0)), PERSON)
    assert len(hidden) == 0 or hidden[0, 3] < lone[3] - 5
    before = truth_of(person_at(0.0, 12.0), car_at(0.0, 16.0))
    assert np.array_equal(boxes_of(before, PERSON)[0], lone)
    wall = truth_of(person_at(0.0, 12.0), car_at(-0.75, 8.0, np.pi / 2), car_at(0.3, 5.0, np.pi / 2))
    assert wall.ignore[wall.class_ids == PERSON].all()


def test_small_and_cut_off_objects() -> None:
    assert not truth_of(person_at(0.0, 60.0)).ignore[0]
    assert truth_of(person_at(0.0, 110.0)).ignore[0]
    # half a car at the frame's edge is a car; its bumper alone is a region to ignore
    edge_m = 8.0 * np.tan(np.radians(25.0))
    half = truth_of(car_at(edge_m, 10.0))
    assert not half.ignore[0]
    assert half.boxes_xyxy_px[0, 2] == 320
    assert truth_of(car_at(edge_m + 0.95 + 1.8, 10.0, np.pi / 2)).ignore.tolist() == [True]
    assert len(truth_of(person_at(30.0, 10.0))) == 0


def test_boxes_are_what_a_frame_loses_when_its_object_is_taken_away(monkeypatch: pytest.MonkeyPatch) -> None:
    checked = {PERSON: 0, BICYCLE: 0, CAR: 0}
    for seed in range(3, 7):
        street = SyntheticStreet(seed, SyntheticConfig(light="night", height_width_px=(256, 320)))
        bodies = street.bodies(2.0)

        def painted(bodies: list[Placed], street: SyntheticStreet = street) -> Painting:
            with monkeypatch.context() as patch:
                patch.setattr(street, "bodies", lambda t: bodies)
                return street.render(2.0)[2]

        everything = painted(bodies)
        truth = everything.truth
        for body in (body for kind in checked for body in [b for b in bodies if b.labels == (kind,)][:2]):
            # what a car leaves on the road below it is not part of the car
            stays = body.primitives["part"] < 0
            points = np.repeat(stays, body.primitives["points"])
            left = [Placed(body.points_m[points], body.primitives[stays], (), body.origin_m)] if stays.any() else []
            without = painted([other for other in bodies if other is not body] + left)
            ys, xs = np.nonzero(looks_of(everything) != looks_of(without))
            if len(ys):
                lost = np.array([xs.min(), ys.min(), xs.max() + 1, ys.max() + 1]) / SUPERSAMPLING
                kind = body.labels[0]
                assert (boxes_of(truth, kind) == lost).all(axis=1).any(), (seed, kind, lost)
                checked[kind] += 1
    assert min(checked.values()) >= 2
