"""The report's plots, as inline SVG that takes its text colour from the page, light or dark."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from markupsafe import Markup

from cgdet_core.drawing import class_colour_hex
from cgdet_core.evaluation.metrics.metrics import Metrics
from cgdet_core.evaluation.replay import ReplayedFrame
from cgdet_core.runtime.predictor import percentiles

# what all plots have in common, here and in a run's picture; keyed as matplotlib wants it, whose stubs spell out all
PLOT_STYLE: dict[Any, Any] = {
    "font.family": "sans-serif",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#8080804d",
    "grid.linewidth": 0.6,
    "legend.frameon": False,
    "text.parse_math": False,  # a class name may hold a dollar sign
}

# stands for the page's text colour until the SVG is written; drawn nowhere else
_INK = "#010203"
_BLUE, _RED = "#3d85c6", "#d55e00"
_STYLE: dict[Any, Any] = {
    **PLOT_STYLE,
    "font.size": 10,
    **dict.fromkeys(("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color"), _INK),
    "svg.fonttype": "none",
}
_MANY_POINTS = 3000  # beyond, points become a picture inside the SVG


def precision_recall(models: Sequence[tuple[str, Metrics]], prefix: str = "") -> Markup:
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

    return _svg(f"{prefix}precision-recall", (4.7, 3.6), plot)


def latency_over_time(frames: Sequence[ReplayedFrame], prefix: str = "") -> Markup:
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

    return _svg(f"{prefix}latency", (9.6, 3.4), plot)


def _svg(name: str, size_inches: tuple[float, float], plot: Callable[[Any], None]) -> Markup:
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
