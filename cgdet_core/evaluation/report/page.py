"""A `Report` as one HTML page."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

import cv2
import jinja2
import numpy as np
from markupsafe import Markup

from cgdet_core.evaluation.report import plots, timeline_plots
from cgdet_core.evaluation.report.report import ComparisonPart, Gallery, LatencyTrace, Part, Picture, Report
from cgdet_core.evaluation.report.tables import accuracy_tables, comparison_rows, step_table
from cgdet_core.evaluation.report.template import TEMPLATE
from cgdet_core.runtime.percentiles import percentiles

_JPEG_QUALITY = 85
_MAX_PICTURE_WIDTH_PX = 1280


def render_report(report: Report) -> str:
    """The page as a string."""
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True)
    return environment.from_string(TEMPLATE).render(
        report=report,
        comparison=None if report.comparison is None else _comparison(report.comparison),
        parts=[_part(part, f"{chr(ord('a') + number)}-") for number, part in enumerate(report.parts)],
    )


def _part(part: Part, prefix: str) -> dict[str, Any]:
    """What the template shows of a part; prefix: keeps the ids in its plots apart from those of others."""
    drawn: dict[str, str] = {}
    if part.latency is not None and len(part.latency.latency_ms):
        drawn["latency"] = timeline_plots.latency_over_time(part.latency, prefix)
        drawn["latency_histogram"] = timeline_plots.latency_histogram(part.latency, prefix)
    if part.stages is not None and len(part.stages.over_s) > 1:
        drawn["stages"] = timeline_plots.stages_over_time(part.stages, prefix)
    steps = step_table(part.steps)
    if steps is not None:
        drawn["steps"] = plots.steps(steps["rows"], prefix)
    if part.metrics is not None:
        drawn["precision_recall"] = plots.precision_recall([("", part.metrics)], prefix)
        drawn["misses"] = plots.misses_by_height(part.metrics, prefix)
        drawn["reliability"] = plots.reliability(part.metrics, prefix)
    return {
        "given": part,
        # matplotlib escapes the text it draws
        "plots": {name: Markup(svg) for name, svg in drawn.items()},
        "latency": _latency_rows(part.latency) if "latency" in drawn else [],
        "steps": steps,
        "accuracy": None if part.metrics is None else accuracy_tables(part.metrics),
        "galleries": _galleries(part.galleries),
        "video_url": None if part.video is None else quote(Path(part.video).name),
    }


def _comparison(part: ComparisonPart) -> dict[str, Any]:
    rows = [] if part.figures is None else comparison_rows(part.figures)
    drawn: dict[str, str] = {}
    if any(row["low"] is not None for row in rows):
        drawn["differences"] = plots.differences(rows)
    if part.metrics is not None:
        drawn["precision_recall"] = plots.precision_recall(list(zip("AB", part.metrics, strict=True)), "both-")
    return {
        "given": part,
        "words": "" if part.figures is None else part.figures["words"],
        "rows": rows,
        "plots": {name: Markup(svg) for name, svg in drawn.items()},
        "galleries": _galleries(part.galleries),
    }


def _galleries(galleries: Sequence[Gallery]) -> list[dict[str, Any]]:
    return [
        {"title": gallery.title, "note": gallery.note, "pictures": [_embedded(picture) for picture in gallery.pictures]}
        for gallery in galleries
        if gallery.pictures
    ]


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
