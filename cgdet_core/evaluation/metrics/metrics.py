"""All the figures of one evaluation, as fractions from 0 to 1."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cgdet_core.errors import InputError
from cgdet_core.evaluation.metrics.average_precision import SIZES, CocoTable
from cgdet_core.evaluation.metrics.counts import (
    ScoreCurve,
    calibration,
    confusion_matrix,
    duplicates_per_object,
    log_average_miss_rate,
    misses_by_height,
    operating_figures,
    score_curves,
)
from cgdet_core.evaluation.metrics.matching import (
    OPERATING_SCORE,
    EvaluatedFrame,
    check_frames,
    match_frame,
    threshold_array,
)
from cgdet_core.types import CLASS_NAMES, BoolArray

__all__ = ["EvaluatedFrame", "Metrics", "evaluate"]

_CALLERS_KEYS = ("params", "model_bytes", "ms_per_image")


@dataclass(frozen=True)
class Metrics:
    """The figures of an evaluation; None where a figure is undefined (nothing to be found).

    map, map50, map75: COCO average precision over IoU 0.5 to 0.95, at 0.5 and at 0.75, mean of the
        classes that have objects.
    per_class: name -> map, map50, map75, truths.
    by_size: small (below 32^2 px), medium, large (above 96^2 px) -> map, map50, truths.
    by_light: "day", "night" -> map, map50, images, truths; only lights that occur.
    duplicates_per_object: name and "all" -> extra detections over a matched object / objects.
    images: frames evaluated; truths: objects to be found.
    misses_by_height: bins of box height (counts.misses_by_height), at the thresholds.
    log_average_miss_rate: name -> Dollar et al. 2012; that of persons is the published one.
    confusion: names (classes, then "nothing"), the least score of a detection, and the matrix, rows what
        is there, columns what was found.
    operating_point: name -> threshold, precision, recall, false_alarms_per_image and counts.
    calibration: name and "all" -> error of the scores, detections, bins (counts.calibration).
    curves: name -> ScoreCurve at the match IoU, for plots; not part of the JSON.
    """

    map: float | None
    map50: float | None
    map75: float | None
    per_class: dict[str, dict[str, Any]]
    by_size: dict[str, dict[str, Any]]
    by_light: dict[str, dict[str, Any]]
    duplicates_per_object: dict[str, float | None]
    images: int
    truths: int
    misses_by_height: list[dict[str, Any]]
    log_average_miss_rate: dict[str, float | None]
    confusion: dict[str, Any]
    operating_point: dict[str, dict[str, Any]]
    calibration: dict[str, dict[str, Any]]
    curves: dict[str, ScoreCurve] = field(repr=False)

    def to_json(self, extra: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """The figures for `json.dump`; `extra` adds the caller's keys, of which _CALLERS_KEYS are always there."""
        figures = {part.name: getattr(self, part.name) for part in fields(self) if part.name != "curves"}
        return {**figures, **dict.fromkeys(_CALLERS_KEYS), **(extra or {})}


def evaluate(
    frames: Sequence[EvaluatedFrame],
    class_names: Sequence[str] = CLASS_NAMES,
    thresholds: Mapping[str, float] | None = None,
) -> Metrics:
    """The figures of `frames`, detections against labels.

    thresholds: the operating point, class name -> score, chosen beforehand on held-out frames
    (`choose_thresholds`); a class without one is measured at the configured operating score.
    Raises InputError where there is no frame, no object to be found, or a class that is none.
    """
    frames = list(frames)
    if not frames:
        raise InputError("no frame to evaluate: give a data set or bag that holds labelled frames")
    check_frames(frames, class_names)
    operating = threshold_array(thresholds, class_names, OPERATING_SCORE)
    count = len(class_names)
    matches = [match_frame(frame, count) for frame in frames]
    curves = score_curves(frames, matches, class_names)
    truths = sum(curve.truths for curve in curves.values())
    if truths == 0:
        raise InputError(
            f"none of the {len(frames)} frames holds a labelled {' or '.join(class_names)}: "
            "give a data set or bag with labels of these classes"
        )
    coco = CocoTable(frames, count)
    precision = coco.precision()
    size_truths = coco.truths()
    return Metrics(
        **_average_precision(precision[..., 0]),
        per_class={
            name: {**_average_precision(precision[:, :, c, 0]), "truths": curves[name].truths}
            for c, name in enumerate(class_names)
        },
        by_size={
            size: {**_average_precision(precision[..., s], "map", "map50"), "truths": int(size_truths[:, s].sum())}
            for s, size in enumerate(SIZES)
            if size != "all"
        },
        by_light={
            light: _of_part(coco, np.array([frame.light == light for frame in frames]))
            for light in sorted({frame.light for frame in frames if frame.light is not None})
        },
        duplicates_per_object=duplicates_per_object(matches, curves),
        images=len(frames),
        truths=truths,
        misses_by_height=misses_by_height(frames, matches, operating, class_names),
        log_average_miss_rate={name: log_average_miss_rate(curve) for name, curve in curves.items()},
        confusion={
            "names": [*class_names, "nothing"],
            "score": OPERATING_SCORE,
            "matrix": confusion_matrix(frames, matches, count).tolist(),
        },
        operating_point={
            name: operating_figures(curves[name], float(operating[c])) for c, name in enumerate(class_names)
        },
        calibration=calibration(matches, class_names),
        curves=curves,
    )


def _average_precision(precision: NDArray[np.float64], *keys: str) -> dict[str, float | None]:
    """Means over a part of the precision table [10 IoUs, ...] without its empty cells (-1); None where all are."""
    parts = {"map": precision, "map50": precision[0], "map75": precision[5]}
    filled = {key: parts[key][parts[key] > -1] for key in keys or parts}
    return {key: float(values.mean()) if values.size else None for key, values in filled.items()}


def _of_part(coco: CocoTable, chosen: BoolArray) -> dict[str, Any]:
    return {
        **_average_precision(coco.precision(chosen)[..., 0], "map", "map50"),
        "images": int(np.count_nonzero(chosen)),
        "truths": int(coco.truths(chosen)[:, 0].sum()),
    }
