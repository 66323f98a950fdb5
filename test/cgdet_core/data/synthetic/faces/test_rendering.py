"""A labelled RGB face, rendered as thermal: registered, varied by seed, warm and cold where faces are."""

from __future__ import annotations

import json
from dataclasses import replace

import cv2
import numpy as np
import pytest

from cgdet_core.data.sets.coco import load_coco
from cgdet_core.data.synthetic.faces.drawing import DrawnPerson, paint
from cgdet_core.data.synthetic.faces.head import Pose, drawn_head_mm, seen
from cgdet_core.data.synthetic.faces.regions import estimated_materials
from cgdet_core.data.synthetic.faces.rendering import SKIN_C, Heat, render_thermal, rendered_faces, temperatures_c
from cgdet_core.errors import InputError
from cgdet_core.tasks.landmarks.points import MIRROR

SIZE = (160, 150)
PLAIN = {
    **{"hair": -4.0, "brows": -2.0, "cheeks": -1.5, "forehead": 0.0, "neck": 0.0, "eyes": 0.0, "inner corners": 1.0},
    **{
        "eyeballs": 0.0,
        "lips": 0.5,
        "mouth corners": 1.0,
        "open mouth": 0.0,
        "lenses": -6.0,
        "mask": -3.0,
        "edges": 0.0,
        "nose": -2.0,
    },
    **{"background": -10.0, "cloth": -5.0},
}


@pytest.fixture(scope="module")
def portrait():
    """A drawn RGB face of light skin, dark hair and a blue wall, and its points; taken for a photograph here."""
    rng = np.random.default_rng(3)
    person = replace(
        DrawnPerson.drawn(rng, bare=True),
        head_mm=drawn_head_mm(rng),
        skin=np.array([220.0, 170, 140]),
        hair=np.array([40.0, 30, 25]),
        cloth=np.array([30.0, 120, 60]),
        **{"beard": 0.0, "hairline": 0.5, "long_hair": 0.0, "light": 0.0},
    )
    rgb = np.full((*SIZE, 3), (40, 80, 190), np.uint8)
    points = seen(person.head_mm, Pose((75.0, 75.0), 0.6, yaw_deg=8, roll_deg=5, open_mouth=0.3))
    paint(rgb, person, points)
    return rgb, points


def heat(**beside_c) -> Heat:
    return Heat({**PLAIN, **beside_c}, np.zeros((8, 8), np.float32), None, False)


def mean_within(picture, polygon_px, shrink=0.6) -> float:
    """Mean of a picture in a polygon shrunk about its middle."""
    middle = polygon_px.mean(axis=0)
    mask = np.zeros(picture.shape, np.uint8)
    cv2.fillPoly(mask, [np.rint(middle + shrink * (polygon_px - middle)).astype(np.int32)], 1)
    return float(picture[mask > 0].mean())


def parts(points) -> dict[str, np.ndarray]:
    """Polygons of the face's parts, by hand."""
    return {
        "nose": points[[28, 31, 33, 35]],
        "cheek": points[[2, 41, 31, 48, 4]],
        "chin": points[[57, 7, 8, 9]],
        "brow": np.concatenate([points[17:22], points[21:16:-1] + np.array([0, 3])]),
        "lips": points[[49, 50, 51, 52, 53, 63, 62, 61]],
        "bridge": points[[27, 39, 21, 22, 42]],
    }


