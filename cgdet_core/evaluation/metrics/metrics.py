"""All the figures of one evaluation, as fractions from 0 to 1: average precision, and counts over detections."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cgdet_core.boxes import iou_matrix
from cgdet_core.errors import InputError, check_known
from cgdet_core.evaluation.metrics import matching
from cgdet_core.evaluation.metrics.average_precision import SIZES, PrecisionTable
from cgdet_core.evaluation.metrics.matching import OPERATING_SCORE, EvaluatedFrame, FrameMatch
from cgdet_core.types import CLASS_NAMES, BoolArray, FloatArray, IntArray

HEIGHT_BINS_PX = (0, 16, 24, 32, 48, 64, 96, 128, 256)  # lower ends of the bins of box height
_CALIBRATION_MIN_SCORE = 0.1  # many detections that nobody uses would drown it
_CALIBRATION_BINS = 10
# Dollar et al., "Pedestrian Detection: An Evaluation of the State of the Art", PAMI 2012, section 3.1
FPPI_POINTS: NDArray[np.float64] = np.asarray(np.logspace(-2.0, 0.0, 9), np.float64)
_CALLERS_KEYS = ("params", "model_bytes", "ms_per_image")


@dataclass(frozen=True)
class ScoreCurve:
    """What happens to one class as its threshold falls. scores: float64 [P] descending, the threshold of each point;
    true_positives, false_alarms: int64 [P], cumulative; images: frames in which the class is labelled."""

    scores: NDArray[np.float64]
    true_positives: NDArray[np.int64]
    false_alarms: NDArray[np.int64]
    truths: int
    images: int

    @property
    def recall(self) -> NDArray[np.float64]:
        return np.asarray(self.true_positives / max(self.truths, 1), np.float64)

    @property
    def precision(self) -> NDArray[np.float64]:
        return np.asarray(self.true_positives / np.maximum(self.true_positives + self.false_alarms, 1), np.float64)

    @property
    def f1(self) -> NDArray[np.float64]:
        # 2 TP / (TP + FP + objects)
        found = self.true_positives + self.false_alarms + self.truths
        return np.asarray(2 * self.true_positives / np.maximum(found, 1), np.float64)


@dataclass(frozen=True)
class Metrics:
    """The figures of an evaluation; None where a figure is undefined (nothing to be found).

    map, map50, map75: COCO average precision over IoU 0.5 to 0.95, at 0.5, at 0.75, mean of the classes with objects.
    per_class: by name; by_size: small (below 32^2 px), medium, large (above 96^2 px); by_light: "day", "night", those
    that occur. images: frames evaluated; truths: objects to be found. misses_by_height: at the thresholds.
    log_average_miss_rate: by name, Dollar et al. 2012; that of persons is the published one. confusion: names (classes,
    then "nothing"), the least score of a detection, and the matrix, rows what is there, columns what was found.
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
    matching.check_frames(frames, class_names)
    given = dict(thresholds or {})
    check_known("thresholds", "class", given, class_names)
    operating = np.array([given.get(name, OPERATING_SCORE) for name in class_names], np.float64)
    count = len(class_names)
    matches = [matching.match_frame(frame, count) for frame in frames]
    found = FrameMatch(*map(np.concatenate, zip(*(vars(match).values() for match in matches), strict=True)))
    truth_ids = np.concatenate([frame.truth.class_ids for frame in frames])[found.counted]
    truth_boxes = np.concatenate([frame.truth.boxes_xyxy_px for frame in frames])[found.counted]
    missed = np.concatenate([~match.found(operating) for match in matches])[found.counted]
    labelled = np.array([matching.labelled_classes(frame.truth, count) for frame in frames])
    curves = score_curves(found, truth_ids, labelled, class_names)
    if not len(truth_ids):
        wanted = " or ".join(class_names)
        raise InputError(f"none of the {len(frames)} frames has a labelled {wanted}: give a set or bag that has")
    table = PrecisionTable(frames, count)
    precision = table.precision()
    all_frames = np.ones(len(frames), np.int64)

    def part(chosen: IntArray, size: str = "all") -> dict[str, Any]:
        truths = (chosen @ table.truths[..., SIZES.index(size)]).sum()
        return {**_average_precision(table.precision(chosen, size), "map", "map50"), "truths": int(truths)}

    by_light = {}
    for light in sorted({frame.light for frame in frames if frame.light is not None}):
        chosen = np.array([frame.light == light for frame in frames], np.int64)
        by_light[light] = {**part(chosen), "images": int(chosen.sum())}
    return Metrics(
        **_average_precision(precision),
        per_class={
            name: {**_average_precision(precision[..., c]), "truths": curves[name].truths}
            for c, name in enumerate(class_names)
        },
        by_size={size: part(all_frames, size) for size in SIZES if size != "all"},
        by_light=by_light,
        duplicates_per_object=duplicates_per_object(found, curves),
        images=len(frames),
        truths=len(truth_ids),
        misses_by_height=misses_by_height(truth_boxes[:, 3] - truth_boxes[:, 1], truth_ids, missed, class_names),
        log_average_miss_rate={name: log_average_miss_rate(curve) for name, curve in curves.items()},
        confusion={
            "names": [*class_names, "nothing"],
            "score": OPERATING_SCORE,
            "matrix": confusion_matrix(frames, matches, count).tolist(),
        },
        operating_point={
            name: operating_figures(curves[name], float(operating[c])) for c, name in enumerate(class_names)
        },
        calibration=calibration(found, class_names),
        curves=curves,
    )


