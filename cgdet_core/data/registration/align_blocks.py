"""Where the blocks of two edge fields meet best, and the homography that gives these shifts."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from cgdet_core.data.registration.edge_field import EdgeField

Matrix = NDArray[np.float64]

_BLOCKS = (5, 6)  # rows and columns
_RIDGE = 1e-2


def block_surfaces(ours: Sequence[EdgeField], theirs: Sequence[EdgeField], reach_px: int) -> NDArray[np.float64]:
    """float64 [rows, columns, 2 reach + 1, 2 reach + 1]: of every block the correlation at every shift (down, right).

    A peak at (d, r): what the RGB picture shows d below and r right of a place belongs to the place. The energy at
    rest serves all shifts: a block is not drawn to where the other picture has little.
    """
    height, width = ours[0].shape
    rows, columns = _BLOCKS
    side = 2 * reach_px + 1

    def of_blocks(values: NDArray[np.float32]) -> NDArray[np.float64]:
        return np.asarray(cv2.resize(values, (columns, rows), interpolation=cv2.INTER_AREA), np.float64)

    products = np.zeros((side, side, rows, columns))
    energies = np.zeros((2, rows, columns))
    for here, there in zip(ours, theirs, strict=True):
        cosine, sine = (np.ascontiguousarray(part) for part in (here.real, here.imag))
        padded = [np.pad(part, reach_px) for part in (there.real, there.imag)]
        energies[0] += of_blocks(cosine * cosine + sine * sine)
        energies[1] += of_blocks(np.square(there.real) + np.square(there.imag))
        for down in range(side):
            for right in range(side):
                window = (slice(down, down + height), slice(right, right + width))
                products[down, right] += of_blocks(cosine * padded[0][window] + sine * padded[1][window])
    least = 0.1 * energies.mean((1, 2), keepdims=True)
    surfaces = products / np.sqrt(np.maximum(energies, least).prod(0) + 1e-12)
    return np.moveaxis(surfaces, (0, 1), (2, 3))


def peaks(
    surfaces: NDArray[np.float64], size_px: tuple[int, int], reach_px: int
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Of every block its middle [N, 2] (x, y), the shift [N, 2] (right, down) of its peak, and how sharply the
    correlation falls off it, [N, 2, 2]; nothing at all for a peak at the rim of the search."""
    rows, columns = _BLOCKS
    height, width = size_px
    points, shifts, certainty = [], [], []
    for row in range(rows):
        for column in range(columns):
            surface = cv2.GaussianBlur(surfaces[row, column], (3, 3), 0.7, borderType=cv2.BORDER_REPLICATE)
            down, right = (int(place) for place in np.unravel_index(int(surface.argmax()), surface.shape))
            points.append(((column + 0.5) * width / columns, (row + 0.5) * height / rows))
            if not (0 < down < 2 * reach_px and 0 < right < 2 * reach_px):
                shifts.append((0.0, 0.0))
                certainty.append(np.zeros((2, 2)))
                continue
            around = surface[down - 1 : down + 2, right - 1 : right + 2]
            slope = np.array([around[1, 2] - around[1, 0], around[2, 1] - around[0, 1]]) / 2
            across = (around[2, 2] - around[2, 0] - around[0, 2] + around[0, 0]) / 4
            curve = -np.array(
                [
                    [around[1, 2] - 2 * around[1, 1] + around[1, 0], across],
                    [across, around[2, 1] - 2 * around[1, 1] + around[0, 1]],
                ]
            )
            values, vectors = np.linalg.eigh(curve)
            values = values.clip(1e-6)
            offset = (vectors @ np.diag(1 / values) @ vectors.T @ slope).clip(-1, 1)
            shifts.append((right - reach_px + offset[0], down - reach_px + offset[1]))
            # a peak that rises from among others like it says less
            standing = max(0.0, float(surface.max() - np.median(surface))) / max(float(surface.std()), 1e-6)
            certainty.append(vectors @ np.diag(values) @ vectors.T * min(1.0, standing / 3) ** 2)
    return np.array(points), np.array(shifts), np.array(certainty)


def fit_flow(
    points: NDArray[np.float64],
    shifts: NDArray[np.float64],
    certainty: NDArray[np.float64],
    size_px: tuple[int, int],
    freedom: int,
) -> Matrix:
    """float64 [3, 3]: moves points + shifts to points, by weighted least squares with far blocks drawn in (Cauchy)."""
    height, width = size_px
    unit = 2 / width
    middle = np.array([width / 2, height / 2])
    x, y = ((points + shifts / 2 - middle) * unit).T
    zero, one = np.zeros_like(x), np.ones_like(x)
    if freedom == 4:
        right, down = [one, zero, x, -y], [zero, one, y, x]
    else:
        right, down = [one, zero, x, y, zero, zero], [zero, one, zero, zero, x, y]
    if freedom == 8:
        right += [x * x, x * y]
        down += [x * y, y * y]
    design = np.stack([np.stack(right, 1), np.stack(down, 1)], 1)
    wanted = -shifts * unit
    size = np.trace(certainty, axis1=1, axis2=2)
    if not size.any():
        return np.eye(3)
    weights = np.ones(len(points))
    # what stretches, shears and tilts has to be earned by more than one block
    ridge = np.diag([1e-3, 1e-3, *[_RIDGE] * (design.shape[2] - 2)]) * size.sum()
    solved = np.zeros(design.shape[2])
    for _ in range(10):
        weighted = certainty * weights[:, None, None]
        normal = np.einsum("nip,nij,njq->pq", design, weighted, design) + ridge * weights.mean()
        solved = np.linalg.solve(normal, np.einsum("nip,nij,nj->p", design, weighted, wanted))
        apart = np.linalg.norm(wanted - design @ solved, axis=1) / unit
        weights = 1 / (1 + apart**2)
    flow = np.eye(3)
    if freedom == 4:
        flow[:2] += [[solved[2], -solved[3], solved[0]], [solved[3], solved[2], solved[1]]]
    else:
        flow[:2] += [[solved[2], solved[3], solved[0]], [solved[4], solved[5], solved[1]]]
    if freedom == 8:
        flow[2, :2] = -solved[6], -solved[7]
    to_unit = np.array([[unit, 0, -middle[0] * unit], [0, unit, -middle[1] * unit], [0, 0, 1]])
    return np.asarray(np.linalg.inv(to_unit) @ flow @ to_unit, np.float64)
