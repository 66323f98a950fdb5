"""A report as one HTML page that needs nothing else; its templates and its style lie beside this file."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import jinja2
import numpy as np

from cgdet_core.drawing import RgbArray, class_colour_hex
from cgdet_core.evaluation.compare import comparison_rows
from cgdet_core.evaluation.metrics.metrics import Metrics
from cgdet_core.evaluation.replay import ReplayedFrame
from cgdet_core.evaluation.report import plots
from cgdet_core.files import write_text

SAMPLES_NOTE = (
    "Coloured boxes: detections with class and score. White dashes: what is labelled; dots: regions to ignore."
)
_JPEG_QUALITY = 85
_MAX_PICTURE_WIDTH_PX = 1280


@dataclass(frozen=True)
class KeyFigure:
    """A tile at the head of the page: `KeyFigure("Latency p50", "12.4", "ms", "publish to receive")`."""

    label: str
    value: str
    unit: str = ""
    note: str = ""


@dataclass(frozen=True)
class Picture:
    """An annotated frame, uint8 [H, W, 3] RGB, and what is to be said of it."""

    image: RgbArray
    caption: str


@dataclass(frozen=True)
class Gallery:
    """Pictures under a heading of their own; `note` explains what is drawn."""

    title: str
    pictures: Sequence[Picture]
    note: str = ""


@dataclass(frozen=True)
class Part:
    """One model on the page. Several have a `name` each, which heads it.

    metrics: the accuracy; None: there are no labels. replay: metrics.json of a replay, with `frames`, those sent,
    `steps`, name of a figure -> its values from offline to live, and `video`, a file name beside the page.
    facts: what ran on what.
    """

    name: str = ""
    tiles: Sequence[KeyFigure] = ()
    metrics: Metrics | None = None
    replay: Mapping[str, Any] | None = None
    steps: Mapping[str, Sequence[float]] = field(default_factory=dict)
    video: str | None = None
    frames: Sequence[ReplayedFrame] = ()
    galleries: Sequence[Gallery] = ()
    facts: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True)
class ComparisonPart:
    """Two models beside each other: their names, further rows of a table (name, A, B), both metrics for the curves, and
    frames where they differ. figures: the JSON of a Comparison; None: there is nothing to compare by. replays:
    metrics.json of both."""

    figures: Mapping[str, Any] | None
    names: tuple[str, str]
    table: Sequence[tuple[str, str, str]] = ()
    metrics: tuple[Metrics, Metrics] | None = None
    note: str = ""
    galleries: Sequence[Gallery] = ()
    replays: Sequence[Mapping[str, Any]] = ()


def write_page(
    path: Path,
    title: str,
    parts: Sequence[Part],
    *,
    subtitle: str = "",
    warnings: Sequence[str] = (),
    comparison: ComparisonPart | None = None,
    command: str = "",
) -> None:
    """Write the page, whole or not at all. command: what reproduces it. Raises InputError where the disk refuses."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
    )
    environment.filters |= {
        "fraction": fraction,
        "signed": signed,
        "embedded": _embedded,
        "class_colour": class_colour_hex,
    }
    page = environment.get_template("report.html.j2").render(
        title=title,
        subtitle=subtitle,
        warnings=warnings,
        command=command,
        parts=[_with_plots(part, f"{chr(ord('a') + number)}-") for number, part in enumerate(parts)],
        comparison=None if comparison is None else _comparison(comparison),
    )
    write_text(path, page)


def fraction(value: float | None, digits: int = 3) -> str:
    """A figure with so many digits; a dash where it is undefined."""
    return "–" if value is None else f"{value:.{digits}f}"


def signed(value: float, digits: int = 3) -> str:
    """A difference with its sign; 0 without one."""
    text = f"{value:+.{digits}f}"
    return "0" if float(text) == 0 else text.replace("-", "\N{MINUS SIGN}")


def accuracy_tiles(metrics: Metrics) -> list[KeyFigure]:
    """mAP50 and mAP."""
    objects = f"{metrics.truths} objects in {metrics.images} frames"
    return [
        KeyFigure("mAP50", fraction(metrics.map50), note=objects),
        KeyFigure("mAP", fraction(metrics.map), note="IoU 0.5 to 0.95"),
    ]


def _with_plots(part: Part, prefix: str) -> dict[str, Any]:
    """prefix: keeps the ids in its plots apart from those of other parts."""
    drawn = {}
    if any(frame.latency_ms is not None for frame in part.frames):
        drawn["latency"] = plots.latency_over_time(part.frames, prefix)
    if part.metrics is not None:
        drawn["precision_recall"] = plots.precision_recall([("", part.metrics)], prefix)
        drawn["misses"] = plots.misses_by_height(part.metrics, prefix)
    return {**vars(part), "plots": drawn}


def _comparison(part: ComparisonPart) -> dict[str, Any]:
    rows = {} if part.figures is None else comparison_rows(part.figures)
    drawn: dict[str, object] = {"precision_recall": None, "differences": None}
    if part.metrics is not None:
        drawn["precision_recall"] = plots.precision_recall(list(zip("AB", part.metrics, strict=True)), "both-")
    bounded = {name: value for name, value in rows.items() if value["low"] is not None and "duplicates" not in name}
    if bounded:
        drawn["differences"] = plots.differences(bounded)
    words = "" if part.figures is None else part.figures["words"]
    return {**vars(part), "rows": rows, "words": words, "plots": drawn}


def _embedded(picture: Picture) -> str:
    """The picture as a data URL, a wide one made smaller."""
    image = picture.image
    if image.shape[1] > _MAX_PICTURE_WIDTH_PX:
        height = max(1, round(image.shape[0] * _MAX_PICTURE_WIDTH_PX / image.shape[1]))
        image = np.asarray(cv2.resize(image, (_MAX_PICTURE_WIDTH_PX, height), interpolation=cv2.INTER_AREA), np.uint8)
    encoded = cv2.imencode(".jpg", image[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])[1]
    return "data:image/jpeg;base64," + base64.b64encode(encoded.tobytes()).decode("ascii")
