"""Does a score mean what it says: of detections with a score of 0.7, are seven in ten real?

A detection is right where it takes an object of its class at the match IoU, as in every figure (matching.py); one that
counts neither for nor against is left out. The error is the expected calibration error of Kueppers et al.,
"Multivariate Confidence Calibration for Object Detection", CVPR workshops 2020 (D-ECE), over the score alone: the mean
over detections of what their bin's precision and mean score differ by.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from cgdet_core.config import EvaluationConfig
from cgdet_core.evaluation.metrics.matching import FrameMatch
from cgdet_core.types import BoolArray, FloatArray


def calibration(
    matches: Sequence[FrameMatch], class_names: Sequence[str], config: EvaluationConfig
) -> dict[str, dict[str, Any]]:
    """Name of each class, and "all" -> how well its scores are calibrated.

    Keys: `error` in [0, 1], None without detections; `detections` that reach `calibration_min_score`; and `bins`, of
    equal width over [0, 1], those that hold any of these: from, to, detections, mean_score, precision.
    """
    scores = np.concatenate([match.scores for match in matches])
    class_ids = np.concatenate([match.class_ids for match in matches])
    right = np.concatenate([match.true_positive for match in matches])
    counts = ~np.concatenate([match.neutral for match in matches])
    counts &= scores >= np.float32(config.calibration_min_score)
    figures = {
        name: _figures(scores[chosen], right[chosen], config.calibration_bins)
        for name, chosen in ((name, counts & (class_ids == index)) for index, name in enumerate(class_names))
    }
    return {**figures, "all": _figures(scores[counts], right[counts], config.calibration_bins)}


def _figures(scores: FloatArray, right: BoolArray, bins: int) -> dict[str, Any]:
    # scores are float32: so are the edges, or 0.9 would lie below 0.9
    edges = (np.arange(1, bins) / bins).astype(np.float32)
    places = np.searchsorted(edges, scores, side="right")
    found = np.bincount(places, minlength=bins)
    score_sums = np.bincount(places, scores, bins)
    hits = np.bincount(places, right, bins)
    total = int(found.sum())
    return {
        "error": float(np.abs(hits - score_sums).sum() / total) if total else None,
        "detections": total,
        "bins": [
            {
                "from": index / bins,
                "to": (index + 1) / bins,
                "detections": int(found[index]),
                "mean_score": float(score_sums[index] / found[index]),
                "precision": float(hits[index] / found[index]),
            }
            for index in np.flatnonzero(found).tolist()
        ],
    }
