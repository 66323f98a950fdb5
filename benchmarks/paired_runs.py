"""Short fine-tunes of several recipes, paired by seed, as rows of a ledger.

    python benchmarks/paired_runs.py --data DIR [--recipes baseline rcs cms cgdet cgdet_shuffled cgdet_random]
        [--seeds 0 1] [--init models/start.safetensors] [--out runs/pairs] [--ledger docs/ledger.jsonl] [key=value ...]
    cgdet ledger show docs/ledger.jsonl --against baseline

Every recipe of config/recipes/ is trained with every seed, seed by seed, each run a `cgdet train` of its own with
the settings of SHORT and the given ones laid over it. Runs of one seed see the same crops in the same order. A
run that has ended is not done again, one that was interrupted goes on, so the command can be given again at any
time, and by several processes with different seeds at once.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

RECIPES = ("baseline", "rcs", "cms", "cgdet", "cgdet_shuffled", "cgdet_random")
# of msrs every fifth block is held out; no rendered frames, so that a start costs seconds
SHORT = (
    "train.images=6400",
    "train.warmup_images=320",
    "train.ema_decay=0.995",
    "train.validate_every_images=0",
    "train.tensorboard=false",
    "sources.0.hold_out_fold=0",
    "synthetic.frames=0",
)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, metavar="DIR")
    parser.add_argument("--recipes", nargs="+", default=RECIPES, metavar="NAME")
    parser.add_argument("--seeds", nargs="+", type=int, default=(0, 1), metavar="S")
    parser.add_argument("--init", type=Path, default=Path("models/start.safetensors"), metavar="MODEL")
    parser.add_argument("--out", type=Path, default=Path("runs/pairs"), metavar="DIR")
    parser.add_argument("--ledger", type=Path, default=Path("docs/ledger.jsonl"), metavar="F.jsonl")
    parser.add_argument("settings", nargs="*", metavar="key=value")
    arguments, rest = parser.parse_known_args()
    cgdet = [sys.executable, "-m", "cgdet_core.cli"]
    for seed in arguments.seeds:
        for name in arguments.recipes:
            out = arguments.out / f"{name}_s{seed}"
            if not (out / "held_out.json").exists():
                recipe = f"config/recipes/{name}.yaml"
                words = [*cgdet, "train", recipe, "--data", str(arguments.data), "--out", str(out)]
                started = (out / "checkpoint.safetensors").exists()
                words += ["--resume"] if started else ["--init", str(arguments.init)]
                subprocess.run([*words, *SHORT, f"train.seed={seed}", *arguments.settings, *rest], check=True)
            subprocess.run([*cgdet, "ledger", "add", str(arguments.ledger), f"{name}={out}"], check=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
