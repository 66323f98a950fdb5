"""Landmarks as a task that is measured (evaluation/task.py): a record is a FaceRecord, the faces of one frame."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import floor
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cgdet_core.errors import InputError
from cgdet_core.evaluation.offline import Look
from cgdet_core.evaluation.task import FigureKey, Model
from cgdet_core.runtime.landmarks import LandmarkPredictor, crop_of, face_canvas
from cgdet_core.runtime.model_file import ModelInfo
from cgdet_core.tasks.landmarks.decode import NEAR, confidence, fitted_factor, ratio_of
from cgdet_core.tasks.landmarks.metrics import FAILURE, FaceErrors, face_errors, summarise
from cgdet_core.tasks.landmarks.points import GROUPS
from cgdet_core.tasks.landmarks.sampling import whole_faces
from cgdet_core.thermal import to_grey, tone_limits
from cgdet_core.types import BoolArray, FloatArray, GroundTruth, ImageArray, IntArray, Landmarks, Sample

_KEPT = 0.99  # share of the held-out faces whose mean confidence is above the bound that is chosen
_HIGHEST_BOUND = 0.6  # of a bound: 1 of 100 windows of streets and of blurred backdrops reaches it, calibrated
_DRAWN_PX = 256


@dataclass(frozen=True)
class FaceRecord:
    """The labelled faces of a frame: what was found in their labelled boxes, and the errors of it.

    near_errors: float32 [F, 68], distances to the labels in units of decode.NEAR of the crop, NaN without a label;
    spread_factor: by which the confidences were found.
    """

    found: Landmarks
    errors: FaceErrors
    near_errors: FloatArray
    spread_factor: float
    camera: str | None


class LandmarkFigures:
    """Over all faces of some records; see Figures."""

    def __init__(self, records: Sequence[FaceRecord], lost_below: float | None = None) -> None:
        self._records = records
        self.errors = _joined([record.errors for record in records])
        if not len(self.errors.nme):
            raise InputError("none of the frames has a face with labelled points: give a set with COCO keypoints")
        self._sure, self._near = sureness(records), np.concatenate([record.near_errors for record in records])
        self._lost_below = lost_below

    def to_json(self, extra: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """DESIGN 5; by_camera: the same figures of each camera; near_share: of the points that are as near as
        mean_confidence says they are, by labels; operating_point: what a lost face's bound leaves."""
        cameras = sorted({record.camera for record in self._records if record.camera is not None})
        point: dict[str, Any] = {}
        if self._lost_below is not None:
            kept = float((self._sure >= self._lost_below).mean())
            point = {"face": {"threshold": self._lost_below, "kept": kept, "truths": len(self._sure)}}
        return {
            **summarise(self.errors),
            "by_camera": {
                camera: summarise(_joined([each.errors for each in self._records if each.camera == camera]))
                for camera in cameras
            },
            "mean_confidence": float(self._sure.mean()),
            "near_share": float((self._near[~np.isnan(self._near)] <= 1).mean()),
            "operating_point": point,
            **(extra or {}),
        }


class LandmarkVector:
    """See FigureVector: NME first, of all faces measured by their outer eyes, of each group of points and camera."""

    groups: tuple[str, ...] = ("overall", "by_group", "by_camera")

    def __init__(self, records: Sequence[FaceRecord]) -> None:
        errors = _joined([record.errors for record in records])
        self._frame = np.repeat(np.arange(len(records)), [len(record.errors.nme) for record in records])
        by_eyes = np.array([each == "outer_eyes" for each in errors.normaliser], np.bool_)
        nme = np.where(by_eyes, errors.nme, np.nan).astype(np.float64)
        cameras = sorted({record.camera for record in records if record.camera is not None})
        of_camera = np.array([record.camera or "" for record in records])[self._frame] if records else np.zeros(0, str)
        columns = [
            (FigureKey(("overall", "nme"), "NME", True), nme),
            (FigureKey(("overall", "failure_rate"), "failure rate", True), np.where(np.isnan(nme), nme, nme > FAILURE)),
            (FigureKey(("overall", "auc"), "AUC"), (FAILURE - nme).clip(0) / FAILURE),
        ]
        for name in GROUPS:
            values = np.where(by_eyes, errors.of_group[name], np.nan).astype(np.float64)
            columns.append((FigureKey(("by_group", name, "nme"), f"{name} NME", True), values))
        for camera in cameras:
            values = np.where(of_camera == camera, nme, np.nan)
            columns.append((FigureKey(("by_camera", camera, "nme"), f"{camera} NME", True), values))
        self.keys = [key for key, _ in columns]
        self._values = np.stack([values for _, values in columns])

    def of(self, weights: IntArray) -> NDArray[np.float64]:
        counts = weights[self._frame] * ~np.isnan(self._values)
        total = counts.sum(1)
        summed = (np.nan_to_num(self._values) * counts).sum(1)
        mean: NDArray[np.float64] = np.divide(summed, total, out=np.full(len(self.keys), np.nan), where=total > 0)
        return mean


