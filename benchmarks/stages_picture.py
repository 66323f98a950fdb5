"""The picture of benchmarks/stages.py."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from cgdet_core.evaluation.report.plots import PLOT_STYLE

NETWORK = "network"
PLAIN = "plain: "  # begins the name of what is no part of a frame
_LEFT_OUT = (NETWORK, "total")
_COLOURS = ("#9fc5e8", "#3d85c6", "#0b3d6b")


def draw(runs: dict[str, Any], title: str, path: Path) -> None:
    """Bars by stage without the network, one colour for each number of detections; the bar's end is the median."""
    stages = next(iter(runs.values()))["stages"]
    # what is no part of a frame goes below the sum
    names = sorted((name for name in stages if name not in _LEFT_OUT), key=lambda name: name.startswith(PLAIN))
    with matplotlib.rc_context({**PLOT_STYLE, "font.size": 10}):
        figure = Figure(figsize=(9, 5.4), layout="constrained")
        axes = figure.subplots()
        for place, (colour, run) in enumerate(zip(_COLOURS, runs.values(), strict=False)):
            low = [run["stages"][name]["p50"] for name in names]
            high = [run["stages"][name]["p95"] for name in names]
            rows = np.arange(len(names)) + (place - 1) * 0.26
            axes.barh(rows, low, height=0.24, color=colour, label=f"{run['detections_per_frame']:.0f} detections")
            axes.hlines(rows, low, high, color=colour, linewidth=1.2)
        axes.set_yticks(range(len(names)), names)
        axes.invert_yaxis()
        axes.axvline(3, color="#d55e00", linewidth=1.2, linestyle="--")
        axes.text(2.97, 0, "budget of all but the network", color="#d55e00", ha="right", va="center")
        axes.set_xlabel(f"ms, median; line: to the 95th percentile. The network: {stages[NETWORK]['p50']:.1f} ms")
        axes.set_title(title, fontsize=10, loc="left")
        axes.grid(axis="y", visible=False)
        axes.legend(loc="center right", bbox_to_anchor=(1, 0.62))
        figure.savefig(path, dpi=110)
