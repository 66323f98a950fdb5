"""cgdet train: a model from a recipe."""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cgdet_core.commands import common
from cgdet_core.commands.evaluate import summary

if TYPE_CHECKING:
    from cgdet_core.config import Recipe
    from cgdet_core.data.sets.coco import CocoSet
    from cgdet_core.training.stages import Stage


def add(subparsers: common.Subparsers) -> None:
    parser = common.add_command(
        subparsers,
        "train",
        "train a model from a recipe; it needs the recipe and the folder that the recipe's paths start from",
        "cgdet train config/recipes/first.yaml --data sets --out runs/first train.images=20000",
    )
    parser.add_argument("recipe", type=Path, metavar="RECIPE.yaml", help="settings, such as config/recipes/first.yaml")
    parser.add_argument(
        "--data", type=Path, required=True, metavar="DIR", help="folder that the recipe's paths start from"
    )
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder of the run")
    parser.add_argument("--resume", action="store_true", help="go on with the run in --out, interrupted at any time")
    parser.add_argument("--init", type=Path, metavar="MODEL", help="start from this model's weights (fine-tuning)")
    common.add_json_argument(parser, "speed, the last loss and the held-out figures")
    common.add_settings_argument(parser, "that replace the recipe's")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    from cgdet_core.training.stages import check_stages, read_stages

    stages = read_stages(arguments.recipe, arguments.settings, arguments.out, arguments.init)
    # of several processes each refuses where the others hear of it
    alone = os.environ.get("WORLD_SIZE", "1") == "1"
    if alone:
        check_stages(stages, arguments.data, arguments.resume)

    # what takes seconds to import comes after what can be refused without it
    from cgdet_core.training.checkpoint import RunStopped
    from cgdet_core.training.distributed import check_alike, process_group
    from cgdet_core.world import rank

    facts, lines = [], []
    with process_group(stages[0].recipe.train.device):
        leads = rank() == 0
        if not alone:
            check_stages(stages, arguments.data, arguments.resume)
        for number, stage in enumerate(stages, 1):
            resume = arguments.resume and (len(stages) == 1 or number == 1 or stage.begun)
            if len(stages) > 1 and resume and stage.is_done():
                continue
            if len(stages) > 1 and leads:
                print(f"stage {number} of {len(stages)}, in {stage.out}", file=sys.stderr)
            try:
                done, said = _train(stage, arguments.data, resume, leads)
            except RunStopped as stopped:
                if leads:
                    print(f"cgdet: {stopped}", file=sys.stderr)
                return stopped.exit_code
            facts.append(done)
            lines += said
            # the next one takes this one's model, which has its thresholds by then
            check_alike("stages", number)
    if leads and facts:
        common.put_out(facts[0] if len(stages) == 1 else {"stages": facts}, arguments.json, "\n".join(lines))
    return 0


def _train(stage: Stage, data: Path, resume: bool, leads: bool) -> tuple[dict[str, Any], list[str]]:
    """One run to its end and its model measured: figures for machines, and lines."""
    from cgdet_core.data.feed.sources import load_sources
    from cgdet_core.distill.terms import teacher_of
    from cgdet_core.training.trainer import check_start, train

    recipe, out = stage.recipe, stage.out
    check_start(recipe, out, resume, stage.init)
    teacher = teacher_of(stage.with_teacher(), data)
    sources, held_out = load_sources(recipe, data, leads, out)
    if leads and (beginning := _beginning(recipe, resume, stage.init)):
        print(beginning, file=sys.stderr)
    model = train(recipe, sources, out, resume, stage.init, leads, held_out, teacher)
    if not leads:
        return {}, []
    figures, said = (None, "") if held_out is None else _set_thresholds(model, recipe, held_out, out)
    lines = [f"model: {model}"]
    if figures is None:
        lines.append("no frames were held out: its thresholds are the recipe's until cgdet thresholds")
    else:
        lines.append(f"held-out blocks ({out / 'held_out.json'}), whose best thresholds the model now has:")
        lines.append(said)
        lines.append(f"beside another: cgdet compare OTHER.safetensors {model} --run {out} --data {data}")
    return _facts(model, out) | {"held_out": figures}, lines


def _beginning(recipe: Recipe, resume: bool, init: Path | None) -> str:
    """What somebody should know before the run begins, if anything."""
    from cgdet_core.runtime.model_file import read_info

    if resume:
        return ""
    if init is None:
        return "begins with random weights: --init MODEL begins with a model's"
    known = read_info(init).class_names
    new = ", ".join(name for name in recipe.model.class_names if name not in known)
    return f"{init} knows the classes {', '.join(known)}: {new} this run learns anew" if new else ""


def _set_thresholds(model: Path, recipe: Recipe, held_out: CocoSet, out: Path) -> tuple[dict[str, Any], str]:
    """Measure the model on all held-out frames and give it the thresholds that serve best: figures, and in words."""
    from cgdet_core.evaluation.offline import describe_folds
    from cgdet_core.evaluation.task import run_model, write_thresholds
    from cgdet_core.files import write_text

    task, loaded, result = run_model(model, held_out, recipe.train.device)
    thresholds, chosen, warnings = task.choose_thresholds(result.frames, loaded.info.class_names)
    figures = chosen.to_json({**common.measured(loaded), f"ms_per_{task.unit}": result.ms_per_frame()})
    write_text(out / "held_out.json", json.dumps(figures, indent=2) + "\n")
    data = {"data": describe_folds(recipe.held_out_folds), "frames": len(result.frames)}
    write_thresholds(model, model, task, thresholds, {**data, "per_class": figures["operating_point"]})
    common.print_warnings(warnings)
    return figures, summary(task, figures)


def _facts(model: Path, out: Path) -> dict[str, Any]:
    """For machines: summary.json of the run (absent where it could not be written), and how it ended."""
    from cgdet_core.files import sha256_of
    from cgdet_core.training.watch import read_log

    path = out / "summary.json"
    pace = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    steps = [line for line in read_log(out / "log.jsonl") if "loss" in line]
    return {"model": str(model), "model_sha256": sha256_of(model), "last": steps[-1] if steps else None} | pace
