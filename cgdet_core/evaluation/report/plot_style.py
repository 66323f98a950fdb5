"""What all plots have in common, in the report and in a run's picture."""

from __future__ import annotations

from typing import Any

# keyed as matplotlib wants it, whose stubs spell out every key there is
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
