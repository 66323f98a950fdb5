"""The report of a replay or an evaluation: one HTML file that needs nothing else.

Whoever measures fills a `Report` with what there is; every part is optional, and the page says
nothing of what it was not given.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

import cv2
import numpy as np

from cgdet_core.drawing import RgbArray, class_colour_hex
from cgdet_core.evaluation.metrics import Metrics
from cgdet_core.files import write_text
from cgdet_core.runtime.percentiles import percentiles
from cgdet_core.types import FloatArray

NOT_LABELLED = "The recording holds no labels: this report says nothing about accuracy."
_NONE = "–"
_JPEG_QUALITY = 88
_MAX_PICTURE_WIDTH_PX = 1280


@dataclass(frozen=True)
class KeyFigure:
    """A figure at the head of the page: `KeyFigure("Latency p50", "12.4", "ms", "publish to receive")`."""

    label: str
    value: str
    unit: str = ""
    note: str = ""


@dataclass(frozen=True)
class LatencyTrace:
    """When answers came.

    sent_s, latency_ms: float [N], for each frame that was answered the time it was sent, from the
        start, and how long its detections took; dropped_s: float [D], the times of unanswered frames.
    """

    sent_s: FloatArray
    latency_ms: FloatArray
    dropped_s: FloatArray = field(default_factory=lambda: np.zeros(0, np.float32))

    def __post_init__(self) -> None:
        if len(self.sent_s) != len(self.latency_ms):
            raise ValueError(f"{len(self.sent_s)} times and {len(self.latency_ms)} latencies do not match")


@dataclass(frozen=True)
class Picture:
    """An annotated frame, uint8 [H, W, 3] RGB (drawing.draw), and what is to be said of it."""

    image: RgbArray
    caption: str


@dataclass(frozen=True)
class Report:
    """What the page shows, from top to bottom.

    title, subtitle: the head. warnings: one line each, shown first. key_figures: the tiles.
    video: file name of a video beside the report. facts: what ran on what (model, device,
    precision, bag, ...). latency: plots over time. metrics: the accuracy part; where it is None,
    `not_labelled` says why. samples, worst: pictures. commands: what reproduces the run, as typed.
    """

    title: str
    subtitle: str = ""
    warnings: Sequence[str] = ()
    key_figures: Sequence[KeyFigure] = ()
    video: str | None = None
    facts: Mapping[str, str] = field(default_factory=dict)
    latency: LatencyTrace | None = None
    metrics: Metrics | None = None
    not_labelled: str = NOT_LABELLED
    samples: Sequence[Picture] = ()
    worst: Sequence[Picture] = ()
    commands: Sequence[str] = ()


def accuracy_figures(metrics: Metrics) -> list[KeyFigure]:
    """The tiles of an evaluation: mAP50 and mAP."""
    objects = f"{metrics.truths} objects in {metrics.images} frames"
    return [
        KeyFigure("mAP50", fraction(metrics.map50), note=objects),
        KeyFigure("mAP", fraction(metrics.map), note="IoU 0.5 to 0.95"),
    ]


def fraction(value: float | None) -> str:
    """A fraction with three digits; a dash where it is undefined."""
    return _NONE if value is None else f"{value:.3f}"


def write_report(path: Path, report: Report) -> None:
    """Write the page, whole or not at all, its folder too. Raises InputError where the disk refuses."""
    write_text(path, render_report(report))


def render_report(report: Report) -> str:
    """The page as a string."""
    import jinja2
    from markupsafe import Markup

    from cgdet_core.evaluation import plots
    from cgdet_core.evaluation.report_template import TEMPLATE

    drawn: dict[str, str] = {}
    if report.latency is not None and len(report.latency.latency_ms):
        drawn["latency"] = plots.latency_over_time(report.latency)
        drawn["latency_histogram"] = plots.latency_histogram(report.latency)
    if report.metrics is not None:
        drawn["precision_recall"] = plots.precision_recall(report.metrics)
        drawn["misses"] = plots.misses_by_height(report.metrics)
        drawn["reliability"] = plots.reliability(report.metrics)
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True)
    return environment.from_string(TEMPLATE).render(
        report=report,
        # matplotlib escapes the text it draws
        plots={name: Markup(svg) for name, svg in drawn.items()},
        latency=_latency_rows(report.latency) if "latency" in drawn else [],
        accuracy=None if report.metrics is None else _accuracy_tables(report.metrics),
        samples=[_embedded(picture) for picture in report.samples],
        worst=[_embedded(picture) for picture in report.worst],
        video_url=None if report.video is None else quote(Path(report.video).name),
    )


def _latency_rows(trace: LatencyTrace | None) -> list[tuple[str, str]]:
    if trace is None:
        return []
    figures = percentiles(trace.latency_ms, (50, 90, 95, 99, 100))
    return [("greatest" if name == "p100" else name, f"{figure:.1f}") for name, figure in figures.items()]


def _embedded(picture: Picture) -> dict[str, Any]:
    image = picture.image
    if image.shape[1] > _MAX_PICTURE_WIDTH_PX:
        height = max(1, round(image.shape[0] * _MAX_PICTURE_WIDTH_PX / image.shape[1]))
        image = np.asarray(cv2.resize(image, (_MAX_PICTURE_WIDTH_PX, height), interpolation=cv2.INTER_AREA), np.uint8)
    encoded = cv2.imencode(".jpg", image[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])[1]
    return {
        "source": "data:image/jpeg;base64," + base64.b64encode(encoded.tobytes()).decode("ascii"),
        "caption": picture.caption,
        "width": image.shape[1],
        "height": image.shape[0],
    }


def _accuracy_tables(metrics: Metrics) -> dict[str, Any]:
    classes = []
    for class_id, (name, figures) in enumerate(metrics.per_class.items()):
        point = metrics.operating_point[name]
        alarms = point["false_alarms_per_image"]
        classes.append(
            {
                "name": name,
                "colour": class_colour_hex(class_id),
                "truths": figures["truths"],
                **{key: fraction(figures[key]) for key in ("map50", "map75", "map")},
                "threshold": f"{point['threshold']:.2f}",
                "precision": fraction(point["precision"]),
                "recall": fraction(point["recall"]),
                "false_alarms_per_image": _NONE if alarms is None else f"{alarms:.2f}",
                "duplicates": fraction(metrics.duplicates_per_object[name]),
                "log_average_miss_rate": fraction(metrics.log_average_miss_rate[name]),
                "calibration": fraction(metrics.calibration[name]["error"]),
            }
        )
    sizes = {"small": "small (below 32² px)", "medium": "medium", "large": "large (above 96² px)"}
    parts = [
        {"name": sizes[size], "images": _NONE, "truths": figures["truths"], **_two(figures)}
        for size, figures in metrics.by_size.items()
    ] + [
        {"name": light, "images": figures["images"], "truths": figures["truths"], **_two(figures)}
        for light, figures in metrics.by_light.items()
    ]
    return {
        "map": fraction(metrics.map),
        "map50": fraction(metrics.map50),
        "map75": fraction(metrics.map75),
        "images": metrics.images,
        "truths": metrics.truths,
        "duplicates": fraction(metrics.duplicates_per_object["all"]),
        "classes": classes,
        "parts": parts,
        "confusion": _confusion_rows(metrics),
        "confusion_names": metrics.confusion["names"],
        "confusion_score": f"{metrics.confusion['score']:g}",
    }


def _two(figures: Mapping[str, Any]) -> dict[str, str]:
    return {"map50": fraction(figures["map50"]), "map": fraction(figures["map"])}


def _confusion_rows(metrics: Metrics) -> list[dict[str, Any]]:
    """Rows of the matrix; the share of the row's objects shades a cell. Nothing found in nothing is no cell."""
    names, matrix = metrics.confusion["names"], metrics.confusion["matrix"]
    last = len(names) - 1
    rows = []
    for i, counts in enumerate(matrix):
        total = max(1, sum(counts))
        cells = [
            {
                "count": _NONE if i == last and j == last else count,
                "shade": f"{count / total / 2:.2f}",
                "right": i == j and i != last,
            }
            for j, count in enumerate(counts)
        ]
        rows.append({"name": names[i], "cells": cells})
    return rows
