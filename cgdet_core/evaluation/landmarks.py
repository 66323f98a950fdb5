"""Landmarks as a task that is measured (evaluation/task.py): a record is a FaceRecord, the faces of one frame."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from math import floor
from typing import Any

import numpy as np

from cgdet_core.config import LandmarkPostprocessConfig
from cgdet_core.errors import InputError
from cgdet_core.evaluation.metrics.faces import FaceRecord, LandmarkFigures, LandmarkVector, sureness
from cgdet_core.evaluation.offline import Look
from cgdet_core.evaluation.report.landmark_report import landmark_part, landmark_parts_of_two
from cgdet_core.evaluation.task import MeasuredTask
from cgdet_core.runtime.landmarks import LandmarkPredictor, crop_of, face_canvas
from cgdet_core.runtime.model_file import ModelInfo
from cgdet_core.runtime.predictor import LoadedModel
from cgdet_core.tasks.landmarks.decode import confidence, fitted_factor, ratio_of
from cgdet_core.tasks.landmarks.points import GROUPS
from cgdet_core.tasks.landmarks.sampling import whole_faces
from cgdet_core.thermal import to_grey, tone_limits
from cgdet_core.types import BoolArray, FloatArray, GroundTruth, ImageArray, Sample

_KEPT = 0.99  # share of the held-out faces whose mean confidence is above the bound that is chosen
_HIGHEST_BOUND = 0.6  # of a bound: 1 of 100 windows of streets and of blurred backdrops reaches it, calibrated
_DRAWN_PX = 256


class LandmarksMeasured(MeasuredTask):
    """See MeasuredTask. Faces are given by their labelled boxes: how well they are found is the face detector's."""

    name, predictor, record, unit = "landmarks", LandmarkPredictor, FaceRecord, "face"
    headline: tuple[str, ...] = ("nme", "failure_rate", "auc", "faces")
    page_part = staticmethod(landmark_part)
    page_parts_of_two = staticmethod(landmark_parts_of_two)
    int8_may_lose = 0.001  # NME

    def names_of(self, models: Sequence[LoadedModel]) -> tuple[str, ...]:
        return models[0].info.class_names

    def look_with(
        self, model: LandmarkPredictor, names: Sequence[str] = (), telemetry_rows: int = 0
    ) -> Look[FaceRecord]:
        def look(sample: Sample) -> tuple[FaceRecord, Mapping[str, float]]:
            truth = sample.truth
            assert truth is not None
            faces = whole_faces(truth)
            found = model.predict(sample.frame.image, truth.boxes_xyxy_px[faces], telemetry_rows)
            # of a frame without a face nothing is timed
            stage_ms = {stage: latency / len(faces) for stage, latency in model.last_stage_ms.items() if faces}
            return FaceRecord(sample.name, found, *_labels(truth, faces), model.postprocess, sample.camera), stage_ms

        return look

    def measure(
        self, records: Sequence[FaceRecord], names: Sequence[str], postprocess: LandmarkPostprocessConfig | None = None
    ) -> LandmarkFigures:
        return LandmarkFigures(records, None if postprocess is None else postprocess.lost_below)

    def rows(self, figures: Mapping[str, Any]) -> list[tuple[object, ...]]:
        rows: list[tuple[object, ...]] = [("", "faces", "NME", *GROUPS, "failures", "AUC")]
        for name, part in {"all": figures, **figures["by_camera"]}.items():
            groups = (part["nme_by_group"][group] for group in GROUPS)
            rows.append(
                (name, part["faces"], _rounded(part["nme"]), *map(_rounded, groups), part["failure_rate"], part["auc"])
            )
        return rows

    def vector(self, records: Sequence[FaceRecord], names: Sequence[str]) -> LandmarkVector:
        return LandmarkVector(records)

    def choose_thresholds(
        self, records: Sequence[FaceRecord], names: Sequence[str]
    ) -> tuple[dict[str, float], LandmarkFigures, list[str]]:
        """spread_factor: decode.fitted_factor; lost_below: the bound that 99 of 100 of these faces pass, or less."""
        errors = np.concatenate([np.zeros(0, np.float32), *(each.near_errors[each.labelled] for each in records)])
        if not len(errors):
            raise InputError("none of the held-out frames has a face with labelled points")
        change = fitted_factor(errors, np.concatenate([each.found.confidences[each.labelled] for each in records]))
        records = [
            replace(each, found=replace(each.found, confidences=confidence(ratio_of(each.found.confidences) / change)))
            for each in records
        ]
        bound = (
            floor(min(_HIGHEST_BOUND, float(np.quantile(sureness(records), 1 - _KEPT, method="lower"))) * 1000) / 1000
        )
        return (
            {"lost_below": bound, "spread_factor": records[0].settings.spread_factor * change},
            LandmarkFigures(records, bound),
            [],
        )

    def threshold_settings(self, thresholds: Mapping[str, float]) -> dict[str, Any]:
        return dict(thresholds)

    def timed_inputs(self, info: ModelInfo) -> Sequence[tuple[ImageArray, FloatArray]]:
        return [(each.frame.image, each.truth.boxes_xyxy_px) for each in _drawn() if each.truth is not None]

    def canvases(self, info: ModelInfo, samples: Iterable[Sample] | None = None) -> list[FloatArray]:
        """The face of each frame that is labelled first."""
        found = []
        for sample in _drawn() if samples is None else samples:
            for box in [] if sample.truth is None else sample.truth.boxes_xyxy_px[:1]:
                grey = to_grey(sample.frame.image)
                found.append(face_canvas(grey, tone_limits(grey, info.thermal), crop_of(box, info)))
        return found


def _drawn() -> list[Sample]:
    from cgdet_core.data.synthetic.faces.drawing import drawn_face

    return [drawn_face(seed, _DRAWN_PX) for seed in range(8)]


def _labels(truth: GroundTruth, faces: Sequence[int] = ()) -> tuple[FloatArray, BoolArray]:
    """Points float32 [F, 68, 2] of these faces of a truth, and bool [F, 68], which of them are labelled."""
    if not faces or truth.points_xy_px is None or truth.points_labelled is None:
        return np.zeros((0, 68, 2), np.float32), np.zeros((0, 68), np.bool_)
    return truth.points_xy_px[faces], truth.points_labelled[faces]


def _rounded(value: float | None) -> str | None:
    """Four decimals: the third is the difference that matters."""
    return None if value is None else f"{value:.4f}"


LANDMARKS = LandmarksMeasured()
