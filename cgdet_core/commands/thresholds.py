"""cgdet thresholds: each class's threshold of best F1 on frames that the model never saw, and into a model file."""

from __future__ import annotations

import argparse
from pathlib import Path

from cgdet_core.commands import common
from cgdet_core.errors import InputError


def add(subparsers: common.Subparsers) -> None:
    parser = common.add_command(
        subparsers,
        "thresholds",
        "choose a model's thresholds by the best F1 (of landmarks: the scale of confidences); "
        "it needs labelled frames that the model never saw",
        "cgdet thresholds --model model.safetensors --data val.json --write tuned.safetensors",
    )
    common.add_data_arguments(parser, "its model, on ")
    parser.add_argument("--write", type=common.writable, metavar="F", help="a copy of the model with these thresholds")
    parser.add_argument(
        "--into", type=Path, metavar="MODEL", help="the model to copy, where it is another one of the same recipe"
    )
    common.add_json_argument(parser, "thresholds and figures")
    common.add_model_arguments(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    from cgdet_core.evaluation.offline import describe_folds, refuse_test_split, run_in_turns
    from cgdet_core.evaluation.task import write_thresholds
    from cgdet_core.runtime.model_file import default_model_path, load_model

    if arguments.into is not None and arguments.write is None:
        raise InputError("--into needs --write: give the file to write")
    of_run = None if arguments.run_folder is None else arguments.run_folder / "model.safetensors"
    path = arguments.model or of_run
    task, (model,) = common.load_models(arguments, path)
    names = task.names_of([model])
    target: Path = arguments.into or path or default_model_path(".safetensors")
    if arguments.write is not None and load_model(target)[1].class_names != names:
        raise InputError(f"{target}: has other classes than {model.model_path}: give a model of the same recipe")
    if arguments.run_folder is None:
        refuse_test_split(arguments.data)
    selection = common.selected_frames(arguments, names, models=[model])
    look = task.look_with(model, names, arguments.telemetry_rows)
    (result,) = run_in_turns([look], selection.samples, selection.count)
    thresholds, figures, warnings = task.choose_thresholds(result.frames, names)
    document = figures.to_json()
    facts = {
        "data": describe_folds(selection.folds),
        "frames": len(result.frames),
        "model_sha256": model.model_sha256,
        "precision": model.precision,
        "backend": model.backend,
        "per_class": document["operating_point"],
    }
    common.print_warnings(warnings)
    chosen = ", ".join(f"{name} {value:.3f}" for name, value in thresholds.items())
    text = f"best on {facts['data']}, {facts['frames']} frames: {chosen}\n{common.table(task.rows(document))}"
    if arguments.write is not None:
        write_thresholds(arguments.write, target, task, thresholds, facts)
        text += f"\nwritten: {arguments.write}"
    common.put_out({"thresholds": thresholds, **facts, "model": str(model.model_path)}, arguments.json, text)
    return 0