class LandmarksMeasured:
    """See MeasuredTask. Faces are given by their labelled boxes: how well they are found is the face detector's."""

    name, unit = "landmarks", "face"
    headline: tuple[str, ...] = ("nme", "failure_rate", "auc", "faces")
    write_report: Callable[..., None] | None = None
    write_comparison: Callable[..., None] | None = None

    def load(self, path: Path | None, device: str, precision: str, threads: int, backend: str) -> LandmarkPredictor:
        if path is None:
            raise InputError("name a landmark model with --model")
        predictor = LandmarkPredictor(path, device, precision, threads, backend)
        predictor.warm_up()
        return predictor

    def names_of(self, models: Sequence[Model]) -> tuple[str, ...]:
        return models[0].info.class_names

    def look_with(
        self, model: LandmarkPredictor, names: Sequence[str] = (), telemetry_rows: int = 0
    ) -> Look[FaceRecord]:
        factor, box_scale = model.postprocess.spread_factor, model.postprocess.box_scale

        def look(sample: Sample) -> tuple[FaceRecord, Mapping[str, float]]:
            truth = sample.truth
            assert truth is not None
            faces = whole_faces(truth)
            boxes = truth.boxes_xyxy_px[faces]
            found = model.predict(sample.frame.image, boxes, telemetry_rows)
            labels, labelled = _labels(truth, faces)
            errors = face_errors(found.points_xy_px, labels, labelled, boxes)
            distances = np.where(labelled, np.linalg.norm(found.points_xy_px - labels, axis=2), np.nan)
            sides = (boxes[:, 2:] - boxes[:, :2]).max(axis=1, initial=1) * box_scale
            near = np.asarray(distances / (NEAR * sides[:, None]), np.float32)
            # of a frame without a face nothing is timed
            stage_ms = {stage: latency / len(faces) for stage, latency in model.last_stage_ms.items() if faces}
            return FaceRecord(found, errors, near, factor, sample.camera), stage_ms

        return look

    def measure(
        self, records: Sequence[FaceRecord], names: Sequence[str], model: LandmarkPredictor | None = None
    ) -> LandmarkFigures:
        return LandmarkFigures(records, None if model is None else model.postprocess.lost_below)

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
        """spread_factor: decode.fitted_factor; lost_below: of the confidences by that, the bound which 99 of 100 of
        these faces pass, or less."""
        known = [~np.isnan(record.near_errors) for record in records]
        errors = np.concatenate([record.near_errors[there] for record, there in zip(records, known, strict=True)])
        if not len(errors):
            raise InputError("none of the held-out frames has a face with labelled points")
        sure = [record.found.confidences[there] for record, there in zip(records, known, strict=True)]
        change = fitted_factor(errors, np.concatenate(sure))
        records = [
            replace(each, found=replace(each.found, confidences=confidence(ratio_of(each.found.confidences) / change)))
            for each in records
        ]
        bound = (
            floor(min(_HIGHEST_BOUND, float(np.quantile(sureness(records), 1 - _KEPT, method="lower"))) * 1000) / 1000
        )
        return (
            {"lost_below": bound, "spread_factor": records[0].spread_factor * change},
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


def sureness(records: Sequence[FaceRecord]) -> FloatArray:
    """float32 [F]: mean confidence of each face of all records."""
    return np.concatenate([np.zeros(0, np.float32), *(each.found.confidences.mean(axis=1) for each in records)])


def _joined(errors: Sequence[FaceErrors]) -> FaceErrors:
    none = _labels(GroundTruth.empty())
    errors = [face_errors(none[0], *none, np.zeros((0, 4), np.float32)), *errors]
    return FaceErrors(
        np.concatenate([each.nme for each in errors]),
        {name: np.concatenate([each.of_group[name] for each in errors]) for name in GROUPS},
        tuple(normaliser for each in errors for normaliser in each.normaliser),
        np.concatenate([each.point_errors for each in errors]),
    )


def _labels(truth: GroundTruth, faces: Sequence[int] = ()) -> tuple[FloatArray, BoolArray]:
    """Points float32 [F, 68, 2] of these faces of a truth, and bool [F, 68], which of them are labelled."""
    if not faces or truth.points_xy_px is None or truth.points_labelled is None:
        return np.zeros((0, 68, 2), np.float32), np.zeros((0, 68), np.bool_)
    return truth.points_xy_px[faces], truth.points_labelled[faces]


def _rounded(value: float | None) -> str | None:
    """Four decimals: the third is the difference that matters."""
    return None if value is None else f"{value:.4f}"


LANDMARKS = LandmarksMeasured()
