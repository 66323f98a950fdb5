"""cgdet train: a model from a recipe."""

from __future__ import annotations

import argparse
from pathlib import Path

from cgdet_core.commands.common import Subparsers, add_command
from cgdet_core.files import write_text


def add(subparsers: Subparsers) -> None:
    parser = add_command(
        subparsers,
        "train",
        "train a detector from a recipe; interrupted at any time, it goes on with --resume",
        "cgdet train config/recipes/first.yaml --data shared/data --out runs/first train.images=20000",
    )
    parser.add_argument("recipe", type=Path, metavar="RECIPE.yaml", help="settings, such as config/recipes/first.yaml")
    parser.add_argument(
        "--data", type=Path, required=True, metavar="DIR", help="folder that the recipe's paths start from"
    )
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder of the run")
    parser.add_argument("--resume", action="store_true", help="go on with the run in --out")
    parser.add_argument("--init", type=Path, metavar="MODEL", help="start from this model's weights (fine-tuning)")
    parser.add_argument("settings", nargs="*", metavar="key=value", help="settings laid over the recipe's")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    import json

    from cgdet_core.config import load_recipe
    from cgdet_core.data.dataset import load_sources
    from cgdet_core.training.trainer import check_start, train

    recipe = load_recipe(arguments.recipe, arguments.settings)
    check_start(recipe, arguments.out, arguments.resume, arguments.init)
    sources, held_out = load_sources(recipe, arguments.data)
    model = train(recipe, sources, arguments.out, resume=arguments.resume, init=arguments.init)
    print(f"model: {model}")
    if held_out is not None:
        from cgdet_core.commands.evaluate import summary
        from cgdet_core.evaluation.metrics import evaluate
        from cgdet_core.evaluation.offline import run_offline
        from cgdet_core.runtime.predictor import Predictor

        predictor = Predictor(model, recipe.train.device)
        result = run_offline(predictor, held_out, len(held_out))
        figures = evaluate(result.frames, recipe.model.class_names).to_json(
            {
                "params": predictor.info.parameters,
                "model_bytes": model.stat().st_size,
                "ms_per_image": result.ms_per_image(),
                "device": predictor.device,
                "precision": predictor.precision,
            }
        )
        write_text(arguments.out / "held_out.json", json.dumps(figures, indent=2) + "\n")
        print(f"held-out blocks ({arguments.out / 'held_out.json'}):\n{summary(figures)}")
    return 0
