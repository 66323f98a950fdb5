"""A report as one HTML page that needs nothing else. Its template and its style lie beside this file; its plots are
inline SVG that takes its text colour from the page, light or dark."""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
from markupsafe import Markup

from cgdet_core.drawing import RgbArray, class_colour_hex, scaled_rgb
from cgdet_core.evaluation.compare import comparison_rows
from cgdet_core.evaluation.metrics.metrics import Metrics
from cgdet_core.evaluation.replay import ReplayedFrame
from cgdet_core.files import write_text
from cgdet_core.images import encode_jpeg
from cgdet_core.runtime.predictor import percentiles

SAMPLES_NOTE = (
    "Coloured boxes: detections with class and score. White dashes: what is labelled; dots: regions to ignore."
)
_JPEG_QUALITY = 85
_MAX_PICTURE_WIDTH_PX = 1280
_PART: Mapping[str, Any] = {
    **dict.fromkeys(("name", "video"), ""),
    **dict.fromkeys(("metrics", "landmarks", "replay")),
    **dict.fromkeys(("tiles", "frames", "galleries"), ()),
    **{key: {} for key in ("facts", "plots")},
}
# stands for the page's text colour until the SVG is written; drawn nowhere else
_INK = "#010203"
_BLUE, _RED = "#3d85c6", "#d55e00"
_STYLE: dict[Any, Any] = {  # keyed as matplotlib wants it, whose stubs spell out all
    "font.family": "sans-serif",
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#8080804d",
    "grid.linewidth": 0.6,
    "legend.frameon": False,
    "text.parse_math": False,  # a class name may hold a dollar sign
    **dict.fromkeys(("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color"), _INK),
    "svg.fonttype": "none",
}
_MANY_POINTS = 3000  # beyond, points become a picture inside the SVG


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

    parts: of each model what there is of `name`, which heads it where there are several, `metrics` (Metrics of a
    detector) or `landmarks` (the JSON of its figures), `plots` of these by name (without either there are no labels),
    `tiles`, figures at its head beside those of accuracy (label, value, unit, note), `galleries` (Gallery) and `facts`,
    what ran on what. Of a replay: `replay`, its metrics.json, `frames`, those sent, and `video`, a file beside it.

    comparison: two models beside each other: `figures`, the JSON of `cgdet compare`, `unit`, what they are timed by,
    `curves` of both, a plot, and what `curves_note` says of it, and `galleries`.
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
        "with_contents": _with_contents,
    }
    page = environment.get_template("report.html.j2").render(
        title=title,
        subtitle=subtitle,
        warnings=warnings,
        command=command,
        parts=[_with_plots({**_PART, **part}, f"{chr(ord('a') + number)}-") for number, part in enumerate(parts)],
        comparison=None if comparison is None else {**comparison, "rows": comparison_rows(comparison["figures"])},
    )
    write_text(path, page)


def _with_contents(body: str) -> Markup:
    """The page's sections, each with an anchor, below a list of links to them."""
    head, *sections = re.split(r"<h2(?=[ >])", body)
    links = [re.sub(r"^[^>]*>(.*?)</h2>.*", rf'<a href="#s{n}">\1</a>', s, flags=re.S) for n, s in enumerate(sections)]
    anchored = "".join(f'<h2 id="s{number}"{section}' for number, section in enumerate(sections))
    return Markup(f'<nav aria-label="Contents">{" ".join(links)}</nav>{head}{anchored}')


def fraction(value: float | None, digits: int = 3) -> str:
    """A figure with so many digits; a dash where it is undefined."""
    return "–" if value is None else f"{value:.{digits}f}"


def signed(value: float, digits: int = 3) -> str:
    """A difference with its sign; 0 without one."""
    text = f"{value:+.{digits}f}"
    return "0" if float(text) == 0 else text.replace("-", "\N{MINUS SIGN}")


def _with_plots(part: Mapping[str, Any], prefix: str) -> dict[str, Any]:
    """prefix: keeps the ids in its plots apart from those of other parts."""
    drawn = dict(part["plots"])
    if any(frame.latency_ms is not None for frame in part["frames"]):
        drawn["latency"] = _latency_over_time(part["frames"], prefix)
    if part["metrics"] is not None:
        drawn["precision_recall"] = precision_recall([("", part["metrics"])], prefix)
    return {**part, "plots": drawn}


def _embedded(picture: Picture) -> str:
    """The picture as a data URL, a wide one made smaller."""
    image = scaled_rgb(picture.image, min(1.0, _MAX_PICTURE_WIDTH_PX / picture.image.shape[1]))
    return "data:image/jpeg;base64," + base64.b64encode(encode_jpeg(image, _JPEG_QUALITY)).decode("ascii")


