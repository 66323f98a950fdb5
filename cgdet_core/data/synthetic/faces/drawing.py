"""Faces drawn from a point model alone, still and moving, in colour and as a thermal camera might see them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from cgdet_core.config import SyntheticConfig
from cgdet_core.data.synthetic.faces import regions
from cgdet_core.data.synthetic.faces.head import Pose, drawn_head_mm, seen
from cgdet_core.data.synthetic.faces.regions import FaceAxes, Materials, Points, oval, zone
from cgdet_core.data.synthetic.faces.rendering import Heat, expose, temperatures_c
from cgdet_core.data.synthetic.light import ThermalSensor
from cgdet_core.types import NANOSECONDS, FloatArray, Frame, GroundTruth, ImageArray, Sample

_SKIN = np.array([[232, 190, 165], [214, 162, 130], [188, 132, 98], [141, 92, 66], [92, 60, 45]], np.float64)
_HAIR = np.array([[28, 24, 22], [62, 42, 30], [110, 78, 48], [178, 145, 95], [150, 148, 146]], np.float64)
Colour = NDArray[np.float64]
_AIR_C = 22.0
_SECONDS = 12.0  # after which all moves again as it did


@dataclass(frozen=True)
class DrawnPerson:
    """Who is drawn: points in millimetres, RGB colours, hair and temperatures. hairline: height over the ears at which
    the hair begins, in face heights; long_hair: how far it falls below the eyes; beard: how dense, in [0, 1]; light:
    how much comes from the right."""

    head_mm: NDArray[np.float64]
    skin: Colour
    hair: Colour
    cloth: Colour
    iris: Colour
    hairline: float
    long_hair: float
    beard: float
    light: float
    heat: Heat

    @classmethod
    def drawn(cls, rng: np.random.Generator, bare: bool = False) -> DrawnPerson:
        """A person at random; bare: without glasses and mask."""
        skin = _SKIN[rng.integers(len(_SKIN))] * rng.uniform(0.9, 1.1)
        hair = _HAIR[rng.integers(len(_HAIR))] * rng.uniform(0.8, 1.15)
        cloth, iris = rng.uniform(20, 230, 3), rng.uniform((40, 40, 30), (110, 130, 150))
        hairline = float(rng.uniform(0.3, regions.CROWN if rng.random() < 0.2 else 0.6))
        long_hair = float(rng.uniform(0.2, 1.4)) if rng.random() < 0.35 else 0.0
        beard = float(rng.uniform(0.3, 0.9)) if rng.random() < 0.2 else 0.0
        light, heat = float(rng.normal(0, 0.18)), Heat.drawn(rng, bare)
        return cls(drawn_head_mm(rng), skin, hair, cloth, iris, hairline, long_hair, beard, light, heat)


def drawn_face(seed: int, size_px: int = 224) -> Sample:
    """Face number `seed` (>= 0), as a crop around it: a thermal-like frame, its RGB partner, its box and 68 points."""
    rng = np.random.default_rng([seed, 7])
    person, pose, rgb = DrawnPerson.drawn(rng), Pose.drawn(rng, size_px), backdrop(rng, (size_px, size_px))
    points_px = seen(person.head_mm, pose)
    materials = paint(rgb, person, points_px)
    degrees_c = temperatures_c(materials, points_px, person.heat)
    thermal = expose(degrees_c, materials.skin, FaceAxes.of(points_px).height_px, rng)
    name, truth = f"face-{seed}", face_truth([points_px], (size_px, size_px))
    return Sample(name, Frame(thermal), truth, rgb, scene=name)


def face_truth(faces_px: Sequence[Points], height_width_px: tuple[int, int]) -> GroundTruth:
    """Of every face at least half of whose points lie in the frame the box, round those, and its points; the others of
    them are not labelled."""
    limit = np.array(height_width_px[::-1]) - 1
    inside = [((points >= 0) & (points <= limit)).all(axis=1) for points in faces_px]
    rows = [(points, known) for points, known in zip(faces_px, inside, strict=True) if known.mean() >= 0.5]
    # a box counts from the outer corner of the first pixel, a point from its centre
    boxes = [[*(points[known].min(axis=0) + 0.5), *(points[known].max(axis=0) + 0.5)] for points, known in rows]
    points_px = np.array([points for points, _ in rows], np.float32).reshape(-1, 68, 2)
    labelled = np.array([known for _, known in rows], np.bool_).reshape(-1, 68)
    class_ids, ignore = np.zeros(len(rows), np.int64), np.zeros(len(rows), np.bool_)
    return GroundTruth(np.array(boxes, np.float32), class_ids, ignore, None, points_px, labelled)


def backdrop(rng: np.random.Generator, height_width_px: tuple[int, int]) -> ImageArray:
    """uint8 [H, W, 3]: a wall with blurred things before it."""
    small = rng.uniform(0, 255, 3) * 0.5 + rng.uniform(0, 128, (5, 6, 3)) * rng.uniform(0.2, 1)
    size = height_width_px[::-1]
    return np.asarray(cv2.resize(small.astype(np.float32), size, interpolation=cv2.INTER_CUBIC).clip(0, 255), np.uint8)


def paint(rgb: ImageArray, person: DrawnPerson, points_px: Points) -> Materials:
    """Paint the person over `rgb`, uint8 [H, W, 3], in place; what each pixel shows then."""
    size, axes = (rgb.shape[0], rgb.shape[1]), FaceAxes.of(points_px)
    tall, canvas = axes.height_px, rgb.astype(np.float32)
    skin, hair, cloth = (np.zeros(size, np.float32) for _ in range(3))

    def lay(share: FloatArray, colour: Colour, into: FloatArray | None) -> None:
        """Paint a colour, and say what it is made of; None: as what lies below."""
        rows, columns = (np.flatnonzero(share.max(axis=axis) > 0.002) for axis in (1, 0))
        if not len(rows):
            return
        window = np.s_[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        canvas[window] += share[window][..., None] * (colour.astype(np.float32) - canvas[window])
        if into is not None:
            for each in (skin, hair, cloth):
                each[window] *= 1 - share[window]
            into[window] += share[window]

    sharp, right, down = 0.006 * tall, *axes.coordinates(size)
    shade = np.clip(1 + person.light * 2 * right - 0.12 * down, 0.4, 1.4)[..., None]
    if person.long_hair:
        low = person.long_hair
        fall = [axes.place(*place) for place in ((-0.66, 0), (0.66, 0), (0.6, low), (-0.6, low))]
        lay(zone([np.array(fall)], size, 0.05 * tall), person.hair, hair)
    neck = [points_px[4], points_px[12], axes.place(0.36, 1.5), axes.place(-0.36, 1.5)]
    lay(zone([np.array(neck)], size, 0.015 * tall), 0.85 * person.skin, skin)
    half_body = ((0.0, 1.25), (0.33, 1.03), (0.95, 1.2), (1.15, 1.5), (1.25, 6.0))
    body = [axes.place(x, y) for x, y in (*half_body, *((-x, y) for x, y in half_body[:0:-1]))]
    lay(zone([np.array(body)], size, 0.012 * tall), person.cloth, cloth)
    if person.hairline < regions.CROWN:
        lay(zone([regions.outline(points_px, regions.CROWN, 1.12)], size, 0.02 * tall), person.hair, hair)
    ears = [oval(points_px[side] + 0.03 * tall * axes.down, 0.06, 0.15, axes) for side in (0, 16)]
    lay(zone(ears, size, 0.012 * tall), 0.92 * person.skin, skin)
    face = zone([regions.outline(points_px, person.hairline)], size, 0.01 * tall)
    lay(face, person.skin, skin)
    canvas *= 1 - face[..., None] * (1 - shade)

    dim = 0.72 * person.skin
    lay(0.35 * zone([regions.grown(points_px[eye], 1.6) for eye in regions.EYES], size, 0.03 * tall), dim, None)
    ridge = points_px[[27, 31 if person.light > 0 else 35]]
    lay(0.5 * zone([ridge], size, 0.02 * tall, 0.06 * tall), dim, None)
    lay(0.5 * zone([points_px[31:36]], size, 0.01 * tall, 0.02 * tall), dim, None)
    lay(0.9 * zone([points_px[[31, 32]], points_px[[34, 35]]], size, sharp, 0.03 * tall), 0.3 * person.skin, None)
    if person.beard:
        chin = np.concatenate([points_px[3:14], points_px[[35, 33, 31]]])
        lay(person.beard * zone([chin], size, 0.03 * tall), person.hair, hair)
    lay(zone([points_px[each] for each in regions.BROWS], size, sharp, 0.045 * tall) * 0.4, person.hair, hair)
    eyes = zone([points_px[eye] for eye in regions.EYES], size, sharp)
    lay(eyes, np.array([225.0, 222, 218]), None)
    irises = [oval(points_px[eye].mean(axis=0), 0.05, 0.05, axes) for eye in regions.EYES]
    lay(eyes * zone(irises, size, sharp), person.iris, None)
    lay(0.8 * zone([points_px[eye[:4]] for eye in regions.EYES], size, sharp, 0.018 * tall), 0.3 * person.skin, None)
    lay(zone([points_px[regions.LIPS]], size, 0.01 * tall), 0.8 * person.skin * (1.0, 0.72, 0.75), skin)
    lay(0.9 * zone([points_px[regions.INNER_LIPS]], size, sharp), np.array([60.0, 25, 25]), None)
    lay(0.7 * zone([points_px[60:65]], size, sharp, 0.01 * tall), 0.35 * person.skin, None)
    rgb[:] = np.clip(canvas, 0, 255).astype(np.uint8)
    return Materials(skin, hair, cloth, np.float32(0.6) * regions.detail_of(rgb, tall))


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
    """Scene number `seed` (>= 0): faces side by side, of several the last leaves the frame and comes back. A frame is a
    function of seed, settings and index. config: size, bit depth and pace."""

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
