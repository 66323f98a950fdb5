"""cgdet thresholds: each class's threshold of best F1 on frames that the model never saw, and into a model file."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from math import floor
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cgdet_core.commands.common import (
    Subparsers,
    add_command,
    add_data_arguments,
    add_json_argument,
    add_model_arguments,
    check_json_place,
    decimals,
    load_predictor,
    print_losses,
    print_or_write_json,
)
from cgdet_core.commands.judged import Judged, add_run_argument, judged_frames, warn_of_known
from cgdet_core.errors import InputError

if TYPE_CHECKING:
    from cgdet_core.data.bags.frames import Loss
    from cgdet_core.evaluation.metrics.matching import EvaluatedFrame
    from cgdet_core.evaluation.metrics.metrics import Metrics

FEW_OBJECTS = 30  # a threshold of fewer than this is chance


def add(subparsers: Subparsers) -> None:
    parser = add_command(
        subparsers,
        "thresholds",
        "choose each class's threshold on held-out frames (best F1), and write them into a copy of a model",
        "cgdet thresholds --run runs/held_out --data DIR\n"
        "  cgdet thresholds --model model.safetensors --data val.json --write tuned.safetensors\n"
        "  cgdet thresholds --run runs/held_out --data DIR --into runs/all/model.safetensors --write out.safetensors",
    )
    add_data_arguments(parser)
    add_run_argument(parser, "its model, on ")
    parser.add_argument("--write", type=Path, metavar="F", help="a copy of the model with these thresholds")
    parser.add_argument(
        "--into", type=Path, metavar="MODEL", help="the model to copy, where it is another one of the same recipe"
    )
    add_json_argument(parser, "thresholds and figures")
    add_model_arguments(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    from cgdet_core.evaluation.offline import run_offline
    from cgdet_core.files import check_can_write
    from cgdet_core.runtime.model_file import read_info

    check_json_place(arguments.json)
    if arguments.into is not None and arguments.write is None:
        raise InputError("--into names the model to copy: say where to with --write")
    if arguments.write is not None:
        check_can_write(arguments.write)
    losses: list[Loss] = []
    model = arguments.model
    if arguments.run_folder is not None:
        model = model or arguments.run_folder / "model.safetensors"
    predictor = load_predictor(arguments, model)
    names = predictor.info.class_names
    target: Path = arguments.into or predictor.model_path
    if arguments.write is not None and read_info(target).class_names != names:
        raise InputError(f"{target}: its classes are not those of {predictor.model_path}: give one of the same recipe")
    chosen = _frames(arguments, names, losses)
    warn_of_known(predictor.model_path, predictor.info, chosen.folds)
    result = run_offline(predictor, chosen.samples, chosen.count, telemetry_rows=arguments.telemetry_rows)
    print_losses(losses)
    thresholds, metrics = choose_thresholds(result.frames, names)
    facts = {
        "data": chosen.words(),
        "frames": metrics.images,
        "model_sha256": predictor.model_sha256,
        "precision": predictor.precision,
        "backend": predictor.backend,
        "per_class": metrics.operating_point,
    }
    warn_of_few(thresholds, metrics)
    if arguments.json != "-":
        print(_summary(metrics, chosen.words()))
    if arguments.write is not None:
        write_thresholds(arguments.write, target, thresholds, facts)
        if arguments.json != "-":
            print(f"written: {arguments.write}")
    print_or_write_json({"thresholds": thresholds, **facts, "model": str(predictor.model_path)}, arguments.json)
    return 0


def choose_thresholds(frames: Sequence[EvaluatedFrame], class_names: Sequence[str]) -> tuple[dict[str, float], Metrics]:
    """Each class's threshold of the best F1, cut to three decimals, and the figures with these."""
    from cgdet_core.evaluation.metrics.metrics import choose_operating_point, evaluate

    # it is the score of a detection, which a threshold that was rounded up would lose
    thresholds = {
        name: floor(value * 1000) / 1000 for name, value in choose_operating_point(frames, class_names).items()
    }
    return thresholds, evaluate(frames, class_names, thresholds)


def write_thresholds(path: Path, model: Path, thresholds: Mapping[str, float], facts: Mapping[str, Any]) -> None:
    """A copy of `model` at `path` (which may be `model`) with these thresholds, and on what they were chosen."""
    from cgdet_core.runtime.model_file import load_model, save_model

    detector, info = load_model(model)
    postprocess = info.postprocess.model_copy(update={"class_thresholds": dict(thresholds)})
    training = {**info.training, "operating_point": dict(facts)}
    save_model(path, detector, info.model_copy(update={"postprocess": postprocess, "training": training}))


def _frames(arguments: argparse.Namespace, class_names: tuple[str, ...], losses: list[Loss]) -> Judged:
    """InputError where nothing may be chosen on them."""
    from cgdet_core.evaluation.look_log import is_test_split
    from cgdet_core.evaluation.offline import check_data

    check_data(arguments.data)
    if arguments.run_folder is None and is_test_split(arguments.data):
        raise InputError(f"{arguments.data}: is a test split: choose thresholds on frames held out of training")
    return judged_frames(arguments, class_names, losses)


def warn_of_few(thresholds: Mapping[str, float], metrics: Metrics) -> None:
    """Tell, on standard error, whose threshold hangs on a few objects."""
    few = {name: metrics.operating_point[name]["truths"] for name in thresholds}
    words = [f"{name} (of {number})" for name, number in few.items() if number < FEW_OBJECTS]
    if words:
        print(
            f"cgdet: warning: chance decided over the thresholds of {', '.join(words)}: choose them on {FEW_OBJECTS} "
            "objects or more",
            file=sys.stderr,
        )


def _summary(metrics: Metrics, data: str) -> str:
    lines = [f"thresholds of best F1 on {data}, {metrics.images} frames:"]
    for name, point in metrics.operating_point.items():
        lines.append(
            f"  {name:<8} {point['threshold']:.3f}  precision {decimals(point['precision'])}  "
            f"recall {decimals(point['recall'])}  false alarms per image {decimals(point['false_alarms_per_image'])}  "
            f"objects {point['truths']}"
        )
    return "\n".join(lines)
