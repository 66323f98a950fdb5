"""A head of its own making: 68 points in millimetres, of anatomical proportions, posed and seen by a camera.

The proportions are round numbers near those of adults in anthropometry: outer eye corners 90 mm apart, inner ones 33,
wings of the nose 32, mouth 50, ears 138; below the eyes the nose's base lies 45, the mouth's gap 67, the chin 110. They
are fitted to no picture and no label.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cgdet_core.data.synthetic.faces.regions import BROWS, EYES, JAW, Points
from cgdet_core.tasks.landmarks.points import MIRROR, POINTS

# x to the picture's right, y down, z to the camera, from between the eyes: the picture's left half and the middle
_HALF_MM = {
    **{0: (-69, -2, -72), 1: (-69, 17, -70), 2: (-67, 36, -65), 3: (-63, 54, -57), 4: (-56, 71, -46)},
    **{5: (-46, 88, -33), 6: (-33, 99, -20), 7: (-17, 107, -10), 8: (0, 110, -6)},
    **{17: (-57, -14, -25), 18: (-49, -22, -14), 19: (-38, -25, -7), 20: (-27, -23, -3), 21: (-15, -19, 0)},
    **{27: (0, -4, 0), 28: (0, 10, 6), 29: (0, 21, 13), 30: (0, 34, 20), 31: (-16, 40, 2), 32: (-8, 43, 7)},
    **{33: (0, 45, 9), 36: (-45, 1, -20), 37: (-37, -5, -13), 38: (-25, -5, -12), 39: (-16.5, 2, -13)},
    **{40: (-25, 5, -13), 41: (-37, 6, -14), 48: (-25, 67, -7), 49: (-15, 62, 1), 50: (-5, 59, 5)},
    **{51: (0, 60.5, 5.5), 57: (0, 76, 3), 58: (-6, 76, 2.5), 59: (-15, 73, -1), 60: (-21, 67, -5)},
    **{61: (-8, 66, 2), 62: (0, 66.5, 3), 66: (0, 68.5, 2), 67: (-8, 68, 1.5)},
}
_FRONT_MM = -2.0  # how far forward the cheeks come
_PIVOT_MM = np.array([0.0, 40.0, -70.0])
_DISTANCE_MM = 900.0
_LOWER_LIP = np.array([55, 56, 57, 58, 59, 65, 66, 67])
_LIDS = ((37, 41), (38, 40), (43, 47), (44, 46))  # upper and lower


@dataclass(frozen=True)
class Pose:
    """Where a head is and what it does. scale: pixels of a millimetre; yaw: to the picture's right, pitch: down, roll:
    clockwise; open_mouth, blink, smile in [0, 1]; brows in [-1, 1], up."""

    eyes_px: tuple[float, float]
    scale: float
    yaw_deg: float = 0.0
    pitch_deg: float = 0.0
    roll_deg: float = 0.0
    open_mouth: float = 0.0
    blink: float = 0.0
    smile: float = 0.0
    brows: float = 0.0

    @classmethod
    def drawn(cls, rng: np.random.Generator, size_px: float) -> Pose:
        """A face in the middle of a square picture, as crops of faces are."""
        yaw, pitch, roll = np.clip(rng.normal(0, (18, 8, 9)), -42, 42).tolist()
        x, y = (size_px * rng.normal((0.5, 0.42), 0.02)).tolist()
        scale = size_px / 224 * float(rng.uniform(0.9, 1.05))
        opened, smile = np.clip(rng.normal((-0.1, 0.1), (0.4, 0.5)), 0, 1).tolist()
        blink, brows = float(rng.random() < 0.15), float(np.clip(rng.normal(0, 0.5), -1, 1))
        return cls((x, y), scale, yaw, pitch, roll, opened, blink, smile, brows)


def generic_head_mm() -> NDArray[np.float64]:
    """float64 [68, 3], symmetric: the mean head at rest."""
    points = np.zeros((POINTS, 3))
    for number, place in _HALF_MM.items():
        points[number], points[MIRROR[number]] = place, np.multiply(place, (-1, 1, 1))
    return points


def drawn_head_mm(rng: np.random.Generator) -> NDArray[np.float64]:
    """One person's head: wider or longer, with parts of other sizes at other heights, and not quite symmetric."""
    points = generic_head_mm()
    for part in (JAW, np.concatenate(BROWS), np.arange(27, 36), np.concatenate(EYES), np.arange(48, 68)):
        middle = points[part].mean(axis=0) * (0, 1, 1)
        points[part] = middle + (points[part] - middle) * rng.normal(1, 0.06, 3) + (0, rng.normal(0, 1.5), 0)
    for eye in EYES:  # opened more or less
        points[eye, 1] = points[eye, 1].mean() + (points[eye, 1] - points[eye, 1].mean()) * rng.uniform(0.7, 1.3)
    return np.asarray(points * rng.normal(1, 0.04, 3) + rng.normal(0, 0.6, points.shape))


def seen(head_mm: NDArray[np.float64], pose: Pose) -> Points:
    """float64 [68, 2] in pixels; jaw points that the head hides lie on its visible contour, as labels do."""
    points = head_mm.copy()
    points[_LOWER_LIP, 1] += 26 * pose.open_mouth
    points[[48, 54, 60, 64], 1] += 9 * pose.open_mouth
    points[JAW, 1] += 24 * pose.open_mouth * np.clip(1 - np.abs(JAW - 8) / 8, 0, 1)
    points[17:27, 1] -= 6 * pose.brows
    out = np.array([-1.0, -1, 1, 1])[:, None] * (5, 0, 0) + (0, -4.5, -3)
    points[[48, 60, 54, 64]] += pose.smile * out
    for upper, lower in _LIDS:
        points[upper] += 0.85 * pose.blink * (points[lower] - points[upper])

    yaw, pitch, roll = np.radians([pose.yaw_deg, pose.pitch_deg, pose.roll_deg])
    about_y = np.array([[np.cos(yaw), 0, np.sin(yaw)], [0, 1, 0], [-np.sin(yaw), 0, np.cos(yaw)]])
    about_x = np.array([[1, 0, 0], [0, np.cos(pitch), np.sin(pitch)], [0, -np.sin(pitch), np.cos(pitch)]])
    about_z = np.array([[np.cos(roll), -np.sin(roll), 0], [np.sin(roll), np.cos(roll), 0], [0, 0, 1]])

    def projected(places_mm: NDArray[np.float64], turn: NDArray[np.float64]) -> NDArray[np.float64]:
        x, y, z = np.moveaxis((places_mm - _PIVOT_MM) @ turn.T + _PIVOT_MM, -1, 0)
        near = _DISTANCE_MM / (_DISTANCE_MM - z)
        return np.stack([x * near, y * near], axis=-1)

    # a slice through the face at the height of each jaw point, from there to the front: its outermost place
    angle = np.linspace(np.pi / 2, 0, 24)[:, None]
    x, y, z = points[JAW].T
    slices = np.stack([x * np.sin(angle), y + 0 * angle, z + (_FRONT_MM - z) * np.cos(angle)], axis=-1)
    sideways = projected(slices, about_x @ about_y)[..., 0] * np.sign(x)
    points[JAW] = slices[sideways.argmax(axis=0), JAW]
    return np.asarray(pose.scale * projected(points, about_z @ about_x @ about_y) + pose.eyes_px)
