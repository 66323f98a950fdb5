"""The report's plots over time: age, drops, stages."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from cgdet_core.evaluation.report.svg_plot import BLUE, GREY, INK, RED, svg
from cgdet_core.runtime.percentiles import percentiles

if TYPE_CHECKING:
    from cgdet_core.evaluation.report.report import LatencyTrace, StageTimes

_STAGE_COLOURS = (BLUE, RED, "#009e73", "#cc79a7", GREY)
_MANY_POINTS = 3000  # beyond, points become a picture inside the SVG


def latency_over_time(trace: LatencyTrace, prefix: str = "") -> str:
    """Latency of each frame at its time, the age of the newest answer, median and 95th percentile, drops below."""

    def plot(figure: Any) -> None:
        axes, strip = figure.subplots(2, 1, sharex=True, height_ratios=(6, 1))
        many = len(trace.sent_s) > _MANY_POINTS
        if len(trace.held_s):
            times, ages = (
                np.append(trace.held_s, trace.held_s[:, 1:], 1),
                np.append(trace.held_ms, trace.held_ms[:, 1:], 1),
            )
            ages[:, 2] = np.nan  # no line from one answer to the next
            label = "age of the newest answer"
            axes.plot(times.ravel(), ages.ravel(), color=GREY, linewidth=0.8, rasterized=many, label=label)
        axes.plot(
            *(trace.sent_s, trace.latency_ms, "."),
            markersize=3.5,
            color=BLUE,
            alpha=0.8,
            rasterized=many,
            label="latency of a frame",
        )
        levels = percentiles(trace.latency_ms, (50, 95))
        for (name, level), dashes in zip(levels.items(), ("-", "--"), strict=True):
            axes.axhline(level, color=INK, linewidth=1, linestyle=dashes, label=f"{name} {level:.1f} ms")
        axes.set_ylim(bottom=0)
        axes.set_ylabel("ms")
        axes.legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=4)
        strip.vlines(trace.dropped_s, 0, 1, color=RED, linewidth=1.2, rasterized=len(trace.dropped_s) > _MANY_POINTS)
        strip.set_ylim(0, 1)
        strip.set_yticks([])
        strip.spines["left"].set_visible(False)
        strip.grid(False)
        count = len(trace.dropped_s)
        strip.set_ylabel(f"{count or 'none'}\ndropped", rotation=0, ha="right", va="center")
        strip.set_xlabel("time in the recording, s")

    return svg(f"{prefix}latency", (9.6, 3.4), plot)


def latency_histogram(trace: LatencyTrace, prefix: str = "") -> str:
    """How often which latency; the few beyond the 99.5th percentile are counted in the last bin."""

    def plot(figure: Any) -> None:
        axes = figure.subplots()
        values = np.asarray(trace.latency_ms, np.float64)
        high = max(float(np.percentile(values, 99.5)), float(values.min()) + 1e-3)
        axes.hist(values.clip(max=high), bins=min(40, max(8, len(values) // 8)), color=BLUE)
        axes.set_xlabel("latency, ms")
        axes.set_ylabel("frames")

    return svg(f"{prefix}latency-histogram", (4.7, 3.0), plot)


def stages_over_time(stages: StageTimes, prefix: str = "") -> str:
    """The median time of each stage, a line each."""

    def plot(figure: Any) -> None:
        axes = figure.subplots()
        for number, (name, values) in enumerate(stages.over_ms.items()):
            axes.plot(
                stages.over_s, values, color=_STAGE_COLOURS[number % len(_STAGE_COLOURS)], linewidth=1.6, label=name
            )
        axes.set_ylim(bottom=0)
        axes.set_xlabel("time in the recording, s")
        axes.set_ylabel("p50, ms")
        axes.legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=2, fontsize=8.5)

    return svg(f"{prefix}stages", (4.7, 3.0), plot)