def test_a_rendering_is_a_function_of_its_seed_and_has_the_size_of_its_picture(portrait):
    rgb, points = portrait
    before = rgb.copy()
    first, again, other = (render_thermal(rgb, points, np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert first.shape == SIZE
    assert first.dtype == np.uint8
    assert np.array_equal(first, again)
    assert np.abs(first.astype(int) - other).mean() > 3
    assert np.array_equal(rgb, before)


def test_skin_is_warm_and_nose_cheeks_brows_hair_and_the_wall_are_cold(portrait):
    rgb, points = portrait
    degrees = temperatures_c(estimated_materials(rgb, points), points, heat())
    seen_c = {name: mean_within(degrees, polygon) for name, polygon in parts(points).items()}
    assert seen_c["chin"] == pytest.approx(SKIN_C, abs=0.4)
    assert seen_c["nose"] < seen_c["chin"] - 1.0
    assert seen_c["cheek"] < seen_c["chin"] - 0.4
    assert seen_c["brow"] < seen_c["chin"] - 0.5
    assert seen_c["lips"] > seen_c["chin"] + 0.2
    hair = np.array([points[27] + (x, -0.62 * np.linalg.norm(points[27] - points[8])) for x in (-8, 8)])
    crown = mean_within(degrees, np.concatenate([hair, hair[::-1] - (0, 6)]), 1.0)
    assert crown < SKIN_C - 2.5
    wall = degrees[5:60, 3:15].mean()
    assert wall == pytest.approx(SKIN_C - 10, abs=0.5)


def test_inner_corners_of_the_eyes_are_warmer_than_what_lies_round_them(portrait):
    rgb, points = portrait
    degrees = temperatures_c(estimated_materials(rgb, points), points, heat(nose=0.0, brows=0.0))
    for corner in (39, 42):
        x, y = np.rint(points[corner]).astype(int)
        assert degrees[y, x] > SKIN_C + 0.4


def test_the_cold_of_a_nose_spreads_along_its_ridge(portrait):
    rgb, points = portrait
    materials = estimated_materials(rgb, points)
    cold = temperatures_c(materials, points, heat(nose=-2.0)) - temperatures_c(materials, points, heat(nose=0.0))
    y, x = np.mgrid[: SIZE[0], : SIZE[1]]
    centre = np.array([(cold * x).sum(), (cold * y).sum()]) / cold.sum()
    tip, root = points[30], points[27]
    along = (centre - root) @ (tip - root) / ((tip - root) @ (tip - root))
    assert 0.6 < along < 1.0  # above the tip, at which a blob would be
    assert cold[tuple(np.rint(points[29]).astype(int)[::-1])] < -1.0
    assert cold[tuple(np.rint(points[33]).astype(int)[::-1])] < -0.4


def test_glasses_and_masks_are_cold_where_they_lie_and_nowhere_else(portrait):
    rgb, points = portrait
    materials = estimated_materials(rgb, points)
    bare = temperatures_c(materials, points, heat())
    glasses = temperatures_c(materials, points, heat()._replace(lenses=(0.24, 0.15, 3.0)))
    masked = temperatures_c(materials, points, heat()._replace(masked=True))
    for eye in (points[36:42], points[42:48]):
        assert mean_within(glasses, eye, 1.0) == pytest.approx(SKIN_C - 6, abs=0.3)
    assert mean_within(glasses, parts(points)["chin"]) == pytest.approx(mean_within(bare, parts(points)["chin"]))
    assert mean_within(masked, points[48:60], 0.8) == pytest.approx(SKIN_C - 3, abs=1.0)
    assert mean_within(masked, points[36:42], 1.0) == pytest.approx(mean_within(bare, points[36:42], 1.0))


def test_a_mirrored_face_with_permuted_points_is_rendered_as_the_mirror(portrait):
    rgb, points = portrait
    mirrored = points[MIRROR] * (-1, 1) + (SIZE[1] - 1, 0)
    left = temperatures_c(estimated_materials(rgb, points), points, heat())
    right = temperatures_c(estimated_materials(np.ascontiguousarray(rgb[:, ::-1]), mirrored), mirrored, heat())
    difference = np.abs(left - right[:, ::-1])
    assert difference.mean() < 0.1
    assert np.percentile(difference, 99) < 1.0


def test_polarity_gain_and_surroundings_vary_with_the_seed(portrait):
    rgb, points = portrait
    chin, wall = parts(points)["chin"], np.s_[5:60, 3:15]
    pictures = [render_thermal(rgb, points, np.random.default_rng([9, seed])) for seed in range(40)]
    warmer = np.array([mean_within(each, chin) > each[wall].mean() for each in pictures])
    assert 0.55 < warmer.mean() < 0.97  # the rest is black-hot, or before a warm wall
    black = np.array([each[wall].std() == 0 for each in pictures])
    assert 0.02 < black.mean() < 0.6  # backgrounds cut out
    assert max(each.max() for each in pictures) > 240
    assert np.std([each.mean() for each in pictures]) > 15


def write_set(folder, pictures, points, count=68):
    images, annotations = [], []
    for number, picture in enumerate(pictures):
        cv2.imwrite(str(folder / f"{number}.png"), picture)
        height, width = picture.shape[:2]
        images.append({"id": number, "file_name": f"{number}.png", "height": height, "width": width})
        low, extent = points.min(axis=0), np.ptp(points, axis=0)
        keypoints = [value for x, y in points[:count].tolist() for value in (x, y, 2)]
        annotations.append(
            {"id": number, "image_id": number, "category_id": 1, "bbox": [*low, *extent], "keypoints": keypoints}
        )
    category = {"id": 1, "name": "face", "keypoints": [f"p{number}" for number in range(count)]}
    (folder / "faces.json").write_text(
        json.dumps({"images": images, "annotations": annotations, "categories": [category]})
    )
    return load_coco(folder / "faces.json", ("face",))


def test_every_face_of_a_set_is_rendered_with_its_picture_as_partner_and_its_points(tmp_path, portrait):
    rgb, points = portrait
    faces = write_set(tmp_path, [rgb[:, :, ::-1], 255 - rgb], points)
    samples = list(rendered_faces(faces, 3, seed=5))
    assert [sample.name for sample in samples] == [f"{k}.png#{n}" for k in (0, 1) for n in range(3)]
    for sample in samples:
        assert sample.frame.image.shape == SIZE
        assert np.allclose(sample.truth.points_xy_px[0], points, atol=1e-3)
    assert np.array_equal(samples[0].rgb, rgb)
    assert not np.array_equal(samples[0].frame.image, samples[1].frame.image)
    (alone, *_) = rendered_faces(faces, 1, seed=5)
    assert np.array_equal(alone.frame.image, samples[0].frame.image)  # the count changes no rendering


@pytest.mark.parametrize("kind", ["grey", "other points"])
def test_a_set_that_cannot_be_rendered_is_refused_by_its_name(tmp_path, portrait, kind):
    rgb, points = portrait
    picture = rgb[:, :, 0] if kind == "grey" else rgb
    faces = write_set(tmp_path, [picture], points, 68 if kind == "grey" else 6)
    with pytest.raises(InputError) as error:
        list(rendered_faces(faces, 1, seed=0))
    assert str(tmp_path) in str(error.value)
