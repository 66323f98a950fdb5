"""run.png: a run at one look, drawn from its log alone."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from cgdet_core.drawing import class_colour_hex
from cgdet_core.evaluation.report.plot_style import PLOT_STYLE
from cgdet_core.files import replacing

_TERMS = {"loss": "#222222", "class": "#0072b2", "box": "#d55e00", "distribution": "#009e73"}
_GREY = "#707070"
# over the panel: within it a fine-tune's loss, which hardly falls, would run through the names
_ABOVE: dict[str, Any] = {"loc": "lower left", "bbox_to_anchor": (0, 1), "ncols": 5, "borderaxespad": 0.2}


def write_run_plot(
    path: Path,
    lines: Sequence[dict[str, Any]],
    class_names: Sequence[str],
    batch_size: int,
    images: int,
    without_validation: str = "not validated yet",
) -> None:
    """Loss terms, AP of each class, learning rate and speed over the crops learned from, as a PNG.

    lines: of log.jsonl; images: the length of the run; without_validation: said where the AP would be. InputError
    where the disk refuses.
    """
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    steps = [line for line in lines if "loss" in line]
    validations = [line for line in lines if "validation" in line]
    with matplotlib.rc_context({**PLOT_STYLE, "font.size": 9}):
        figure = Figure(figsize=(11, 6.6), dpi=100, layout="constrained")
        FigureCanvasAgg(figure)
        (loss, precision), (rate, speed) = figure.subplots(2, 2, sharex=True)
        _losses(loss, steps, batch_size)
        _precisions(precision, validations, class_names, batch_size, without_validation)
        _rates(rate, steps, batch_size)
        _speeds(speed, steps, batch_size)
        for axes in (rate, speed):
            axes.set_xlabel("crops learned from")
            axes.set_xlim(0, images)
        with replacing(path) as partial:
            figure.savefig(partial, format="png", metadata={"Software": None})


def _losses(axes: Any, steps: Sequence[dict[str, Any]], batch_size: int) -> None:
    for name, colour in _TERMS.items():
        of_term = [line for line in steps if name in line]
        at, values = _crops(of_term, batch_size), _numbers([line[name] for line in of_term])
        # single batches differ much; the run is in their running mean
        axes.plot(at, values, color=colour, alpha=0.2, linewidth=0.8)
        axes.plot(at, _running_mean(values), _dots(at), color=colour, linewidth=1.6, label=name)
    axes.set_ylim(bottom=0)
    axes.set_ylabel("loss")
    axes.legend(**_ABOVE)


def _precisions(
    axes: Any, validations: Sequence[dict[str, Any]], class_names: Sequence[str], batch_size: int, without: str
) -> None:
    at = _crops(validations, batch_size)
    for class_id, name in enumerate(class_names):
        values = [line["validation"]["per_class"].get(name, {}).get("map50") for line in validations]
        if any(value is not None for value in values):
            axes.plot(at, _numbers(values), ".-", color=class_colour_hex(class_id), linewidth=1.6, label=name)
    if validations:
        mean = _numbers([line["validation"]["map50"] for line in validations])
        axes.plot(at, mean, ".-", color=_TERMS["loss"], linewidth=1.6, label="mean")
        axes.legend(**_ABOVE)
    else:
        axes.text(0.5, 0.5, without, transform=axes.transAxes, ha="center", color=_GREY)
    axes.set_ylim(0, min(1.0, max(0.1, 1.2 * axes.dataLim.y1)))
    axes.set_ylabel("AP50 on held-out frames")


def _rates(axes: Any, steps: Sequence[dict[str, Any]], batch_size: int) -> None:
    at = _crops(steps, batch_size)
    axes.plot(at, _numbers([line.get("learning_rate") for line in steps]), _dots(at), color=_TERMS["class"])
    axes.set_ylim(bottom=0)
    axes.set_ylabel("learning rate")
    norms = axes.twinx()
    values = _numbers([line.get("gradient_norm") for line in steps])
    norms.plot(at, values, _dots(at), color=_GREY, alpha=0.6, linewidth=0.8)
    norms.set_ylabel("gradient norm", color=_GREY)
    norms.set_ylim(bottom=0)
    norms.grid(visible=False)


def _speeds(axes: Any, steps: Sequence[dict[str, Any]], batch_size: int) -> None:
    at = _crops(steps, batch_size)
    axes.plot(at, _numbers([line.get("images_per_second") for line in steps]), _dots(at), color=_TERMS["class"])
    axes.set_ylim(bottom=0)
    axes.set_ylabel("images/s")
    waits = axes.twinx()
    waits.plot(
        at, 100 * _numbers([line.get("data_wait_share") for line in steps]), _dots(at), color=_GREY, linewidth=0.8
    )
    waits.set_ylim(0, 100)
    waits.set_ylabel("waited for data, %", color=_GREY)
    waits.grid(visible=False)


def _dots(at: Sequence[int]) -> str:
    """How a line is drawn: one of a single point would not be seen."""
    return ".-" if len(at) == 1 else "-"


def _crops(lines: Sequence[dict[str, Any]], batch_size: int) -> list[int]:
    return [line["batch"] * batch_size for line in lines]


def _numbers(values: Sequence[float | None]) -> np.ndarray[Any, np.dtype[np.float64]]:
    return np.array([np.nan if value is None else value for value in values], np.float64)


def _running_mean(values: np.ndarray[Any, np.dtype[np.float64]]) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Over a fortieth of the run and at least 1 line, before and after alike; shorter at the ends."""
    reach = max(1, len(values) // 40)
    sums = np.concatenate([[0.0], np.cumsum(values)])
    centre = np.arange(len(values))
    low, high = np.maximum(centre - reach, 0), np.minimum(centre + reach + 1, len(values))
    return np.asarray((sums[high] - sums[low]) / np.maximum(high - low, 1), np.float64)
