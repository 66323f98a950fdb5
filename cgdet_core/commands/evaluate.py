"""cgdet evaluate: a model against a labelled set or bag, every frame, offline."""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cgdet_core.commands.common import (
    Subparsers,
    add_command,
    add_data_arguments,
    add_json_argument,
    add_log_argument,
    add_model_arguments,
    add_run_argument,
    check_json_place,
    decimals,
    load_predictor,
    log_look,
    measured,
    print_losses,
    print_or_write_json,
    print_warnings,
    selected_frames,
)
from cgdet_core.errors import InputError

if TYPE_CHECKING:
    from cgdet_core.data.bags.frames import Loss


def add(subparsers: Subparsers) -> None:
    parser = add_command(
        subparsers,
        "evaluate",
        "measure a model on a COCO set or a bag, every frame, offline",
        "cgdet evaluate --data msrs/thermal_test.json --model models/detector.safetensors --json figures.json",
    )
    add_json_argument(parser)
    parser.add_argument("--report", type=Path, metavar="F.html", help="write a page with plots and the worst frames")
    parser.add_argument(
        "--detections",
        type=Path,
        metavar="BAG",
        help="measure recorded detections in place of a model's, by header stamp: a bag of cgdet-replay --write-bag, "
        "or the vehicle's own",
    )
    parser.add_argument("--detections-topic", help="their Detection2DArray topic (default: the only one)")
    add_data_arguments(parser)
    add_run_argument(parser, "its model (unless --model names one) on ")
    add_log_argument(parser)
    add_model_arguments(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    from cgdet_core.data.sets.coco import parse_class_map
    from cgdet_core.evaluation.look_log import log_for
    from cgdet_core.evaluation.offline import check_data
    from cgdet_core.files import check_can_write

    parse_class_map(arguments.class_map)  # a wrong one is told before the model is loaded
    check_data(arguments.data)
    if arguments.run_folder is not None and arguments.detections is not None:
        raise InputError("--run measures a model, --detections what was recorded: give one of them")
    check_json_place(arguments.json)
    if arguments.report is not None:
        check_can_write(arguments.report)
    log = log_for(arguments.data, arguments.log, Path.cwd())
    if arguments.detections is None:
        figures, write_report = _evaluate_model(arguments)
    else:
        from cgdet_core.commands.evaluate_recorded import evaluate_recorded

        figures, write_report = evaluate_recorded(arguments)
    log_look(log, arguments, {"cgdet evaluate": figures})
    if arguments.json != "-":
        print(summary(figures))
    print_or_write_json(figures, arguments.json)
    if arguments.report is not None:
        write_report()
        if arguments.json != "-":
            print(f"report: {arguments.report}")
    return 0


def _evaluate_model(arguments: argparse.Namespace) -> tuple[dict[str, Any], Callable[[], None]]:
    """The figures, and what writes the report that is asked for."""
    from cgdet_core.evaluation.metrics.metrics import evaluate
    from cgdet_core.evaluation.offline import run_offline

    model, run = arguments.model, arguments.run_folder
    if run is not None:
        model = model or run / "model.safetensors"
    predictor = load_predictor(arguments, model)
    names = predictor.info.class_names
    losses: list[Loss] = []
    selection = selected_frames(arguments, names, losses)
    print_warnings([*selection.warnings, *selection.learnt_by(predictor.model_path, predictor.info)])
    result = run_offline(predictor, selection.samples, selection.count, telemetry_rows=arguments.telemetry_rows)
    print_losses(losses)
    thresholds = {name: predictor.postprocess.threshold_of(name) for name in names}
    metrics = evaluate(result.frames, names, thresholds)
    facts = {
        "data": str(arguments.data),
        "held_out": None if run is None else selection.describe(),
        "model": predictor.model_path.name,
        "model_sha256": predictor.model_sha256,
        "device": predictor.device,
        "precision": predictor.precision,
        "backend": predictor.backend,
        "input": list(predictor.info.input_height_width_px),
        "frames_without_labels": result.unlabelled,
        "damage": [str(loss) for loss in losses],
    }

    def write_report() -> None:
        from cgdet_core.evaluation.report.offline_report import write_offline_report

        words = ["cgdet", "evaluate", "--data", str(arguments.data), "--model", str(predictor.model_path)]
        words += [] if run is None else ["--run", str(run)]
        again = selected_frames(arguments, names).samples
        write_offline_report(arguments.report, result, again, metrics, thresholds, facts, shlex.join(words))

    return metrics.to_json({**measured(predictor, result), **facts}), write_report


def summary(figures: dict[str, Any]) -> str:
    """A few lines for a person."""
    lines = [
        f"{figures['images']} images, {figures['truths']} objects: "
        f"mAP50 {decimals(figures['map50'])}, mAP {decimals(figures['map'])}, mAP75 {decimals(figures['map75'])}"
    ]
    for name, of_class in figures["per_class"].items():
        point = figures["operating_point"].get(name, {})
        lines.append(
            f"  {name:<8} AP50 {decimals(of_class['map50'])}  AP {decimals(of_class['map'])}  "
            f"objects {of_class['truths']:>5}  at score {decimals(point.get('threshold'))}: "
            f"precision {decimals(point.get('precision'))} recall {decimals(point.get('recall'))}"
        )
    for light, part in figures["by_light"].items():
        lines.append(
            f"  {light:<8} mAP50 {decimals(part['map50'])}  mAP {decimals(part['map'])}  images {part['images']}"
        )
    latency_ms = figures["ms_per_image"]
    if latency_ms is None:
        lines.append(f"  {figures['frames_without_detections']} frames without detections count as empty")
        return "\n".join(lines)
    lines.append(
        f"  {latency_ms['p50']:.1f} ms a frame (p95 {latency_ms['p95']:.1f}) on {figures['device']}, "
        f"{figures['precision']}, {figures['params'] / 1e6:.2f} M parameters"
    )
    return "\n".join(lines)