def _average_precision(precision: NDArray[np.float64], *keys: str) -> dict[str, float | None]:
    """Means over a part of the precision table [10 IoUs, ...] without its undefined cells; None where all are."""
    parts = {"map": precision, "map50": precision[0], "map75": precision[5]}
    defined = {key: parts[key][~np.isnan(parts[key])] for key in keys or parts}
    return {key: float(values.mean()) if values.size else None for key, values in defined.items()}


def score_curves(
    found: FrameMatch, truth_ids: IntArray, labelled: BoolArray, class_names: Sequence[str]
) -> dict[str, ScoreCurve]:
    """Each class's curve. found: the detections of all frames; truth_ids: int64 [M], classes of the objects that count;
    labelled: bool [frames, C], the classes that are labelled in each frame."""
    scores = found.scores.astype(np.float64)
    curves = {}
    for class_id, name in enumerate(class_names):
        mine = np.flatnonzero((found.class_ids == class_id) & ~found.neutral)
        order = mine[np.argsort(-scores[mine], kind="stable")]
        descending, hits = scores[order], found.true_positive[order]
        last_of_score = np.flatnonzero(np.append(descending[:-1] != descending[1:], True)) if len(order) else order
        curves[name] = ScoreCurve(
            scores=descending[last_of_score],
            true_positives=np.cumsum(hits, dtype=np.int64)[last_of_score],
            false_alarms=np.cumsum(~hits, dtype=np.int64)[last_of_score],
            truths=int(np.count_nonzero(truth_ids == class_id)),
            images=int(np.count_nonzero(labelled[:, class_id])),
        )
    return curves


def log_average_miss_rate(curve: ScoreCurve) -> float | None:
    """Geometric mean of the miss rate at FPPI_POINTS false alarms per image; None without objects.

    At each point counts the miss rate of the last threshold whose false alarms per image do not exceed it, 1 where
    there is none; a curve that ends before the last point is held at its end. Objects of every height count.
    """
    if curve.truths == 0 or curve.images == 0:
        return None
    per_image = np.concatenate([[-1.0], curve.false_alarms / curve.images])
    miss_rate = np.concatenate([[1.0], 1.0 - curve.recall])
    at_points = miss_rate[np.searchsorted(per_image, FPPI_POINTS, side="right") - 1]
    return float(np.exp(np.log(np.maximum(at_points, 1e-10)).mean()))


def ratio(part: float, whole: float) -> float | None:
    """part / whole; None where there is no whole."""
    return float(part) / float(whole) if whole else None


def operating_figures(curve: ScoreCurve, threshold: float) -> dict[str, Any]:
    """Threshold, precision, recall and false alarms per image of one class, and the counts behind them."""
    # scores are float32 where they come from: the threshold is compared as such
    points = int(np.count_nonzero(curve.scores >= float(np.float32(threshold))))
    hits = int(curve.true_positives[points - 1]) if points else 0
    alarms = int(curve.false_alarms[points - 1]) if points else 0
    return {
        "threshold": float(threshold),
        "precision": ratio(hits, hits + alarms),
        "recall": ratio(hits, curve.truths),
        "false_alarms_per_image": ratio(alarms, curve.images),
        "true_positives": hits,
        "false_alarms": alarms,
        "missed": curve.truths - hits,
        "truths": curve.truths,
        "images": curve.images,
    }


def duplicates_per_object(found: FrameMatch, curves: Mapping[str, ScoreCurve]) -> dict[str, float | None]:
    """Extra detections over an object that another has taken, divided by the objects to be found.

    Counted are detections of at least OPERATING_SCORE; per class and under "all". None where there are no objects.
    """
    chosen = found.duplicate & (found.scores >= np.float32(OPERATING_SCORE))
    extra = np.bincount(found.class_ids[chosen], minlength=len(curves))
    figures = {name: ratio(int(extra[i]), curve.truths) for i, (name, curve) in enumerate(curves.items())}
    return {**figures, "all": ratio(int(extra.sum()), sum(curve.truths for curve in curves.values()))}


