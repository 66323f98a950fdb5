"""How good landmarks are: normalised mean error, failures, area under the curve, by group of points."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from cgdet_core.tasks.landmarks.points import GROUPS, OUTER_EYES
from cgdet_core.types import BoolArray, FloatArray

FAILURE: Final = 0.1  # a face of a greater error is a failure; the area under the curve ends here


@dataclass(frozen=True)
class FaceErrors:
    """Errors of F faces.

    nme: float32 [F], mean over a face's labelled points of the distance to the label, divided by the face's normaliser;
    NaN of a face without a labelled point; of_group: the same over each group's points; by_eyes: bool [F], whether the
    normaliser is the distance of the outer eye corners, or the box's diagonal, where one of them has no label.
    """

    nme: FloatArray
    of_group: dict[str, FloatArray]
    by_eyes: BoolArray


def face_errors(
    points_xy_px: FloatArray, labels_xy_px: FloatArray, labelled: BoolArray, boxes_xyxy_px: FloatArray
) -> FaceErrors:
    """points, labels: float32 [F, 68, 2] in pixels of the frame; labelled: bool [F, 68]; boxes: float32 [F, 4].

    The normaliser is the labels' distance of the outer eye corners (300W's inter-ocular distance), or the diagonal of
    the labelled box. Both are never mixed in one figure: `summarise` gives them apart.
    """
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

    Exactly: the share is a staircase, and each face adds the part of the range that lies above its error.
    """
    return float(np.mean((limit - errors.astype(np.float64)).clip(0) / limit))


def _mean(errors: FloatArray) -> FloatArray:
    """Over the labelled points of each face, NaN where it has none."""
    count = (~np.isnan(errors)).sum(1)
    summed = np.nansum(errors, axis=1)
    return np.asarray(np.divide(summed, count, out=np.full(len(errors), np.nan), where=count > 0), np.float32)


def _figure(values: FloatArray) -> float | None:
    values = values[~np.isnan(values)]
    return float(values.mean()) if len(values) else None
