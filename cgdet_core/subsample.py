"""Some of many, spread evenly."""

from __future__ import annotations

import numpy as np


def subsample(total: int, most: int) -> list[int]:
    """Places of at most `most` of `total` items, ascending, none twice; from two on the first and the last."""
    places: list[int] = np.linspace(0, total - 1, min(most, total)).round().astype(int).tolist()
    return places
