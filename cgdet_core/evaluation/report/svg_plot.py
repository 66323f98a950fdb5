"""A plot as inline SVG that takes its text colour from the page, light or dark."""

from __future__ import annotations

import io
import re
from typing import Any

from cgdet_core.evaluation.report.plot_style import PLOT_STYLE

# stands for the page's text colour until the SVG is written; drawn nowhere else
INK = "#010203"
BLUE, RED, GREY = "#3d85c6", "#d55e00", "#808080"

_STYLE: dict[Any, Any] = {
    **PLOT_STYLE,
    "font.size": 10,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "svg.fonttype": "none",
}


def svg(name: str, size_inches: tuple[float, float], plot: Any) -> str:
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
    return drawn.replace(INK, "currentColor").replace("<svg ", '<svg role="img" ', 1)
