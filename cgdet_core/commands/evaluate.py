"""cgdet evaluate: a model, or recorded detections, against a labelled set or bag, every frame, offline."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cgdet_core.commands import common
from cgdet_core.commands.many import add_many_arguments, run_bags
from cgdet_core.errors import InputError

if TYPE_CHECKING:
    from cgdet_core.data.bags.fleet import Bag
    from cgdet_core.evaluation.detection import RecordedDetections
    from cgdet_core.evaluation.metrics.matching import EvaluatedFrame
    from cgdet_core.evaluation.offline import OfflineRun
    from cgdet_core.evaluation.task import MeasuredTask
    from cgdet_core.runtime.model_file import ModelInfo
    from cgdet_core.runtime.predictor import LoadedModel
    from cgdet_core.types import Sample


def add(subparsers: common.Subparsers) -> None:
    parser = common.add_command(
        subparsers,
        "evaluate",
        "measure a model on every frame of a set or bag; it needs labels: a COCO JSON, or a bag with a topic of them",
        "cgdet evaluate --data msrs/thermal_test.json --model models/detector.safetensors --json figures.json",
    )
    common.add_measuring_arguments(
        parser, "plots and the worst frames", "its model (unless --model names one) on ", many=True
    )
    add_many_arguments(parser)
    recorded = (
        "measure recorded detections in place of a model's, by header stamp: a bag of cgdet-replay --write-bag, or the "
        "vehicle's own"
    )
    parser.add_argument("--detections", type=Path, metavar="BAG", help=recorded)
    parser.add_argument("--detections-topic", help="their Detection2DArray topic (default: the only one)")
    common.add_model_arguments(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    from cgdet_core.data.bags.fleet import Bag, bags_in
    from cgdet_core.data.bags.remote import masked
    from cgdet_core.evaluation.offline import OfflineRun

    if arguments.run_folder is not None and arguments.detections is not None:
        raise InputError("--run measures a model, --detections a recording: give one of them")
    if arguments.detections_topic is not None and arguments.detections is None:
        raise InputError("--detections-topic needs --detections: give both, or leave it out")
    of_inference = arguments.telemetry_rows, *common.how(arguments)
    if arguments.detections is not None and of_inference != (0, "auto", "auto", 0, "auto", None):
        named = "--telemetry-rows, --threads, --input, --device, --backend, --precision"
        raise InputError(f"{named}: not used with --detections: leave them out")
    if (arguments.detections is not None or arguments.resume) and _is_set(arguments):
        raise InputError(f"{arguments.data[0]}: --detections and --resume go with bags: give one, or leave them out")
    bags = [Bag(data) for data in arguments.data] if _is_set(arguments) else bags_in(arguments.data)
    if len(bags) > 1 and (_is_set(arguments) or arguments.detections is not None):
        raise InputError(f"{bags[1].place}: give one set, one folder with --run, one bag with --detections, or bags")
    _loaded.cache_clear()
    task, info, arguments.names = _described(arguments)
    kind: Any = tuple[OfflineRun[task.record], dict[str, Any], list[str]]  # type: ignore[name-defined]
    done, error = run_bags(arguments, look_through, bags, kind)
    if error is not None and not done:
        raise error
    result: OfflineRun[Any] = OfflineRun()
    for bag, outcome in done.items():
        result.add(bag.name, outcome.result[0])
    figures = task.measure(result.frames, arguments.names, info and info.postprocess)
    facts: dict[str, Any] = dict(next(iter(done.values())).result[1])
    if any(outcome.result[1] != facts for outcome in done.values()):
        common.print_warnings(["not all bags were measured alike: name --device, --backend and --precision"])
    if info is not None:
        facts[f"ms_per_{task.unit}"] = result.ms_per_frame()
    facts["data"] = masked(arguments.data[0])
    if bags[0].name:
        facts |= {"data": [masked(word) for word in arguments.data], "bags": [bag.name for bag in done]}
    facts["frames_without_labels"] = result.unlabelled
    facts["damage"] = [line for outcome in done.values() for line in outcome.result[2]]
    document = figures.to_json(facts)
    common.put_out(document, arguments.json, summary(task, document))
    if arguments.report is not None:
        from cgdet_core.evaluation.report.model_report import write_report

        again = _again(arguments, [*done])
        write_report(arguments.report, task, result, again, figures, facts, masked(arguments.command_line))
        if arguments.json != "-":
            print(f"report: {arguments.report}")
    if error is not None:
        raise error
    return 0


def _is_set(arguments: argparse.Namespace) -> bool:
    return arguments.run_folder is not None or any(data.endswith(".json") for data in arguments.data)


def _of(arguments: argparse.Namespace, path: Path) -> argparse.Namespace:
    return argparse.Namespace(**{**vars(arguments), "data": path})


def _again(arguments: argparse.Namespace, bags: Sequence[Bag]) -> Iterator[Sample]:
    from cgdet_core.data.bags.remote import local

    for bag in bags:
        with local(bag.place) as path:
            yield from common.selected_frames(_of(arguments, path), arguments.names, again=True).samples


def _described(arguments: argparse.Namespace) -> tuple[MeasuredTask, ModelInfo | None, tuple[str, ...]]:
    """The task, what its model says of itself (none of recorded detections), and what is known of. InputError for what
    cannot be had of the model, which is not loaded; what the arguments mean here is added to them."""
    from cgdet_core.evaluation.detection import DETECTION
    from cgdet_core.evaluation.task import task_of
    from cgdet_core.runtime.backends import choose_how, shipped_model
    from cgdet_core.runtime.model_file import read_description, read_info
    from cgdet_core.types import CLASS_NAMES

    if arguments.detections is not None:
        return DETECTION, None, CLASS_NAMES if arguments.model is None else read_info(arguments.model).class_names
    if arguments.run_folder is not None:
        arguments.model = arguments.model or arguments.run_folder / "model.safetensors"
    path = arguments.model = arguments.model or shipped_model(arguments.backend, arguments.device, arguments.precision)
    info = read_description(path).at(path, arguments.precision, arguments.input).info
    if arguments.ray is None:  # other machines choose for themselves
        how = choose_how(path, arguments.backend, arguments.device, arguments.precision)
        arguments.device, arguments.backend = how
    return task_of(info), info, info.class_names


@cache
def _loaded(path: Path, *how: Any) -> LoadedModel:
    """Once for each process."""
    from cgdet_core.evaluation.task import task_of
    from cgdet_core.runtime.model_file import read_info

    return task_of(read_info(path)).load(path, *how)


def look_through(arguments: argparse.Namespace, path: Path, bag: Bag) -> tuple[str, Any]:
    """What is found in the frames of one bag, or set: how many, and (OfflineRun, facts, losses)."""
    from cgdet_core.data.bags.remote import masked
    from cgdet_core.data.bags.truth import read_detections
    from cgdet_core.evaluation.detection import RecordedDetections
    from cgdet_core.evaluation.offline import describe_folds, run_in_turns
    from cgdet_core.evaluation.task import task_of

    settings, names, losses = _of(arguments, path), arguments.names, list[str]()
    look: Any
    if arguments.detections is not None:
        found = read_detections(arguments.detections, names, arguments.detections_topic)
        look, models = RecordedDetections(found), []
    else:
        model = _loaded(arguments.model, *common.how(arguments))
        look, models = task_of(model.info).look_with(model, names, arguments.telemetry_rows), [model]
    selection = common.selected_frames(settings, names, losses, models)
    (result,) = run_in_turns([look], selection.samples, selection.count)
    if arguments.detections is not None:
        facts = _recorded_facts(settings, result.frames, look)
    else:
        facts = {
            **common.measured(model),
            "held_out": None if arguments.run_folder is None else describe_folds(selection.folds),
            "model": model.model_path.name,
            "model_sha256": model.model_sha256,
            "input": list(model.info.input_height_width_px),
        }
    damage = [masked(line.replace(str(path), bag.place)) for line in losses]
    return f"{len(result.frames)} frames", (result, facts, damage)


def _recorded_facts(
    arguments: argparse.Namespace, frames: Sequence[EvaluatedFrame], recorded: RecordedDetections
) -> dict[str, Any]:
    import numpy as np

    from cgdet_core.data.sets.plausible import check_frames_plausible

    if not recorded.answered:
        raise InputError(
            f"{arguments.detections}: none of its {len(recorded.found)} arrays has the stamp of a labelled frame: "
            f"give the detections recorded from {arguments.data}"
        )
    found = ((each.name, each.height_width_px, each.detections) for each in frames)
    boxes = ((name, size, of.boxes_xyxy_px, np.ones(len(of), np.bool_)) for name, size, of in found)
    common.print_warnings(check_frames_plausible(arguments.detections, boxes))
    return {
        **dict.fromkeys(("model_sha256", "device", "precision", "backend")),
        "model": arguments.detections.name,
        "detections": str(arguments.detections),
        "frames_with_detections": recorded.answered,
        "frames_without_detections": len(frames) - recorded.answered,
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
