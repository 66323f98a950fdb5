"""The report's plots of accuracy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from cgdet_core.drawing import class_colour_hex
from cgdet_core.evaluation.report.svg_plot import BLUE, GREY, INK, RED, svg

if TYPE_CHECKING:
    from cgdet_core.evaluation.metrics.metrics import Metrics

_GREEN = "#009e73"


def precision_recall(models: Sequence[tuple[str, Metrics]], prefix: str = "") -> str:
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


def misses_by_height(metrics: Metrics, prefix: str = "") -> str:
    """Share of objects missed for each bin of box height, with the number of objects above the bar."""

    def plot(figure: Any) -> None:
        axes = figure.subplots()
        bins = metrics.misses_by_height
        rates = [item["miss_rate"] or 0 for item in bins]
        axes.bar(range(len(bins)), rates, color=BLUE, width=0.8)
        for x, (item, rate) in enumerate(zip(bins, rates, strict=True)):
            axes.text(x, rate + 0.02, str(item["truths"]), ha="center", va="bottom", fontsize=8.5)
        # the borders of the bins stand between the bars
        axes.set_xticks([x - 0.5 for x in range(len(bins))], [f"{item['from_px']:g}" for item in bins])
        axes.set_xlim(-0.55, len(bins) - 0.45)
        axes.set_ylim(0, 1.08)
        axes.grid(axis="x", visible=False)
        axes.set_xlabel("height of the box, px")
        axes.set_ylabel("share missed")

    return svg(f"{prefix}misses", (4.7, 3.6), plot)


def reliability(metrics: Metrics, prefix: str = "") -> str:
    """Share of the detections that are right over their mean score, bin by bin; the diagonal is what scores promise."""

    def plot(figure: Any) -> None:
        axes = figure.subplots()
        axes.plot([0, 1], [0, 1], color=INK, linewidth=1, linestyle="--")
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

    return svg(f"{prefix}reliability", (4.7, 3.6), plot)


def steps(rows: Sequence[Mapping[str, Any]], prefix: str = "") -> str:
    """From the offline figure to the live one, a line for each row of `report_tables.step_table`."""

    def plot(figure: Any) -> None:
        axes = figure.subplots()
        for y, row in enumerate(rows):
            values = row["values"]
            axes.plot([values[0], values[-1]], [y, y], color=GREY, linewidth=1.2, zorder=1)
            axes.plot(values[1:-1], [y] * (len(values) - 2), "|", color=GREY, markersize=8, zorder=2)
            axes.plot(values[0], y, "o", color=BLUE, markersize=7, markerfacecolor="none", markeredgewidth=1.6)
            axes.plot(values[-1], y, "o", color=BLUE, markersize=7)
        axes.set_yticks(range(len(rows)), [row["name"] for row in rows])
        axes.set_ylim(len(rows) - 0.4, -0.6)
        axes.set_xlim(0, 1)
        axes.grid(axis="y", visible=False)
        axes.set_xlabel("average precision: ring offline, dot live")

    return svg(f"{prefix}steps", (9.6, 0.9 + 0.27 * len(rows)), plot)


def differences(rows: Sequence[Mapping[str, Any]]) -> str:
    """B - A with its interval, a line for each row of `report_tables.comparison_rows`; what is sure is filled."""

    def plot(figure: Any) -> None:
        axes = figure.subplots()
        shown = [row for row in rows if row["low"] is not None and not row["less_is_better"]]
        for y, row in enumerate(shown):
            colour = {"better": _GREEN, "worse": RED}.get(row["verdict"], GREY)
            axes.plot([row["low"], row["high"]], [y, y], color=colour, linewidth=2)
            axes.plot(row["difference"], y, "o", color=colour, markersize=6)
        axes.axvline(0, color=INK, linewidth=1)
        axes.set_yticks(range(len(shown)), [row["name"] for row in shown])
        axes.set_ylim(len(shown) - 0.4, -0.6)
        axes.grid(axis="y", visible=False)
        axes.set_xlabel("B \N{MINUS SIGN} A, with its interval; green: B is better, red: worse")

    return svg("differences", (9.6, 0.9 + 0.27 * len(rows)), plot)
