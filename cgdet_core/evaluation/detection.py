"""Detection as a task that is measured (evaluation/task.py): a record is an EvaluatedFrame."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import floor
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cgdet_core.config import PostprocessConfig
from cgdet_core.errors import InputError
from cgdet_core.evaluation.benchmark import street_frames
from cgdet_core.evaluation.metrics.average_precision import PrecisionTable
from cgdet_core.evaluation.metrics.matching import MIN_SCORE, OPERATING_SCORE, EvaluatedFrame, check_frames, match_frame
from cgdet_core.evaluation.metrics.metrics import Metrics, evaluate
from cgdet_core.evaluation.offline import Look
from cgdet_core.evaluation.report.model_report import detection_part, detection_parts_of_two
from cgdet_core.evaluation.task import FigureKey, MeasuredTask
from cgdet_core.runtime.model_file import ModelInfo
from cgdet_core.runtime.predictor import LoadedModel, Predictor
from cgdet_core.thermal import letterbox, normalise
from cgdet_core.types import Detections, FloatArray, ImageArray, IntArray, Sample, class_places

_SHOWN = {"map": "mAP", "map50": "mAP50", "duplicates_per_object": "duplicates per object"}
FEW_OBJECTS = 30  # a threshold of fewer than this is chance


def record_of(sample: Sample, found: Detections) -> EvaluatedFrame:
    """What was found in a labelled frame beside its labels."""
    assert sample.truth is not None
    return EvaluatedFrame(sample.name, found, sample.truth, sample.frame.height_width_px, sample.light)


@dataclass
class RecordedDetections:
    """A Look at what was recorded (header stamp in ns -> detections) in place of a model; a labelled frame without an
    array is one in which nothing was found. answered: frames with an array."""

    found: Mapping[int, Detections]
    answered: int = 0

    def __call__(self, sample: Sample) -> tuple[EvaluatedFrame, Mapping[str, float]]:
        found = self.found.get(sample.frame.stamp_ns)
        self.answered += found is not None
        return record_of(sample, found or Detections.empty()), {}


class DetectionVector:
    """See FigureVector. Average precision (by light too) and duplicates per object, of all frames and each class."""

    groups: tuple[str, ...] = ("overall", "per_class", "by_light")

    def __init__(self, frames: Sequence[EvaluatedFrame], class_names: Sequence[str]) -> None:
        check_frames(frames, class_names)
        count = len(class_names)
        self._table = PrecisionTable(frames, count)
        self._duplicates = np.zeros((len(frames), count), np.int64)
        floor = np.full(count, OPERATING_SCORE)
        for index, frame in enumerate(frames):
            match = match_frame(frame, count)
            extra = match.class_ids[match.duplicate & match.above(floor)]
            self._duplicates[index] = np.bincount(extra, minlength=count)
        lights = sorted({frame.light for frame in frames if frame.light is not None})
        self._of_light = [np.array([frame.light == light for frame in frames], np.int64) for light in lights]
        self.keys = [
            FigureKey((*path, figure), f"{said} {shown.removeprefix(less)}".strip(), figure not in ("map", "map50"))
            for figure, shown in _SHOWN.items()
            for path, said, less in (
                (("overall",), "", ""),
                *((("per_class", name), name, "m") for name in class_names),
            )
        ]
        self.keys += [
            FigureKey(("by_light", light, figure), f"{light} {_SHOWN[figure]}")
            for light in lights
            for figure in ("map", "map50")
        ]

    def of(self, weights: IntArray) -> NDArray[np.float64]:
        values: list[float] = []
        ap = self._table.precision(weights).mean(axis=1)
        for of_class in (ap.mean(axis=0), ap[0]):
            values += [_mean(of_class), *of_class]
        extra, truths = weights @ self._duplicates, weights @ self._table.truths[..., 0]
        for more, objects in ((extra.sum(), truths.sum()), *zip(extra, truths, strict=True)):
            values.append(more / objects if objects else np.nan)
        for of_light in self._of_light:
            ap = self._table.precision(weights * of_light).mean(axis=1)
            values += [_mean(ap.mean(axis=0)), _mean(ap[0])]
        return np.array(values, np.float64)


def _mean(values: NDArray[np.float64]) -> float:
    defined = values[~np.isnan(values)]
    return float(defined.mean()) if len(defined) else float("nan")


class DetectionMeasured(MeasuredTask):
    """See MeasuredTask."""

    name, predictor, record, unit = "detection", Predictor, EvaluatedFrame, "image"
    headline: tuple[str, ...] = ("map", "map50", "images", "truths")
    page_part = staticmethod(detection_part)
    page_parts_of_two = staticmethod(detection_parts_of_two)
    int8_may_lose = 0.005  # mAP

    def names_of(self, models: Sequence[LoadedModel]) -> tuple[str, ...]:
        first, *others = models
        names = [name for name in first.info.class_names if all(name in other.info.class_names for other in others)]
        if names:
            return tuple(names)
        told = (f"{model.model_path} has {', '.join(model.info.class_names)}" for model in models)
        raise InputError(f"{'; '.join(told)}: give models with a class in common")

    def look_with(self, model: Predictor, names: Sequence[str] = (), telemetry_rows: int = 0) -> Look[EvaluatedFrame]:
        own = model.info.class_names
        places = class_places(own, names or own)
        postprocess = model.postprocess.at_score(MIN_SCORE)

        def look(sample: Sample) -> tuple[EvaluatedFrame, Mapping[str, float]]:
            found = model.predict(sample.frame.image, telemetry_rows, postprocess)
            kept = places[found.class_ids] >= 0
            known = Detections(found.boxes_xyxy_px[kept], found.scores[kept], places[found.class_ids[kept]])
            return record_of(sample, known), model.last_stage_ms

        return look

    def measure(
        self, records: Sequence[EvaluatedFrame], names: Sequence[str], postprocess: PostprocessConfig | None = None
    ) -> Metrics:
        thresholds = None if postprocess is None else {name: postprocess.threshold_of(name) for name in names}
        return evaluate(records, names, thresholds)

    def rows(self, figures: Mapping[str, Any]) -> list[tuple[object, ...]]:
        of_point = ("threshold", "precision", "recall")
        rows: list[tuple[object, ...]] = [("", "objects", "mAP50", "mAP", "mAP75", *of_point)]
        for name, part in {"all": figures, **figures["per_class"], **figures["by_light"]}.items():
            point = figures["operating_point"].get(name, {})
            keys = "truths", "map50", "map", "map75"
            rows.append((name, *(part.get(key) for key in keys), *(point.get(key) for key in of_point)))
        return rows

    def vector(self, records: Sequence[EvaluatedFrame], names: Sequence[str]) -> DetectionVector:
        return DetectionVector(records, names)

    def choose_thresholds(
        self, records: Sequence[EvaluatedFrame], names: Sequence[str]
    ) -> tuple[dict[str, float], Metrics, list[str]]:
        """Those of the best F1, cut to three decimals. Of equals the higher; a class of which none is found keeps the
        configured operating score."""
        thresholds: dict[str, float] = {}
        for name, curve in evaluate(records, names).curves.items():
            found = curve.truths and len(curve.scores) and curve.true_positives[-1]
            best = curve.scores[int(np.argmax(curve.f1))] if found else OPERATING_SCORE
            # it is the score of a detection, which a threshold that was rounded up would lose
            thresholds[name] = floor(float(best) * 1000) / 1000
        metrics = evaluate(records, names, thresholds)
        truths = {name: point["truths"] for name, point in metrics.operating_point.items()}
        few = ", ".join(f"{name} (of {count})" for name, count in truths.items() if count < FEW_OBJECTS)
        warning = f"chance decided over the thresholds of {few}: choose on {FEW_OBJECTS} objects or more"
        return thresholds, metrics, [warning] if few else []

    def threshold_settings(self, thresholds: Mapping[str, float]) -> dict[str, Any]:
        return {"class_thresholds": dict(thresholds)}

    def timed_inputs(self, info: ModelInfo) -> Sequence[tuple[ImageArray]]:
        return [(image,) for image in street_frames(info.input_height_width_px)]

    def canvases(self, info: ModelInfo, samples: Iterable[Sample] | None = None) -> list[FloatArray]:
        images = street_frames((512, 640)) if samples is None else (sample.frame.image for sample in samples)
        return [letterbox(normalise(image, info.thermal), info.input_height_width_px)[0] for image in images]


DETECTION = DetectionMeasured()
