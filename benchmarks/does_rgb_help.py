"""The tables and the plot of docs/does_rgb_help.md, from the ledger.

    python benchmarks/does_rgb_help.py [--ledger docs/ledger.jsonl] [--page docs/does_rgb_help.md]
        [--plot docs/does_rgb_help.png]

In the page a table stands under the command that prints it, in a comment, and ends with another one:

    <!-- cgdet ledger show docs/ledger.jsonl --against start --protocol 6b45e763 --columns mAP50 night -->
    <!-- end -->

Every such table is printed anew. The plot has a panel for each reference that other recipes are differed from: a
recipe's difference in mAP50, seed by seed, their mean and its standard error. A recipe that NAMES does not know is
shown by its own name.
"""

from __future__ import annotations

import argparse
import io
import re
import shlex
import sys
from collections.abc import Mapping, Sequence
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.figure import Figure

from cgdet_core.cli import main as cgdet
from cgdet_core.errors import InputError
from cgdet_core.evaluation.ledger import Spread, measures_of, read_ledger
from cgdet_core.evaluation.report.plot_style import PLOT_STYLE
from cgdet_core.files import check_can_write, write_text

BLOCK = re.compile(r"<!-- (cgdet ledger show [^\n]*?) -->\n.*?<!-- end -->", re.DOTALL)
REFERENCES = {"start": "From scratch: cameras that no run saw", "baseline": "On top of the start: blocks held out"}
CONTROL = "control: "
NAMES = {
    "start_guided": "RGB teacher, whole maps",
    "start_guided, where it sees objects": "RGB teacher, where it sees objects",
    "start_guided, boxes": "RGB teacher, labelled boxes",
    "start_guided, CWD": "RGB teacher, CWD",
    "start_guided, cosine": "RGB teacher, cosine",
    "start_guided, MSE": "RGB teacher, MSE",
    "start_guided, hard swish": "RGB teacher, hard swish",
    "start_cgdet": "RCS + RGB teacher, whole maps",
    "start_dikd": "RGB teacher, whole maps + DIKD",
    "start_rcs": "RCS",
    "start_random": CONTROL + "untrained teacher",
    "start_shuffled": CONTROL + "RGB of other frames",
    "rcs": "RCS",
    "cms": "CMG",
    "cgdet": "RCS + CMG",
    "cgdet_shuffled": CONTROL + "both, RGB of other frames",
    "cgdet_random": CONTROL + "both, untrained teacher",
    "rcs 0.1": "RCS, weight 0.1",
    "rcs 0.1, warm-up": "RCS, weight 0.1, warm-up",
    "cms 1": "CMG, weight 1",
    "cms, warm-up": "CMG, warm-up",
    "cms, own teacher": "CMG, own RGB teacher",
}
_MEASURE = "mAP50"
_COLOURS = ("#3d85c6", "#e69f00", "#009e73", "#cc79a7")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ledger", type=Path, default=Path("docs/ledger.jsonl"), metavar="F.jsonl")
    parser.add_argument("--page", type=Path, default=Path("docs/does_rgb_help.md"), metavar="F.md")
    parser.add_argument("--plot", type=Path, default=Path("docs/does_rgb_help.png"), metavar="F.png")
    arguments = parser.parse_args()
    try:
        check_can_write(arguments.plot)
        write_text(arguments.page, with_tables(arguments.page.read_text(encoding="utf-8"), arguments.ledger))
        draw(panels(read_ledger(arguments.ledger)), arguments.plot)
    except InputError as error:
        print(f"does_rgb_help: {error}", file=sys.stderr)
        return 2
    return 0


def with_tables(page: str, ledger: Path) -> str:
    """The page with every table printed anew from `ledger`; InputError where a command of it fails."""

    def printed(block: re.Match[str]) -> str:
        words = shlex.split(block[1])
        words[words.index("show") + 1] = str(ledger)
        out = io.StringIO()
        with redirect_stdout(out):
            code = cgdet(words[1:])
        if code:
            raise InputError(f"'{block[1]}' of the page fails: correct it there")
        table = "\n".join(line for line in out.getvalue().splitlines() if line.startswith("|"))
        return f"<!-- {block[1]} -->\n\n{table}\n\n<!-- end -->"

    return BLOCK.sub(printed, page)


