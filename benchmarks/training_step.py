"""How long a training step takes without its data; recipes with training-only terms and one without take turns.

    python benchmarks/training_step.py --data DIR [--recipes baseline rcs cms cgdet] [--steps 20] [--threads 1]
        [key=value ...]

Real batches of config/recipes/, prepared beforehand (of the first two of them nothing is timed); medians of the same
batches, as ratios to the first recipe's, so that other load on the machine meets all of them alike. The batches are
the last recipe's: it has the RGB that any of them needs.
"""

from __future__ import annotations

import argparse
import statistics
import time
from pathlib import Path

import torch

from cgdet_core.config import load_recipe
from cgdet_core.data.feed.dataset import TrainingBatches
from cgdet_core.data.feed.sources import load_sources
from cgdet_core.distill.terms import teacher_of
from cgdet_core.training.state import RunState

RECIPES = ("baseline", "rcs", "cms", "cgdet")  # or start start_guided start_dikd


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, metavar="DIR")
    parser.add_argument("--recipes", nargs="+", default=list(RECIPES), metavar="NAME")
    parser.add_argument("--steps", type=int, default=20, metavar="N")
    parser.add_argument("--threads", type=int, default=1, metavar="N")
    arguments, settings = parser.parse_known_args()
    torch.set_num_threads(arguments.threads)
    settings += ["synthetic.frames=0"]
    recipes = {name: load_recipe(Path(f"config/recipes/{name}.yaml"), settings) for name in arguments.recipes}
    reference, last = arguments.recipes[0], recipes[arguments.recipes[-1]]
    sources, _ = load_sources(last, arguments.data)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    runs = {name: RunState(each, device, teacher=teacher_of(each, arguments.data)) for name, each in recipes.items()}
    batches = TrainingBatches(sources, last)
    spent: dict[str, list[float]] = {name: [] for name in recipes}
    for number in range(arguments.steps + 2):
        batch = batches[number]
        for name, run in runs.items():
            start = time.perf_counter()
            run.step(batch)
            spent[name].append(time.perf_counter() - start)
    medians = {name: statistics.median(values[2:]) for name, values in spent.items()}
    for name, value in medians.items():
        rate, over = recipes[name].train.batch_size / value, value / medians[reference]
        print(f"{name:10} {1000 * value:8.1f} ms {rate:6.1f} images/s {over:.2f}")


if __name__ == "__main__":
    main()
