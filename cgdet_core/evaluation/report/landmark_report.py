"""The pages of `cgdet evaluate` and `cgdet compare` for landmarks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import cv2
import numpy as np
from markupsafe import Markup

from cgdet_core.drawing import OUTLINE_COLOUR, TRUTH_COLOUR, RgbArray, class_colour_hex, to_rgb
from cgdet_core.evaluation.metrics.faces import FAILURE, FaceRecord, LandmarkFigures
from cgdet_core.evaluation.offline import OfflineRun
from cgdet_core.evaluation.report.errors import ErrorGalleries
from cgdet_core.evaluation.report.model_report import SAMPLE_FRAMES, labelled
from cgdet_core.evaluation.report.page import Gallery, svg
from cgdet_core.subsample import subsample
from cgdet_core.tasks.landmarks.crop import crop_of_box
from cgdet_core.tasks.landmarks.draw import draw_points
from cgdet_core.types import FloatArray, ImageArray, Sample

_NOTE: Final = "Dots: points as found, coloured by group. White lines: from a point to its label."
_MOST_FACES: Final = 8
_PICTURE_PX: Final = 480
_PICTURE_SCALE: Final = 1.5  # of the face's box
Face = tuple[FaceRecord, int]  # and its place in the record


def landmark_part(run: OfflineRun[FaceRecord], samples: Iterable[Sample], figures: LandmarkFigures) -> dict[str, Any]:
    """As model_report.detection_part; a face is drawn in a crop of its own."""
    faces = _faces(run, figures)
    worst = np.argsort(-figures.errors.nme, kind="stable")[:_MOST_FACES]
    shown = {"Faces of the greatest error": worst.tolist(), "Faces": subsample(len(faces), SAMPLE_FRAMES)}
    chosen = {title: [faces[at] for at in places] for title, places in shown.items()}
    return {**_part(figures), "galleries": _drawn(chosen, samples)}


def landmark_parts_of_two(
    runs: Sequence[OfflineRun[FaceRecord]], samples: Iterable[Sample], figures: Mapping[str, Any]
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """As model_report.detection_parts_of_two."""
    models = [LandmarkFigures(run.frames) for run in runs]
    more = models[1].errors.nme - models[0].errors.nme
    faces = dict(zip("AB", map(_faces, runs, models), strict=True))
    chosen = {}
    for name, sign in (("worse", 1), ("better", -1)):
        places = [at for at in np.argsort(-sign * more, kind="stable")[: _MOST_FACES // 2] if sign * more[at] > 0]
        chosen[f"Faces where B is {name} than A"] = [
            (*of[at][:2], f"{letter}, {of[at][2]}") for at in places for letter, of in faces.items()
        ]
    curves = [(letter, model.errors.nme[model.errors.by_eyes]) for letter, model in zip("AB", models, strict=True)]
    comparison = {
        "curves": error_curves(curves, "both-"),
        "curves_note": "Share of the faces whose NME is at most that.",
        "galleries": _drawn(chosen, samples),
    }
    return [_part(model, prefix=f"{letter}-") for letter, model in zip("ab", models, strict=True)], comparison


def _part(figures: LandmarkFigures, prefix: str = "") -> dict[str, Any]:
    document = figures.to_json()
    cameras = figures.by_camera if len(figures.by_camera) > 1 else {}
    curves = [(name, errors.nme[errors.by_eyes]) for name, errors in {"all": figures.errors, **cameras}.items()]
    return {
        "landmarks": document,
        "plots": {
            "errors": error_curves(curves, prefix),
            "calibration": reliability(document["calibration"]["bins"], prefix),
        },
    }


def _faces(run: OfflineRun[FaceRecord], figures: LandmarkFigures) -> list[tuple[int, Face, str]]:
    """All faces of a run, in the order of the figures' errors."""
    faces = [(place, (record, row)) for place, record in enumerate(run.frames) for row in range(len(record.found))]
    return [
        (place, face, f"{face[0].name}: NME {nme:.4f}, confidence {face[0].found.confidences[face[1]].mean():.2f}")
        for (place, face), nme in zip(faces, figures.errors.nme, strict=True)
    ]


def _drawn(chosen: Mapping[str, Sequence[tuple[int, Face, str]]], samples: Iterable[Sample]) -> list[Gallery]:
    galleries = ErrorGalleries(chosen, draw_face, _NOTE)
    for place, sample in labelled(samples):
        galleries.draw(place, sample.frame.image)
    return galleries.galleries()


def draw_face(image: ImageArray, face: Face) -> RgbArray:
    """uint8 [480, 480, 3] RGB: a face, upright and filling the picture, its points and how far off they are."""
    record, row = face
    crop = crop_of_box(record.found.boxes_xyxy_px[row], _PICTURE_SCALE, _PICTURE_PX)
    picture = np.ascontiguousarray(crop.lay(crop.cut(to_rgb(image))), np.uint8)
    found, labels = (crop.to_crop(points[row]) for points in (record.found.points_xy_px, record.labels_xy_px))
    draw_points(picture, found, np.ones(len(found), np.bool_))
    lines = np.stack([found, labels], axis=1)[record.labelled[row]].clip(-_PICTURE_PX, 2 * _PICTURE_PX)
    for colour, width_px in ((OUTLINE_COLOUR, 4), (TRUTH_COLOUR, 2)):
        cv2.polylines(picture, list(lines.round().astype(np.int32)), False, colour, width_px, cv2.LINE_AA)
    return picture


def error_curves(curves: Sequence[tuple[str, FloatArray]], prefix: str = "") -> Markup:
    """Share of the faces whose error is at most e, for e from 0 to FAILURE: a name and the errors of each line."""

    def plot(figure: Any) -> None:
        axes = figure.subplots()
        for number, (name, errors) in enumerate(curves):
            shares = np.linspace(0, 1, min(len(errors), 400) + 1)
            steps = np.quantile(errors, shares, method="inverted_cdf") if len(errors) else np.zeros(1)
            axes.plot([0, *steps], [0, *shares], drawstyle="steps-post", color=class_colour_hex(number), label=name)
        axes.set(xlim=(0, FAILURE), ylim=(0, 1.02), xlabel="NME", ylabel="share of the faces")
        axes.legend(loc="lower right")

    return svg(f"{prefix}errors", (4.7, 3.6), plot)


def reliability(bins: Sequence[Mapping[str, Any]], prefix: str = "") -> Markup:
    """The share that was right over the mean confidence, a dot for each bin of metrics.calibration_of."""

    def plot(figure: Any) -> None:
        axes = figure.subplots()
        counts = np.array([each["points"] for each in bins], np.float64)
        axes.plot([0, 1], [0, 1], color="#808080", linewidth=1, linestyle="--")
        means, shares = ([each[key] for each in bins] for key in ("mean_score", "precision"))
        axes.scatter(means, shares, 12 + 120 * counts / counts.max(initial=1), color=class_colour_hex(1), zorder=3)
        axes.set(xlim=(0, 1.02), ylim=(0, 1.02), xlabel="confidence", ylabel="share that is right")

    return svg(f"{prefix}reliability", (4.7, 3.6), plot)
