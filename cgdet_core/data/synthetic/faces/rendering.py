"""A labelled RGB face as a thermal camera might see it: same points, registered by construction."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import cv2
import numpy as np

from cgdet_core.data.sets.coco import CocoSet
from cgdet_core.data.synthetic.faces.heat import Heat, temperatures_c
from cgdet_core.data.synthetic.faces.regions import FaceAxes, Points, estimated_materials
from cgdet_core.errors import InputError
from cgdet_core.types import FloatArray, Frame, ImageArray, Sample


def expose(degrees_c: FloatArray, skin: FloatArray, height_px: float, rng: np.random.Generator) -> ImageArray:
    """float32 [H, W] degrees Celsius and the share of skin -> uint8 as a camera and its gain control at random would
    give it. height_px: of the face."""
    noise_k = float(rng.uniform(0.02, 0.14))
    kelvin: Any = cv2.GaussianBlur(degrees_c, (0, 0), max(float(rng.uniform(0.002, 0.013)) * height_px, 0.3))
    kelvin += rng.standard_normal(kelvin.shape, np.float32) * np.float32(noise_k)
    kelvin += rng.standard_normal(kelvin.shape[1], np.float32) * np.float32(0.4 * noise_k)  # columns
    if rng.random() < 0.2:  # local contrast
        kelvin -= np.float32(rng.uniform(0.4, 0.9)) * cv2.GaussianBlur(kelvin, (0, 0), 0.25 * height_px)
    sample = kelvin[::3, ::3]
    on_skin = skin[::3, ::3] > 0.8
    body = sample[on_skin] if on_skin.sum() > 20 else sample
    saturated = rng.random() < 0.45
    high = float(np.percentile(body, rng.uniform(70, 95) if saturated else rng.uniform(97, 100)))
    cut_out = rng.random() < 0.25  # some sets have their background cut to black
    low = float(
        np.percentile(body, 1) - rng.uniform(0.5, 5) if cut_out else np.percentile(sample, rng.uniform(0.5, 20))
    )
    unit = np.clip((kelvin - low) / max(high - low, 10 * noise_k, 0.5), 0, 1) ** np.float32(rng.uniform(0.5, 1.3))
    if cut_out:
        unit *= skin > 0.4
    if rng.random() < 0.15:  # black-hot
        unit = 1 - unit
    dark, light = rng.uniform((0, 170), (30, 255)).tolist()
    return np.asarray(np.rint(dark + (light - dark) * unit), np.uint8)


def render_thermal(rgb: ImageArray, points_px: Points, rng: np.random.Generator) -> ImageArray:
    """uint8 [H, W, 3] RGB of a face and its 68 points, float [68, 2] -> thermal-like uint8 [H, W].

    Person, surrounding and camera are drawn from `rng`; the points hold for the rendering as they stand.
    """
    materials = estimated_materials(rgb, points_px)
    degrees_c = temperatures_c(materials, points_px, Heat.drawn(rng))
    return expose(degrees_c, materials.skin, FaceAxes.of(points_px).height_px, rng)


def rendered_faces(faces: CocoSet, count: int, seed: int) -> Iterator[Sample]:
    """`count` renderings of each image of an RGB set that shows one face with all of its 68 points.

    frame: the rendering, uint8 [H, W]; rgb: the picture itself, its registered partner; truth: as the set has it.
    Rendering k of image i is a function of (seed, i, k). Raises InputError for a grey picture, and where no image
    shows such a face.
    """
    found = False
    for index, record in enumerate(faces.records):
        points, known = record.truth.points_xy_px, record.truth.points_labelled
        if points is None or known is None or known.shape != (1, 68) or not known.all():
            continue
        found, sample = True, faces.sample(index)
        rgb = sample.frame.image
        if rgb.ndim != 3:
            raise InputError(
                f"{record.path}: is grey, and a face is rendered from its colours: leave out render_thermal"
            )
        for number in range(count):
            thermal = render_thermal(rgb, points[0], np.random.default_rng([seed, index, number]))
            yield replace(sample, name=f"{sample.name}#{number}", frame=Frame(thermal), rgb=rgb)
    if not found:
        raise InputError(f"{faces.path}: none of its images shows one face with 68 labelled points: nothing to render")
