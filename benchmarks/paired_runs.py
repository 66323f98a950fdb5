"""Short runs of several recipes, paired by seed, and what they say side by side.

    python benchmarks/paired_runs.py --data DIR [--recipes baseline rcs cms cgdet cgdet_shuffled cgdet_random]
        [--seeds 0 1] [--init models/start.safetensors] [--out runs/pairs] [key=value ...]
    python benchmarks/paired_runs.py --data DIR --recipes start start_guided start_random start_shuffled --init none
        --on msrs/thermal_train.json --out runs/scratch train.images=12800 train.warmup_images=640
        train.ema_decay=0.998 synthetic.frames=240

Every recipe of config/recipes/ is trained with every seed, seed by seed, each run a `cgdet train` of its own with
the settings of SHORT and the given ones laid over it. Runs of one seed see the same crops in the same order. A
run that has ended is not done again, one that was interrupted goes on, so the command can be given again at any
time, and by several processes with different seeds at once. Runs are measured on blocks of their first source that
they hold out, or with --on on a set under DIR that they never see. The table has means over seeds and their spread,
then the differences to the first recipe, seed by seed, with their standard error.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

RECIPES = ("baseline", "rcs", "cms", "cgdet", "cgdet_shuffled", "cgdet_random")
# no rendered frames, so that a start costs seconds
SHORT = (
    "train.images=6400",
    "train.warmup_images=320",
    "train.ema_decay=0.995",
    "train.validate_every_images=0",
    "train.tensorboard=false",
    "synthetic.frames=0",
)
HELD_OUT = "sources.0.hold_out_fold=0"  # of msrs every fifth block


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, metavar="DIR")
    parser.add_argument("--recipes", nargs="+", default=RECIPES, metavar="NAME")
    parser.add_argument("--seeds", nargs="+", type=int, default=(0, 1), metavar="S")
    parser.add_argument("--init", default="models/start.safetensors", metavar="MODEL", help="none: from scratch")
    parser.add_argument("--on", metavar="F.json", help="a set under DIR, never trained on")
    parser.add_argument("--out", type=Path, default=Path("runs/pairs"), metavar="DIR")
    parser.add_argument("settings", nargs="*", metavar="key=value")
    arguments, rest = parser.parse_known_args()
    settings = [*SHORT, *([] if arguments.on else [HELD_OUT]), *arguments.settings, *rest]
    init = [] if arguments.init == "none" else ["--init", arguments.init]
    rows: dict[str, dict[int, dict[str, float | None]]] = {}
    for seed in arguments.seeds:
        for name in arguments.recipes:
            out = arguments.out / f"{name}_s{seed}"
            if not (out / "summary.json").exists():
                words = [f"config/recipes/{name}.yaml", "--data", str(arguments.data), "--out", str(out)]
                words += ["--resume"] if (out / "checkpoint.safetensors").exists() else init
                cgdet("train", *words, *settings, f"train.seed={seed}")
            figures = out / (arguments.on.replace("/", "_") if arguments.on else "held_out.json")
            if not figures.exists():
                words = ["--model", str(out / "model.safetensors"), "--data", str(arguments.data / arguments.on)]
                cgdet("evaluate", *words, "--precision", "bf16", "--json", str(figures))
            rows.setdefault(name, {})[seed] = measures(json.loads(figures.read_text(encoding="utf-8")))
    print(table(rows))
    return 0


def cgdet(*words: str) -> None:
    subprocess.run([sys.executable, "-m", "cgdet_core.cli", *words], check=True)


def measures(figures: dict[str, Any]) -> dict[str, float | None]:
    """What a run is compared by, of the figures that `cgdet evaluate --json` and a run's held_out.json have."""
    return {
        "mAP50": figures["map50"],
        "mAP": figures["map"],
        **{f"AP50 {name}": part["map50"] for name, part in figures["per_class"].items()},
        **{light: part["map50"] for light, part in figures["by_light"].items()},
        "duplicates": figures["duplicates_per_object"]["all"],
    }


def table(rows: dict[str, dict[int, dict[str, float | None]]]) -> str:
    """Markdown; rows: recipe -> seed -> measure."""
    first = next(iter(rows.values()))
    columns = [name for name, value in next(iter(first.values())).items() if value is not None]
    lines = ["| recipe | seeds | " + " | ".join(columns) + " |", "|---" * (len(columns) + 2) + "|"]
    for name, seeds in rows.items():
        cells = []
        for column in columns:
            values = [row[column] or 0.0 for row in seeds.values()]
            spread = f" ± {statistics.stdev(values):.3f}" if len(values) > 1 else ""
            cells.append(f"{statistics.fmean(values):.3f}{spread}")
        lines.append(f"| {name} | {' '.join(map(str, seeds))} | " + " | ".join(cells) + " |")
    reference, *others = rows
    for name in others:
        cells = []
        for column in columns:
            values = [(row[column] or 0.0) - (rows[reference][seed][column] or 0.0) for seed, row in rows[name].items()]
            error = f" ± {statistics.stdev(values) / len(values) ** 0.5:.3f}" if len(values) > 1 else ""
            cells.append(f"{statistics.fmean(values):+.3f}{error}")
        lines.append(f"| {name} − {reference} | {len(values)} shared | " + " | ".join(cells) + " |")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
