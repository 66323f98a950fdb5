"""Each class's threshold of best F1, chosen on held-out frames, and into a model file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import floor
from pathlib import Path
from typing import Any

import numpy as np

from cgdet_core.config import EvaluationConfig
from cgdet_core.evaluation.metrics.curves import ScoreCurve, score_curves
from cgdet_core.evaluation.metrics.matching import EvaluatedFrame, check_frames, match_frame
from cgdet_core.evaluation.metrics.metrics import Metrics, evaluate

FEW_OBJECTS = 30  # a threshold of fewer than this is chance


def choose_thresholds(frames: Sequence[EvaluatedFrame], class_names: Sequence[str]) -> tuple[dict[str, float], Metrics]:
    """Each class's threshold of the best F1, cut to three decimals, and the figures with these."""
    # it is the score of a detection, which a threshold that was rounded up would lose
    thresholds = {
        name: floor(value * 1000) / 1000 for name, value in choose_operating_point(frames, class_names).items()
    }
    return thresholds, evaluate(frames, class_names, thresholds)


def choose_operating_point(
    frames: Sequence[EvaluatedFrame], class_names: Sequence[str], config: EvaluationConfig | None = None
) -> dict[str, float]:
    """Each class's threshold that maximises its F1 over `frames`, which must be held-out ones.

    A class without objects, or of which none is found, keeps the configured operating score.
    Raises InputError where a frame holds classes that `class_names` does not.
    """
    config = config or EvaluationConfig()
    check_frames(frames, class_names)
    chosen = dict.fromkeys(class_names, config.operating_score)
    if frames:
        matches = [match_frame(frame, len(class_names), config) for frame in frames]
        for name, curve in score_curves(frames, matches, class_names).items():
            best = best_f1_threshold(curve)
            chosen[name] = chosen[name] if best is None else best
    return chosen


def best_f1_threshold(curve: ScoreCurve) -> float | None:
    """The score at which F1 is highest, the higher one of equals; None without objects or hits."""
    if curve.truths == 0 or not len(curve.scores) or curve.true_positives[-1] == 0:
        return None
    return float(curve.scores[int(np.argmax(curve.f1))])


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
