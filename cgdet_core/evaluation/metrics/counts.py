"""Figures counted over detections: curves over the threshold, duplicates, misses by height, confusions, calibration."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cgdet_core.boxes import iou_matrix
from cgdet_core.evaluation.metrics.matching import (
    MATCH_IOU,
    OPERATING_SCORE,
    EvaluatedFrame,
    FrameMatch,
    labelled_classes,
)
from cgdet_core.types import BoolArray, FloatArray, IntArray

HEIGHT_BINS_PX = (0, 16, 24, 32, 48, 64, 96, 128, 256)  # lower ends of the bins of box height
_CALIBRATION_MIN_SCORE = 0.1  # many detections that nobody uses would drown it
_CALIBRATION_BINS = 10
# Dollar et al., "Pedestrian Detection: An Evaluation of the State of the Art", PAMI 2012, section 3.1
FPPI_POINTS: NDArray[np.float64] = np.asarray(np.logspace(-2.0, 0.0, 9), np.float64)


@dataclass(frozen=True)
class ScoreCurve:
    """What happens to one class as its threshold falls; each point takes in all detections of one score more.

    scores: float64 [P] descending, the threshold of each point; true_positives, false_alarms: int64 [P],
    cumulative; truths: objects to be found; images: frames in which the class is labelled.
    """

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


def score_curves(
    frames: Sequence[EvaluatedFrame], matches: Sequence[FrameMatch], class_names: Sequence[str]
) -> dict[str, ScoreCurve]:
    """Each class's curve; `matches` are the frames' own, in their order."""
    scores = np.concatenate([match.scores for match in matches]).astype(np.float64)
    class_ids = np.concatenate([match.class_ids for match in matches])
    hits = np.concatenate([match.true_positive for match in matches])
    alarms = np.concatenate([match.false_alarm for match in matches])
    labelled = np.array([labelled_classes(frame.truth, len(class_names)) for frame in frames])
    curves = {}
    for class_id, name in enumerate(class_names):
        mine = np.flatnonzero((class_ids == class_id) & (hits | alarms))
        order = mine[np.argsort(-scores[mine], kind="stable")]
        descending = scores[order]
        last_of_score = np.flatnonzero(np.append(descending[:-1] != descending[1:], True)) if len(order) else order
        truths = sum(
            int(np.count_nonzero(match.counted & (frame.truth.class_ids == class_id)))
            for frame, match in zip(frames, matches, strict=True)
        )
        curves[name] = ScoreCurve(
            scores=descending[last_of_score],
            true_positives=np.cumsum(hits[order])[last_of_score],
            false_alarms=np.cumsum(alarms[order])[last_of_score],
            truths=truths,
            images=int(np.count_nonzero(labelled[:, class_id])),
        )
    return curves


def log_average_miss_rate(curve: ScoreCurve) -> float | None:
    """Geometric mean of the miss rate at FPPI_POINTS false alarms per image; None without objects.

    At each point counts the miss rate of the last threshold whose false alarms per image do not
    exceed it, 1 where there is none; a curve that ends before the last point is held at its end.
    Objects of every height count (the Caltech "reasonable" subset leaves out those below 50 px).
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


def duplicates_per_object(matches: Sequence[FrameMatch], curves: Mapping[str, ScoreCurve]) -> dict[str, float | None]:
    """Extra detections over an object that another has taken, divided by the objects to be found.

    Counted are detections of at least OPERATING_SCORE and of the object's class, after NMS; per class and
    under "all". None where a class has no objects.
    """
    names = list(curves)
    floor = np.full(len(names), OPERATING_SCORE)
    extra = np.zeros(len(names), np.int64)
    for match in matches:
        chosen = match.duplicate & match.above(floor)
        extra += np.bincount(match.class_ids[chosen], minlength=len(names))
    truths = [curves[name].truths for name in names]
    figures = {name: ratio(int(extra[i]), truths[i]) for i, name in enumerate(names)}
    return {**figures, "all": ratio(int(extra.sum()), sum(truths))}


