"""How times are summed up wherever they are measured."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from cgdet_core.types import FloatArray


def percentiles(values: Sequence[float] | FloatArray, ranks: Sequence[int] = (50, 95, 99)) -> dict[str, float]:
    """{"p50": ..., "p95": ..., "p99": ...} of at least one value, in its unit, unrounded.

    Linear between the two values next to a rank (NumPy's default); rank 100 is the greatest value.
    """
    found = np.percentile(values, ranks)  # at once: a third of the time of one by one
    return {f"p{rank}": float(value) for rank, value in zip(ranks, found, strict=True)}
