"""Painting bodies with a depth buffer into one picture of numbers, and the exact boxes of what is seen.

The picture holds, at twice the camera's resolution, the number of the primitive that is seen and its depth. What is
temperature, colour and owner of a pixel are look-ups, so that both pictures and the boxes agree to the pixel.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from cgdet_core.data.synthetic.shapes import FACE, HULL, LOOPS, PRIMITIVE, STROKE, Array, Camera, Placed
from cgdet_core.types import GroundTruth

SUPERSAMPLING = 2
_NEAR_M = 0.4
_SHIFT = 4  # bits of fixed point below the pixel
_ROUND = np.stack([f(np.linspace(0, 2 * np.pi, 12, endpoint=False)) for f in (np.cos, np.sin)], axis=1)
_MARGIN = np.array([-3, -3, 4, 4])  # of rounding, round what is painted
_BIAS = 1e-4  # a later primitive of a body is nearer by so much

# an object is a region to ignore where of its part within the frame less than a quarter is seen, where less than an
# eighth of it lies within the frame, and where it is seen lower than this
_MIN_VISIBLE, _MIN_INSIDE, _MIN_HEIGHT_PX = 0.25, 0.12, 8.0


@dataclass(frozen=True)
class Painting:
    """index: uint16 [2H, 2W], the primitive seen there, 0 nothing; nearness: float32 [2H, 2W], 1 / depth in metres, 0
    on the backdrop; primitives: of all bodies, the first is nothing; body: [P] of which body each is, -1 none; truth:
    boxes round the visible pixels of every labelled object that shows any."""

    camera: Camera
    index: NDArray[np.uint16]
    nearness: NDArray[np.float32]
    primitives: NDArray[Any]
    body: NDArray[np.int64]
    truth: GroundTruth


def paint(camera: Camera, backdrop: Sequence[Placed], bodies: Sequence[Placed]) -> Painting:
    """The picture of bodies; what is of the backdrop lies in the order given behind all of them."""
    bodies = [*backdrop, *bodies]
    counts = [len(body.primitives) for body in bodies]
    primitives = np.concatenate([body.primitives for body in bodies])
    points = np.concatenate([body.points_m for body in bodies])
    of_body = np.repeat(np.arange(len(bodies)), counts)
    within = np.concatenate([np.arange(count) for count in counts])
    starts = np.cumsum(primitives["points"]) - primitives["points"]
    # what is seen of a surface faces the camera
    towards = ((camera.position_m - points[starts, :3]) * primitives["normal"]).sum(axis=1)
    primitives["normal"] *= np.where(towards < 0, -1.0, 1.0)[:, None]
    seen = np.column_stack([(points[:, :3] - camera.position_m) @ camera.rotation.T, points[:, 3]])
    outlines = _outlines(camera, seen, primitives, starts, 1 + _BIAS * within)

    size = (camera.height_width_px[0] * SUPERSAMPLING, camera.height_width_px[1] * SUPERSAMPLING)
    index, nearness, scratch = np.zeros(size, np.uint16), np.zeros(size, np.float32), np.zeros(size, np.float32)
    rows, columns = np.arange(size[0], dtype=np.float32)[:, None], np.arange(size[1], dtype=np.float32)
    for place, outline in outlines.items():
        x0, y0, x1, y1 = outline.box
        if of_body[place] < len(backdrop):
            outline.fill(index, place + 1)
        elif outline.shown:
            mine, before = scratch[y0:y1, x0:x1], nearness[y0:y1, x0:x1]
            base, across, down, most = outline.plane
            if across == down == 0:
                outline.fill(scratch, base)
            else:
                outline.fill(scratch, 1)
                plane = columns[x0:x1] * np.float32(across) + np.float32(base) + rows[y0:y1] * np.float32(down)
                mine *= np.minimum(plane, np.float32(most), out=plane)
            nearer = before < mine
            np.maximum(before, mine, out=before)
            index[y0:y1, x0:x1][nearer] = place + 1
            mine[...] = 0

    first = np.cumsum([0] + [len(body.labels) for body in bodies[:-1]])
    owner = np.where(primitives["part"] < 0, -1, first[of_body] + primitives["part"])
    truth = _truth([label for body in bodies for label in body.labels], outlines, owner, index, scratch)
    primitives = np.append(np.zeros(1, PRIMITIVE), primitives)
    return Painting(camera, index, nearness, primitives, np.append(-1, of_body), truth)


def _truth(
    labels: Sequence[int], outlines: dict[int, _Outline], owner: NDArray[np.int64], index: Any, scratch: Any
) -> GroundTruth:
    """labels: the class ids of the objects; owner: which of them each primitive belongs to; scratch: zeros [2H, 2W]."""
    seen: list[tuple[Array, int, bool]] = []
    (height, width), owner_of = index.shape, np.append(-1, owner)
    for number, label in enumerate(labels):
        own = [outlines[place] for place in np.flatnonzero(owner == number).tolist() if place in outlines]
        bounds = np.array([outline.bounds for outline in own]).reshape(-1, 4)
        around = np.append(bounds[:, :2].min(axis=0, initial=1e9), bounds[:, 2:].max(axis=0, initial=-1e9)) + _MARGIN
        x0, y0, x1, y1 = np.clip(around, 0, (width, height, width, height)).astype(int).tolist()
        visible = owner_of[index[y0:y1, x0:x1]] == number
        if not visible.any():
            continue
        for outline in own:
            if outline.shown:
                outline.fill(scratch, 1)
        covered = scratch[y0:y1, x0:x1]
        hidden = np.count_nonzero(visible) < _MIN_VISIBLE * np.count_nonzero(covered)
        covered[...] = 0
        cut = (x1 - x0) * (y1 - y0) < _MIN_INSIDE * np.prod(around[2:] - around[:2])
        rows, columns = np.flatnonzero(visible.any(axis=1)), np.flatnonzero(visible.any(axis=0))
        box = np.array([x0 + columns[0], y0 + rows[0], x0 + columns[-1] + 1, y0 + rows[-1] + 1]) / SUPERSAMPLING
        seen.append((box, label, bool(hidden or cut or box[3] - box[1] < _MIN_HEIGHT_PX)))
    if not seen:
        return GroundTruth.empty()
    boxes, class_ids, ignore = zip(*seen, strict=True)
    return GroundTruth(np.array(boxes, np.float32), np.array(class_ids, np.int64), np.array(ignore, np.bool_))


class _Outline(NamedTuple):
    """What a primitive looks like to the camera, in sub-pixels. box: of the picture, and bounds: if it were not cut,
    x from, y from, x to, y to; plane: 1 / depth at pixel (0, 0), its steps across and down, and its greatest."""

    kind: int
    contours: list[NDArray[np.int32]]
    thick: int
    box: tuple[int, int, int, int]
    bounds: tuple[float, ...]
    plane: tuple[float, float, float, float]

    @property
    def shown(self) -> bool:
        """Whether it touches the picture, and is no rod too thin to be seen."""
        x0, y0, x1, y1 = self.box
        return x0 < x1 and y0 < y1 and (self.kind != STROKE or self.thick > 0)

    def fill(self, picture: NDArray[Any], value: float) -> None:
        if self.kind == STROKE:
            cv2.polylines(picture, self.contours, False, value, max(1, self.thick), cv2.LINE_8, _SHIFT)
        elif self.kind == LOOPS:
            cv2.fillPoly(picture, self.contours, value, cv2.LINE_8, _SHIFT)
        else:
            cv2.fillConvexPoly(picture, self.contours[0], value, cv2.LINE_8, _SHIFT)


def _outlines(
    camera: Camera, seen: Array, primitives: NDArray[Any], starts: NDArray[Any], bias: Array
) -> dict[int, _Outline]:
    """The outlines of those primitives that lie in front of the camera, by their places.

    seen: [N, 4] their points as right, down, forward of the camera, and radius; starts: [P] where those of each begin.
    """
    seen, keep, sizes = _in_front(seen, primitives, starts)
    if not len(keep):
        return {}
    starts, kinds = np.cumsum(sizes) - sizes, primitives["kind"][keep]
    near, focal = 1 / seen[:, 2], camera.focal_px * SUPERSAMPLING
    # the centres of sub-pixels are whole numbers
    pixels = seen[:, :2] * (focal * near)[:, None] + camera.centre_px * SUPERSAMPLING - 0.5
    radii = (seen[:, 3] * focal * near)[:, None]
    low, high = np.minimum.reduceat(pixels - radii, starts), np.maximum.reduceat(pixels + radii, starts)
    bounds = np.hstack([low, high])
    height, width = (side * SUPERSAMPLING for side in camera.height_width_px)
    boxes = np.clip(bounds + _MARGIN, 0, (width, height, width, height)).astype(int)
    thick = np.rint(2 * np.maximum.reduceat(radii[:, 0], starts) + 0.2).astype(int)
    # 1 / depth over the picture: linear for a plane, and one value for what has no normal
    normal = primitives["normal"][keep] @ camera.rotation.T
    offset = (normal * seen[starts, :3]).sum(axis=1, keepdims=True)
    steps = np.divide(normal, offset, out=np.zeros_like(normal), where=np.abs(offset) > 1e-9)
    mean, most = np.add.reduceat(near, starts) / sizes, np.maximum.reduceat(near, starts)
    slopes = steps[:, :2] / focal
    base = np.where(steps.any(axis=1), steps[:, 2] - slopes @ (camera.centre_px * SUPERSAMPLING - 0.5), mean)
    planes = np.column_stack([base, slopes, most]) * bias[keep, None]
    fixed, rounds = (
        np.clip(np.rint(points * (1 << _SHIFT)), -400_000, 400_000).astype(np.int32)
        for points in (pixels, pixels[:, None] + radii[:, None] * _ROUND)
    )
    found: dict[int, _Outline] = {}
    rows = zip(keep.tolist(), kinds.tolist(), primitives["corners"][keep].tolist(), starts.tolist(), sizes.tolist(),
               thick.tolist(), boxes.tolist(), bounds.tolist(), planes.tolist(), strict=True)  # fmt: skip
    for place, kind, corners, start, size, width_px, box, bound, plane in rows:
        contours: list[Any] = [fixed[start : start + size]]
        if kind == HULL:
            contours = [cv2.convexHull(rounds[start : start + size].reshape(-1, 2))]
        elif kind == LOOPS:
            contours = list(contours[0].reshape(-1, corners, 2))
        found[place] = _Outline(kind, contours, width_px, tuple(box), tuple(bound), tuple(plane))
    return found


def _in_front(
    seen: Array, primitives: NDArray[Any], starts: NDArray[Any]
) -> tuple[Array, NDArray[np.int64], NDArray[np.int64]]:
    """The points in front of the near plane, of which primitives they are, and how many each has: faces are cut there,
    of loops whole ones left out, other primitives left out."""
    sizes, behind = primitives["points"].astype(np.int64), seen[:, 2] <= _NEAR_M
    touched = np.flatnonzero(np.logical_or.reduceat(behind, starts))
    pieces = np.split(seen, starts[1:]) if len(touched) else [seen]
    for i in touched.tolist():
        piece, kind = pieces[i], primitives["kind"][i]
        if kind == FACE:
            # Sutherland and Hodgman 1974: the corners in front, and where an edge meets the plane
            kept = []
            for a, b in zip(piece, np.roll(piece, -1, axis=0), strict=True):
                kept += [a] if a[2] > _NEAR_M else []
                if (a[2] > _NEAR_M) != (b[2] > _NEAR_M):
                    kept.append(a + (b - a) * ((_NEAR_M - a[2]) / (b[2] - a[2])))
            pieces[i] = np.array(kept).reshape(-1, 4)
        else:
            loops = piece.reshape(-1, primitives["corners"][i] or len(piece), 4)
            pieces[i] = loops[(loops[..., 2] > _NEAR_M).all(axis=1)].reshape(-1, 4)
        sizes[i] = len(pieces[i])
    keep = np.flatnonzero(sizes)
    return np.concatenate(pieces), keep, sizes[keep]
