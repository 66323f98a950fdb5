"""The report's plots as inline SVG that takes its text colour from the page, light or dark."""

from __future__ import annotations

import io
import re
from typing import TYPE_CHECKING, Any

import numpy as np

from cgdet_core.drawing import class_colour_hex
from cgdet_core.evaluation.plot_style import PLOT_STYLE
from cgdet_core.runtime.percentiles import percentiles

if TYPE_CHECKING:
    from cgdet_core.evaluation.metrics import Metrics
    from cgdet_core.evaluation.report import LatencyTrace

# stands for the page's text colour until the SVG is written; drawn nowhere else
_INK = "#010203"
_BLUE, _RED = "#3d85c6", "#d55e00"
_MANY_POINTS = 3000  # beyond, points become a picture inside the SVG

_STYLE: dict[Any, Any] = {
    **PLOT_STYLE,
    "font.size": 10,
    "text.color": _INK,
    "axes.labelcolor": _INK,
    "axes.edgecolor": _INK,
    "xtick.color": _INK,
    "ytick.color": _INK,
    "svg.fonttype": "none",
}


def latency_over_time(trace: LatencyTrace) -> str:
    """Latency of each frame when it was sent, the median and 95th percentile, and dropped frames below."""

    def plot(figure: Any) -> None:
        axes, strip = figure.subplots(2, 1, sharex=True, height_ratios=(6, 1))
        axes.plot(
            trace.sent_s,
            trace.latency_ms,
            ".",
            markersize=3.5,
            color=_BLUE,
            alpha=0.8,
            rasterized=len(trace.sent_s) > _MANY_POINTS,
        )
        levels = percentiles(trace.latency_ms, (50, 95))
        for (name, level), dashes in zip(levels.items(), ("-", "--"), strict=True):
            axes.axhline(level, color=_INK, linewidth=1, linestyle=dashes, label=f"{name} {level:.1f} ms")
        axes.set_ylim(bottom=0)
        axes.set_ylabel("latency, ms")
        axes.legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=2)
        strip.vlines(trace.dropped_s, 0, 1, color=_RED, linewidth=1.2)
        strip.set_ylim(0, 1)
        strip.set_yticks([])
        strip.spines["left"].set_visible(False)
        strip.grid(False)
        count = len(trace.dropped_s)
        strip.set_ylabel(f"{count or 'none'}\ndropped", rotation=0, ha="right", va="center")
        strip.set_xlabel("time, s")

    return _svg("latency", (9.6, 3.4), plot)


def latency_histogram(trace: LatencyTrace) -> str:
    """How often which latency; the few beyond the 99.5th percentile are counted in the last bin."""

    def plot(figure: Any) -> None:
        axes = figure.subplots()
        values = np.asarray(trace.latency_ms, np.float64)
        high = max(float(np.percentile(values, 99.5)), float(values.min()) + 1e-3)
        axes.hist(values.clip(max=high), bins=min(40, max(8, len(values) // 8)), color=_BLUE)
        axes.set_xlabel("latency, ms")
        axes.set_ylabel("frames")

    return _svg("latency-histogram", (4.7, 3.0), plot)


def precision_recall(metrics: Metrics) -> str:
    """Precision over recall at IoU 0.5, a line for each class that has objects; a dot at the operating point."""

    def plot(figure: Any) -> None:
        axes = figure.subplots()
        for class_id, (name, curve) in enumerate(metrics.curves.items()):
            if curve.truths == 0:
                continue
            colour = class_colour_hex(class_id)
            # thousands of points of a flat tail are drawn as well by some hundreds
            kept = np.unique(np.linspace(0, len(curve.scores) - 1, 400).astype(int)) if len(curve.scores) else []
            axes.plot(curve.recall[kept], curve.precision[kept], color=colour, label=name, linewidth=1.8)
            point = metrics.operating_point[name]
            if point["precision"] is not None:
                axes.plot(point["recall"], point["precision"], "o", color=colour, markersize=6)
        axes.set_xlim(0, 1.01)
        axes.set_ylim(0, 1.02)
        axes.set_xlabel("recall")
        axes.set_ylabel("precision")
        axes.legend(loc="lower left")

    return _svg("precision-recall", (4.7, 3.6), plot)


def misses_by_height(metrics: Metrics) -> str:
    """Share of objects missed for each bin of box height, with the number of objects above the bar."""

    def plot(figure: Any) -> None:
        axes = figure.subplots()
        bins = metrics.misses_by_height
        rates = [item["miss_rate"] or 0 for item in bins]
        axes.bar(range(len(bins)), rates, color=_BLUE, width=0.8)
        for x, (item, rate) in enumerate(zip(bins, rates, strict=True)):
            axes.text(x, rate + 0.02, str(item["truths"]), ha="center", va="bottom", fontsize=8.5)
        # the borders of the bins stand between the bars
        axes.set_xticks([x - 0.5 for x in range(len(bins))], [f"{item['from_px']:g}" for item in bins])
        axes.set_xlim(-0.55, len(bins) - 0.45)
        axes.set_ylim(0, 1.08)
        axes.grid(axis="x", visible=False)
        axes.set_xlabel("height of the box, px")
        axes.set_ylabel("share missed")

    return _svg("misses", (4.7, 3.6), plot)


def reliability(metrics: Metrics) -> str:
    """Share of the detections that are right over their mean score, bin by bin; the diagonal is what scores promise."""

    def plot(figure: Any) -> None:
        axes = figure.subplots()
        axes.plot([0, 1], [0, 1], color=_INK, linewidth=1, linestyle="--")
        for class_id, name in enumerate(metrics.curves):
            bins = metrics.calibration[name]["bins"]
            scores, precisions = [item["mean_score"] for item in bins], [item["precision"] for item in bins]
            if bins:
                axes.plot(scores, precisions, "o-", color=class_colour_hex(class_id), label=name, markersize=4)
        axes.set_xlim(0, 1.01)
        axes.set_ylim(0, 1.02)
        axes.set_xlabel("score")
        axes.set_ylabel("share that is right")
        if axes.get_legend_handles_labels()[0]:
            axes.legend(loc="upper left")

    return _svg("reliability", (4.7, 3.6), plot)


def _svg(name: str, size_inches: tuple[float, float], plot: Any) -> str:
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
    svg = text[text.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    # ids such as figure_1 are the same in every plot
    svg = re.sub(r'(\bid="|url\(#|href="#)', rf"\g<1>{name}-", svg)
    svg = re.sub(r' (?:width|height)="[\d.]+pt"', "", svg, count=2)
    return svg.replace(_INK, "currentColor").replace("<svg ", '<svg role="img" ', 1)
