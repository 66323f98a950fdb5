"""cgdet evaluate: a model, or recorded detections, against a labelled set or bag, every frame, offline."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cgdet_core.commands.common import (
    Subparsers,
    add_command,
    add_measuring_arguments,
    add_model_arguments,
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


def add(subparsers: Subparsers) -> None:
    parser = add_command(
        subparsers,
        "evaluate",
        "measure a model on a COCO set or a bag, every frame, offline",
        "cgdet evaluate --data msrs/thermal_test.json --model models/detector.safetensors --json figures.json",
    )
    add_measuring_arguments(parser, "plots and the worst frames", "its model (unless --model names one) on ")
    recorded = (
        "measure recorded detections in place of a model's, by header stamp: a bag of cgdet-replay --write-bag, or the "
        "vehicle's own"
    )
    parser.add_argument("--detections", type=Path, metavar="BAG", help=recorded)
    parser.add_argument("--detections-topic", help="their Detection2DArray topic (default: the only one)")
    add_model_arguments(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    from cgdet_core.evaluation.metrics.metrics import evaluate
    from cgdet_core.evaluation.report.model_report import write_offline_report

    if arguments.run_folder is not None and arguments.detections is not None:
        raise InputError("--run measures a model, --detections what was recorded: give one of them")
    check_measuring_arguments(arguments)
    losses: list[str] = []
    measure = _run_model if arguments.detections is None else _match_recorded
    result, thresholds, facts = measure(arguments, losses)
    metrics = evaluate(result.frames, tuple(thresholds), thresholds)
    facts |= {"frames_without_labels": result.unlabelled, "damage": losses}
    figures = metrics.to_json(facts)
    put_out(figures, arguments.json, summary(figures))
    if arguments.report is not None:
        again = selected_frames(arguments, tuple(thresholds), again=True).samples
        write_offline_report(arguments.report, result, again, metrics, thresholds, facts, arguments.command_line)
        if arguments.json != "-":
            print(f"report: {arguments.report}")
    return 0


def _run_model(
    arguments: argparse.Namespace, losses: list[str]
) -> tuple[OfflineRun, Mapping[str, float], dict[str, Any]]:
    """What a model finds, its thresholds by class name, and with what it was measured."""
    from cgdet_core.evaluation.offline import run_offline

    of_run = None if arguments.run_folder is None else arguments.run_folder / "model.safetensors"
    predictor = load_predictor(arguments, arguments.model or of_run)
    names = predictor.info.class_names
    selection = selected_frames(arguments, names, losses, [predictor])
    result = run_offline(predictor, selection.samples, selection.count, telemetry_rows=arguments.telemetry_rows)
    facts = {
        **measured(predictor, result),
        "data": str(arguments.data),
        "held_out": None if of_run is None else selection.describe(),
        "model": predictor.model_path.name,
        "model_sha256": predictor.model_sha256,
        "input": list(predictor.info.input_height_width_px),
    }
    return result, {name: predictor.postprocess.threshold_of(name) for name in names}, facts


def _match_recorded(
    arguments: argparse.Namespace, losses: list[str]
) -> tuple[OfflineRun, Mapping[str, float], dict[str, Any]]:
    """Recorded detections by header stamp; a labelled frame without an array is one in which nothing was found."""
    from cgdet_core.data.bags.truth import read_detections
    from cgdet_core.evaluation.metrics.matching import OPERATING_SCORE
    from cgdet_core.evaluation.metrics.metrics import EvaluatedFrame
    from cgdet_core.evaluation.offline import OfflineRun
    from cgdet_core.runtime.model_file import read_info
    from cgdet_core.types import CLASS_NAMES, Detections

    if arguments.data.suffix == ".json":
        raise InputError(f"{arguments.data}: its frames have no header stamps to find detections by: give a bag")
    names = CLASS_NAMES if arguments.model is None else read_info(arguments.model).class_names
    found = read_detections(arguments.detections, names, arguments.detections_topic)
    run, answered = OfflineRun(), 0
    for sample in selected_frames(arguments, names, losses).samples:
        if sample.truth is None:
            run.unlabelled += 1
            continue
        detections = found.get(sample.frame.stamp_ns)
        answered += detections is not None
        size = sample.frame.height_width_px
        run.frames.append(
            EvaluatedFrame(sample.name, detections or Detections.empty(), sample.truth, size, sample.light)
        )
    run.check_labelled()
    if not answered:
        raise InputError(
            f"{arguments.detections}: none of its {len(found)} arrays bears the header stamp of a labelled frame of "
            f"{arguments.data}: give the detections of this bag"
        )
    facts = {
        **dict.fromkeys(("model_sha256", "device", "precision", "backend")),
        "model": arguments.detections.name,
        "data": str(arguments.data),
        "detections": str(arguments.detections),
        "frames_with_detections": answered,
        "frames_without_detections": len(run.frames) - answered,
    }
    return run, dict.fromkeys(names, OPERATING_SCORE), facts


def summary(figures: dict[str, Any]) -> str:
    """A few lines for a person."""
    of_point = ("threshold", "precision", "recall")
    rows: list[tuple[object, ...]] = [("", "objects", "mAP50", "mAP", "mAP75", *of_point)]
    for name, part in {"all": figures, **figures["per_class"], **figures["by_light"]}.items():
        point = figures["operating_point"].get(name, {})
        keys = "truths", "map50", "map", "map75"
        rows.append((name, *(part.get(key) for key in keys), *(point.get(key) for key in of_point)))
    lines = [f"{figures['images']} images", table(rows)]
    latency_ms = figures["ms_per_image"]
    if latency_ms is None:
        lines.append(f"{figures['frames_without_detections']} frames without detections count as empty")
    else:
        lines.append(
            f"{latency_ms['p50']:.1f} ms a frame (p95 {latency_ms['p95']:.1f}) on {figures['device']}, "
            f"{figures['precision']}, {figures['params'] / 1e6:.2f} M parameters"
        )
    return "\n".join(lines)
