"""cgdet evaluate: a model, or recorded detections, against a labelled set or bag, every frame, offline."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cgdet_core.commands import common
from cgdet_core.errors import InputError

if TYPE_CHECKING:
    from cgdet_core.evaluation.detection import RecordedDetections
    from cgdet_core.evaluation.task import MeasuredTask


def add(subparsers: common.Subparsers) -> None:
    parser = common.add_command(
        subparsers,
        "evaluate",
        "measure a model on every frame of a set or bag; it needs labels: a COCO JSON, or a bag with a topic of them",
        "cgdet evaluate --data msrs/thermal_test.json --model models/detector.safetensors --json figures.json",
    )
    common.add_measuring_arguments(parser, "plots and the worst frames", "its model (unless --model names one) on ")
    recorded = (
        "measure recorded detections in place of a model's, by header stamp: a bag of cgdet-replay --write-bag, or the "
        "vehicle's own"
    )
    parser.add_argument("--detections", type=Path, metavar="BAG", help=recorded)
    parser.add_argument("--detections-topic", help="their Detection2DArray topic (default: the only one)")
    common.add_model_arguments(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    from cgdet_core.evaluation.detection import DETECTION
    from cgdet_core.evaluation.offline import run_in_turns
    from cgdet_core.runtime.predictor import LoadedModel

    if arguments.run_folder is not None and arguments.detections is not None:
        raise InputError("--run measures a model, --detections a recording: give one of them")
    if arguments.detections_topic is not None and arguments.detections is None:
        raise InputError("--detections-topic needs --detections: give both, or leave it out")
    if arguments.detections is not None and (
        arguments.telemetry_rows
        or arguments.threads
        or {arguments.device, arguments.backend, arguments.precision} != {"auto"}
    ):
        of_inference = "--telemetry-rows, --threads, --device, --backend, --precision"
        raise InputError(f"{of_inference}: not used with --detections: leave them out")
    losses: list[str] = []
    task: MeasuredTask = DETECTION
    model: LoadedModel | None = None
    if arguments.detections is None:
        of_run = None if arguments.run_folder is None else arguments.run_folder / "model.safetensors"
        task, (model,) = common.load_models(arguments, arguments.model or of_run)
        names = task.names_of([model])
        look = task.look_with(model, names, arguments.telemetry_rows)
    else:
        look = recorded = _recorded(arguments)
        names = recorded.names
    selection = common.selected_frames(arguments, names, losses, [] if model is None else [model])
    (result,) = run_in_turns([look], selection.samples, selection.count, selection.from_bag)
    figures = task.measure(result.frames, names, model)
    facts: dict[str, Any]
    if model is None:
        facts = _recorded_facts(arguments, len(result.frames), recorded)
    else:
        facts = {
            **common.measured(task, model, result),
            "data": str(arguments.data),
            "held_out": None if arguments.run_folder is None else selection.describe(),
            "model": model.model_path.name,
            "model_sha256": model.model_sha256,
            "input": list(model.info.input_height_width_px),
        }
    facts |= {"frames_without_labels": result.unlabelled, "damage": losses}
    document = figures.to_json(facts)
    common.put_out(document, arguments.json, summary(task, document))
    if arguments.report is not None:
        from cgdet_core.evaluation.report.model_report import write_report

        again = common.selected_frames(arguments, names, again=True).samples
        write_report(arguments.report, task, result, again, figures, facts, arguments.command_line)
        if arguments.json != "-":
            print(f"report: {arguments.report}")
    return 0


def _recorded(arguments: argparse.Namespace) -> RecordedDetections:
    from cgdet_core.data.bags.truth import read_detections
    from cgdet_core.evaluation.detection import RecordedDetections
    from cgdet_core.runtime.model_file import read_info
    from cgdet_core.types import CLASS_NAMES

    if arguments.data.suffix == ".json":
        raise InputError(f"{arguments.data}: --detections needs frames with header stamps: give a bag")
    names = CLASS_NAMES if arguments.model is None else read_info(arguments.model).class_names
    return RecordedDetections(names, read_detections(arguments.detections, names, arguments.detections_topic))


def _recorded_facts(arguments: argparse.Namespace, frames: int, recorded: RecordedDetections) -> dict[str, Any]:
    if not recorded.answered:
        raise InputError(
            f"{arguments.detections}: none of its {len(recorded.found)} arrays has the stamp of a labelled frame: "
            f"give the detections recorded from {arguments.data}"
        )
    return {
        **dict.fromkeys(("model_sha256", "device", "precision", "backend")),
        "model": arguments.detections.name,
        "data": str(arguments.data),
        "detections": str(arguments.detections),
        "frames_with_detections": recorded.answered,
        "frames_without_detections": frames - recorded.answered,
    }


def summary(task: MeasuredTask, figures: dict[str, Any]) -> str:
    """A few lines for a person."""
    lines = [f"{figures[f'{task.unit}s']} {task.unit}s", common.table(task.rows(figures))]
    latency_ms = figures[f"ms_per_{task.unit}"]
    if latency_ms is None:
        lines.append(f"{figures['frames_without_detections']} frames without detections count as empty")
    else:
        lines.append(
            f"{latency_ms['p50']:.1f} ms each (p95 {latency_ms['p95']:.1f}) on {figures['device']}, "
            f"{figures['precision']}, {figures['params'] / 1e6:.2f} M parameters"
        )
    return "\n".join(lines)