def misses_by_height(
    heights_px: FloatArray, truth_ids: IntArray, missed: BoolArray, class_names: Sequence[str]
) -> list[dict[str, Any]]:
    """For each bin of box height, [from_px, to_px), of the objects [M]: how many, those missed (bool), and the rate.

    Keys from_px, to_px (None: no end), truths, missed, miss_rate, and per_class with the same three.
    """
    bins = np.digitize(heights_px, HEIGHT_BINS_PX) - 1

    def figures(chosen: BoolArray) -> dict[str, Any]:
        truths, lost = int(np.count_nonzero(chosen)), int(np.count_nonzero(chosen & missed))
        return {"truths": truths, "missed": lost, "miss_rate": ratio(lost, truths)}

    return [
        {
            "from_px": float(low),
            "to_px": None if high is None else float(high),
            **figures(bins == i),
            "per_class": {name: figures((bins == i) & (truth_ids == c)) for c, name in enumerate(class_names)},
        }
        for i, (low, high) in enumerate(zip(HEIGHT_BINS_PX, (*HEIGHT_BINS_PX[1:], None), strict=True))
    ]


def confusion_matrix(frames: Sequence[EvaluatedFrame], matches: Sequence[FrameMatch], class_count: int) -> IntArray:
    """int64 [C + 1, C + 1]: rows are what is there, columns what was found; the last of each is "nothing".

    Of the detections of at least the operating score, those matched within their class fill the diagonal. The others,
    best score first, each take the object of another class that is still free and that they overlap most (IoU of at
    least MATCH_IOU): a confusion. What is left is a false alarm (duplicates too) or a miss; neutral ones are left out.
    """
    matrix = np.zeros((class_count + 1, class_count + 1), np.int64)
    floor = np.full(class_count, OPERATING_SCORE)
    for frame, match in zip(frames, matches, strict=True):
        above = match.above(floor)
        hits = np.flatnonzero(above & match.true_positive)
        np.add.at(matrix, (match.class_ids[hits], match.class_ids[hits]), 1)
        free = np.flatnonzero(match.counted & ~match.found(floor))
        alarms = np.flatnonzero(above & match.false_alarm)
        iou = iou_matrix(match.boxes_xyxy_px[alarms], frame.truth.boxes_xyxy_px[free])
        taken = np.zeros(len(free), np.bool_)
        for row, alarm in enumerate(alarms):
            overlaps = np.where(taken, -1.0, iou[row])
            truth_class = class_count
            if len(free) and overlaps.max() >= matching.MATCH_IOU:
                best = int(overlaps.argmax())
                taken[best] = True
                truth_class = int(frame.truth.class_ids[free[best]])
            matrix[truth_class, match.class_ids[alarm]] += 1
        np.add.at(matrix[:, class_count], frame.truth.class_ids[free[~taken]], 1)
    return matrix


def calibration(found: FrameMatch, class_names: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Name of each class, and "all" -> whether its scores mean what they say: of those of 0.7, are seven in ten real?

    The error is D-ECE over the score alone (Kueppers et al., CVPR workshops 2020): the mean over detections of what
    their bin's precision and mean score differ by; None without detections. Keys: `error`; `detections` that reach
    _CALIBRATION_MIN_SCORE; `bins` of equal width over [0, 1], those that hold any.
    """
    counts = ~found.neutral & (found.scores >= np.float32(_CALIBRATION_MIN_SCORE))
    parts = {name: counts & (found.class_ids == class_id) for class_id, name in enumerate(class_names)}
    parts["all"] = counts
    return {name: calibration_of(found.scores[part], found.true_positive[part]) for name, part in parts.items()}


def calibration_of(scores: FloatArray, right: BoolArray, counted: str = "detections") -> dict[str, Any]:
    """As one entry of `calibration`; counted: the key that says how many there are."""
    bins = _CALIBRATION_BINS
    # scores are float32: so are the edges, or 0.9 would lie below 0.9
    places = np.digitize(scores, (np.arange(1, bins) / bins).astype(np.float32))
    found, score_sums, hits = (np.bincount(places, each, bins) for each in (None, scores, right))
    total = int(found.sum())
    return {
        "error": float(np.abs(hits - score_sums).sum() / total) if total else None,
        counted: total,
        "bins": [
            {
                "from": index / bins,
                "to": (index + 1) / bins,
                counted: int(found[index]),
                "mean_score": float(score_sums[index] / found[index]),
                "precision": float(hits[index] / found[index]),
            }
            for index in np.flatnonzero(found).tolist()
        ],
    }
