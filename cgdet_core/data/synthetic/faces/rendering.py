"""A face as a thermal camera might see it: one person's temperatures laid over what its pixels are made of, and the
camera's exposure of them; of a labelled RGB face with the same points, registered by construction.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any, NamedTuple

import cv2
import numpy as np

from cgdet_core.data.sets.coco import CocoSet
from cgdet_core.data.synthetic.faces import regions
from cgdet_core.data.synthetic.faces.regions import FaceAxes, Materials, Points, oval, zone
from cgdet_core.errors import InputError
from cgdet_core.types import FloatArray, Frame, ImageArray, Sample

SKIN_C = 33.5
_RANGES_C = {
    **{"hair": (-5.0, -1.0), "brows": (-2.0, 0.0), "cheeks": (-2.6, 0.1), "forehead": (-0.2, 1.3), "neck": (-0.9, 0.6)},
    **{"eyes": (0.1, 1.0), "inner corners": (0.5, 2.0), "eyeballs": (-0.5, 0.4), "lips": (-0.6, 0.6)},
    **{"mouth corners": (-0.2, 1.0), "open mouth": (-2.5, 0.4), "lenses": (-8.0, -3.0), "mask": (-5.0, -0.5)},
    "edges": (0.2, 1.4),
}


class Heat(NamedTuple):
    """One person's temperatures. beside_c: of the parts named in _RANGES_C and of nose, background and cloth, degrees
    Celsius beside SKIN_C; uneven_c: float32 [8, 8], of the skin from place to place; lenses: half width, half height
    and exponent of glasses, None without; masked: whether nose, mouth and chin are covered."""

    beside_c: dict[str, float]
    uneven_c: FloatArray
    lenses: tuple[float, float, float] | None
    masked: bool

    @classmethod
    def drawn(cls, rng: np.random.Generator, bare: bool = False) -> Heat:
        """A person at random; bare: without glasses and mask."""
        beside_c = {part: float(rng.uniform(*between)) for part, between in _RANGES_C.items()}
        beside_c["nose"] = float(rng.uniform(-3.5, 0.1) if rng.random() < 0.7 else rng.uniform(-0.8, 0.4))
        surrounding = [rng.uniform(-16, -7), rng.uniform(-7, -2), rng.uniform(0.5, 3.0)]
        beside_c["background"] = float(rng.choice(surrounding, p=[0.6, 0.3, 0.1]))
        beside_c["cloth"] = float(rng.uniform(min(beside_c["background"], -3.0), -0.8))
        uneven_c = rng.normal(0, rng.uniform(0.15, 0.5), (8, 8)).astype(np.float32)
        half_width, half_height, exponent = rng.uniform((0.21, 0.12, 2.0), (0.27, 0.18, 4.0)).tolist()
        glasses, masked = bool(rng.random() < 0.15), bool(rng.random() < 0.04)
        lenses = (half_width, half_height, exponent) if glasses and not bare else None
        return cls(beside_c, uneven_c, lenses, masked and not bare)


def temperatures_c(materials: Materials, points_px: Points, heat: Heat) -> FloatArray:
    """float32 [H, W] degrees Celsius of a face made of `materials` with its points there."""
    size, axes, beside_c = materials.size, FaceAxes.of(points_px), heat.beside_c
    tall, detail = axes.height_px, materials.detail
    right, down = axes.coordinates(size, 4)
    grid = (right * 3.5 + 3.5, down * 4.2 + 2.5)
    uneven_c = cv2.remap(heat.uneven_c, *grid, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT)
    skin = SKIN_C + regions.widened(np.asarray(uneven_c, np.float32), size)
    # the cold of a nose runs down its ridge and widens to the wings: a blob on the tip would draw the points up
    nose = np.array([0.6 * points_px[27] + 0.4 * points_px[28], points_px[31], points_px[33], points_px[35]])
    cheeks = [points_px[[1, 36, 41, 31, 48, 4]], points_px[[15, 45, 46, 35, 54, 12]]]
    forehead = np.concatenate([regions.outline(points_px, regions.FOREHEAD)[17:], points_px[17:27]])
    for part, polygons, blur in (
        ("nose", [regions.grown(nose, 1.12)], 0.035),
        ("cheeks", [regions.grown(cheek, 0.85) for cheek in cheeks], 0.075),
        ("forehead", [regions.grown(forehead, 0.8)], 0.08),
        ("eyes", [regions.grown(points_px[eye], 1.7) for eye in regions.EYES], 0.035),
        ("inner corners", [oval(points_px[corner], 0.05, 0.05, axes) for corner in (39, 42)], 0.025),
        ("eyeballs", [points_px[eye] for eye in regions.EYES], 0.008),
        ("lips", [points_px[regions.LIPS]], 0.015),
        ("mouth corners", [oval(points_px[corner], 0.04, 0.04, axes) for corner in (48, 54)], 0.025),
        ("open mouth", [points_px[regions.INNER_LIPS]], 0.008),
    ):
        skin += beside_c[part] * zone(polygons, size, blur * tall)
    face = zone([regions.face_polygon(points_px)], size, 0.008 * tall)
    skin += beside_c["neck"] * (1 - face) * regions.widened(np.clip(6 * down - 1.8, 0, 1), size)
    # pupils and teeth are edges of colour alone
    inside = zone([points_px[each] for each in (*regions.EYES, regions.INNER_LIPS)], size, 0.008 * tall)
    skin += beside_c["edges"] * detail * (1 - 0.7 * inside)

    degrees = np.float32(SKIN_C + beside_c["background"]) + np.float32(0.8) * detail
    degrees += materials.cloth * np.float32(beside_c["cloth"] - beside_c["background"])
    degrees += materials.skin * (skin - degrees)
    hair_c = beside_c["hair"] + face * (beside_c["brows"] - beside_c["hair"])  # short hair lets skin through
    degrees += materials.hair * (SKIN_C + hair_c + detail - degrees)
    if heat.lenses is not None:
        half_width, half_height, exponent = heat.lenses
        middles = [points_px[eye].mean(axis=0) + 0.03 * tall * axes.down for eye in regions.EYES]
        half_width = min(half_width, 0.46 * float(np.linalg.norm(middles[1] - middles[0])) / tall)
        lenses = zone([oval(middle, half_width, half_height, axes, exponent) for middle in middles], size, 0.008 * tall)
        bridge = zone([np.array(middles)], size, 0.006 * tall, 0.03 * tall)
        degrees += np.maximum(lenses, bridge) * (SKIN_C + beside_c["lenses"] - degrees)
    if heat.masked:
        mask = zone([np.concatenate([points_px[2:15], points_px[28:29]])], size, 0.008 * tall)
        degrees += mask * (SKIN_C + beside_c["mask"] + detail - degrees)
    return np.asarray(degrees, np.float32)


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
    darkest = np.percentile(body, 1) - rng.uniform(0.5, 5) if cut_out else np.percentile(sample, rng.uniform(0.5, 20))
    low = float(darkest)
    unit = np.clip((kelvin - low) / max(high - low, 10 * noise_k, 0.5), 0, 1) ** np.float32(rng.uniform(0.5, 1.3))
    if cut_out:
        unit *= skin > 0.4
    if rng.random() < 0.15:  # black-hot
        unit = 1 - unit
    dark, light = rng.uniform((0, 170), (30, 255)).tolist()
    return np.asarray(np.rint(dark + (light - dark) * unit), np.uint8)


def render_thermal(rgb: ImageArray, points_px: Points, rng: np.random.Generator) -> ImageArray:
    """uint8 [H, W, 3] RGB of a face and its 68 points, float [68, 2] -> thermal-like uint8 [H, W] with these points;
    person, surrounding and camera are drawn from `rng`."""
    materials = regions.estimated_materials(rgb, points_px)
    degrees_c = temperatures_c(materials, points_px, Heat.drawn(rng))
    return expose(degrees_c, materials.skin, FaceAxes.of(points_px).height_px, rng)


def rendered_faces(faces: CocoSet, count: int, seed: int) -> Iterator[Sample]:
    """`count` renderings of each image of an RGB set that shows one face with all of its 68 points.

    frame: the rendering, uint8 [H, W], a function of (seed, image, its number); rgb: the picture itself; truth: as the
    set has it. InputError for a grey picture, and where no image shows such a face.
    """
    found = False
    for index, record in enumerate(faces.records):
        points, known = record.truth.points_xy_px, record.truth.points_labelled
        if points is None or known is None or known.shape != (1, 68) or not known.all():
            continue
        found, sample = True, faces.sample(index)
        rgb = sample.frame.image
        if rgb.ndim != 3:
            raise InputError(f"{record.path}: is grey, rendering needs colour: leave out render_thermal")
        for number in range(count):
            thermal = render_thermal(rgb, points[0], np.random.default_rng([seed, index, number]))
            yield replace(sample, name=f"{sample.name}#{number}", frame=Frame(thermal), rgb=rgb)
    if not found:
        raise InputError(f"{faces.path}: no image shows one face with 68 labelled points: give such images")
