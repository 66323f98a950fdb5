"""Each class's threshold of best F1, chosen on held-out frames, and into a model file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import floor
from pathlib import Path
from typing import Any

import numpy as np

from cgdet_core.evaluation.metrics.matching import OPERATING_SCORE
from cgdet_core.evaluation.metrics.metrics import EvaluatedFrame, Metrics, evaluate

FEW_OBJECTS = 30  # a threshold of fewer than this is chance


def choose_thresholds(frames: Sequence[EvaluatedFrame], class_names: Sequence[str]) -> tuple[dict[str, float], Metrics]:
    """Each class's threshold of the best F1 over `frames`, which must be held-out ones, cut to three decimals; and the
    figures with these. Of equals the higher; a class of which none is found keeps the configured operating score."""
    thresholds = {}
    for name, curve in evaluate(frames, class_names).curves.items():
        found = curve.truths and len(curve.scores) and curve.true_positives[-1]
        best = curve.scores[int(np.argmax(curve.f1))] if found else OPERATING_SCORE
        # it is the score of a detection, which a threshold that was rounded up would lose
        thresholds[name] = floor(float(best) * 1000) / 1000
    return thresholds, evaluate(frames, class_names, thresholds)


def warnings_of_few(metrics: Metrics) -> list[str]:
    """A line that names the classes whose threshold hangs on a few objects, if there are any."""
    few = [(name, point["truths"]) for name, point in metrics.operating_point.items() if point["truths"] < FEW_OBJECTS]
    words = ", ".join(f"{name} (of {number})" for name, number in few)
    return [f"chance decided over the thresholds of {words}: choose on {FEW_OBJECTS} objects or more"] if few else []


def write_thresholds(path: Path, model: Path, thresholds: Mapping[str, float], facts: Mapping[str, Any]) -> None:
    """A copy of `model` at `path` (which may be `model`) with these thresholds, and on what they were chosen."""
    from cgdet_core.runtime.model_file import load_model, save_model

    detector, info = load_model(model)
    postprocess = info.postprocess.model_copy(update={"class_thresholds": dict(thresholds)})
    training = {**info.training, "operating_point": dict(facts)}
    save_model(path, detector, info.model_copy(update={"postprocess": postprocess, "training": training}))
