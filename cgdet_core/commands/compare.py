"""cgdet compare: is model B better than model A, and how sure is that?"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cgdet_core.commands.common import (
    Subparsers,
    add_backend_argument,
    add_command,
    add_device_arguments,
    add_measuring_arguments,
    check_measuring_arguments,
    load_predictor,
    measured,
    put_out,
    selected_frames,
    table,
)
from cgdet_core.errors import InputError

if TYPE_CHECKING:
    from cgdet_core.evaluation.offline import OfflineRun
    from cgdet_core.runtime.predictor import Predictor


def add(subparsers: Subparsers) -> None:
    parser = add_command(
        subparsers,
        "compare",
        "tell whether model B is better than model A, over the same frames",
        "cgdet compare models/detector.safetensors runs/mine/model.safetensors --data hit_uav/val.json",
    )
    parser.add_argument("a", type=Path, metavar="A", help="model file")
    parser.add_argument("b", type=Path, metavar="B", help="model file; of other classes the common ones are compared")
    add_measuring_arguments(parser, "the differences and the frames that differ most")
    draws = "draws of the paired bootstrap over blocks of frames: a scene, or 50 frame numbers (default: 1000)"
    parser.add_argument("--resamples", type=int, metavar="N", help=draws)
    parser.add_argument("--seed", type=int, metavar="S", help="of the draws (default: 0)")
    add_device_arguments(parser)
    add_backend_argument(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    from cgdet_core.config import CompareConfig, settings_from_mapping
    from cgdet_core.evaluation.compare import compare
    from cgdet_core.evaluation.metrics.paired import run_paired
    from cgdet_core.evaluation.report.model_report import write_compare_report

    given = {key: getattr(arguments, key) for key in ("resamples", "seed") if getattr(arguments, key) is not None}
    settings = settings_from_mapping(CompareConfig, given, "cgdet compare")
    check_measuring_arguments(arguments)
    a, b = (load_predictor(arguments, path) for path in (arguments.a, arguments.b))
    names = _common_classes(arguments, a, b)
    losses: list[str] = []
    selection = selected_frames(arguments, names, losses, [a, b])
    of_run = arguments.run_folder
    result = run_paired(
        *(a, b, selection.samples, selection.count),
        from_bag=of_run is None and arguments.data.suffix != ".json",
        telemetry_rows=arguments.telemetry_rows,
        class_names=names,
    )
    models = {"a": _model_figures(a, result.a, names), "b": _model_figures(b, result.b, names)}
    comparison = compare(result.a.frames, result.b.frames, result.blocks, names, settings)
    figures = {
        **comparison,
        "ms_ratio": result.ms_ratio(),
        "data": str(arguments.data),
        "held_out": None if of_run is None else selection.describe(),
        "frames_without_labels": result.a.unlabelled,
        "damage": losses,
        "models": models,
    }
    put_out(figures, arguments.json, _summary(figures))
    if arguments.report is not None:
        again = selected_frames(arguments, names, again=True).samples
        of_models = str(arguments.a), str(arguments.b)
        write_compare_report(arguments.report, result, again, figures, of_models, arguments.command_line)
        if arguments.json != "-":
            print(f"report: {arguments.report}")
    return 0


def _common_classes(arguments: argparse.Namespace, a: Predictor, b: Predictor) -> tuple[str, ...]:
    """Those that both models know, in A's order, told where they are not all."""
    of_a, of_b = a.info.class_names, b.info.class_names
    common = tuple(name for name in of_a if name in of_b)
    if not common:
        raise InputError(
            f"{arguments.b}: knows {', '.join(of_b)}, {arguments.a} knows {', '.join(of_a)}: give two models with a "
            "class in common"
        )
    if set(of_a) != set(of_b):
        print(f"cgdet: compared by what both models know: {', '.join(common)}", file=sys.stderr)
    return common


def _model_figures(predictor: Predictor, run: OfflineRun, class_names: tuple[str, ...]) -> dict[str, Any]:
    from cgdet_core.evaluation.metrics.metrics import evaluate

    metrics = evaluate(run.frames, class_names)
    return {
        "model": predictor.model_path.name,
        "model_sha256": predictor.model_sha256,
        "map": metrics.map,
        "map50": metrics.map50,
        "images": metrics.images,
        "truths": metrics.truths,
        **measured(predictor, run),
    }


def _summary(figures: dict[str, Any]) -> str:
    """The verdict, a table, and the times."""
    from cgdet_core.evaluation.compare import comparison_rows

    rows: list[tuple[object, ...]] = [("", "A", "B", "B - A", "interval", "B better in", "B is")]
    for name, row in comparison_rows(figures).items():
        interval = None if row["low"] is None else f"{row['low']:+.4f} {row['high']:+.4f}"
        verdict = "" if row["verdict"] == "no difference shown" else row["verdict"]
        share = f"{row['b_better_share']:.1%}"
        rows.append((name, row["a"], row["b"], f"{row['difference']:+.4f}", interval, share, verdict))
    a, b = (figures["models"][letter] for letter in "ab")
    times = (
        f"{a['ms_per_image']['p50']:.1f} ms a frame in A, {b['ms_per_image']['p50']:.1f} in B, measured by turns on "
        f"{a['device']}, {a['precision']}: ratio {figures['ms_ratio']:.2f}"
    )
    return f"{figures['words']}\n\n{table(rows)}\n\n{times}"
