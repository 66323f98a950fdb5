"""The 68 points of iBUG's order (300W, Sagonas et al. 2013): which is which, and whose place each takes in a mirror."""

from __future__ import annotations

from typing import Final

import numpy as np

from cgdet_core.types import IntArray

POINTS: Final = 68
OUTER_EYES: Final = (36, 45)  # of the eye at the picture's left and at its right
GROUPS: Final[dict[str, tuple[int, ...]]] = {
    "jaw": tuple(range(17)),
    "brows": tuple(range(17, 27)),
    "nose": tuple(range(27, 36)),
    "eyes": tuple(range(36, 48)),
    "mouth": tuple(range(48, 68)),
}
# the pairs that a mirror exchanges; the other points lie in the middle
_PAIRS: Final = (
    *((place, 16 - place) for place in range(8)),
    *((place, 43 - place) for place in range(17, 22)),
    *((31, 35), (32, 34)),
    *((36, 45), (37, 44), (38, 43), (39, 42), (40, 47), (41, 46)),
    *((48, 54), (49, 53), (50, 52), (55, 59), (56, 58)),
    *((60, 64), (61, 63), (65, 67)),
)


def _mirror() -> IntArray:
    order = np.arange(POINTS)
    for left, right in _PAIRS:
        order[left], order[right] = right, left
    order.flags.writeable = False
    return order


MIRROR: Final = _mirror()  # int64 [68]: the point that each becomes in a mirror, as COCO's flip_indices
