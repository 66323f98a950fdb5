"""How warm a face is: one person's temperatures in one surrounding, laid over what its pixels are made of."""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np

from cgdet_core.data.synthetic.faces.regions import (
    EYES,
    FOREHEAD,
    INNER_LIPS,
    LIPS,
    FaceAxes,
    Materials,
    Points,
    face_polygon,
    grown,
    outline,
    oval,
    widened,
    zone,
)
from cgdet_core.types import FloatArray

SKIN_C = 33.5
_RANGES_C = {
    **{"hair": (-5.0, -1.0), "brows": (-2.0, 0.0), "cheeks": (-2.6, 0.1), "forehead": (-0.2, 1.3), "neck": (-0.9, 0.6)},
    **{"eyes": (0.1, 1.0), "inner corners": (0.5, 2.0), "eyeballs": (-0.5, 0.4), "lips": (-0.6, 0.6)},
    **{"mouth corners": (-0.2, 1.0), "open mouth": (-2.5, 0.4), "lenses": (-8.0, -3.0), "mask": (-5.0, -0.5)},
    "edges": (0.2, 1.4),
}


class Heat(NamedTuple):
    """One person's temperatures.

    beside_c: of the parts named in _RANGES_C and of nose, background and cloth, degrees Celsius beside SKIN_C; "edges":
    of an edge in the picture. uneven_c: float32 [8, 8], of the skin from place to place. lenses: half width, half
    height and exponent of glasses, None without; masked: whether nose, mouth and chin are covered.
    """

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
    skin = SKIN_C + widened(np.asarray(uneven_c, np.float32), size)
    # the cold of a nose runs down its ridge and widens to the wings: a blob on the tip would draw the points up
    nose = np.array([0.6 * points_px[27] + 0.4 * points_px[28], points_px[31], points_px[33], points_px[35]])
    cheeks = [points_px[[1, 36, 41, 31, 48, 4]], points_px[[15, 45, 46, 35, 54, 12]]]
    forehead = np.concatenate([outline(points_px, FOREHEAD)[17:], points_px[17:27]])
    for part, polygons, blur in (
        ("nose", [grown(nose, 1.12)], 0.035),
        ("cheeks", [grown(cheek, 0.85) for cheek in cheeks], 0.075),
        ("forehead", [grown(forehead, 0.8)], 0.08),
        ("eyes", [grown(points_px[eye], 1.7) for eye in EYES], 0.035),
        ("inner corners", [oval(points_px[corner], 0.05, 0.05, axes) for corner in (39, 42)], 0.025),
        ("eyeballs", [points_px[eye] for eye in EYES], 0.008),
        ("lips", [points_px[LIPS]], 0.015),
        ("mouth corners", [oval(points_px[corner], 0.04, 0.04, axes) for corner in (48, 54)], 0.025),
        ("open mouth", [points_px[INNER_LIPS]], 0.008),
    ):
        skin += beside_c[part] * zone(polygons, size, blur * tall)
    face = zone([face_polygon(points_px)], size, 0.008 * tall)
    skin += beside_c["neck"] * (1 - face) * widened(np.clip(6 * down - 1.8, 0, 1), size)
    # pupils and teeth are edges of colour alone
    inside = zone([points_px[each] for each in (*EYES, INNER_LIPS)], size, 0.008 * tall)
    skin += beside_c["edges"] * detail * (1 - 0.7 * inside)

    degrees = np.float32(SKIN_C + beside_c["background"]) + np.float32(0.8) * detail
    degrees += materials.cloth * np.float32(beside_c["cloth"] - beside_c["background"])
    degrees += materials.skin * (skin - degrees)
    hair_c = beside_c["hair"] + face * (beside_c["brows"] - beside_c["hair"])  # short hair lets skin through
    degrees += materials.hair * (SKIN_C + hair_c + detail - degrees)
    if heat.lenses is not None:
        half_width, half_height, exponent = heat.lenses
        middles = [points_px[eye].mean(axis=0) + 0.03 * tall * axes.down for eye in EYES]
        half_width = min(half_width, 0.46 * float(np.linalg.norm(middles[1] - middles[0])) / tall)
        lenses = zone([oval(middle, half_width, half_height, axes, exponent) for middle in middles], size, 0.008 * tall)
        bridge = zone([np.array(middles)], size, 0.006 * tall, 0.03 * tall)
        degrees += np.maximum(lenses, bridge) * (SKIN_C + beside_c["lenses"] - degrees)
    if heat.masked:
        mask = zone([np.concatenate([points_px[2:15], points_px[28:29]])], size, 0.008 * tall)
        degrees += mask * (SKIN_C + beside_c["mask"] + detail - degrees)
    return np.asarray(degrees, np.float32)
