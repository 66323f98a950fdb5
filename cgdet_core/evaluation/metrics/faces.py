"""How good landmarks are: normalised mean error, failures and area under the curve, by group of points and by camera;
their calibration, and the vector that a bootstrap draws."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from cgdet_core.config import LandmarkPostprocessConfig
from cgdet_core.errors import InputError
from cgdet_core.evaluation.metrics.metrics import calibration_of
from cgdet_core.evaluation.task import FigureKey
from cgdet_core.tasks.landmarks.decode import NEAR
from cgdet_core.tasks.landmarks.points import GROUPS, OUTER_EYES
from cgdet_core.types import BoolArray, FloatArray, IntArray, Landmarks

FAILURE: Final = 0.1  # a face of a greater error is a failure; the area under the curve ends here


@dataclass(frozen=True)
class FaceErrors:
    """nme: float32 [F], mean over a face's labelled points of the distance to the label, divided by the face's
    normaliser, NaN without a labelled point; of_group: the same over each group's points; by_eyes: bool [F], whether
    the normaliser is the distance of the outer eye corners, or the box's diagonal, where one of them has no label."""

    nme: FloatArray
    of_group: dict[str, FloatArray]
    by_eyes: BoolArray


def face_errors(
    points_xy_px: FloatArray, labels_xy_px: FloatArray, labelled: BoolArray, boxes_xyxy_px: FloatArray
) -> FaceErrors:
    """points, labels: float32 [F, 68, 2] in pixels of the frame; labelled: bool [F, 68]; boxes: float32 [F, 4]. The two
    normalisers (that of the eyes is 300W's) are never mixed in one figure: `summarise` gives them apart."""
    left, right = OUTER_EYES
    by_eyes = labelled[:, left] & labelled[:, right]
    eyes = np.linalg.norm(labels_xy_px[:, left] - labels_xy_px[:, right], axis=1)
    diagonal = np.linalg.norm(boxes_xyxy_px[:, 2:] - boxes_xyxy_px[:, :2], axis=1)
    distances = np.linalg.norm(np.where(labelled[..., None], points_xy_px - labels_xy_px, np.nan), axis=2)
    errors = np.asarray(distances / np.where(by_eyes, eyes, diagonal)[:, None], np.float32)
    groups = {name: _mean(errors[:, list(places)]) for name, places in GROUPS.items()}
    return FaceErrors(_mean(errors), groups, by_eyes)


def summarise(errors: FaceErrors) -> dict[str, Any]:
    """Figures of faces measured by their outer eyes: nme, nme_by_group, failure_rate and auc (in [0, 1]), faces; and
    nme_by_box with faces_by_box of the others. None where there is no such face."""
    of_face, of_box = errors.nme[errors.by_eyes], errors.nme[~errors.by_eyes & ~np.isnan(errors.nme)]
    return {
        "nme": _figure(of_face),
        "nme_by_group": {name: _figure(values[errors.by_eyes]) for name, values in errors.of_group.items()},
        "failure_rate": float((of_face > FAILURE).mean()) if len(of_face) else None,
        "auc": area_to(of_face, FAILURE) if len(of_face) else None,
        "faces": len(of_face),
        "nme_by_box": _figure(of_box),
        "faces_by_box": len(of_box),
    }


def area_to(errors: FloatArray, limit: float) -> float:
    """Area under the share of faces whose error is at most e, for e from 0 to `limit`, divided by `limit`: in [0, 1].
    Exactly: each face adds the part of the range that lies above its error."""
    return float(np.mean((limit - errors.astype(np.float64)).clip(0) / limit))


def _mean(errors: FloatArray) -> FloatArray:
    """Over the labelled points of each face, NaN where it has none."""
    count = (~np.isnan(errors)).sum(1)
    summed = np.nansum(errors, axis=1)
    return np.asarray(np.divide(summed, count, out=np.full(len(errors), np.nan), where=count > 0), np.float32)


def _figure(values: FloatArray) -> float | None:
    values = values[~np.isnan(values)]
    return float(values.mean()) if len(values) else None


