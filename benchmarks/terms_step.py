"""A training step with RCS, CMG and both, over the baseline's; the recipes take turns, batch by batch.

    python benchmarks/terms_step.py --data DIR [--steps 20] [--threads 1] [--json F] [key=value ...]

Real batches of config/recipes/, prepared beforehand (of the first two of them nothing is timed); medians of the same
batches, as ratios to the baseline, so that other load on the machine meets all of them alike.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from pathlib import Path

import torch

from cgdet_core.config import load_recipe
from cgdet_core.data.dataset import TrainingBatches
from cgdet_core.data.sources import load_sources
from cgdet_core.training.extra_terms import teacher_of
from cgdet_core.training.run_state import RunState

RECIPES = ("baseline", "rcs", "cms", "cgdet")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, metavar="DIR")
    parser.add_argument("--steps", type=int, default=20, metavar="N")
    parser.add_argument("--threads", type=int, default=1, metavar="N")
    parser.add_argument("--json", type=Path, metavar="F")
    arguments, settings = parser.parse_known_args()
    torch.set_num_threads(arguments.threads)
    settings += ["synthetic.frames=0", "train.term_gradients_every_batches=0"]
    recipes = {name: load_recipe(Path(f"config/recipes/{name}.yaml"), settings) for name in RECIPES}
    sources, _ = load_sources(recipes["cgdet"], arguments.data)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    runs = {name: RunState(each, device, teacher=teacher_of(each, arguments.data)) for name, each in recipes.items()}
    batches = TrainingBatches(sources, recipes["cgdet"])
    spent: dict[str, list[float]] = {name: [] for name in RECIPES}
    for number in range(arguments.steps + 2):
        batch = batches[number]
        for name, run in runs.items():
            start = time.perf_counter()
            run.step(batch)
            spent[name].append(time.perf_counter() - start)
    medians = {name: statistics.median(values[2:]) for name, values in spent.items()}
    figures = {
        name: {"step_ms": 1000 * value, "over_baseline": value / medians["baseline"]} for name, value in medians.items()
    }
    for name, row in figures.items():
        print(f"{name:10} {row['step_ms']:8.1f} ms  {row['over_baseline']:.2f}")
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
