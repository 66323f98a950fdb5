"""cgdet compare: is model B better than model A, and how sure is that?"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from cgdet_core.commands import common
from cgdet_core.errors import InputError


def add(subparsers: common.Subparsers) -> None:
    parser = common.add_command(
        subparsers,
        "compare",
        "tell whether model B is better than model A; it needs labelled frames of six scenes or more",
        "cgdet compare models/detector.safetensors runs/mine/model.safetensors --data hit_uav/val.json",
    )
    parser.add_argument("a", type=Path, metavar="A", help="model file")
    parser.add_argument("b", type=Path, metavar="B", help="model file; only classes that both have are compared")
    common.add_measuring_arguments(parser, "the differences and the frames that differ most")
    draws = "draws of the paired bootstrap over blocks of frames: a scene, or 50 frame numbers (default: 1000)"
    parser.add_argument("--resamples", type=int, default=1000, metavar="N", help=draws)
    common.add_device_arguments(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    from cgdet_core.evaluation.compare import compare
    from cgdet_core.evaluation.offline import describe_folds, run_in_turns

    if not 100 <= arguments.resamples <= 1_000_000:
        raise InputError(f"--resamples {arguments.resamples}: give 100 to 1000000")
    task, models = common.load_models(arguments, arguments.a, arguments.b)
    names = task.names_of(models)
    if any(set(model.info.class_names) != set(names) for model in models):
        print(f"cgdet: compared by what both models know: {', '.join(names)}", file=sys.stderr)
    losses: list[str] = []
    selection = common.selected_frames(arguments, names, losses, models)
    looks = [task.look_with(model, names, arguments.telemetry_rows) for model in models]
    runs = run_in_turns(looks, selection.samples, selection.count)
    times = f"ms_per_{task.unit}"
    a, b = (
        {
            "model": model.model_path.name,
            "file": str(model.model_path),
            "model_sha256": model.model_sha256,
            **{key: figures[key] for key in task.headline},
            **common.measured(model),
            times: of_model.ms_per_frame(),
        }
        for model, of_model in zip(models, runs, strict=True)
        for figures in [task.measure(of_model.frames, names).to_json()]
    )
    vector_a, vector_b = (task.vector(of_model.frames, names) for of_model in runs)
    comparison = {
        **compare(vector_a, vector_b, runs[0].blocks, arguments.resamples),
        "ms_ratio": b[times]["p50"] / a[times]["p50"],
        "data": str(arguments.data),
        "held_out": None if arguments.run_folder is None else describe_folds(selection.folds),
        "frames_without_labels": runs[0].unlabelled,
        "damage": losses,
        "models": {"a": a, "b": b},
    }
    common.put_out(comparison, arguments.json, _summary(comparison, times))
    if arguments.report is not None:
        from cgdet_core.evaluation.report.model_report import write_comparison

        again = common.selected_frames(arguments, names, again=True).samples
        write_comparison(arguments.report, task, runs, again, comparison, arguments.command_line)
        if arguments.json != "-":
            print(f"report: {arguments.report}")
    return 0


def _summary(figures: dict[str, Any], times: str) -> str:
    """The verdict, a table, and the times."""
    from cgdet_core.evaluation.compare import comparison_rows

    rows: list[tuple[object, ...]] = [("", "A", "B", "B - A", "interval", "B better in", "B is")]
    for row in comparison_rows(figures):
        interval = None if row["low"] is None else f"{row['low']:+.4f} {row['high']:+.4f}"
        verdict = "" if row["verdict"] == "no difference shown" else row["verdict"]
        share = f"{row['b_better_share']:.1%}"
        rows.append((row["name"], row["a"], row["b"], f"{row['difference']:+.4f}", interval, share, verdict))
    a, b = (figures["models"][letter] for letter in "ab")
    paced = (
        f"{a[times]['p50']:.1f} ms each in A, {b[times]['p50']:.1f} in B, measured by turns on "
        f"{a['device']}, {a['precision']}: ratio {figures['ms_ratio']:.2f}"
    )
    return f"{figures['words']}\n\n{common.table(rows)}\n\n{paced}"
