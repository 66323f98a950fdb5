"""cgdet thresholds: each class's threshold of best F1 on frames that the model never saw, and into a model file."""

from __future__ import annotations

import argparse
from pathlib import Path

from cgdet_core.commands.common import (
    Subparsers,
    add_command,
    add_data_arguments,
    add_json_argument,
    add_model_arguments,
    check_json_place,
    load_predictor,
    print_warnings,
    put_out,
    selected_frames,
    table,
)
from cgdet_core.errors import InputError


def add(subparsers: Subparsers) -> None:
    parser = add_command(
        subparsers,
        "thresholds",
        "choose each class's threshold on held-out frames (best F1), and write them into a copy of a model",
        "cgdet thresholds --run runs/held_out --data DIR\n"
        "  cgdet thresholds --model model.safetensors --data val.json --write tuned.safetensors\n"
        "  cgdet thresholds --run runs/held_out --data DIR --into runs/all/model.safetensors --write out.safetensors",
    )
    add_data_arguments(parser, "its model, on ")
    parser.add_argument("--write", type=Path, metavar="F", help="a copy of the model with these thresholds")
    parser.add_argument(
        "--into", type=Path, metavar="MODEL", help="the model to copy, where it is another one of the same recipe"
    )
    add_json_argument(parser, "thresholds and figures")
    add_model_arguments(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    from cgdet_core.evaluation.offline import run_offline
    from cgdet_core.evaluation.operating_point import choose_thresholds, warnings_of_few, write_thresholds
    from cgdet_core.evaluation.selection import check_data, refuse_test_split
    from cgdet_core.files import check_can_write
    from cgdet_core.runtime.model_file import default_model_path, read_info

    check_json_place(arguments.json)
    if arguments.into is not None and arguments.write is None:
        raise InputError("--into names the model to copy: say where to with --write")
    if arguments.write is not None:
        check_can_write(arguments.write)
    model = arguments.model
    if arguments.run_folder is not None:
        model = model or arguments.run_folder / "model.safetensors"
    predictor = load_predictor(arguments, model)
    names = predictor.info.class_names
    target: Path = arguments.into or model or default_model_path(".safetensors")
    if arguments.write is not None and read_info(target).class_names != names:
        raise InputError(f"{target}: its classes are not those of {predictor.model_path}: give one of the same recipe")
    check_data(arguments.data)
    if arguments.run_folder is None:
        refuse_test_split(arguments.data)
    selection = selected_frames(arguments, names, predictors=[predictor])
    result = run_offline(predictor, selection.samples, selection.count, telemetry_rows=arguments.telemetry_rows)
    thresholds, metrics = choose_thresholds(result.frames, names)
    facts = {
        "data": selection.describe(),
        "frames": metrics.images,
        "model_sha256": predictor.model_sha256,
        "precision": predictor.precision,
        "backend": predictor.backend,
        "per_class": metrics.operating_point,
    }
    print_warnings(warnings_of_few(metrics))
    if arguments.write is not None:
        write_thresholds(arguments.write, target, thresholds, facts)
    keys = "threshold", "precision", "recall", "false_alarms_per_image", "truths"
    rows = [("", *keys), *((name, *(point[key] for key in keys)) for name, point in metrics.operating_point.items())]
    text = f"thresholds of best F1 on {facts['data']}, {metrics.images} frames:\n{table(rows)}"
    if arguments.write is not None:
        text += f"\nwritten: {arguments.write}"
    put_out({"thresholds": thresholds, **facts, "model": str(predictor.model_path)}, arguments.json, text)
    return 0