def misses_by_height(
    frames: Sequence[EvaluatedFrame],
    matches: Sequence[FrameMatch],
    thresholds: NDArray[np.float64],
    class_names: Sequence[str],
) -> list[dict[str, Any]]:
    """For each bin of box height, [from_px, to_px): objects, those missed at `thresholds`, and the rate.

    Keys from_px, to_px (None: no end), truths, missed, miss_rate, and per_class with the same three.
    """
    pairs = list(zip(frames, matches, strict=True))
    boxes = np.concatenate([frame.truth.boxes_xyxy_px[match.counted] for frame, match in pairs])
    class_id = np.concatenate([frame.truth.class_ids[match.counted] for frame, match in pairs])
    miss = np.concatenate([~match.found(thresholds)[match.counted] for match in matches])
    lows = HEIGHT_BINS_PX
    bins = np.digitize(boxes[:, 3] - boxes[:, 1], lows) - 1

    def figures(chosen: NDArray[np.bool_]) -> dict[str, Any]:
        truths, lost = int(np.count_nonzero(chosen)), int(np.count_nonzero(chosen & miss))
        return {"truths": truths, "missed": lost, "miss_rate": ratio(lost, truths)}

    return [
        {
            "from_px": float(low),
            "to_px": float(lows[i + 1]) if i + 1 < len(lows) else None,
            **figures(bins == i),
            "per_class": {name: figures((bins == i) & (class_id == c)) for c, name in enumerate(class_names)},
        }
        for i, low in enumerate(lows)
    ]


def confusion_matrix(frames: Sequence[EvaluatedFrame], matches: Sequence[FrameMatch], class_count: int) -> IntArray:
    """int64 [C + 1, C + 1]: rows are what is there, columns what was found; the last of each is "nothing".

    Of the detections of at least the operating score, those matched within their class fill the
    diagonal. The others, best score first, each take the object of another class that is still
    free and that they overlap most (IoU of at least MATCH_IOU): a confusion. What is left over is
    found in nothing (a false alarm, duplicates included) or a miss. Neutral detections are left out.
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
            if len(free) and overlaps.max() >= MATCH_IOU:
                best = int(overlaps.argmax())
                taken[best] = True
                truth_class = int(frame.truth.class_ids[free[best]])
            matrix[truth_class, match.class_ids[alarm]] += 1
        np.add.at(matrix[:, class_count], frame.truth.class_ids[free[~taken]], 1)
    return matrix


def calibration(matches: Sequence[FrameMatch], class_names: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Name of each class, and "all" -> whether its scores mean what they say: of those of 0.7, are seven in ten real?

    A detection is right where it takes an object, as in every figure; one that counts neither way is left out. The
    error is D-ECE over the score alone (Kueppers et al., CVPR workshops 2020): the mean over detections of what their
    bin's precision and mean score differ by.

    Keys: `error` in [0, 1], None without detections; `detections` that reach _CALIBRATION_MIN_SCORE; and `bins`, of
    equal width over [0, 1], those that hold any of these: from, to, detections, mean_score, precision.
    """
    scores = np.concatenate([match.scores for match in matches])
    class_ids = np.concatenate([match.class_ids for match in matches])
    right = np.concatenate([match.true_positive for match in matches])
    counts = ~np.concatenate([match.neutral for match in matches])
    counts &= scores >= np.float32(_CALIBRATION_MIN_SCORE)
    figures = {
        name: calibration_of(scores[chosen], right[chosen])
        for name, chosen in ((name, counts & (class_ids == index)) for index, name in enumerate(class_names))
    }
    return {**figures, "all": calibration_of(scores[counts], right[counts])}


def calibration_of(scores: FloatArray, right: BoolArray, counted: str = "detections") -> dict[str, Any]:
    """As one entry of `calibration`; counted: the key that says how many there are."""
    bins = _CALIBRATION_BINS
    # scores are float32: so are the edges, or 0.9 would lie below 0.9
    edges = (np.arange(1, bins) / bins).astype(np.float32)
    places = np.searchsorted(edges, scores, side="right")
    found = np.bincount(places, minlength=bins)
    score_sums = np.bincount(places, scores, bins)
    hits = np.bincount(places, right, bins)
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
