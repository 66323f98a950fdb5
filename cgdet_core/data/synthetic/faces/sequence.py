"""Drawn faces that move in a thermal frame, with boxes and points in truth."""

from __future__ import annotations

import math
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from cgdet_core.config import SyntheticConfig
from cgdet_core.data.synthetic.faces.drawing import DrawnPerson, backdrop, face_truth, paint
from cgdet_core.data.synthetic.faces.head import Pose, seen
from cgdet_core.data.synthetic.faces.rendering import temperatures_c
from cgdet_core.data.synthetic.light import ThermalSensor
from cgdet_core.types import NANOSECONDS, Frame, Sample

_AIR_C = 22.0
_SECONDS = 12.0  # after which all moves again as it did


class _Sitter(NamedTuple):
    """A person and its paces. home_px: where its eyes are in the mean; swing: how far each of what a pose says goes;
    away: whether it leaves the frame for a third of the time."""

    person: DrawnPerson
    home_px: tuple[float, float]
    scale: float
    swing: NDArray[np.float64]
    phase: NDArray[np.float64]
    away: bool

    def pose(self, t: float, width_px: int) -> Pose:
        """At t seconds."""
        turns = t / _SECONDS
        wave = np.sin(2 * math.pi * turns * np.array([1, 2, 1, 2, 1, 4, 3]) + self.phase) * self.swing
        x, y, yaw, pitch, roll, opened, brows = wave.tolist()
        if self.away:
            leaving = math.sin(math.pi * min(max((turns % 1 - 0.35) / 0.4, 0), 1))
            x += leaving * (width_px - self.home_px[0] + 160 * self.scale)
        blink = float(math.sin(2 * math.pi * (t / 3.0 + float(self.phase[0]))) > 0.98)
        place = (self.home_px[0] + x, self.home_px[1] + y)
        return Pose(place, self.scale, yaw, pitch, roll, max(0.0, opened), blink, 0.0, brows)


class FaceScene:
    """Scene number `seed` (>= 0): faces side by side, seen by a thermal and an RGB camera that share lens and place.

    Where there are several the last leaves the frame and comes back. A frame is a function of seed, settings and
    index. config: size, bit depth and pace.
    """

    def __init__(self, seed: int, faces: int = 2, config: SyntheticConfig | None = None) -> None:
        self.seed, self.config = seed, config or SyntheticConfig()
        rng = np.random.default_rng([seed, 5])
        (height, width), each = self.config.height_width_px, self.config.height_width_px[1] / faces
        self._wall = backdrop(rng, (height, width))
        rough = cv2.resize(rng.normal(_AIR_C, 1, (5, 6)), (width, height), interpolation=cv2.INTER_CUBIC)
        self._wall_c = rough.astype(np.float32)
        self._sensor = ThermalSensor(seed, self.config, _AIR_C)
        self._sitters = []
        for number in range(faces):
            scale = min(each / 200, height / 300) * float(rng.uniform(0.65, 0.9))
            swing = np.array([0.1 * each, 0.04 * height, 28, 10, 9, 0.7, 0.8]) * rng.uniform(0.6, 1.0, 7)
            home = ((number + 0.5) * each, height * float(rng.uniform(0.38, 0.46)))
            person, phase = DrawnPerson.drawn(rng, bare=True), rng.uniform(0, 6.28, 7)
            self._sitters.append(_Sitter(person, home, scale, swing, phase, 0 < number == faces - 1))

    def sample(self, index: int) -> Sample:
        """Frame number `index` >= 0: uint8 or uint16 [H, W], its RGB partner, and the faces by `face_truth`."""
        t, (height, width) = index / self.config.frames_per_second, self.config.height_width_px
        rgb, degrees_c, faces_px = self._wall.copy(), self._wall_c.copy(), []
        for sitter in self._sitters:
            pose = sitter.pose(t, width)
            points_px = seen(sitter.person.head_mm, pose)
            faces_px.append(points_px)
            reach = 140 * sitter.scale * np.array([[-1, -1.2], [1, 0]]) + pose.eyes_px
            (left, top), (right, _) = np.rint(reach).astype(int).clip(0, (width, height)).tolist()
            if left + 8 > right or top + 8 > height:
                continue
            window, here = np.s_[top:, left:right], points_px - (left, top)
            materials = paint(rgb[window], sitter.person, here)
            shown = np.minimum(materials.skin + materials.hair + materials.cloth, 1)
            degrees_c[window] += shown * (temperatures_c(materials, here, sitter.person.heat) - degrees_c[window])
        exposed = self._sensor.expose(degrees_c, t, np.random.default_rng([self.seed, 6, index]))
        frame, name = Frame(exposed, round(t * NANOSECONDS), "thermal"), f"faces-{self.seed}"
        return Sample(f"{name}/{index:06d}", frame, face_truth(faces_px, (height, width)), rgb, scene=name)
