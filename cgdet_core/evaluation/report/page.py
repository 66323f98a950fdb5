"""A report as one HTML page that needs nothing else; its templates and its style lie beside this file."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import jinja2
import numpy as np

from cgdet_core.drawing import RgbArray, class_colour_hex
from cgdet_core.evaluation.compare import comparison_rows
from cgdet_core.evaluation.metrics.metrics import Metrics
from cgdet_core.evaluation.report import plots
from cgdet_core.files import write_text

SAMPLES_NOTE = (
    "Coloured boxes: detections with class and score. White dashes: what is labelled; dots: regions to ignore."
)
_JPEG_QUALITY = 85
_MAX_PICTURE_WIDTH_PX = 1280
_PART: Mapping[str, Any] = {
    **dict.fromkeys(("name", "video"), ""),
    **dict.fromkeys(("metrics", "replay")),
    **dict.fromkeys(("tiles", "frames", "galleries"), ()),
    "steps": {},
    "facts": {},
    "figures": {},
}
_COMPARISON: Mapping[str, Any] = {
    **dict.fromkeys(("figures", "metrics")),
    **dict.fromkeys(("table", "galleries"), ()),
    "note": "",
}


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


def write_page(
    path: Path,
    title: str,
    parts: Sequence[Mapping[str, Any]],
    *,
    subtitle: str = "",
    warnings: Sequence[str] = (),
    comparison: Mapping[str, Any] | None = None,
    command: str = "",
) -> None:
    """Write the page, whole or not at all. command: what reproduces it. Raises InputError where the disk refuses.

    parts: of each model what there is of `name`, which heads it where there are several, `tiles` (KeyFigure),
    `metrics` (Metrics of a detector) or `figures` of another task, name -> value (without either there are no
    labels), `galleries` (Gallery) and `facts`, what ran on what. Of a replay: `replay`, its metrics.json, `frames`,
    those sent, `steps`, name of a figure -> its values from offline to live, and `video`, a file name beside the
    page.

    comparison: two models beside each other: `names`, and what there is of `figures`, what `compare` returns, `table`,
    further rows (name, A, B), `metrics` of both for the curves, `note` and `galleries`.
    """
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
        parts=[_with_plots({**_PART, **part}, f"{chr(ord('a') + number)}-") for number, part in enumerate(parts)],
        comparison=None if comparison is None else _comparison({**_COMPARISON, **comparison}),
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


def _with_plots(part: Mapping[str, Any], prefix: str) -> dict[str, Any]:
    """prefix: keeps the ids in its plots apart from those of other parts."""
    drawn = {}
    if any(frame.latency_ms is not None for frame in part["frames"]):
        drawn["latency"] = plots.latency_over_time(part["frames"], prefix)
    if part["metrics"] is not None:
        drawn["precision_recall"] = plots.precision_recall([("", part["metrics"])], prefix)
    return {**part, "plots": drawn}


def _comparison(part: Mapping[str, Any]) -> dict[str, Any]:
    figures, metrics = part["figures"], part["metrics"]
    rows = [] if figures is None else comparison_rows(figures)
    curves = metrics and plots.precision_recall(list(zip("AB", metrics, strict=True)), "both-")
    return {**part, "rows": rows, "words": figures and figures["words"], "curves": curves}


def _embedded(picture: Picture) -> str:
    """The picture as a data URL, a wide one made smaller."""
    image = picture.image
    if image.shape[1] > _MAX_PICTURE_WIDTH_PX:
        height = max(1, round(image.shape[0] * _MAX_PICTURE_WIDTH_PX / image.shape[1]))
        image = np.asarray(cv2.resize(image, (_MAX_PICTURE_WIDTH_PX, height), interpolation=cv2.INTER_AREA), np.uint8)
    encoded = cv2.imencode(".jpg", image[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])[1]
    return "data:image/jpeg;base64," + base64.b64encode(encoded.tobytes()).decode("ascii")