def precision_recall(models: Sequence[tuple[str, Metrics]], prefix: str) -> Markup:
    """Precision over recall at IoU 0.5, a line for each class that has objects; a dot at the operating point.

    models: a name, which may be empty, and the figures; the lines of the second are dashed.
    """

    def plot(figure: Any) -> None:
        axes = figure.subplots()
        for number, (model, metrics) in enumerate(models):
            for class_id, (name, curve) in enumerate(metrics.curves.items()):
                if curve.truths == 0:
                    continue
                colour = class_colour_hex(class_id)
                # thousands of points of a flat tail are drawn as well by some hundreds
                kept = np.unique(np.linspace(0, len(curve.scores) - 1, 400).astype(int)) if len(curve.scores) else []
                dashes = ("-", (0, (4, 2)))[number % 2]
                label = f"{model} {name}".strip()
                recall, precision = curve.recall[kept], curve.precision[kept]
                axes.plot(recall, precision, color=colour, linestyle=dashes, label=label, linewidth=1.8)
                point = metrics.operating_point[name]
                if point["precision"] is not None:
                    axes.plot(point["recall"], point["precision"], "o", color=colour, markersize=6)
        axes.set_xlim(0, 1.01)
        axes.set_ylim(0, 1.02)
        axes.set_xlabel("recall")
        axes.set_ylabel("precision")
        axes.legend(loc="lower left", ncols=len(models))

    return svg(f"{prefix}precision-recall", (4.7, 3.6), plot)


def _latency_over_time(frames: Sequence[ReplayedFrame], prefix: str) -> Markup:
    """Latency of each answered frame at its time in the recording, median and 95th percentile, drops below."""

    def plot(figure: Any) -> None:
        axes, strip = figure.subplots(2, 1, sharex=True, height_ratios=(6, 1))
        many = len(frames) > _MANY_POINTS
        answered = [(frame.bag_s, frame.latency_ms) for frame in frames if frame.latency_ms is not None]
        dropped_s = [frame.bag_s for frame in frames if frame.latency_ms is None]
        sent_s, latency_ms = np.array(answered, np.float64).T
        points: dict[str, Any] = {"color": _BLUE, "alpha": 0.8, "rasterized": many, "label": "latency of a frame"}
        axes.plot(sent_s, latency_ms, ".", markersize=3.5, **points)
        levels = percentiles(latency_ms, (50, 95))
        for (name, level), dashes in zip(levels.items(), ("-", "--"), strict=True):
            axes.axhline(level, color=_INK, linewidth=1, linestyle=dashes, label=f"{name} {level:.1f} ms")
        axes.set_ylim(bottom=0)
        axes.set_ylabel("ms")
        axes.legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=3)
        strip.vlines(dropped_s, 0, 1, color=_RED, linewidth=1.2, rasterized=many)
        strip.set_ylim(0, 1)
        strip.set_yticks([])
        strip.spines["left"].set_visible(False)
        strip.grid(False)
        strip.set_ylabel(f"{len(dropped_s) or 'none'}\ndropped", rotation=0, ha="right", va="center")
        strip.set_xlabel("time in the recording, s")

    return svg(f"{prefix}latency", (9.6, 3.4), plot)


def svg(name: str, size_inches: tuple[float, float], plot: Callable[[Any], None]) -> Markup:
    """What `plot` draws on a figure; name: keeps its ids apart from those of other plots in the page."""
    import matplotlib
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    # the salt keeps ids apart within the page and the same from run to run
    with matplotlib.rc_context({**_STYLE, "svg.hashsalt": name}):
        figure = Figure(figsize=size_inches, layout="constrained")
        FigureCanvasSVG(figure)
        plot(figure)
        buffer = io.StringIO()
        metadata = dict.fromkeys(("Creator", "Date", "Format", "Type"))
        figure.savefig(buffer, format="svg", metadata=metadata, transparent=True)
    text = buffer.getvalue()
    drawn = text[text.index("<svg") :]
    drawn = re.sub(r"<metadata>.*?</metadata>", "", drawn, flags=re.DOTALL)
    # ids such as figure_1 are the same in every plot
    drawn = re.sub(r'(\bid="|url\(#|href="#)', rf"\g<1>{name}-", drawn)
    drawn = re.sub(r' (?:width|height)="[\d.]+pt"', "", drawn, count=2)
    # matplotlib escapes the text that it draws
    return Markup(drawn.replace(_INK, "currentColor").replace("<svg ", '<svg role="img" ', 1))
