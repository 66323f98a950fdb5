"""Short runs of several recipes, paired by seed, as rows of a ledger.

    python benchmarks/paired_runs.py --data DIR [--recipes baseline rcs cms cgdet cgdet_shuffled cgdet_random]
        [--seeds 0 1] [--init models/start.safetensors] [--out runs/pairs] [--ledger docs/ledger.jsonl] [key=value ...]
    python benchmarks/paired_runs.py --data DIR --recipes start start_guided start_random start_shuffled --init none
        --judge msrs/thermal_train.json bdd_rgb/val.json --out runs/scratch
        train.images=12800 train.warmup_images=640 train.ema_decay=0.998 synthetic.frames=240
    cgdet ledger show docs/ledger.jsonl --against baseline

Every recipe of config/recipes/ is trained with every seed, seed by seed, each run a `cgdet train` of its own with
the settings of SHORT and the given ones laid over it. Runs of one seed see the same crops in the same order. A
run that has ended is not done again, one that was interrupted goes on, so the command can be given again at any
time, and by several processes with different seeds at once. Runs are judged on blocks of their first source that
they hold out, or with --judge on sets under DIR that they never see.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

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
    parser.add_argument("--judge", nargs="+", default=(), metavar="F.json", help="sets under DIR, never trained on")
    parser.add_argument("--out", type=Path, default=Path("runs/pairs"), metavar="DIR")
    parser.add_argument("--ledger", type=Path, default=Path("docs/ledger.jsonl"), metavar="F.jsonl")
    parser.add_argument("settings", nargs="*", metavar="key=value")
    arguments, rest = parser.parse_known_args()
    short = [*SHORT, *([] if arguments.judge else [HELD_OUT])]
    init = [] if arguments.init == "none" else ["--init", arguments.init]
    for seed in arguments.seeds:
        for name in arguments.recipes:
            out = arguments.out / f"{name}_s{seed}"
            if not (out / ("summary.json" if arguments.judge else "held_out.json")).exists():
                words = [f"config/recipes/{name}.yaml", "--data", str(arguments.data), "--out", str(out)]
                words += ["--resume"] if (out / "checkpoint.safetensors").exists() else init
                cgdet("train", *words, *short, f"train.seed={seed}", *arguments.settings, *rest)
            for judge in arguments.judge:
                figures = out / judge.replace("/", "_")
                if not figures.exists():
                    words = ["--model", str(out / "model.safetensors"), "--data", str(arguments.data / judge)]
                    cgdet("evaluate", *words, "--precision", "bf16", "--json", str(figures))
                cgdet("ledger", "add", str(arguments.ledger), f"{name}={out}", "--figures", figures.name)
            if not arguments.judge:
                cgdet("ledger", "add", str(arguments.ledger), f"{name}={out}")
    return 0


def cgdet(*words: str) -> None:
    subprocess.run([sys.executable, "-m", "cgdet_core.cli", *words], check=True)


if __name__ == "__main__":
    sys.exit(main())