@dataclass(frozen=True)
class FaceRecord:
    """The labelled faces of a frame: what was found in their labelled boxes, by these settings.

    labels_xy_px: float32 [F, 68, 2], in pixels of the frame; labelled: bool [F, 68], which of them are.
    """

    name: str
    found: Landmarks
    labels_xy_px: FloatArray
    labelled: BoolArray
    settings: LandmarkPostprocessConfig
    camera: str | None

    @cached_property
    def near_errors(self) -> FloatArray:
        """float32 [F, 68]: distances to the labels in units of decode.NEAR of the crop, NaN without a label."""
        boxes = self.found.boxes_xyxy_px
        sides = (boxes[:, 2:] - boxes[:, :2]).max(axis=1, initial=1) * self.settings.box_scale
        distances = np.linalg.norm(self.found.points_xy_px - self.labels_xy_px, axis=2)
        return np.asarray(np.where(self.labelled, distances, np.nan) / (NEAR * sides[:, None]), np.float32)


class LandmarkFigures:
    """Over all faces of some records; see Figures."""

    def __init__(self, records: Sequence[FaceRecord], lost_below: float | None = None) -> None:
        self._records = records
        self.errors = _joined(records)
        if not len(self.errors.nme):
            raise InputError("none of the frames has a face with labelled points: give a set with COCO keypoints")
        self._sure, self._lost_below = sureness(records), lost_below

    @property
    def by_camera(self) -> dict[str, FaceErrors]:
        return {
            camera: _joined([record for record in self._records if record.camera == camera])
            for camera in _cameras(self._records)
        }

    def to_json(self, extra: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """DESIGN 5; by_camera: the same figures of each camera; near_share: of the points that are as near as
        mean_confidence says they are, by labels; calibration: the same by confidence (metrics.calibration), a point for
        a detection; operating_point: what a lost face's bound leaves."""
        point: dict[str, Any] = {}
        if self._lost_below is not None:
            kept = float((self._sure >= self._lost_below).mean())
            point = {"face": {"threshold": self._lost_below, "kept": kept, "truths": len(self._sure)}}
        sure = np.concatenate([record.found.confidences[record.labelled] for record in self._records])
        near = np.concatenate([record.near_errors[record.labelled] <= 1 for record in self._records])
        return {
            **summarise(self.errors),
            "by_camera": {camera: summarise(errors) for camera, errors in self.by_camera.items()},
            "mean_confidence": float(self._sure.mean()),
            "near_share": float(near.mean()),
            "calibration": calibration_of(sure, near, "points"),
            "operating_point": point,
            **(extra or {}),
        }


class LandmarkVector:
    """See FigureVector: NME first, of all faces measured by their outer eyes, of each group of points and camera."""

    groups: tuple[str, ...] = ("overall", "by_group", "by_camera")

    def __init__(self, records: Sequence[FaceRecord]) -> None:
        errors = _joined(records)
        self._frame = np.repeat(np.arange(len(records)), [len(record.found) for record in records])
        nme = np.where(errors.by_eyes, errors.nme, np.nan).astype(np.float64)
        of_camera = np.array([record.camera or "" for record in records])[self._frame] if records else np.zeros(0, str)
        columns = [
            (FigureKey(("overall", "nme"), "NME", True), nme),
            (FigureKey(("overall", "failure_rate"), "failure rate", True), np.where(np.isnan(nme), nme, nme > FAILURE)),
            (FigureKey(("overall", "auc"), "AUC"), (FAILURE - nme).clip(0) / FAILURE),
        ]
        for name in GROUPS:
            values = np.where(errors.by_eyes, errors.of_group[name], np.nan).astype(np.float64)
            columns.append((FigureKey(("by_group", name, "nme"), f"{name} NME", True), values))
        for camera in _cameras(records):
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


def sureness(records: Sequence[FaceRecord]) -> FloatArray:
    """float32 [F]: mean confidence of each face of all records."""
    return np.concatenate([np.zeros(0, np.float32), *(each.found.confidences.mean(axis=1) for each in records)])


def _cameras(records: Sequence[FaceRecord]) -> list[str]:
    return sorted({record.camera for record in records if record.camera is not None})


def _joined(records: Sequence[FaceRecord]) -> FaceErrors:
    none = Landmarks.empty()
    of_frames = [(none.points_xy_px, none.points_xy_px, none.confidences > 0, none.boxes_xyxy_px)]
    of_frames += [(r.found.points_xy_px, r.labels_xy_px, r.labelled, r.found.boxes_xyxy_px) for r in records]
    return face_errors(*(np.concatenate(each) for each in zip(*of_frames, strict=True)))