def panels(rows: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, dict[str, list[float]]]]:
    """Reference -> series (what the runs were judged on) -> recipe -> differences of mAP50, of each shared seed."""
    protocols: dict[str, list[Mapping[str, Any]]] = {}
    for row in rows:
        protocols.setdefault(row["protocol"], []).append(row)
    found: dict[str, dict[str, dict[str, list[float]]]] = {}
    for protocol, of_protocol in protocols.items():
        for reference in REFERENCES:
            base = {row["seed"]: measures_of(row)[_MEASURE] for row in of_protocol if row["name"] == reference}
            # a later row of a seed counts, as in `cgdet ledger show`
            others = {(row["name"], row["seed"]): row for row in of_protocol if row["name"] != reference}
            differences: dict[str, list[float]] = {}
            for (name, seed), row in sorted(others.items(), key=lambda item: item[0][1]):
                if seed in base:
                    differences.setdefault(name, []).append(measures_of(row)[_MEASURE] - base[seed])
            if differences:
                series = found.setdefault(reference, {})
                label = str(of_protocol[0].get("judged_on") or "held-out blocks")
                series[f"{label}, {protocol}" if label in series else label] = differences
    return {reference: found[reference] for reference in REFERENCES if reference in found}


def draw(found: Mapping[str, Mapping[str, Mapping[str, Sequence[float]]]], path: Path) -> None:
    """A panel for each reference, a row for each recipe, controls below; one colour for each set judged on."""
    with matplotlib.rc_context({**PLOT_STYLE, "font.size": 9.5}):
        rows = {reference: _order(series) for reference, series in found.items()}
        heights = [len(names) + 1.5 for names in rows.values()]
        figure = Figure(figsize=(8.4, 0.33 * sum(heights) + 0.6), layout="constrained")
        every = figure.subplots(len(found), 1, sharex=True, squeeze=False, height_ratios=heights)[:, 0]
        for axes, (reference, series) in zip(every, found.items(), strict=True):
            names = rows[reference]
            for place, (label, differences) in enumerate(series.items()):
                offset = (place - (len(series) - 1) / 2) * 0.26
                colour = _COLOURS[place % len(_COLOURS)]
                for row, name in enumerate(names):
                    _mark(axes, row + offset, differences.get(name, ()), colour)
                axes.plot([], [], "o", color=colour, label=label)
            axes.axvline(0, color="#404040", linewidth=1)
            axes.set_yticks(range(len(names)), [NAMES.get(name, name) for name in names])
            axes.set_ylim(len(names) - 0.4, -0.6)
            axes.grid(axis="y", visible=False)
            axes.set_title(REFERENCES[reference], fontsize=10.5, loc="left", fontweight="bold")
            axes.legend(loc="best", fontsize=8.5, handletextpad=0.2)
        every[-1].set_xlabel(f"{_MEASURE} minus that of the same seed without RGB (mean; single seeds; standard error)")
        figure.savefig(path, dpi=120, metadata={"Software": None})


def _mark(axes: Any, row: float, values: Sequence[float], colour: str) -> None:
    if not values:
        return
    spread = Spread.of(values)
    axes.plot([spread.mean], [row], "o", color=colour, markersize=7)
    if spread.count > 1:
        axes.plot(values, [row] * len(values), ".", color=colour, markersize=5, alpha=0.6)
        axes.hlines(row, spread.mean - spread.error, spread.mean + spread.error, color=colour, linewidth=2)


def _order(series: Mapping[str, Mapping[str, Sequence[float]]]) -> list[str]:
    names = dict.fromkeys(name for differences in series.values() for name in differences)
    return sorted(names, key=lambda name: NAMES.get(name, name).startswith(CONTROL))


if __name__ == "__main__":
    sys.exit(main())
